"""Where the time of a training step goes: 784-200-10 with SGD, at three batch sizes.

The functions of the package are wrapped from outside while it is measured; the package knows nothing of it.
"""
from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from unittest import mock

import slugnet.layers.dense
from slugnet.activation import ReLU
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.network import Objective
from slugnet.optimizers import SGD

from .common import in_turns, limit_threads, show, write
from .networks import examples, mlp, pair

PARTS = ("gather the batch", "forward products", "activation", "loss", "backward products", "update", "the rest")
OWNERS = (("gather the batch", Model, "_step"), ("forward products", slugnet.layers.dense, "affine"),
          ("activation", ReLU, "__call__"), ("activation", ReLU, "vjp"), ("loss", CategoricalCrossEntropy, "joint"),
          ("backward products", slugnet.layers.dense, "weight_gradient"),
          ("backward products", slugnet.layers.dense, "bias_gradient"),
          ("backward products", slugnet.layers.dense, "input_gradient"), ("update", SGD, "step"),
          ("the rest", Objective, "loss_and_gradient"), ("the rest", Model, "fit"))


class Clock:
    """The time spent in each part, without that of the parts that it calls."""

    def __init__(self):
        self.seconds: Counter = Counter()
        self._inside = [0.0]

    def wrapped(self, part: str, function: Callable) -> Callable:
        """The function, on this clock."""
        def timed(*arguments, **named):
            self._inside.append(0.0)
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._inside.pop()
                self._inside[-1] += took
        return timed


@contextlib.contextmanager
def on_the_clock() -> Iterator[Clock]:
    """Every part of a step is timed while this lasts."""
    clock = Clock()
    with contextlib.ExitStack() as patches:
        for part, owner, name in OWNERS:
            patches.enter_context(mock.patch.object(owner, name, clock.wrapped(part, getattr(owner, name))))
        yield clock


def one_batch_size(batch_size: int, m: int, rounds: int = 60) -> dict:
    """Microseconds a step, of the fastest round: of each part, and of a whole step without the clock."""
    model, *_ = pair(mlp(784, 200, 10))
    X, y = examples(m, (784,))
    rounds_of_parts = []

    def clocked():
        with on_the_clock() as clock:
            model.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
        rounds_of_parts.append(clock.seconds)

    def unclocked():
        model.fit(X, y, epochs=1, batch_size=batch_size, progress=False)

    plain, _ = in_turns([unclocked, clocked], rounds, 6.0)
    best, steps = min(rounds_of_parts, key=lambda parts: sum(parts.values())), -(-m // batch_size)
    return {"batch": batch_size, "step_us": 1e6 * min(plain) / steps,
            "parts_us": {part: 1e6 * best[part] / steps for part in PARTS}}


def measure(m: int = 2560) -> list[dict]:
    """All batch sizes."""
    return [one_batch_size(batch_size, m) for batch_size in (32, 128, 512)]


if __name__ == "__main__":
    limit_threads(1)
    rows = measure()
    show("parts, one thread", write("parts", rows))
    for row in rows:
        total = sum(row["parts_us"].values())
        print(f"batch {row['batch']}: {row['step_us']:.0f} µs a step, on the clock {total:.0f}")
        for part, us in row["parts_us"].items():
            print(f"  {part:<18} {us:>8.1f} µs")
