"""The optimizers, the averages and the second-order functions, beyond what their notebooks hold."""
import copy
import inspect
import sys

import numpy as np
import pytest

import slugnet.optimizers as optimizers
from slugnet import adaptive, descent, load
from slugnet.activation import ReLU, Sigmoid, Softmax, Tanh
from slugnet.averaging import AverageParameters
from slugnet.component import describe, revive
from slugnet.layers import Dense
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquaredError
from slugnet.model import Model
from slugnet.optimizers import SGD, Adadelta, AdaGrad, Adam, AdamW, AMSGrad, CosineDecay, Nadam, RMSProp
from slugnet.second_order import hessian_product, minimize, objective

KINDS = [SGD, AdaGrad, RMSProp, Adadelta, Adam, AdamW, Nadam, AMSGrad]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((50, 3)).astype(np.float32), RNG.integers(0, 3, 50)


def classifier(optimizer, seed=0, dtype="float32"):
    layers = [Dense(6, activation=ReLU()), Dense(3, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), optimizer=optimizer, seed=seed, dtype=dtype)


def test_everything_public_is_offered_in_one_place():
    for module in (descent, adaptive):
        missing = set(module.__all__) - set(optimizers.__all__)
        assert not missing
        assert all(getattr(optimizers, name) is getattr(module, name) for name in module.__all__)
    assert all(hasattr(optimizers, name) for name in optimizers.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_bit_by_bit_after_save_and_load(kind, tmp_path):
    whole, first = (classifier(kind(CosineDecay(0.05, 40), weight_decay=0.01)) for _ in range(2))
    for model in (whole, first):
        model.fit(X, Y, epochs=2, batch_size=16, progress=False)
    first.save(tmp_path / "model.safetensors")
    second = load(tmp_path / "model.safetensors")
    assert repr(second.optimizer) == repr(first.optimizer) and second._memory["t"] == 8
    for model in (whole, second):
        model.fit(X, Y, epochs=2, batch_size=16, progress=False)
    assert np.array_equal(whole.theta, second.theta)
    assert all(np.array_equal(whole._memory[name], second._memory[name]) for name in kind.slots)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_apart(kind):
    model = classifier(kind(0.01))
    model.fit(X, Y, epochs=1, progress=False)
    twin = copy.deepcopy(model)
    for m in (model, twin):
        m.fit(X, Y, epochs=1, progress=False)
    assert np.array_equal(model.theta, twin.theta)
    twin.fit(X, Y, epochs=1, progress=False)
    assert not np.array_equal(model.theta, twin.theta)


@pytest.mark.parametrize("kind", KINDS)
def test_one_optimizer_serves_two_models(kind):
    shared, apart = kind(0.01), classifier(kind(0.01), seed=1)
    first, second = classifier(shared, seed=1), classifier(shared, seed=2)
    for _ in range(3):
        first.fit(X, Y, epochs=1, progress=False)
        second.fit(X, Y, epochs=1, progress=False)
        apart.fit(X, Y, epochs=1, progress=False)
    assert np.array_equal(first.theta, apart.theta)


@pytest.mark.parametrize("kind", KINDS)
def test_description_and_repr_are_whole(kind):
    changed = {name: 0.5 for name in inspect.signature(kind).parameters if name not in ("nesterov",)}
    optimizer = kind(**changed)
    again = revive(describe(optimizer), {kind.__name__: kind})
    assert repr(again) == repr(optimizer) and again.arguments() == changed | again.arguments()
    assert repr(kind()) == f"{kind.__name__}()"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 7, descent.BLOCK, descent.BLOCK + 1, 2 * descent.BLOCK + 3])
def test_every_length_is_walked_once(kind, size):
    """A vector of equal entries stays one; each dtype stays itself; t counts."""
    for dtype in (np.float32, np.float64):
        theta, optimizer = np.full(size, 2, dtype), kind(0.1, weight_decay=0.1)
        memory = optimizer.start(theta)
        for t in range(3):
            assert memory["t"] == t
            optimizer.step(theta, np.full(size, 3, dtype), memory)
        assert theta.dtype == dtype and len(np.unique(theta)) == min(size, 1)
        assert all(memory[name].dtype == dtype for name in (*optimizer.slots, *optimizer.scratch))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_float64(kind):
    gradients, ends = RNG.standard_normal((20, 100)), []
    for dtype in (np.float32, np.float64):
        theta, optimizer = np.ones(100, dtype), kind()
        memory = optimizer.start(theta)
        for g in gradients:
            optimizer.step(theta, g.astype(dtype), memory)
        ends.append(theta)
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [AdaGrad, RMSProp, Adadelta, Adam, AdamW, Nadam, AMSGrad])
def test_no_gradient_no_step(kind):
    """Units that never fire have a gradient of zero; 0/0 must not come of it."""
    theta, optimizer = np.ones(5, np.float32), kind(weight_decay=0.0)
    memory = optimizer.start(theta)
    for _ in range(5):
        optimizer.step(theta, np.zeros(5, np.float32), memory)
    assert (theta == 1).all()


