"""Batch and layer normalisation beside PyTorch's, and against ONNX's own node tests."""
import warnings

import numpy as np
import pytest

from slugnet.contract import Tape, batch_last
from slugnet.layers.batch_normalization import BatchNormalization, batch_axes, normalize
from slugnet.layers.layer_normalization import LayerNormalization, standardize

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
LIMIT = {"float64": 1e-11, "float32": 2e-4}


def bound(layer, shape, dtype):
    layer.build(shape)
    layer.bind(*(np.zeros(size, dtype) for size in (layer.size, layer.size, layer.state_size)))
    layer.initialize(RNG)
    layer.gamma[...] = RNG.uniform(0.5, 2, layer.gamma.shape)
    layer.beta[...] = RNG.standard_normal(layer.beta.shape)
    return layer


def arrays(shape, dtype):
    found = []
    for _ in range(2):
        array = batch_last(shape, dtype)
        array[...] = 3 * RNG.standard_normal(shape) + 1
        found.append(array)
    return found


def compare(layer, module, tape, X, G, limit):
    """Outputs and all gradients of a layer and of the module that has its parameters."""
    tensor = torch.tensor(np.ascontiguousarray(X), requires_grad=True)
    output = module(tensor)
    output.backward(torch.tensor(np.ascontiguousarray(G)))
    pairs = [(layer.forward(X, tape), output), (layer.backward(G, tape), tensor.grad),
             (layer.dgamma, module.weight.grad), (layer.dbeta, module.bias.grad)]
    for ours, theirs in pairs:
        theirs = theirs.detach().numpy()
        assert np.abs(ours - theirs).max() <= limit * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(16, 5), (2, 1), (6, 3, 7), (4, 3, 5, 6), (2, 1, 1, 1), (1, 2, 3, 3)])
def test_batch_normalisation(shape, train, dtype):
    layer = bound(BatchNormalization(momentum=0.7, epsilon=1e-3), shape[1:], dtype)
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    module = kind(shape[1], eps=1e-3, momentum=0.3, dtype=getattr(torch, dtype)).train(train)
    module.load_state_dict({"weight": torch.tensor(layer.gamma), "bias": torch.tensor(layer.beta),
                            "running_mean": torch.tensor(layer.running_mean),
                            "running_var": torch.tensor(layer.running_variance)})
    X, G = arrays(shape, dtype)
    compare(layer, module, Tape(train), X, G, LIMIT[dtype])
    count = X.size // shape[1]
    biased = 0.7 + (module.running_var.numpy() - 0.7) * (count - 1) / count if train else module.running_var.numpy()
    np.testing.assert_allclose(layer.running_mean, module.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(layer.running_variance, biased, rtol=1e-5)


def test_batch_normalisation_over_many_steps_and_then_at_test():
    layer = bound(BatchNormalization(), (3, 4, 4), "float64")
    module = torch.nn.BatchNorm2d(3, momentum=0.1, dtype=torch.float64)
    with torch.no_grad():
        module.weight[:], module.bias[:] = torch.tensor(layer.gamma), torch.tensor(layer.beta)
    for _ in range(20):
        X, _ = arrays((4, 3, 4, 4), "float64")
        layer.forward(X, Tape(train=True))
        module(torch.tensor(np.ascontiguousarray(X)))
    np.testing.assert_allclose(layer.running_mean, module.running_mean.numpy())
    share = 0.9**20
    np.testing.assert_allclose((layer.running_variance - share) * 64 / 63, module.running_var.numpy() - share)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape, axes", [((16, 5), None), ((1, 4), None), ((6, 3, 7), -1), ((6, 3, 7), None),
                                         ((4, 3, 5, 6), None), ((4, 3, 5, 6), (1, 2)), ((3, 1, 1, 2), None)])
def test_layer_normalisation(shape, axes, dtype):
    layer = bound(LayerNormalization(epsilon=1e-3, axes=axes), shape[1:], dtype)
    module = torch.nn.LayerNorm(layer.gamma.shape, eps=1e-3, dtype=getattr(torch, dtype))
    with torch.no_grad():
        module.weight[:], module.bias[:] = torch.tensor(layer.gamma), torch.tensor(layer.beta)
    compare(layer, module, Tape(), *arrays(shape, dtype), LIMIT[dtype])


def nodes(operator):
    """The node tests that ONNX ships for an operator, as (name, attributes, inputs, outputs)."""
    pytest.importorskip("onnx")
    from onnx import helper
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        cases = collect_testcases(None)  # asked for one operator, it gives nothing for others ever after
    for case in cases:
        node = case.model.graph.node[0]
        if len(case.model.graph.node) == 1 and node.op_type == operator:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            yield case.name, attributes, *case.data_sets[0]


def test_onnx_batch_normalisation():
    count = 0
    for name, attributes, (X, scale, shift, mean, variance), outputs in nodes("BatchNormalization"):
        epsilon, momentum = attributes.get("epsilon", 1e-5), attributes.get("momentum", 0.9)
        layer = bound(BatchNormalization(momentum, epsilon), X.shape[1:], X.dtype)
        layer.gamma[...], layer.beta[...], layer.running_mean[...], layer.running_variance[...] = scale, shift, mean, variance
        train = bool(attributes.get("training_mode", 0))
        got = [layer.forward(X, Tape(train)), layer.running_mean, layer.running_variance]
        for ours, theirs in zip(got, outputs):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6, err_msg=name)
        if not train:
            spread = [v.reshape(-1, *(1,) * (X.ndim - 2)) for v in (scale, shift, mean, variance)]
            np.testing.assert_allclose(normalize(X, *spread, epsilon), outputs[0], rtol=1e-3, atol=1e-6)
        count += 1
    assert count >= 4 and batch_axes(4) == (0, 2, 3)


def test_onnx_layer_normalisation():
    count = 0
    for name, attributes, (X, scale, *shift), outputs in nodes("LayerNormalization"):
        axis, epsilon = attributes.get("axis", -1) % X.ndim, attributes.get("epsilon", 1e-5)
        X_hat, *moments = standardize(X, tuple(range(axis, X.ndim)), epsilon)
        for ours, theirs in zip([X_hat * scale + sum(shift), *moments], outputs):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6, err_msg=name)
        if axis > 0:
            layer = bound(LayerNormalization(epsilon, axes=range(axis - 1, X.ndim - 1)), X.shape[1:], X.dtype)
            layer.gamma[...], layer.beta[...] = scale, sum(shift)
            np.testing.assert_allclose(layer.forward(X, Tape()), outputs[0], rtol=1e-3, atol=1e-6, err_msg=name)
        count += 1
    assert count >= 10
