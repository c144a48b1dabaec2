"""Pairs of networks, here and in PyTorch, with the same parameters."""
from __future__ import annotations

import numpy as np
import torch
from slugnet.activation import ReLU, Softmax
from slugnet.layers import Convolution, Dense, Flatten, MaxPooling
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.optimizers import SGD, Adam
from torch import nn

from .common import in_turns, ratio, same_loss


def mlp(*units: int) -> tuple:
    """Dense layers with ReLU, and a softmax on top."""
    hidden = [Dense(n, activation=ReLU()) for n in units[1:-1]]
    peers = [part for a, b in zip(units[:-2], units[1:-1]) for part in (nn.Linear(a, b), nn.ReLU())]
    return ([*hidden, Dense(units[-1], activation=Softmax())], nn.Sequential(*peers, nn.Linear(*units[-2:])), (units[0],))


def small_convolutions() -> tuple:
    """conv8(3×3), pool, conv16(3×3), pool, dense."""
    layers = [Convolution(8, 3, activation=ReLU()), MaxPooling(2), Convolution(16, 3, activation=ReLU()), MaxPooling(2),
              Flatten(), Dense(10, activation=Softmax())]
    peer = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(400, 10))
    return layers, peer, (1, 28, 28)


def lenet() -> tuple:
    """LeNet-5 with ReLU: conv6(5×5), pool, conv16(5×5), pool, 120, 84, 10."""
    layers = [Convolution(6, 5, activation=ReLU()), MaxPooling(2), Convolution(16, 5, activation=ReLU()), MaxPooling(2),
              Flatten(), Dense(120, activation=ReLU()), Dense(84, activation=ReLU()), Dense(10, activation=Softmax())]
    peer = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return layers, peer, (1, 28, 28)


def pair(network: tuple, optimizer: str = "sgd") -> tuple:
    """A model and PyTorch's network with its parameters, each with an optimizer; fused there, as it is faster."""
    layers, peer, shape = network
    ours = {"sgd": SGD(0.05), "adam": Adam(1e-3)}[optimizer]
    model = Model(layers, loss=CategoricalCrossEntropy(), optimizer=ours, seed=0).build(shape)
    for slot, value in zip(peer.parameters(), model.parameters.values()):
        slot.data = torch.tensor((value.T if value.ndim == 2 else value).copy())
    rules = {"sgd": lambda: torch.optim.SGD(peer.parameters(), lr=0.05, fused=True),
             "adam": lambda: torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True)}
    return model, peer, rules[optimizer]()


def train_peer(peer, optimizer, X, y, batch_size: int) -> float:
    """One epoch in PyTorch, shuffled; the mean loss of its steps."""
    order, total = torch.randperm(len(X)), 0.0
    for start in range(0, len(X), batch_size):
        rows = order[start:start + batch_size]
        optimizer.zero_grad()
        J = nn.functional.cross_entropy(peer(X[rows]), y[rows])
        J.backward()
        optimizer.step()
        total += J.item() * len(rows)
    return total / len(X)


def examples(m: int, shape: tuple, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Examples of MNIST's range of values: what is timed does not depend on what they show."""
    rng = np.random.default_rng(seed)
    return rng.random((m, *shape), dtype=np.float32), rng.integers(0, 10, m)


def epoch_ratio(network: tuple, optimizer: str, batch_size: int, m: int) -> dict[str, float]:
    """A training epoch here and in PyTorch, on the same examples, whose first losses must be equal."""
    model, peer, rule = pair(network, optimizer)
    X, y = examples(m, network[2])
    tX, ty = torch.tensor(X), torch.tensor(y)
    same_loss(model.mean_loss(X[:256], y[:256]), nn.functional.cross_entropy(peer(tX[:256]), ty[:256]).item())
    ours, theirs = in_turns([lambda: model.fit(X, y, epochs=1, batch_size=batch_size, progress=False),
                             lambda: train_peer(peer, rule, tX, ty, batch_size)])
    return ratio(ours, theirs)
