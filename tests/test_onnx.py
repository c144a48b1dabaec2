"""ONNX's own node tests, run against slugnet's layers, activations and losses.

The package `onnx` ships, for every operator, inputs and the outputs that its specification demands. Each case of an
operator that slugnet has is either run here or stands in `LEFT_OUT` with the reason. The closing lines of the test
run say how many of how many.
"""
import math
import re
import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests

from slugnet import activation, layers, loss
from slugnet.contract import Tape

# What slugnet does not have on purpose: a pattern of names, and the reason.
LEFT_OUT = {
    r"gemm_(alpha|beta|all_attributes)": "a dense layer has no factor before the product or the bias",
    r"gemm_default_matrix_bias": "a bias belongs to a unit, not to a unit and an example",
    r"(averagepool|maxpool)_2d_ceil.*": "the size of the output is rounded down; padding makes a last window whole",
    r"(averagepool|maxpool)_[23]d_dilations.*": "windows of pooling have no gaps",
    r"maxpool_2d_uint8": "layers compute with floats",
    r"maxpool_with_argmax.*": "the place of the maximum is a matter of the backward pass and is not returned",
    r"flatten_(axis[023]|negative_axis[124])": "the first axis is the batch and stays",
    r"layer_normalization_.*(axis0|negative_4|2d_axis_negative_2|3d_axis_negative_3)(_epsilon)?":
        "the first axis is the batch, over which layer normalisation never averages",
}


def left_out(name: str) -> str | None:
    """Why a case is left out, or None."""
    return next((why for pattern, why in LEFT_OUT.items() if re.fullmatch(pattern, name)), None)


def run(layer, X: np.ndarray, train: bool = False, **values) -> np.ndarray:
    """The outputs of a layer with given parameters and state."""
    layer.build(X.shape[1:])
    theta, state = np.zeros(layer.size, X.dtype), np.zeros(layer.state_size, X.dtype)
    layer.bind(theta, np.empty_like(theta), state)
    layer.initialize(np.random.default_rng(0))
    for name, value in values.items():
        getattr(layer, name)[...] = value
    return layer.forward(X, Tape(train))


def pads(given: dict, X: np.ndarray, window: list[int], stride: list[int]) -> list[tuple[int, int]]:
    """The padding of each axis, as (before, after)."""
    n = len(window)
    if given.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        pairs = []
        for size, k, s in zip(X.shape[2:], window, stride):
            total = max((math.ceil(size / s) - 1) * s + k - size, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if given["auto_pad"] == b"SAME_UPPER" else (large, small))
        return pairs
    flat = given.get("pads", [0] * 2 * n)
    return list(zip(flat[:n], flat[n:]))


def gemm(given, A, B, C=0.0):
    X, W = (A.T if given.get("transA") else A), (B.T if given.get("transB") else B)
    return [run(layers.Dense(W.shape[1]), np.ascontiguousarray(X), W=W, b=C)]


def conv(given, X, W, b=0.0):
    window = list(W.shape[2:])
    stride = given.get("strides", [1] * len(window))
    layer = layers.Convolution(len(W), window, stride=stride, padding=pads(given, X, window, stride),
                               dilation=given.get("dilations", 1), groups=given.get("group", 1))
    return [run(layer, X, W=W, b=b)]


def mean_pool(given, X):
    window, stride = given["kernel_shape"], given.get("strides", [1] * (X.ndim - 2))
    return [run(layers.MeanPooling(window, stride, pads(given, X, window, stride),
                                   count_padding=bool(given.get("count_include_pad", 0))), X)]


def max_pool(given, X):
    window, stride = given["kernel_shape"], given.get("strides", [1] * (X.ndim - 2))
    return [run(layers.MaxPooling(window, stride, pads(given, X, window, stride)), X)]


def along(function, given, X):
    """A function of the last axis, along the axis that is asked for."""
    axis = given.get("axis", -1)
    return [np.moveaxis(function(np.moveaxis(X, axis, -1)), -1, axis)]


def batch_normalization(given, X, gamma, beta, mean, variance):
    layer = layers.BatchNormalization(momentum=given.get("momentum", 0.9), epsilon=given.get("epsilon", 1e-5))
    train = bool(given.get("training_mode", 0))
    H = run(layer, X, train, gamma=gamma, beta=beta, running_mean=mean, running_variance=variance)
    return [H, layer.running_mean, layer.running_variance] if train else [H]


