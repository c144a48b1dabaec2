"""The same network, trained here and in PyTorch: from the same weights, on the same batches, to the same place.

The accuracy that each kind of layer must reach is the one that PyTorch's network reaches in the same test.
"""
import numpy as np
import pytest
import torch
from torch import nn

from slugnet.activation import ELU, GELU, ReLU, SiLU, Softmax, Tanh
from slugnet.data import digits, split
from slugnet.layers import (
    Activation, BatchNormalization, Convolution, Dense, Dropout, Embedding, Flatten, GlobalMaxPooling, GlobalMeanPooling,
    LayerNormalization, MaxPooling, MeanPooling, Parallel, Reshape, Residual, Upsampling, ZeroPadding)
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.optimizers import SGD

EPOCHS, BATCH, RATE, MOMENTUM = 3, 32, 0.05, 0.9
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = split(*digits(), seed=0, stratify=True)


def images(X):
    return X.reshape(-1, 1, 8, 8)


def shades(X):
    """The pixels as whole numbers from 0 to 16, which choose."""
    return np.round(16 * X).astype(np.int64)


class Sum(nn.Module):
    """The inputs plus what a branch makes of them."""

    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, X):
        return X + self.branch(X)


class Side(nn.Module):
    """Branches beside each other."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, X):
        return torch.cat([branch(X) for branch in self.branches], dim=1)


def head():
    return Dense(10, activation=Softmax())


NETWORKS = {
    "dense": (None, lambda: [Dense(32, activation=Tanh()), head()],
              lambda: [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)]),
    "elu, silu, gelu": (None, lambda: [Dense(32, activation=ELU()), Dense(32, activation=SiLU()),
                                       Dense(32, activation=GELU()), head()],
                        lambda: [nn.Linear(64, 32), nn.ELU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 32),
                                 nn.GELU(approximate="tanh"), nn.Linear(32, 10)]),
    "convolution, max pooling": (images, lambda: [Convolution(6, 3, padding="same", activation=ReLU()), MaxPooling(2),
                                                  Convolution(12, 3, activation=ReLU()), Flatten(), head()],
                                 lambda: [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 12, 3),
                                          nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)]),
    "strides, dilation, groups": (images, lambda: [Convolution(6, 3, stride=2, padding=1, activation=Tanh()),
                                                   Convolution(12, 2, dilation=2, groups=3, activation=Tanh()), Flatten(),
                                                   head()],
                                  lambda: [nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.Tanh(),
                                           nn.Conv2d(6, 12, 2, dilation=2, groups=3), nn.Tanh(), nn.Flatten(),
                                           nn.Linear(48, 10)]),
    "convolution in 1-D": (None, lambda: [Reshape((8, 8)), Convolution(16, 3, activation=ReLU()), Flatten(), head()],
                           lambda: [nn.Unflatten(1, (8, 8)), nn.Conv1d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10)]),
    "mean pooling, overlapping": (images, lambda: [Convolution(6, 3, activation=Tanh()), MeanPooling(3, stride=1), Flatten(),
                                                   head()],
                                  lambda: [nn.Conv2d(1, 6, 3), nn.Tanh(), nn.AvgPool2d(3, stride=1), nn.Flatten(),
                                           nn.Linear(96, 10)]),
    "global pooling": (images, lambda: [Convolution(24, 4, activation=Tanh()),
                                        Parallel([[GlobalMeanPooling()], [GlobalMaxPooling()]], join="concatenate"), head()],
                       lambda: [nn.Conv2d(1, 24, 4), nn.Tanh(),
                                Side(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                                     nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())), nn.Linear(48, 10)]),
    "padding, upsampling": (images, lambda: [Upsampling(2), ZeroPadding(1), Convolution(4, 5, stride=3, activation=Tanh()),
                                             Flatten(), head()],
                            lambda: [nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.Conv2d(1, 4, 5, stride=3), nn.Tanh(),
                                     nn.Flatten(), nn.Linear(100, 10)]),
    "batch normalisation": (images, lambda: [Convolution(6, 3), BatchNormalization(), Activation(ReLU()), Flatten(), head()],
                            lambda: [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)]),
    "layer normalisation": (None, lambda: [Dense(32), LayerNormalization(), Activation(ReLU()), head()],
                            lambda: [nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10)]),
    "residual": (None, lambda: [Dense(24, activation=Tanh()), Residual([Dense(24, activation=Tanh()), Dense(24)]), head()],
                 lambda: [nn.Linear(64, 24), nn.Tanh(), Sum(nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24)),
                          nn.Linear(24, 10)]),
    "embedding": (shades, lambda: [Embedding(17, 3), Flatten(), head()],
                  lambda: [nn.Embedding(17, 3), nn.Flatten(), nn.Linear(192, 10)]),
}


def copy_parameters(model: Model, peer: nn.Module) -> None:
    """Write slugnet's parameters into PyTorch's, which keeps the weights of a dense layer transposed."""
    owners = [module for module in peer.modules() if next(module.parameters(recurse=False), None) is not None]
    slots = [(module, name) for module in owners for name, _ in module.named_parameters(recurse=False)]
    assert len(slots) == len(model.parameters)
    for (module, name), value in zip(slots, model.parameters.values()):
        value = value.T if isinstance(module, nn.Linear) and name == "weight" else value
        getattr(module, name).data = torch.tensor(value.copy())


def train_peer(peer: nn.Module, X, y) -> list[float]:
    """Train PyTorch's network on the examples in their order; the mean loss of each epoch."""
    optimizer = torch.optim.SGD(peer.parameters(), lr=RATE, momentum=MOMENTUM)
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for start in range(0, len(X), BATCH):
            optimizer.zero_grad()
            J = nn.functional.cross_entropy(peer(X[start:start + BATCH]), y[start:start + BATCH])
            J.backward()
            optimizer.step()
            total += J.item() * len(X[start:start + BATCH])
        losses.append(total / len(X))
    return losses


