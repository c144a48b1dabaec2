"""The other NumPy libraries: a training step of 784-200-10, SGD, batch 128, float32, one thread.

    python3 -m venv .venvs/mygrad && .venvs/mygrad/bin/pip install mygrad      and so for each of LIBRARIES
    python -m benchmarks.others        needs nothing else; writes benchmarks/others.json

Each library runs in a process and a virtual environment of its own, with its own optimizer, from the same weights,
on the same batches. First the losses of twenty steps must agree; then the processes take turns. `make bench` leaves
this out: it is done once, and its result is kept with the day and the versions.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("mygrad", "neuralnetlib", "pydynet", "smallpebble")
STEPS, BATCH, RATE = 32, 128, 0.05


# ---- one process: a library trains

def batches(data) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of an epoch, in order."""
    for start in range(0, len(data["X"]), BATCH):
        yield data["X"][start:start + BATCH], data["y"][start:start + BATCH]


def slugnet_steps(data) -> Callable[[], list[float]]:
    """Train by `fit`."""
    from slugnet.activation import ReLU, Softmax
    from slugnet.layers import Dense
    from slugnet.loss import CategoricalCrossEntropy
    from slugnet.model import Callback, Model
    from slugnet.optimizers import SGD

    model = Model([Dense(200, activation=ReLU()), Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(),
                  optimizer=SGD(RATE), seed=0).build((784,))
    for slot, name in zip(model.parameters.values(), ("W1", "b1", "W2", "b2")):
        slot[...] = data[name]

    class Losses(Callback):
        def on_batch_end(self, model, step, logs):
            found.append(logs["loss"])
    found: list[float] = []

    def epoch():
        found.clear()
        model.fit(data["X"], data["y"], epochs=1, batch_size=BATCH, shuffle=False, progress=False, callbacks=[Losses()])
        return list(found)
    return epoch


def mygrad_steps(data) -> Callable[[], list[float]]:
    """Tensors, its ReLU and its softmax cross-entropy."""
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    W1, b1, W2, b2 = parameters = [mg.tensor(data[name].copy()) for name in ("W1", "b1", "W2", "b2")]

    def step(X, y):
        loss = softmax_crossentropy(mg.matmul(relu(mg.matmul(X, W1) + b1), W2) + b2, y)
        loss.backward()
        for parameter in parameters:
            parameter.data -= RATE * parameter.grad
        return float(loss)
    return lambda: [step(X, y) for X, y in batches(data)]


def neuralnetlib_steps(data) -> Callable[[], list[float]]:
    """Its Sequential model, without clipping of gradients, which are sums over the batch: the rate is divided by m."""
    from neuralnetlib.layers import Activation, Dense, Input
    from neuralnetlib.losses import CategoricalCrossentropy
    from neuralnetlib.models import Sequential
    from neuralnetlib.optimizers import SGD

    model = Sequential(gradient_clip_threshold=1e30, random_state=0)
    for layer in (Input(784), Dense(200), Activation("relu"), Dense(10), Activation("softmax")):
        model.add(layer)
    model.compile(loss_function=CategoricalCrossentropy(), optimizer=SGD(RATE / BATCH))
    rows = np.eye(10, dtype=np.float32)
    model.forward_pass(data["X"][:1])
    first, second = (layer for layer in model.layers if isinstance(layer, Dense))
    first.weights, second.weights = data["W1"].copy(), data["W2"].copy()
    first.bias, second.bias = data["b1"].reshape(first.bias.shape).copy(), data["b2"].reshape(second.bias.shape).copy()
    return lambda: [model.train_on_batch(X, rows[y]) for X, y in batches(data)]


def pydynet_steps(data) -> Callable[[], list[float]]:
    """Its modules and its SGD without momentum."""
    import pydynet as pdn
    from pydynet import nn, optim
    from pydynet.nn import functional as F

    first, second = nn.Linear(784, 200, dtype=np.float32), nn.Linear(200, 10, dtype=np.float32)
    for layer, W, b in ((first, "W1", "b1"), (second, "W2", "b2")):
        layer.weight.data[...], layer.bias.data[...] = data[W], data[b]
    parameters = [first.weight, first.bias, second.weight, second.bias]
    optimizer = optim.SGD(parameters, lr=RATE, momentum=0.0, nesterov=False)

    def step(X, y):
        loss = F.cross_entropy_loss(second(F.relu(first(pdn.Tensor(X, dtype=np.float32)))), pdn.Tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())
    return lambda: [step(X, y) for X, y in batches(data)]


def smallpebble_steps(data) -> Callable[[], list[float]]:
    """Variables; its leaky ReLU with the slope 0 is ReLU, and its cross-entropy is a sum, here divided by m."""
    import smallpebble as sp

    W1, b1, W2, b2 = parameters = [sp.Variable(data[name].copy()) for name in ("W1", "b1", "W2", "b2")]
    share = sp.Variable(np.float32(1 / BATCH))

    def step(X, y):
        H = sp.leaky_relu(sp.add(sp.matmul(sp.Variable(X), W1), b1), 0.0)
        loss = sp.mul(sp.cross_entropy(sp.softmax(sp.add(sp.matmul(H, W2), b2)), y), share)
        sp.sgd_step(parameters, sp.get_gradients(loss), RATE)
        return float(loss.array)
    return lambda: [step(X, y) for X, y in batches(data)]


def serve(library: str, path: str) -> None:
    """Print the losses of the first epoch as JSON; then, for every line that comes in, the seconds of another."""
    import importlib.metadata

    data = dict(np.load(path))
    epoch = globals()[f"{library}_steps"](data)
    version = importlib.metadata.version(library)
    print(json.dumps({"version": version, "numpy": np.__version__, "losses": epoch()}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        epoch()
        print(time.perf_counter() - began, flush=True)


# ---- the other process: all take turns

class Contestant:
    """A library in its process."""

    def __init__(self, library: str, python: Path, path: Path):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT) if library == "slugnet" else ""}
        self.process = subprocess.Popen([python, __file__, library, path], text=True, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.first = json.loads(self.process.stdout.readline() or "{}")
        self.seconds: list[float] = []
        if not self.first:
            raise RuntimeError(f"{library} ended before its first epoch did")

    def run(self) -> None:
        """One epoch."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.process.stdout.readline()))

    def end(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()


def prepare(path: Path) -> None:
    """Weights and examples, the same for all."""
    rng = np.random.default_rng(0)
    W1, W2 = (rng.normal(0, (2 / shape[0]) ** 0.5, shape).astype(np.float32) for shape in ((784, 200), (200, 10)))
    np.savez(path, W1=W1, W2=W2, b1=np.zeros(200, np.float32), b2=np.zeros(10, np.float32),
             X=rng.random((STEPS * BATCH, 784), dtype=np.float32), y=rng.integers(0, 10, STEPS * BATCH))


def measure(rounds: int = 60) -> list[dict]:
    """Microseconds a step of slugnet and of each library that is there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        prepare(path)
        programs = {name: ROOT / ".venvs" / name / "bin" / "python" for name in LIBRARIES}
        programs = {"slugnet": Path(sys.executable), **programs}
        contestants = {name: Contestant(name, program, path) for name, program in programs.items() if program.exists()}
        expected = contestants["slugnet"].first["losses"][:20]
        for name, contestant in contestants.items():
            np.testing.assert_allclose(contestant.first["losses"][:20], expected, rtol=1e-4,
                                       err_msg=f"{name} and slugnet compute different losses")
        for _ in range(rounds):
            for contestant in contestants.values():
                contestant.run()
        for contestant in contestants.values():
            contestant.end()
    from .common import ratio

    ours = contestants["slugnet"].seconds
    return [{"library": name, "version": c.first["version"], "numpy": c.first["numpy"],
             "step_us": 1e6 * min(c.seconds) / STEPS, **ratio(ours, c.seconds)} for name, c in contestants.items()]


def main() -> None:
    """Measure, print, and write the file that is committed."""
    from .common import machine, show
    from .page import OTHERS
    import datetime

    about = {name: value for name, value in machine().items() if name not in ("torch", "scikit-learn")}
    result = {"machine": about, "date": datetime.date.today().isoformat(), "threads": 1,
              "work": "a step of 784-200-10, SGD, batch 128, float32", "rows": measure()}
    OTHERS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show("others", result)
    for row in result["rows"]:
        print(f"{row['library']:<14} {row['version']:<8} {row['step_us']:>9.0f} µs a step; slugnet takes "
              f"{row['ratio']:.2f} times as long ({row['lowest']:.2f}–{row['highest']:.2f})")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(*sys.argv[1:])
    else:
        main()