@pytest.mark.parametrize("kind, name, value", [
    (Adam, "learning_rate", -1), (Adam, "learning_rate", "fast"), (Adam, "beta1", 1), (Adam, "beta2", -0.1),
    (Adam, "beta2", True), (Adam, "epsilon", 0), (AdamW, "weight_decay", -1), (AdamW, "weight_decay", None),
    (RMSProp, "rho", 1.0), (RMSProp, "epsilon", float("inf")), (Adadelta, "rho", "much"), (AdaGrad, "epsilon", -1),
    (Nadam, "momentum_decay", -1), (AMSGrad, "beta1", float("nan")), (Adam, "clip_norm", 0)])
def test_bad_settings_are_named(kind, name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        kind(**{name: value})


def test_the_small_number_scales_with_the_root():
    """A mistake that `mathematics.md` warns of: with a large epsilon, folded forms differ."""
    theta, optimizer = np.zeros(1), Adam(1.0, beta1=0.5, beta2=0.75, epsilon=1.0)
    optimizer.step(theta, np.array([4.0]), optimizer.start(theta))
    np.testing.assert_allclose(theta, -4 / 5)


def test_a_rule_of_ones_own_sees_whole_vectors():
    class Normalised(optimizers.Optimizer):
        def update(self, theta, grad, rate, memory):
            theta -= rate * grad / optimizers.norm(grad)

    theta, optimizer = np.zeros(descent.BLOCK + 5), Normalised(1.0)
    memory = optimizer.start(theta)
    optimizer.step(theta, np.ones_like(theta), memory)
    assert np.isclose(optimizers.norm(theta), 1) and len(memory["work"]) == theta.size


def test_biases_are_not_decayed():
    for kind in (Adam, AdamW):
        model = classifier(kind(0.0, weight_decay=0.5)).build((3,))
        model.parameters["0.b"][...] = 1
        model.fit(X, Y, epochs=1, progress=False)
        assert (model.parameters["0.b"] == 1).all()
    model = classifier(AdamW(0.1, weight_decay=0.5)).build((3,))
    before, memory = model.theta.copy(), model.optimizer.start(model.theta, model._decayed())
    model.optimizer.step(model.theta, np.zeros_like(model.theta), memory)
    np.testing.assert_allclose(model.theta, before * (1 - 0.05 * model._decayed()), rtol=1e-6)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages(decay):
    model, average = classifier(Adam(0.01)), AverageParameters(decay, start=3)
    with pytest.raises(ValueError, match="nothing was averaged yet"):
        average.apply(model)
    for _ in range(2):
        model.fit(X, Y, epochs=1, batch_size=16, callbacks=[average], progress=False)
    assert average.steps == 8 and average.theta.dtype == np.float64 and average.theta.shape == model.theta.shape
    last = model.theta.copy()
    with pytest.raises(RuntimeError), average.applied(model):
        assert not np.array_equal(model.theta, last)
        raise RuntimeError
    assert np.array_equal(model.theta, last)
    other = Model([Dense(2)], loss=MeanSquaredError(), seed=0).build((3,))
    with pytest.raises(ValueError, match="^model must have the 45 parameters"):
        average.apply(other)
    with pytest.raises(TypeError, match="^model must be"):
        average.apply(None)


@pytest.mark.parametrize("name, value", [("decay", 1), ("decay", -0.1), ("decay", "0.9"), ("start", -1), ("start", 1.5)])
def test_bad_averages(name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        AverageParameters(**{name: value})


def moons_model(**settings):
    layers = [Dense(4, activation=Tanh()), Dense(1, activation=Sigmoid())]
    return Model(layers, loss=BinaryCrossEntropy(), seed=0, **settings)


def test_minimize_needs_scipy_only_when_it_is_called(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    model = moons_model()
    with pytest.raises(ImportError, match=r'slugnet\[scipy\]'):
        minimize(model, X, Y > 0)
    assert not model.is_built


def test_minimize_lowers_the_loss():
    pytest.importorskip("scipy")
    target = (X[:, 0] + 0.5 * RNG.standard_normal(50) > 0).astype(int)
    model = moons_model().build((3,))
    before = model.evaluate(X, target)["loss"]
    result = minimize(model, X, target, steps=30)
    assert model.theta.dtype == np.float32 and len(result.losses) <= 30
    assert result.fun < 0.5 * before and np.isclose(model.evaluate(X, target)["loss"], result.fun, rtol=1e-3)
    theta = model.theta.copy()
    for name, value in (("steps", 0), ("memory", 1.5), ("tolerance", -1)):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
            minimize(model, X, target, **{name: value})
    with pytest.raises(ValueError):
        minimize(model, X[:, :2], target)
    assert np.array_equal(model.theta, theta)


def test_the_objective_leaves_its_model_alone():
    target = (X[:, 0] > 0).astype(int)
    model = moons_model().build((3,))
    theta, at = model.theta.copy(), objective(model, X, target)
    J, g = at(theta.astype(float) + 1)
    product = hessian_product(lambda t: at(t)[1], theta.astype(float), np.ones(theta.size))
    assert np.array_equal(model.theta, theta) and np.isfinite([J, *g, *product]).all() and not model.grad.any()
