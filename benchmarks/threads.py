"""Is anything slower with two BLAS threads than with one? The works of the other tables, in turns with each."""
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from slugnet.contract import Tape, aligned, batch_last
from slugnet.layers import BatchNormalization, Convolution, Dropout, MaxPooling
from slugnet.model import Model
from threadpoolctl import ThreadpoolController

from .common import in_turns, print_ratios, ratio, show, write
from .convolution import bound
from .networks import examples, lenet, mlp, pair, small_convolutions

GOAL = 1.05  # no slower, give or take what two measurements of the same differ by
SIZES = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768)


def training(model: Model, batch_size: int, m: int) -> Callable[[], None]:
    """An epoch of a model."""
    X, y = examples(m, model.input_shape)
    return lambda: model.fit(X, y, epochs=1, batch_size=batch_size, progress=False)


def prediction(network: tuple, m: int) -> Callable[[], None]:
    """`transform` of m examples."""
    model, *_ = pair(network)
    X, _ = examples(m, network[2])
    return lambda: model.transform(X)


def layer_pass(layer, shape: tuple) -> Callable[[], None]:
    """A layer in training, forward and backward, on a batch of the shape."""
    bound(layer, shape[1:])
    rng = np.random.default_rng(0)
    X, tape = batch_last(shape, np.float32), Tape(train=True, rng=rng)
    X[...] = rng.standard_normal(shape, dtype=np.float32)
    H = layer.forward(X, tape)
    G = batch_last(H.shape, np.float32)
    G[...] = rng.standard_normal(H.shape, dtype=np.float32)

    def run():
        layer.forward(X, tape)
        layer.backward(G, tape)
    return run


def works() -> Iterator[tuple[str, Callable[[], None]]]:
    """What the other tables time, by name."""
    for optimizer in ("sgd", "adam"):
        for batch_size in (32, 128, 512):
            yield (f"epoch, 784-200-10, {optimizer}, batch {batch_size}",
                   training(pair(mlp(784, 200, 10), optimizer)[0], batch_size, 2560))
    yield "epoch, 64-64-10, adam, batch 32", training(pair(mlp(64, 64, 10), "adam")[0], 32, 1437)
    yield "epoch, 784-1024-1024-10, adam, batch 256", training(pair(mlp(784, 1024, 1024, 10), "adam")[0], 256, 1024)
    yield "epoch, conv8-pool-conv16-pool-dense, sgd, batch 64", training(pair(small_convolutions())[0], 64, 640)
    yield "epoch, LeNet-5, adam, batch 64", training(pair(lenet(), "adam")[0], 64, 640)
    yield ("conv 3×3, 64→64 on 28×28, batch 64, both ways",
           layer_pass(Convolution(64, 3, padding="same"), (64, 64, 28, 28)))
    for name, layer in (("batch normalisation", BatchNormalization()), ("dropout", Dropout(0.5)),
                        ("2×2 max pooling", MaxPooling(2))):
        yield f"{name} on (64, 16, 28, 28), both ways", layer_pass(layer, (64, 16, 28, 28))
    yield "transform of 10,000 images, 784-200-10", prediction(mlp(784, 200, 10), 10_000)
    yield "transform of 2,000 images, LeNet-5", prediction(lenet(), 2_000)


def two_over_one(function: Callable[[], None], rounds: int = 25, seconds: float = 3.0) -> dict[str, float]:
    """The time with two threads over that with one, in turns."""
    controller = ThreadpoolController()

    def limited(number: int) -> Callable[[], None]:
        def run():
            with controller.limit(limits=number):
                function()
        return run
    one, two = in_turns([limited(1), limited(2)], rounds, seconds)
    return ratio(two, one)


def square_product(n: int) -> Callable[[], None]:
    """Many products of two n×n matrices: about as much work for each n."""
    A, B, C = np.random.default_rng(0).random((3, n, n), dtype=np.float32)
    repeats = max(2, 20_000_000 // n**3)

    def run():
        for _ in range(repeats):
            np.matmul(A, B, out=C)
    return run


def moved(model: Model, numbers: int) -> Model:
    """The model, with θ so many numbers after the beginning of a line of memory."""
    model.theta = aligned((numbers + len(model.theta),), model.dtype)[numbers:]
    model._network.bind(model.theta, model.grad, model.state)
    model._network.initialize(np.random.default_rng(0))
    return model


def line_over_between(threads: int, batch_size: int, m: int = 2560) -> dict[str, float]:
    """An epoch with a θ that begins with a line of memory, over one with a θ that begins four numbers later."""
    epochs = [training(moved(pair(mlp(784, 200, 10))[0], numbers), batch_size, m) for numbers in (0, 4)]
    with ThreadpoolController().limit(limits=threads):
        return ratio(*in_turns(epochs, 25, 3.0))


def measure() -> tuple[list[dict], list[dict], list[dict]]:
    """The works, plain products of growing size, and what the place of θ in memory matters."""
    rows = [{"threads": 2, "work": name, "against": "1 thread", "goal": GOAL, **two_over_one(function)}
            for name, function in works()]
    sizes = [{"n": n, **two_over_one(square_product(n), 25, 1.5)} for n in SIZES]
    lines = [{"threads": threads, "batch": batch_size, **line_over_between(threads, batch_size)}
             for threads in (1, 2) for batch_size in (32, 128, 512)]
    return rows, sizes, lines


if __name__ == "__main__":
    rows, sizes, lines = measure()
    show("threads", write("threads", rows, products=sizes, lines=lines))
    print_ratios(rows, "two", "one")
    print("products of n×n, two threads over one: " + ", ".join(f"{row['n']}: {row['ratio']:.2f}" for row in sizes))
    print("θ at the beginning of a line over θ between two: "
          + ", ".join(f"threads {row['threads']}, batch {row['batch']}: {row['ratio']:.2f}" for row in lines))
