"""A step of two dense layers with Adam: slugnet, its NumPy calls alone, and PyTorch.

The calls are those that slugnet makes, in the same order and on arrays of the same layout, with nothing in between.
"""
from __future__ import annotations

import copy
import operator

import numpy as np
import torch
from slugnet.adaptive import adam_constants
from slugnet.model import Model

from .common import in_turns, limit_threads, show, write
from .networks import examples, mlp, pair, train_peer

WORKS = (((64, 64, 10), 32, 1440), ((784, 200, 10), 128, 2560))  # whole batches only


def numpy_calls(model: Model, X: np.ndarray, y: np.ndarray, rows: np.ndarray) -> list[tuple]:
    """The calls of a step of the model, the first of Adam, on the examples of `rows`: functions with their arguments."""
    theta, grad, (below, top), m, out = model.theta, model.grad, model.layers, len(rows), np.float32
    (W1, b1, dW1, db1), (W2, b2, dW2, db2) = ((layer.W, layer.b, layer.dW, layer.db) for layer in (below, top))
    (n_0, n_1), n_2, (s, r, work) = W1.shape, len(b2), np.zeros((3, len(theta)), out)
    batch, A1, H1, G1, G_A1 = (np.empty((m, n), out) for n in (n_0, n_1, n_1, n_1, n_1))
    A2, Z = np.empty((2, n_2, m), out).transpose(0, 2, 1)
    Y, largest, total, at_target, L = np.empty(m, y.dtype), np.empty((m, 1), out), *np.empty((3, m), out)
    examples_, less_one = np.arange(m), np.empty(m, out)
    rate, epsilon = adam_constants(1e-3, 1, 0.9, 0.999, 1e-8)
    forward = [
        (X.take, (rows, 0, batch, "clip")), (y.take, (rows, 0, Y, "clip")),
        (np.matmul, (batch, W1, A1)), (np.add, (A1, b1, A1)), (A1.clip, (0.0, np.inf, H1)),
        (np.matmul, (H1, W2, A2)), (np.add, (A2, b2, A2))]
    loss = [
        (np.maximum.reduce, (A2, 1, None, largest, True)), (np.subtract, (A2, largest, Z)),
        (np.arange, (m,)), (_copy_at, (Z, examples_, Y, at_target)), (np.exp, (Z, Z)), (np.add.reduce, (Z, 1, None, total)),
        (np.divide, (Z, total[:, None], Z)), (np.log, (total, L)), (np.subtract, (L, at_target, L)),
        (np.negative, (L, less_one)), (np.expm1, (less_one, less_one)), (np.arange, (m,)), (operator.setitem, (Z, (examples_, Y), less_one)),
        (np.add.reduce, (L,)), (np.divide, (Z, m, Z))]
    backward = [
        (np.matmul, (H1.T, Z, dW2)), (np.add.reduce, (Z, 0, None, db2)), (np.matmul, (Z, W2.T, G1)),
        (np.greater, (H1, 0, G_A1)), (np.multiply, (G1, G_A1, G_A1)),
        (np.matmul, (batch.T, G_A1, dW1)), (np.add.reduce, (G_A1, 0, None, db1))]
    update = [
        (np.multiply, (s, 0.9, s)), (np.add, (s, grad, s)), (np.multiply, (r, 0.999, r)), (np.square, (grad, work)),
        (np.add, (r, work, r)), (np.sqrt, (r, work)), (np.add, (work, epsilon, work)), (np.divide, (s, work, work)),
        (np.multiply, (work, rate, work)), (np.subtract, (theta, work, theta))]
    return forward + loss + backward + update


def _copy_at(Z: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """Copy the entries at the targets, which slugnet has as an array of their own."""
    out[...] = Z[rows, columns]


def make(calls: list[tuple]) -> None:
    """Make the calls."""
    for function, arguments in calls:
        function(*arguments)


def one_work(sizes: tuple, batch_size: int, m: int) -> dict:
    """Microseconds a step, of the fastest of many epochs."""
    model, peer, rule = pair(mlp(*sizes), "adam")
    X, y = examples(m, (sizes[0],))
    tX, ty, first = torch.tensor(X), torch.tensor(y), np.arange(batch_size)
    twin, steps, rows = copy.deepcopy(model), m // batch_size, first.copy()
    calls, order = numpy_calls(twin, X, y, rows), np.random.default_rng(0).permutation(m)
    make(calls)
    model.fit(X[first], y[first], epochs=1, batch_size=batch_size, shuffle=False, progress=False)
    np.testing.assert_allclose(twin.theta, model.theta, rtol=1e-5, atol=1e-7)

    def calls_alone():
        for start in range(0, m, batch_size):
            np.copyto(rows, order[start:start + batch_size])
            make(calls)
    epochs = [lambda: model.fit(X, y, epochs=1, batch_size=batch_size, progress=False), calls_alone,
              lambda: train_peer(peer, rule, tX, ty, batch_size)]
    ours, alone, theirs = (1e6 * min(times) / steps for times in in_turns(epochs, 100, 8.0))
    return {"network": "-".join(map(str, sizes)), "batch": batch_size, "calls": len(calls), "slugnet_us": ours,
            "calls_us": alone, "torch_us": theirs}


def measure() -> list[dict]:
    """Both networks."""
    return [one_work(*work) for work in WORKS]


if __name__ == "__main__":
    limit_threads(1)
    rows = measure()
    show("small, one thread", write("small", rows))
    for row in rows:
        print(f"{row['network']}, Adam, batch {row['batch']}: {row['slugnet_us']:.0f} µs a step; its {row['calls']} NumPy calls "
              f"alone {row['calls_us']:.0f} µs; PyTorch {row['torch_us']:.0f} µs")
