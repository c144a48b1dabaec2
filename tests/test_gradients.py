"""Every activation with every loss that fits it, and random networks, against the complex step in float64."""
import numpy as np
import pytest

from slugnet.activation import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from slugnet.check import check_model
from slugnet.layers import Dense
from slugnet.loss import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Hinge,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
)
from slugnet.model import Model

ACTIVATIONS = [Identity(), ReLU(), LeakyReLU(0.1), Tanh(), Sigmoid(), Softplus(), Softmax(), LogSoftmax(),
               ELU(), ELU(0.4), SiLU(), GELU(), GELU(exact=True)]
ANY = {type(a) for a in ACTIVATIONS}
FITS = {MeanSquaredError: ANY, MeanAbsoluteError: ANY, Huber: ANY, Hinge: ANY, BinaryCrossEntropy: {Sigmoid, Softmax},
        CategoricalCrossEntropy: {Softmax}}
LIMIT = 1e-10


def targets(loss, m: int, n_out: int, rng):
    """Targets of the kind that the loss takes."""
    if loss in (CategoricalCrossEntropy, Hinge):
        return rng.integers(0, n_out, m)
    if loss is BinaryCrossEntropy:
        return rng.uniform(0, 1, (m, n_out))
    return rng.standard_normal((m, n_out))


PAIRS = [(loss, activation) for loss, kinds in FITS.items() for activation in ACTIVATIONS if type(activation) in kinds]


@pytest.mark.parametrize("loss, activation", PAIRS, ids=repr)
def test_activation_and_loss(loss, activation):
    rng = np.random.default_rng(1)
    model = Model([Dense(5, activation=Tanh()), Dense(3, activation=activation)], loss=loss(), seed=0, dtype="float64")
    model.build((4,))
    model.theta += 0.1 * rng.standard_normal(model.theta.shape)
    assert check_model(model, rng.standard_normal((6, 4)), targets(loss, 6, 3, rng), limit=LIMIT) <= LIMIT


@pytest.mark.parametrize("depth", range(1, 6))
@pytest.mark.parametrize("seed", range(4))
def test_random_network(depth, seed):
    rng = np.random.default_rng([depth, seed])
    hidden = [Dense(int(rng.integers(1, 6)), activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))])
              for _ in range(depth - 1)]
    loss = list(FITS)[rng.integers(len(FITS))]
    last = {BinaryCrossEntropy: Sigmoid(), CategoricalCrossEntropy: Softmax()}.get(loss, Identity())
    n_in, n_out, m = rng.integers(1, 6), int(rng.integers(2, 5)), int(rng.integers(1, 8))
    model = Model([*hidden, Dense(n_out, activation=last)], loss=loss(), seed=seed, dtype="float64").build((int(n_in),))
    model.theta += 0.1 * rng.standard_normal(model.theta.shape)
    assert check_model(model, rng.standard_normal((m, n_in)), targets(loss, m, n_out, rng), limit=LIMIT) <= LIMIT


def test_weighted_gradient():
    rng = np.random.default_rng(5)
    model = Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0, dtype="float64").build((4,))
    X, y, w = rng.standard_normal((6, 4)), rng.integers(0, 3, 6), rng.uniform(0, 2, 6)
    _, gradients = model.loss_and_gradients(X, y, sample_weight=w)
    h, theta = 1e-6, model.theta.copy()
    for i in range(len(theta)):
        model.theta[i] = theta[i] + h
        above = model.mean_loss(X, y, w)
        model.theta[i] = theta[i] - h
        slope = (above - model.mean_loss(X, y, w)) / (2 * h)
        model.theta[i] = theta[i]
        assert abs(np.concatenate([g.ravel() for g in gradients.values()])[i] - slope) < 1e-8