def as_tensor(X) -> torch.Tensor:
    return torch.tensor(X if X.dtype.kind == "i" else X.astype(float))


def accuracy(peer: nn.Module, X) -> float:
    """PyTorch's share of the test images."""
    peer.eval()
    with torch.no_grad():
        return float((peer(as_tensor(X)).argmax(1).numpy() == Y_TEST).mean())


@pytest.mark.parametrize("name", NETWORKS)
def test_same_training_as_pytorch(name):
    shape, build, build_peer = NETWORKS[name]
    X, X_test = (shape(part) if shape else part for part in (X_TRAIN, X_TEST))
    model = Model(build(), loss=CategoricalCrossEntropy(), optimizer=SGD(RATE, momentum=MOMENTUM), seed=0, dtype="float64")
    model.build(X.shape[1:])
    peer = nn.Sequential(*build_peer()).double()
    copy_parameters(model, peer)
    history = model.fit(X, Y_TRAIN, epochs=EPOCHS, batch_size=BATCH, shuffle=False, progress=False)
    losses = train_peer(peer, as_tensor(X), torch.tensor(Y_TRAIN))
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-7)
    if name != "batch normalisation":  # the two keep different running variances; see the layer's page
        assert model.evaluate(X_test, Y_TEST)["accuracy"] == accuracy(peer, X_test)
    else:
        assert model.evaluate(X_test, Y_TEST)["accuracy"] == pytest.approx(accuracy(peer, X_test), abs=0.01)


def test_dropout_reaches_what_pytorch_reaches():
    """Masks differ, so that only the accuracies can be compared: over five seeds, within two percentage points."""
    ours, theirs = [], []
    for seed in range(5):
        torch.manual_seed(seed)
        model = Model([Dense(64, activation=ReLU()), Dropout(0.5), head()], loss=CategoricalCrossEntropy(),
                      optimizer=SGD(RATE, momentum=MOMENTUM), seed=seed, dtype="float64").build((64,))
        peer = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)).double()
        copy_parameters(model, peer)
        model.fit(X_TRAIN, Y_TRAIN, epochs=EPOCHS, batch_size=BATCH, shuffle=False, progress=False)
        train_peer(peer, as_tensor(X_TRAIN), torch.tensor(Y_TRAIN))
        ours.append(model.evaluate(X_TEST, Y_TEST)["accuracy"])
        theirs.append(accuracy(peer, X_TEST))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.02)
