"""What each choice in the code is worth: beside it, the obvious way of doing the same."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from slugnet.activation import ReLU, Softmax, relu
from slugnet.adaptive import Adam, adam_constants, adam_step
from slugnet.contract import Tape, batch_last
from slugnet.data import digits
from slugnet.descent import BLOCK, blocks
from slugnet.layers import Convolution, Dense
from slugnet.layers.convolution import Moves, filled
from slugnet.layers.dropout import draw_mask
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model

from .common import in_turns, limit_threads, ratio, show, write
from .convolution import bound

PARAMETERS = 1 << 21
BLOCKS = tuple(1 << k for k in range(10, 22))
CALLS = tuple(10**k for k in range(7))


def vectors(parameters: int) -> np.ndarray:
    """θ, the gradient, and Adam's two averages."""
    return np.random.default_rng(0).random((4, parameters), dtype=np.float32)


def adam(state: np.ndarray, block: int) -> Callable[[], None]:
    """A step of Adam, the hundredth, that takes so many entries of θ at a time."""
    theta, grad, s, r = state
    constants, work = adam_constants(1e-3, 100, 0.9, 0.999, 1e-8), np.empty(block, np.float32)

    def run():
        for space, *part in blocks(work, theta, grad, s, r):
            adam_step(*part, *constants, 0.9, 0.999, space)
    return run


def plain_adam(state: np.ndarray) -> Callable[[], None]:
    """The same step as the textbook writes it, with a new array for each operation."""
    theta, grad, s, r = state

    def run():
        s[...] = 0.9 * s + 0.1 * grad
        r[...] = 0.999 * r + 0.001 * grad**2
        theta[...] = theta - 1e-3 * (s / (1 - 0.9**100)) / (np.sqrt(r / (1 - 0.999**100)) + 1e-8)
    return run


def trained(flush_every: float) -> tuple[Model, Callable[[], None]]:
    """A network for the digits after sixty epochs of Adam, and one more epoch of it."""
    X, y = digits()
    optimizer = Adam()
    optimizer.flush_every = flush_every
    model = Model([Dense(200, ReLU()), Dense(10, Softmax())], CategoricalCrossEntropy(), optimizer, seed=0)
    model.fit(X, y, epochs=60, progress=False)
    return model, lambda: model.fit(X, y, epochs=1, progress=False)


def subnormal(a: np.ndarray) -> float:
    """The share of the entries that are too small to have all their digits, and not 0."""
    return float(np.mean((0 < abs(a)) & (abs(a) < np.finfo(a.dtype).tiny)))


def masks(n: int) -> tuple:
    """Dropout's mask from random bytes, and from random floats."""
    mask, rng = np.empty(n, bool), np.random.default_rng(0)
    return lambda: draw_mask(0.5, mask, rng), lambda: np.greater_equal(rng.random(n), 0.5, out=mask)


def buffers(shape: tuple) -> tuple:
    """ReLU into an array that is there, and into a new one."""
    A = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    H = np.empty_like(A)
    return lambda: relu(A, out=H), lambda: relu(A)


