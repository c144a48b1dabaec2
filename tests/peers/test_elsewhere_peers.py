"""What the page *Coming from elsewhere* says of PyTorch and scikit-learn."""
import numpy as np
import torch
from torch import nn

from slugnet import Model
from slugnet.activation import Softmax
from slugnet.contract import Tape
from slugnet.layers import BatchNormalization, Dense, MeanPooling
from slugnet.loss import CategoricalCrossEntropy, MeanSquaredError
from slugnet.optimizers import SGD

RNG = np.random.default_rng(0)


def test_weights_are_transposed():
    model, peer = Model([Dense(3)], seed=0, dtype="float64").build((5,)), nn.Linear(5, 3)
    assert tuple(peer.weight.shape) == model.parameters["0.W"].shape[::-1]


def test_squared_error_sums_over_outputs():
    Y_hat, Y = RNG.standard_normal((2, 4, 3))
    theirs = nn.MSELoss()(torch.tensor(Y_hat), torch.tensor(Y)).item()
    np.testing.assert_allclose(MeanSquaredError()(Y_hat, Y), 3 * theirs)


def test_cross_entropy_takes_logits_there_and_a_softmax_here():
    A, y = RNG.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    theirs = nn.CrossEntropyLoss()(torch.tensor(A), torch.tensor(y)).item()
    np.testing.assert_allclose(CategoricalCrossEntropy()(Softmax()(A), y), theirs)


def test_running_statistics():
    X = RNG.standard_normal((8, 3))
    layer, peer = BatchNormalization(momentum=0.9), nn.BatchNorm1d(3, momentum=0.1).double()
    layer.build((3,))
    layer.bind(np.ones(6), np.zeros(6), np.zeros(6))
    layer.initialize(np.random.default_rng(0))
    H = layer.forward(X, Tape(train=True))
    np.testing.assert_allclose(H, peer(torch.tensor(X)).detach().numpy())
    np.testing.assert_allclose(layer.running_mean, peer.running_mean.numpy())
    np.testing.assert_allclose((layer.running_variance - 0.9) * 8 / 7, peer.running_var.numpy() - 0.9)
    assert layer.epsilon == peer.eps


def test_mean_pooling_counts_the_padding_there():
    X = RNG.standard_normal((1, 1, 4, 4))
    for count in (True, False):
        layer = MeanPooling(2, padding=1, count_padding=count)
        layer.build((1, 4, 4))
        peer = nn.AvgPool2d(2, padding=1, count_include_pad=count)
        np.testing.assert_allclose(layer.forward(X, Tape()), peer(torch.tensor(X)).numpy())
    assert nn.AvgPool2d(2).count_include_pad and not MeanPooling(2).count_padding


def test_momentum_contains_the_rate_here():
    theta, peer = np.zeros(1), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ours, theirs = SGD(1.0, momentum=0.5), torch.optim.SGD([peer], lr=1.0, momentum=0.5)
    memory = ours.start(theta)
    for rate, same in ((1.0, True), (1.0, True), (0.1, False)):
        ours.learning_rate = theirs.param_groups[0]["lr"] = rate
        peer.grad = torch.ones(1, dtype=torch.float64)
        theirs.step()
        ours.step(theta, np.ones(1), memory)
        assert np.isclose(theta[0], peer.item()) == same


def test_weight_decay_reaches_biases_there():
    peer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.1, weight_decay=0.5)
    peer.weight.data[:], peer.bias.data[:] = 1, 1
    peer.weight.grad, peer.bias.grad = torch.zeros(1, 2), torch.zeros(1)
    optimizer.step()
    assert peer.bias.item() < 1
    model = Model([Dense(1)], loss=MeanSquaredError(), optimizer=SGD(0.1, weight_decay=0.5), seed=0).build((2,))
    model.theta[...] = 1
    model.fit(np.zeros((4, 2)), np.ones(4), epochs=1, progress=False)
    assert model.parameters["0.b"][0] == 1 and (model.parameters["0.W"] < 1).all()


def test_a_second_fit_goes_on_here_and_starts_anew_in_scikit_learn():
    from sklearn.neural_network import MLPClassifier

    X, y = RNG.standard_normal((40, 2)), np.arange(40) % 2
    model = Model([Dense(2, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    model.fit(X, y, epochs=2, progress=False)
    model.fit(X, y, epochs=2, progress=False)
    assert len(model.history) == 4
    peer = MLPClassifier((), max_iter=2, random_state=0)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = peer.fit(X, y).coefs_[0].copy()
        again = peer.fit(X, y).coefs_[0]
    assert np.array_equal(first, again)
