"""The convolution against PyTorch's: outputs and all three gradients."""
import itertools

import numpy as np
import pytest
import torch

from slugnet.contract import Tape
from slugnet.layers.convolution import Convolution

CASES = list(itertools.product((1, 2, (2, 3)), (0, (1, 2)), (1, 2, (1, 3)), (1, 2, 4), (1, 3)))


def both(layer, function, shape, m, **options):
    """Outputs and gradients of slugnet's layer and of PyTorch's function."""
    rng = np.random.default_rng(0)
    size = layer.build(shape)
    layer.bind(np.zeros(layer.size), np.zeros(layer.size), np.zeros(0))
    layer.initialize(rng)
    layer.b[...] = rng.standard_normal(layer.b.shape)
    X, G, tape = rng.standard_normal((m, *shape)), rng.standard_normal((m, *size)), Tape()
    inputs = [torch.tensor(array, requires_grad=True) for array in (X, layer.W, layer.b)]
    outputs = function(*inputs, **options)
    outputs.backward(torch.tensor(G))
    yield layer.forward(X, tape), outputs.detach().numpy()
    yield layer.backward(G, tape), inputs[0].grad.numpy()
    yield layer.dW, inputs[1].grad.numpy()
    yield layer.db, inputs[2].grad.numpy()


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups", "m"), CASES)
def test_images(stride, padding, dilation, groups, m):
    layer = Convolution(8, (3, 2), stride, padding, dilation, groups)
    for got, expected in both(layer, torch.nn.functional.conv2d, (4, 9, 8), m, stride=stride, padding=padding,
                              dilation=dilation, groups=groups):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"),
                         list(itertools.product((1, 3), (0, 2), (1, 2), (1, 4))))
def test_signals(stride, padding, dilation, groups):
    layer = Convolution(8, 3, stride, padding, dilation, groups)
    for got, expected in both(layer, torch.nn.functional.conv1d, (4, 11), 3, stride=stride, padding=padding,
                              dilation=dilation, groups=groups):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("n", "window", "dilation"), list(itertools.product((5, 6), (2, 3, 4), (1, 2))))
def test_same(n, window, dilation):
    layer = Convolution(2, window, padding="same", dilation=dilation)
    for got, expected in both(layer, torch.nn.functional.conv2d, (2, n, n), 2, padding="same", dilation=dilation):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
