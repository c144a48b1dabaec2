"""Pooling and upsampling against PyTorch's: outputs and gradients."""
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from slugnet.contract import Tape
from slugnet.layers import GlobalMaxPooling, GlobalMeanPooling, MaxPooling, MeanPooling, Permute, Upsampling, ZeroPadding

CASES = list(itertools.product((2, 3, (2, 3)), (None, 1, 2, (3, 1)), (0, 1, (1, 0)), (1, 3)))

SIGNALS = [(k, s, q) for k, s, q in itertools.product((1, 2, 3), (None, 1, 4), (0, 1)) if 2 * q <= k]  # PyTorch's limit


def agree(layer, function, X: np.ndarray) -> None:
    """Hold outputs and the gradient in the inputs against those of PyTorch's function."""
    shape, tape = layer.build(X.shape[1:]), Tape()
    G = np.random.default_rng(1).standard_normal((len(X), *shape))
    inputs = torch.tensor(X, requires_grad=True)
    outputs = function(inputs)
    outputs.backward(torch.tensor(G).reshape(outputs.shape))
    np.testing.assert_allclose(layer.forward(X, tape), outputs.detach().numpy().reshape(G.shape), atol=1e-13)
    np.testing.assert_allclose(layer.backward(G, tape), inputs.grad.numpy(), atol=1e-13)


def images(m: int, shape: tuple = (2, 7, 6), ties: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(-2, 1, (m, *shape)).astype(float) if ties else rng.standard_normal((m, *shape))


@pytest.mark.parametrize(("window", "stride", "padding", "m"), CASES)
@pytest.mark.parametrize("ties", [False, True])
def test_max(window, stride, padding, m, ties):
    """With ties, too: PyTorch's CPU code takes the first of the largest as well."""
    agree(MaxPooling(window, stride, padding),
          lambda X: functional.max_pool2d(X, window, stride, padding), images(m, ties=ties))


@pytest.mark.parametrize(("window", "stride", "padding", "m"), CASES)
@pytest.mark.parametrize("counted", [False, True])
def test_mean(window, stride, padding, m, counted):
    agree(MeanPooling(window, stride, padding, count_padding=counted),
          lambda X: functional.avg_pool2d(X, window, stride, padding, count_include_pad=counted), images(m))


@pytest.mark.parametrize(("window", "stride", "padding"), SIGNALS)
def test_signals(window, stride, padding):
    X = images(3, (2, 9))
    agree(MaxPooling(window, stride, padding), lambda X: functional.max_pool1d(X, window, stride, padding), X)
    agree(MeanPooling(window, stride, padding, count_padding=True),
          lambda X: functional.avg_pool1d(X, window, stride, padding), X)


@pytest.mark.parametrize("shape", [(2, 7, 6), (1, 1, 1), (3, 5)])
def test_global_padding_and_upsampling(shape):
    X, axes = images(2, shape), tuple(range(2, len(shape) + 1))
    agree(GlobalMeanPooling(), lambda X: X.mean(axes), X)
    agree(GlobalMaxPooling(), lambda X: X.amax(axes), X)
    agree(ZeroPadding(2), lambda X: functional.pad(X, [2] * 2 * len(axes)), X)
    agree(Permute([*range(1, len(shape)), 0]), lambda X: X.permute(0, *range(2, len(shape) + 1), 1), X)
    agree(Upsampling(3), lambda X: functional.interpolate(X, scale_factor=3, mode="nearest"), X)
