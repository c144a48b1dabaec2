"""Training fully connected networks: against PyTorch, against scikit-learn, against the matrix products alone."""
from __future__ import annotations

import warnings

import numpy as np

from .common import in_turns, ratio, report
from .networks import epoch_ratio, examples, mlp, pair


def products(sizes: tuple, m: int, batch_size: int):
    """The five matrix products of a step of a network of two layers, in place, as often as an epoch has steps."""
    rng = np.random.default_rng(0)
    a, b, c = sizes
    X, W1, W2 = (rng.random(shape, dtype=np.float32) for shape in ((batch_size, a), (a, b), (b, c)))
    A, B, dW1, dW2, G = (np.empty(s, np.float32) for s in ((batch_size, b), (batch_size, c), (a, b), (b, c), (batch_size, b)))

    def run():
        for _ in range(m // batch_size):
            np.matmul(X, W1, out=A)
            np.matmul(A, W2, out=B)
            np.matmul(A.T, B, out=dW2)
            np.matmul(B, W2.T, out=G)
            np.matmul(X.T, G, out=dW1)
    return run


def against_products() -> dict[str, float]:
    """784-200-10, SGD, batch 128, beside its products."""
    m = 12_800
    model, *_ = pair(mlp(784, 200, 10))
    X, y = examples(m, (784,))
    ours, theirs = in_turns([lambda: model.fit(X, y, epochs=1, batch_size=128, progress=False),
                             products((784, 200, 10), m, 128)])
    return ratio(ours, theirs)


def against_scikit_learn(units: tuple, batch_size: int, m: int) -> dict[str, float]:
    """The same network in scikit-learn's MLPClassifier, Adam, without regularisation or early stopping."""
    from sklearn.neural_network import MLPClassifier

    model, *_ = pair(mlp(*units), "adam")
    X, y = examples(m, (units[0],))
    peer = MLPClassifier(units[1:-1], alpha=0.0, batch_size=batch_size, max_iter=1, warm_start=True)

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.fit(X, y)
    ours, theirs = in_turns([lambda: model.fit(X, y, epochs=1, batch_size=batch_size, progress=False), fit])
    return ratio(ours, theirs)


def measure() -> list[dict]:
    """All rows."""
    rows = []
    for optimizer, goals in (("sgd", (0.7, 0.7, 1.0)), ("adam", (1.0, 1.0, 1.0))):
        for batch_size, goal in zip((32, 128, 512), goals):
            rows.append({"work": f"epoch, 784-200-10, {optimizer}, batch {batch_size}", "against": "torch", "goal": goal,
                         **epoch_ratio(mlp(784, 200, 10), optimizer, batch_size, 12_800)})
    rows.append({"work": "epoch, 784-200-10, sgd, batch 128", "against": "its products", "goal": 1.25, **against_products()})
    rows.append({"work": "epoch, 784-200-10, adam, batch 128", "against": "scikit-learn", "goal": 0.6,
                 **against_scikit_learn((784, 200, 10), 128, 12_800)})
    rows.append({"work": "epoch, 64-64-10, adam, batch 32", "against": "scikit-learn", "goal": 0.3,
                 **against_scikit_learn((64, 64, 10), 32, 1437)})
    rows.append({"work": "epoch, 64-64-10, adam, batch 32", "against": "torch", "goal": 0.2,
                 **epoch_ratio(mlp(64, 64, 10), "adam", 32, 1437)})
    rows.append({"work": "epoch, 784-1024-1024-10, adam, batch 256", "against": "torch", "goal": 1.0,
                 **epoch_ratio(mlp(784, 1024, 1024, 10), "adam", 256, 2560)})
    return rows


if __name__ == "__main__":
    report("mlp", measure)
