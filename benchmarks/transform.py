"""Predictions for 10,000 images, against PyTorch in inference mode."""
from __future__ import annotations

import numpy as np
import torch

from .common import in_turns, ratio, report
from .networks import examples, lenet, mlp, pair


def prediction_ratio(network: tuple) -> dict[str, float]:
    """`transform` beside PyTorch's network and softmax, in batches of the same size."""
    model, peer, _ = pair(network)
    X, _ = examples(10_000, network[2])
    tX = torch.tensor(X)

    def theirs():
        with torch.inference_mode():
            return torch.cat([peer(part).softmax(1) for part in tX.split(1024)])

    np.testing.assert_allclose(model.transform(X), theirs().numpy(), rtol=1e-3, atol=1e-5)
    return ratio(*in_turns([lambda: model.transform(X), theirs]))


def measure() -> list[dict]:
    """All rows."""
    return [{"work": f"transform of 10,000 images, {name}", "against": "torch", "goal": goal, **prediction_ratio(network)}
            for name, network, goal in (("784-200-10", mlp(784, 200, 10), 1.0), ("LeNet-5", lenet(), 1.2))]


if __name__ == "__main__":
    report("transform", measure)