def layouts(shape: tuple) -> tuple:
    """The maximum of 2×2 pixels with the batch last in memory, and first."""
    def pooled(X):
        parts = [X[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        H = np.empty_like(parts[0])

        def run():
            np.maximum(parts[0], parts[1], out=H)
            np.maximum(H, parts[2], out=H)
            np.maximum(H, parts[3], out=H)
        return run
    last, first = batch_last(shape, np.float32), np.empty(shape, np.float32)
    first[...] = np.random.default_rng(0).random(shape, dtype=np.float32)
    last[...] = first
    return pooled(last), pooled(first)


def windows_of(shape: tuple, k: int) -> tuple:
    """Every window of images as a column, from strips of their rows, and each copied by itself; a row at a time."""
    m, c, h, w = shape
    X, size = np.random.default_rng(0).random((1, c, h, w, m), dtype=np.float32), (h - k + 1, w - k + 1)
    memory, block = np.empty(8 * c * k * size[1] * m, np.float32), np.empty((c, k, k, size[1], m), np.float32)
    view = sliding_window_view(X[0], (k, k), axis=(1, 2)).transpose(0, 4, 5, 1, 2, 3)

    def strips():
        for _ in filled(X, (k, k), Moves(), size, memory):
            pass

    def one_by_one():
        for i in range(size[0]):
            np.copyto(block, view[:, :, :, i])

    for rows, D in filled(X, (k, k), Moves(), size, memory):
        np.copyto(block, view[:, :, :, rows.start])
        np.testing.assert_array_equal(D[0, 0], block.transpose(1, 0, 2, 3, 4).reshape(c * k * k, -1))
    return strips, one_by_one


def gradients(m: int, channels: int, n: int) -> tuple:
    """The backward pass of a 3×3 convolution from one set of columns, and from a set for each of its gradients."""
    shape, ways = (m, channels, n, n), []
    X, G = (batch_last(shape, np.float32) for _ in range(2))
    X[...], G[...] = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    for limit in (math.inf, 0):
        layer, tape = Convolution(channels, 3, padding="same"), Tape(train=True)
        layer.flip_limit = limit
        bound(layer, shape[1:])
        layer.forward(X, tape)
        ways.append(lambda layer=layer, tape=tape: layer.backward(G, tape))
    np.testing.assert_allclose(*(backward() for backward in ways), atol=1e-2)
    return tuple(ways)


def joint_form(m: int, classes: int) -> tuple:
    """Softmax and cross-entropy as one, and one after the other."""
    rng, loss, softmax = np.random.default_rng(0), CategoricalCrossEntropy(), Softmax()
    A, y = rng.standard_normal((m, classes), dtype=np.float32), rng.integers(0, classes, m)
    out, S, G = np.empty_like(A), np.empty_like(A), np.empty_like(A)

    def apart():
        softmax(A, out=S)
        loss(S, y)
        loss.gradient(S, y, out=G)
        softmax.vjp(G, A, S, out=out)
    return lambda: loss.joint(A, y, out=out), apart


def first_layer(m: int, n_in: int, n_out: int) -> tuple:
    """The backward pass of a first layer that ends there, and one that goes on to the data."""
    layer, rng = Dense(n_out), np.random.default_rng(0)
    bound(layer, (n_in,))
    X, G = rng.random((m, n_in), dtype=np.float32), rng.random((m, n_out), dtype=np.float32)
    tapes = [Tape(train=True) for _ in range(2)]
    tapes[0].end = layer
    for tape in tapes:
        layer.forward(X, tape)
    return tuple(lambda tape=tape: layer.backward(G, tape) for tape in tapes)


def often(function: Callable[[], None], at_least: float = 2e-3) -> tuple[Callable[[], None], int]:
    """The function, repeated until the clock can tell, and how often."""
    first = min(in_turns([function], rounds=3)[0])
    repeats = max(1, round(at_least / first))

    def run():
        for _ in range(repeats):
            function()
    return run, repeats


def calls() -> list[dict]:
    """Microseconds of one NumPy call, the sum of two arrays into a third, by their length."""
    rows = []
    for n in CALLS:
        a, b, c = np.ones((3, n), np.float32)
        run, repeats = often(lambda a=a, b=b, c=c: np.add(a, b, out=c))
        rows.append({"n": n, "us": 1e6 * min(in_turns([run], 40, 1.0)[0]) / repeats})
    return rows


def pairs(flushed: Callable[[], None], fading: Callable[[], None]) -> list[tuple]:
    """The choices, each with its obvious alternative."""
    return [("Adam in blocks, in place, constants folded", "as written in the textbook",
             (adam(vectors(PARAMETERS), BLOCK), plain_adam(vectors(PARAMETERS)))),
            ("Adam in blocks", "all of θ at once",
             (adam(vectors(PARAMETERS), BLOCK), adam(vectors(PARAMETERS), PARAMETERS))),
            ("an epoch of Adam that flushes what faded", "that does not", (flushed, fading)),
            ("dropout's mask from random bytes", "from random floats", masks(1 << 20)),
            ("a ReLU of 64 MB into its buffer", "into a new array", buffers((4096, 4096))),
            ("2×2 maxima with the batch last", "with the batch first", layouts((64, 16, 28, 28))),
            ("columns of 5×5 windows from strips of rows", "each window copied", windows_of((64, 16, 28, 28), 5)),
            ("both gradients of a convolution from one set", "a set of columns for each", gradients(64, 32, 28)),
            ("softmax and cross-entropy as one", "one after the other", joint_form(128, 10)),
            ("a first layer ends the backward pass", "gradient in the data, too", first_layer(128, 784, 200))]


def measure() -> tuple[list[dict], list[dict], list[dict], float]:
    """Choices, block lengths, calls, and how much fades."""
    rows, (twin, flushed), (model, fading) = [], trained(Adam.flush_every), trained(math.inf)
    np.testing.assert_array_equal(twin.theta, model.theta)
    for choice, instead, (ours, theirs) in pairs(flushed, fading):
        (a, repeats), (b, other) = often(ours), often(theirs)
        times = [[t / n for t in own] for own, n in zip(in_turns([a, b], 25, 4.0), (repeats, other))]
        rows.append({"choice": choice, "instead": instead, **ratio(*times)})
    state = vectors(PARAMETERS)
    times = in_turns([adam(state, block) for block in BLOCKS], 7, 8.0)
    by_block = [{"block": block, "ms": 1e3 * min(own)} for block, own in zip(BLOCKS, times)]
    return rows, by_block, calls(), subnormal(model._memory["s"])


if __name__ == "__main__":
    limit_threads(1)
    rows, by_block, by_length, faded = measure()
    show("choices, one thread", write("choices", rows, blocks=by_block, calls=by_length, faded=faded))
    for row in rows:
        print(f"{row['choice']:<44} {row['instead']:<26} {row['ours_ms']:>8.3f} {row['theirs_ms']:>8.3f} ms "
              f"{row['ratio']:>5.2f}")
    print("Adam by block: " + ", ".join(f"{row['block']}: {row['ms']:.2f} ms" for row in by_block))
    print(f"of Adam's averages of gradients, {faded:.1%} are subnormal where nothing is flushed")
    print("np.add by length: " + ", ".join(f"{row['n']}: {row['us']:.2f} µs" for row in by_length))