def layer_normalization(given, X, gamma, beta):
    axis = given.get("axis", -1) % X.ndim
    layer = layers.LayerNormalization(epsilon=given.get("epsilon", 1e-5), axes=tuple(range(axis - X.ndim, 0)))
    return [run(layer, X, gamma=gamma, beta=beta)]


def cross_entropy(given, scores, labels, weights=None):
    """Every place of an image is an example; a class's weight is its examples'; what is ignored weighs nothing."""
    K, ignored = scores.shape[1], labels == given.get("ignore_index", None)
    A, Y = np.moveaxis(scores, 1, -1).reshape(-1, K), np.where(ignored, 0, labels).reshape(-1)
    w = (np.ones(K, A.dtype) if weights is None else weights)[Y] * ~ignored.reshape(-1)
    reduction = given.get("reduction", b"mean")
    if reduction == b"mean":
        result = loss.CategoricalCrossEntropy().joint(A, Y, w)[0]
    else:
        L = w * loss.softmax_cross_entropy(A, Y)[0]
        result = L.reshape(labels.shape) if reduction == b"none" else L.sum()
    return [result, *along(activation.log_softmax, {"axis": 1}, scores)]


OPERATORS = {
    "Gemm": gemm,
    "Conv": conv,
    "AveragePool": mean_pool,
    "MaxPool": max_pool,
    "GlobalAveragePool": lambda given, X: [run(layers.GlobalMeanPooling(), X)[:, :, None, None]],
    "GlobalMaxPool": lambda given, X: [run(layers.GlobalMaxPooling(), X)[:, :, None, None]],
    "Softmax": lambda given, X: along(activation.Softmax(), given, X),
    "LogSoftmax": lambda given, X: along(activation.LogSoftmax(), given, X),
    "Relu": lambda given, X: [activation.ReLU()(X)],
    "LeakyRelu": lambda given, X: [activation.LeakyReLU(given.get("alpha", 0.01))(X)],
    "Elu": lambda given, X: [activation.ELU(given.get("alpha", 1.0))(X)],
    "Gelu": lambda given, X: [activation.GELU(exact=given.get("approximate", b"none") == b"none")(X)],
    "Swish": lambda given, X: [activation.SiLU()(X)],
    "Softplus": lambda given, X: [activation.Softplus()(X)],
    "Sigmoid": lambda given, X: [activation.Sigmoid()(X)],
    "Tanh": lambda given, X: [activation.Tanh()(X)],
    "Flatten": lambda given, X: [run(layers.Flatten(), X)],
    "Transpose": lambda given, X: [run(layers.Permute(given.get("perm", [*range(X.ndim)][::-1])), X[None])[0]],
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "SoftmaxCrossEntropyLoss": cross_entropy,
}


def cases() -> dict:
    """The cases of the operators that slugnet has, by name without the leading test_."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    single = {case.name.removeprefix("test_"): case for case in found if case.model and len(case.model.graph.node) == 1}
    return {name: case for name, case in single.items() if case.model.graph.node[0].op_type in OPERATORS}


CASES = cases()
APPLICABLE = [name for name in CASES if left_out(name) is None]


@pytest.mark.parametrize("name", APPLICABLE)
def test_node(name):
    case = CASES[name]
    [node] = case.model.graph.node
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    [(inputs, outputs)] = case.data_sets
    results = OPERATORS[node.op_type](given, *inputs)
    for result, expected in zip(results, outputs):
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=min(case.rtol, 1e-4), atol=1e-6)


def test_every_case_is_run_or_has_a_reason(record_property):
    record_property("onnx", f"{len(APPLICABLE)} of the {len(CASES)} node tests that ONNX has for {len(OPERATORS)} operators of "
                            f"slugnet apply; the other {len(CASES) - len(APPLICABLE)} have their reasons in test_onnx.py")
    assert {case.model.graph.node[0].op_type for case in CASES.values()} == OPERATORS.keys()
    assert [pattern for pattern in LEFT_OUT if not any(re.fullmatch(pattern, name) for name in CASES)] == []
