"""Time of an epoch against the number of examples and the number of layers, over two orders of magnitude each."""
from __future__ import annotations

import numpy as np
from slugnet.activation import ReLU, Softmax
from slugnet.layers import Dense
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.optimizers import SGD

from .common import in_turns, limit_threads, show, write
from .networks import examples

EXAMPLES = (256, 512, 1280, 2560, 5120, 12_800, 25_600)
DEPTHS = (1, 2, 5, 10, 20, 50, 100)


def network(depth: int, units: int) -> Model:
    """`depth` hidden layers and a softmax of ten classes, with a rate at which nothing overflows."""
    hidden = [Dense(units, activation=ReLU()) for _ in range(depth)]
    top = Dense(10, activation=Softmax())
    return Model([*hidden, top], loss=CategoricalCrossEntropy(), optimizer=SGD(1e-4), seed=0)


def series(name: str, sizes: tuple, cases: list[tuple], seconds: float) -> list[dict]:
    """The time of an epoch, batch 128, of each case: (model, X, y), all in turns."""
    times = in_turns([lambda case=case: case[0].fit(*case[1:], epochs=1, batch_size=128, progress=False)
                      for case in cases], rounds=9, seconds=seconds)
    return [{"series": name, "size": size, "ms": 1e3 * min(own)} for size, own in zip(sizes, times)]


def measure(sizes: tuple = EXAMPLES, depths: tuple = DEPTHS, seconds: float = 15.0) -> list[dict]:
    """784-200-10 on more and more examples; more and more layers of 128 units on 640 examples."""
    X, y = examples(max(sizes), (784,))
    rows = series("examples", sizes, [(network(1, 200), X[:m], y[:m]) for m in sizes], seconds)
    X, y = examples(640, (128,))
    return rows + series("depth", depths, [(network(depth, 128), X, y) for depth in depths], seconds)


def slope(rows: list[dict], name: str) -> float:
    """The exponent p of time ∝ size^p, by least squares of the logarithms."""
    sizes, times = zip(*[(row["size"], row["ms"]) for row in rows if row["series"] == name])
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


if __name__ == "__main__":
    limit_threads(1)
    rows = measure()
    show("growth, one thread", write("growth", rows))
    for row in rows:
        print(f"{row['series']:>9} {row['size']:>7,} {row['ms']:>9.2f} ms")
    print(*(f"slope in {name}: {slope(rows, name):.3f}" for name in ("examples", "depth")), sep="\n")
