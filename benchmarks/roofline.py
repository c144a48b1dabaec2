"""The two roofs of this machine, arithmetic and memory, and where each layer stands under them.

A point counts the multiplications, additions and comparisons of a forward pass in training, and the bytes of all
that it must read and write at least once: inputs, parameters, outputs, and what it remembers.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from slugnet.activation import ReLU
from slugnet.contract import Tape, batch_last
from slugnet.layers import (Activation, BatchNormalization, Convolution, Dense, Dropout, LayerNormalization, MaxPooling,
                            MeanPooling)
from slugnet.optimizers import Adam

from .common import in_turns, limit_threads, show, write
from .convolution import bound

IMAGES = (64, 16, 28, 28)
FLOAT = 4  # bytes


def seconds_of(function: Callable[[], None], at_least: float = 2e-3, seconds: float = 1.5) -> float:
    """The least time of a call; short calls are timed by the hundred."""
    first = min(in_turns([function], rounds=3)[0])
    repeats = max(1, round(at_least / first))

    def run():
        for _ in range(repeats):
            function()
    return min(in_turns([run], rounds=50, seconds=seconds)[0]) / repeats


def peak_flops(sizes: tuple = (256, 512, 1024)) -> float:
    """Floating-point operations a second of a large product: the best of several sizes, in many short rounds."""
    best = 0.0
    for n in sizes:
        A, B, C = np.random.default_rng(0).random((3, n, n), dtype=np.float32)
        [times] = in_turns([lambda A=A, B=B, C=C: np.matmul(A, B, out=C)], rounds=1000, seconds=2.0)
        best = max(best, 2 * n**3 / min(times))
    return best


def bandwidth(size: int) -> float:
    """Bytes a second of a copy between two arrays, together of `size` bytes: one is read, one is written."""
    source, target = np.ones((2, size // (2 * FLOAT)), np.float32)
    return 2 * source.nbytes / seconds_of(lambda: np.copyto(target, source))


def dense_work(m: int, n_in: int, n_out: int) -> tuple[int, int]:
    """Operations and bytes of a dense layer."""
    return 2 * m * n_in * n_out, FLOAT * (m * n_in + n_in * n_out + n_out + m * n_out)


def convolution_work(shape: tuple, filters: int, window: int) -> tuple[int, int]:
    """Operations and bytes of a convolution that keeps the size of its images."""
    m, c, h, w = shape
    weights = filters * (c * window**2 + 1)
    return 2 * m * h * w * filters * c * window**2, FLOAT * (m * h * w * (c + filters) + weights)


def elementwise_work(shape: tuple, operations: float, read: float = 1, written: float = 1) -> tuple[float, float]:
    """Operations and bytes where each entry takes so many, and so many numbers are moved for it."""
    return operations * math.prod(shape), FLOAT * (read + written) * math.prod(shape)


def points() -> list[tuple]:
    """Name, layer, shape of the batch, and work of each point."""
    return [("Dense 784→200, batch 128", Dense(200), (128, 784), dense_work(128, 784, 200)),
            ("Dense 200→10, batch 128", Dense(10), (128, 200), dense_work(128, 200, 10)),
            ("Dense 64→64, batch 32", Dense(64), (32, 64), dense_work(32, 64, 64)),
            ("Dense 1024→1024, batch 256", Dense(1024), (256, 1024), dense_work(256, 1024, 1024)),
            ("Convolution 3×3, 1→8", Convolution(8, 3, padding="same"), (64, 1, 28, 28),
             convolution_work((64, 1, 28, 28), 8, 3)),
            ("Convolution 3×3, 64→64", Convolution(64, 3, padding="same"), (64, 64, 28, 28),
             convolution_work((64, 64, 28, 28), 64, 3)),
            ("ReLU", Activation(ReLU()), IMAGES, elementwise_work(IMAGES, 1)),
            ("Dropout", Dropout(0.5), IMAGES, elementwise_work(IMAGES, 2, written=1.25)),
            ("MaxPooling 2×2", MaxPooling(2), IMAGES, elementwise_work(IMAGES, 0.75, written=0.25)),
            ("MeanPooling 2×2", MeanPooling(2), IMAGES, elementwise_work(IMAGES, 1, written=0.25)),
            ("BatchNormalization", BatchNormalization(), IMAGES, elementwise_work(IMAGES, 6)),
            ("LayerNormalization, 1024 units", LayerNormalization(), (512, 1024), elementwise_work((512, 1024), 6))]


def forward_pass(layer, shape: tuple) -> Callable[[], None]:
    """A forward pass in training on a batch of the shape."""
    bound(layer, shape[1:])
    rng = np.random.default_rng(0)
    X, tape = batch_last(shape, np.float32), Tape(train=True, rng=rng)
    X[...] = rng.standard_normal(shape, dtype=np.float32)
    return lambda: layer.forward(X, tape)


def adam_step(parameters: int) -> Callable[[], None]:
    """A step of Adam."""
    theta, grad = np.random.default_rng(0).random((2, parameters), dtype=np.float32)
    optimizer = Adam()
    memory = optimizer.start(theta)
    return lambda: optimizer.step(theta, grad, memory)


def measure() -> tuple[list[dict], dict]:
    """The points and the roofs."""
    work = [(name, forward_pass(layer, shape), *count) for name, layer, shape, count in points()]
    parameters = 159_010  # of 784-200-10
    work.append(("Adam, 784-200-10", adam_step(parameters), *elementwise_work((parameters,), 10, read=4, written=3)))
    before = peak_flops()
    rows = [{"name": name, "flops": flops, "bytes": size, "seconds": seconds_of(function, seconds=1.0)}
            for name, function, flops, size in work]
    return rows, {"flops": max(before, peak_flops()), "memory": bandwidth(1 << 27), "cache": bandwidth(1 << 18)}


if __name__ == "__main__":
    limit_threads(1)
    rows, roofs = measure()
    show("roofline, one thread", write("roofline", rows, roofs=roofs))
    print(", ".join(f"{name} {value / 1e9:.1f} G/s" for name, value in roofs.items()))
    for row in rows:
        flops, size, seconds = row["flops"], row["bytes"], row["seconds"]
        print(f"{row['name']:<32} {flops / size:>7.2f} flop/byte {flops / seconds / 1e9:>8.2f} Gflop/s "
              f"{size / seconds / 1e9:>8.2f} GB/s {1e6 * seconds:>9.1f} µs")
