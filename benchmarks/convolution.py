"""Convolutional networks against PyTorch, and one convolution against its matrix products."""
from __future__ import annotations

import numpy as np
import torch
from slugnet.contract import Tape, batch_last
from slugnet.layers import Convolution

from .common import in_turns, ratio, report, same_loss
from .networks import epoch_ratio, lenet, small_convolutions


def bound(layer, shape: tuple, dtype=np.float32) -> None:
    """Build and bind a layer, with its first values."""
    layer.build(shape)
    layer.bind(np.zeros(layer.size, dtype), np.zeros(layer.size, dtype), np.zeros(layer.state_size, dtype))
    layer.initialize(np.random.default_rng(0))


def one_convolution() -> list[dict]:
    """64 → 64 channels, 3×3, on 28×28, batch 64, forward and backward: beside its three products, and PyTorch."""
    m, c, n = 64, 64, 28
    rng, layer, tape = np.random.default_rng(0), Convolution(c, 3, padding="same"), Tape(train=True)
    bound(layer, (c, n, n))
    X, G = (batch_last((m, c, n, n), np.float32) for _ in range(2))
    X[...], G[...] = rng.standard_normal((2, m, c, n, n), dtype=np.float32)
    tX = torch.tensor(np.ascontiguousarray(X), requires_grad=True)
    tW, tb = (torch.tensor(p.copy(), requires_grad=True) for p in (layer.W, layer.b))
    tG = torch.tensor(np.ascontiguousarray(G))
    K, columns = layer.W.reshape(c, -1).copy(), np.empty((c * 9, m * n * n), np.float32)
    A, dK, dcolumns = np.empty((c, m * n * n), np.float32), np.empty((c, c * 9), np.float32), np.empty_like(columns)
    columns[...] = rng.random(columns.shape, dtype=np.float32)

    def ours():
        layer.forward(X, tape)
        layer.backward(G, tape)

    def products():
        np.matmul(K, columns, out=A)
        np.matmul(A, columns.T, out=dK)
        np.matmul(K.T, A, out=dcolumns)

    def peer():
        tX.grad = tW.grad = tb.grad = None
        torch.nn.functional.conv2d(tX, tW, tb, padding=1).backward(tG)

    same_loss(float(np.sum(layer.forward(X, tape)[:2] ** 2)),
              (torch.nn.functional.conv2d(tX[:2], tW, tb, padding=1) ** 2).sum().item())
    a, b, c_ = in_turns([ours, products, peer], seconds=12)
    work = "conv 3×3, 64→64 on 28×28, batch 64, both ways"
    return [{"work": work, "against": "its products", "goal": 1.25, **ratio(a, b)},
            {"work": work, "against": "torch", "goal": None, **ratio(a, c_)}]


def measure() -> list[dict]:
    """All rows."""
    rows = [{"work": "epoch, conv8-pool-conv16-pool-dense, sgd, batch 64", "against": "torch", "goal": 1.0,
             **epoch_ratio(small_convolutions(), "sgd", 64, 1280)},
            {"work": "epoch, LeNet-5, adam, batch 64", "against": "torch", "goal": 1.0,
             **epoch_ratio(lenet(), "adam", 64, 1280)}]
    return rows + one_convolution()


if __name__ == "__main__":
    report("convolution", measure)
