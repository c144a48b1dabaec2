"""Single layers forward and backward on (64, 16, 28, 28), against PyTorch."""
from __future__ import annotations

import numpy as np
import torch
from slugnet.contract import Tape, batch_last
from slugnet.layers import BatchNormalization, Dropout, MaxPooling
from torch import nn

from .common import in_turns, ratio, report
from .convolution import bound

SHAPE = (64, 16, 28, 28)


def both_ways(layer, peer) -> dict[str, float]:
    """A layer in training, beside PyTorch's, with the gradient of every output given."""
    rng = np.random.default_rng(0)
    bound(layer, SHAPE[1:])
    X, tape = batch_last(SHAPE, np.float32), Tape(train=True, rng=rng)
    X[...] = rng.standard_normal(SHAPE, dtype=np.float32)
    H = layer.forward(X, tape)
    G = batch_last(H.shape, np.float32)
    G[...] = rng.standard_normal(H.shape, dtype=np.float32)
    tX, tG = torch.tensor(np.ascontiguousarray(X), requires_grad=True), torch.tensor(np.ascontiguousarray(G))

    def ours():
        layer.forward(X, tape)
        layer.backward(G, tape)

    def theirs():
        tX.grad = None
        peer(tX).backward(tG)

    if not isinstance(layer, Dropout):
        np.testing.assert_allclose(H, peer(tX).detach().numpy(), rtol=1e-3, atol=1e-4)
    return ratio(*in_turns([ours, theirs], rounds=25))


def measure() -> list[dict]:
    """All rows."""
    return [{"work": f"{name} on {SHAPE}, both ways", "against": "torch", "goal": goal, **both_ways(layer, peer)}
            for name, layer, peer, goal in (("batch normalisation", BatchNormalization(), nn.BatchNorm2d(16), 1.0),
                                            ("dropout", Dropout(0.5), nn.Dropout(0.5), 0.3),
                                            ("2×2 max pooling", MaxPooling(2), nn.MaxPool2d(2), 0.9))]


if __name__ == "__main__":
    report("layers", measure)
