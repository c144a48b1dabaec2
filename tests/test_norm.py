"""Batch and layer normalisation and the activation as a layer: bad input, odd shapes, dtypes, models, memory."""
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from slugnet.activation import LogSoftmax, Sigmoid, Softmax, Tanh
from slugnet.check import check_layer, check_model, complex_step
from slugnet.contract import Tape, batch_last
from slugnet.layers.activation import Activation
from slugnet.layers.batch_normalization import BatchNormalization, moments, normalize
from slugnet.layers.dense import Dense
from slugnet.layers.layer_normalization import LayerNormalization, feature_axes, standardize
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquaredError
from slugnet.model import Model, load
from slugnet.network import Network
from slugnet.optimizers import SGD

RNG = np.random.default_rng(0)
X, y = RNG.standard_normal((33, 4)), np.arange(33) % 3
LAYERS = [BatchNormalization, LayerNormalization]


def bound(layer, shape, dtype=np.float64):
    layer.build(shape)
    layer.bind(np.zeros(layer.size, dtype), np.zeros(layer.size, dtype), np.zeros(layer.state_size, dtype))
    layer.initialize(RNG)
    return layer


def normalised(dtype="float64", seed=0) -> Model:
    layers = [Dense(6), BatchNormalization(momentum=0.5), Activation(Tanh()), Dense(5), LayerNormalization(),
              Activation(Tanh()), Dense(3), Activation(Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), optimizer=SGD(0.1), seed=seed, dtype=dtype)


# ---- bad input

@pytest.mark.parametrize("make, error, words", [
    (lambda: BatchNormalization(momentum=1.0), ValueError, "momentum must be finite and at least 0 and below 1"),
    (lambda: BatchNormalization(momentum=-0.1), ValueError, "momentum"),
    (lambda: BatchNormalization(momentum=None), TypeError, "momentum must be a real number; got None"),
    (lambda: BatchNormalization(epsilon=0), ValueError, "epsilon must be finite and above 0; got 0"),
    (lambda: BatchNormalization(epsilon=np.nan), ValueError, "epsilon"),
    (lambda: BatchNormalization().build(()), ValueError, r"\(n,\) or \(c, ...\); got \(\)"),
    (lambda: LayerNormalization(epsilon=-1), ValueError, "epsilon"),
    (lambda: LayerNormalization(axes="last"), TypeError, "axes must be an integer; got 'last'"),
    (lambda: LayerNormalization(axes=[0, 1.0]), TypeError, "axes must be an integer; got 1.0"),
    (lambda: LayerNormalization(axes=True), TypeError, "axes"),
    (lambda: LayerNormalization(axes=2).build((3, 4)), ValueError, r"axes must lie between -2 and 1 .* got \(2,\)"),
    (lambda: LayerNormalization(axes=-3).build((3, 4)), ValueError, "axes"),
    (lambda: LayerNormalization(axes=(1, -1)).build((3, 4)), ValueError, "none twice"),
    (lambda: LayerNormalization(axes=[]).build((3, 4)), ValueError, "at least one axis"),
    (lambda: LayerNormalization().build(()), ValueError, "at least one axis"),
    (lambda: Activation(Tanh), TypeError, "function"),
    (lambda: Activation("tanh"), TypeError, "function"),
    (lambda: Activation(None), TypeError, "function"),
    (lambda: Activation(Dense(3)), TypeError, "function"),
])
def test_bad_input_is_refused_in_clear_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_layers_show_how_they_were_made():
    assert repr(BatchNormalization()) == "BatchNormalization()"
    assert repr(BatchNormalization(0.5, 0.1)) == "BatchNormalization(momentum=0.5, epsilon=0.1)"
    assert repr(LayerNormalization(axes=-1)) == "LayerNormalization(axes=[-1])"
    assert repr(LayerNormalization()) == "LayerNormalization()"
    assert repr(Activation(Tanh())) == "Activation(Tanh())"


# ---- shapes, memory orders, dtypes

SHAPES = [((3,), 4), ((1,), 1), ((1,), 5), ((5,), 1), ((2, 1), 3), ((1, 4), 2), ((2, 3, 3), 2), ((1, 1, 1), 4),
          ((3, 1, 2), 1), ((2, 2, 1, 2), 2)]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape, m", SHAPES)
@pytest.mark.parametrize("train", [True, False])
def test_gradients_at_odd_shapes(kind, shape, m, train):
    check_layer(kind(epsilon=1e-3), shape, batch=m, train=train)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("train", [True, False])
def test_any_strides_give_the_same(kind, train):
    images, G = RNG.standard_normal((2, 4, 3, 5, 2))
    results = []
    for order in (np.ascontiguousarray, np.asfortranarray, lambda A: A[::-1][::-1], lambda A: A[:, ::-1][:, ::-1],
                  lambda A: np.copyto(B := batch_last(A.shape, A.dtype), A) or B):
        layer, tape = bound(kind(), (3, 5, 2)), Tape(train)
        layer.gamma[...] = np.linspace(1, 2, layer.gamma.size).reshape(layer.gamma.shape)
        H = layer.forward(order(images), tape)
        results.append((H, layer.backward(order(G), tape), layer.dgamma, layer.dbeta))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [BatchNormalization(), LayerNormalization(), LayerNormalization(axes=(0, 2)),
                                   Activation(Sigmoid())])
@pytest.mark.parametrize("train", [True, False])
def test_float32_stays(layer, train):
    layer, tape = bound(copy.deepcopy(layer), (3, 4, 5), np.float32), Tape(train)
    images, G = RNG.standard_normal((2, 6, 3, 4, 5)).astype(np.float32)
    assert layer.forward(images, tape).dtype == layer.backward(G, tape).dtype == np.float32


def test_large_offsets_in_float32():
    for offset in (1e2, 1e4):
        for shape in ((4096, 3), (65536, 3), (16, 3, 16, 16)):
            values = (RNG.standard_normal(shape) + offset).astype(np.float32)
            axes = (0, *range(2, len(shape)))
            exact = values.astype(float)
            exact = (exact - exact.mean(axes, keepdims=True)) / exact.std(axes, keepdims=True)
            H = bound(BatchNormalization(epsilon=1e-12), shape[1:], np.float32).forward(values, Tape(train=True))
            assert np.abs(H - exact).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int64, np.float16, np.float32])
def test_moments_of_any_numbers(dtype):
    largest = 1 if dtype == np.bool_ else 100
    values = RNG.integers(0, largest + 1, (1000, 3)).astype(dtype)
    before, exact = values.copy(), values.astype(float)
    mean, variance, D = moments(values, (0,))
    np.testing.assert_allclose(mean[0], exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance[0], exact.var(0), rtol=1e-5)
    np.testing.assert_allclose(D, exact - exact.mean(0), atol=1e-4)
    assert np.array_equal(values, before) and not np.shares_memory(D, values)


@pytest.mark.parametrize("scale", [1e-15, 1e15, 2e18, 1e19, 3e19])
def test_very_small_and_very_large_numbers_in_float32(scale):
    values = (scale * (1 + RNG.standard_normal((1000, 2)) / 100)).astype(np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        mean, variance, D = moments(values, (0,))
        H = bound(BatchNormalization(), (2,), np.float32).forward(values, Tape(train=True))
    exact = values.astype(float)
    np.testing.assert_allclose(variance[0], exact.var(0), rtol=1e-4, atol=1e-40)
    np.testing.assert_allclose(H, (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5), rtol=1e-3, atol=1e-3)


def test_a_constant_feature_is_its_shift_and_stays_finite():
    layer, tape = bound(BatchNormalization(), (2,), np.float32), Tape(train=True)
    layer.beta[...] = [3, 4]
    values = np.array([[1e4, 0.1]] * 7, np.float32)
    np.testing.assert_allclose(layer.forward(values, tape), [[3, 4]] * 7, atol=1e-3)
    assert np.isfinite(layer.backward(RNG.standard_normal((7, 2)).astype(np.float32), tape)).all()


# ---- batch normalisation

def test_running_statistics_are_biased_and_follow_in_training_alone():
    layer = bound(BatchNormalization(momentum=0.6), (4,))
    layer.forward(X, Tape(train=False))
    assert not layer.running_mean.any() and (layer.running_variance == 1).all()
    layer.forward(X, Tape(train=True))
    np.testing.assert_allclose(layer.running_mean, 0.4 * X.mean(0))
    np.testing.assert_allclose(layer.running_variance, 0.6 + 0.4 * X.var(0, ddof=0))


def test_at_test_an_example_does_not_depend_on_its_batch():
    model = normalised()
    model.fit(X, y, epochs=3, batch_size=8, progress=False)
    together = model.transform(X)
    np.testing.assert_allclose(np.concatenate([model.transform(X[i:i + 1]) for i in range(33)]), together)
    np.testing.assert_allclose(model.transform(X, batch_size=5), together)


def test_prediction_and_evaluation_leave_the_state_alone():
    model = normalised()
    model.fit(X, y, epochs=1, progress=False)
    before = model.state.copy()
    model.transform(X), model.predict(X), model.evaluate(X, y), model.loss_and_gradients(X, y)
    assert np.array_equal(model.state, before)


def test_a_last_batch_of_one_example_does_not_stop_training():
    model = normalised()
    model.fit(X, y, epochs=1, batch_size=32, progress=False, shuffle=False)
    assert np.isfinite(model.theta).all() and np.isfinite(model.state).all()
    layer = bound(BatchNormalization(), (4,))
    layer.forward(X[:1], Tape(train=True))
    assert not layer.running_mean.any() and (layer.running_variance == 1).all()


def test_the_gradient_is_not_that_of_fixed_statistics():
    layer, tape, G = bound(BatchNormalization(), (4,)), Tape(train=True), RNG.standard_normal((33, 4))
    layer.forward(X, tape)
    G_in = layer.backward(G, tape)
    np.testing.assert_allclose(G_in.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((G_in * X).sum(axis=0), 0, atol=1e-3)
    assert np.abs(G_in - G / X.std(0)).max() > 0.1


def test_scale_and_shift_are_not_decayed():
    network = Network([Dense(4), BatchNormalization(), LayerNormalization()])
    network.build((4,))
    assert {name for name, _, decayed in network.parameters() if decayed} == {"0.W"}


def test_bias_before_batch_normalisation_has_no_gradient():
    model = Model([Dense(5), BatchNormalization(), Dense(2)], loss=MeanSquaredError(), seed=1, dtype="float64").build((4,))
    _, gradients = model.loss_and_gradients(X, X[:, :2], train=True)
    np.testing.assert_allclose(gradients["0.b"], 0, atol=1e-12)
    assert np.abs(gradients["0.W"]).max() > 1e-3


# ---- layer normalisation

def test_layer_normalisation_has_no_state_and_one_mode():
    layer = bound(LayerNormalization(), (4,))
    assert layer.state_size == 0
    assert np.array_equal(layer.forward(X, Tape(train=True)), layer.forward(X, Tape(train=False)))


@pytest.mark.parametrize("axes, shape, size", [(None, (2, 3), (2, 3)), (-1, (2, 3), (3,)), (0, (2, 3), (2,)),
                                               ((1, 0), (2, 3), (2, 3)), ((0, 2), (2, 3, 4), (2, 4))])
def test_scale_has_the_shape_of_the_axes_in_order(axes, shape, size):
    layer = LayerNormalization(axes=axes)
    layer.build(shape)
    assert layer.shapes == {"gamma": size, "beta": size}


def test_the_scale_of_layer_normalisation_is_inside_the_means():
    layer, tape, G = bound(LayerNormalization(), (4,)), Tape(), RNG.standard_normal((33, 4))
    layer.gamma[...] = [1, -2, 3, 0.5]
    layer.forward(X, tape)
    by_step = complex_step(lambda Z: np.sum(G * layer.gamma * (Z - Z.mean(1, keepdims=True)) / np.sqrt(
        np.mean((Z - Z.mean(1, keepdims=True)) ** 2, axis=1, keepdims=True) + 1e-5)), X)
    np.testing.assert_allclose(layer.backward(G, tape), by_step, atol=1e-12)


def test_functions_take_axes_that_include_the_batch():
    for axes in ((0, 1), (1,), (0,), (0, 1, 2)):
        values = RNG.standard_normal((2, 3, 4))
        X_hat, mean, inverse = standardize(values, axes, 0.1)
        np.testing.assert_allclose(mean, values.mean(axes, keepdims=True))
        np.testing.assert_allclose(inverse, 1 / np.sqrt(values.var(axes, keepdims=True) + 0.1))
        np.testing.assert_allclose(normalize(values, 1, 0, *moments(values, axes)[:2], 0.1), X_hat)
    assert feature_axes(range(1, 3), 4) == (2, 3)


# ---- the activation as a layer

@pytest.mark.parametrize("function", [Tanh(), Sigmoid(), Softmax(), LogSoftmax()])
def test_activation_makes_no_copy_and_changes_nothing(function):
    layer, tape, values = Activation(function), Tape(), X.copy()
    assert layer.build((4,)) == (4,) and layer.size == 0
    H = layer.forward(values, tape)
    assert tape[layer]["A"] is values and np.array_equal(values, X) and not np.shares_memory(H, values)


@pytest.mark.parametrize("function, loss, target", [(Softmax(), CategoricalCrossEntropy(), 1), (Sigmoid(), BinaryCrossEntropy(), 0)])
def test_activation_takes_the_joint_form(function, loss, target):
    units = 2 if isinstance(function, Softmax) else 1
    model = Model([Dense(units), Activation(function)], loss=loss, seed=0).build((1,))
    model.parameters["0.b"][...] = [200, 0][:units]
    J, gradients = model.loss_and_gradients([[0.0]], [target])
    assert J == pytest.approx(200) and gradients["0.b"][0] == pytest.approx(1)


def test_the_gradient_of_a_model_that_has_them_all():
    check_model(normalised().build((4,)), X[:6], y[:6])


# ---- within a model

@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_load_copy_and_pickle_keep_parameters_and_state(tmp_path, dtype):
    model = normalised(dtype)
    model.fit(X, y, epochs=2, batch_size=10, progress=False)
    model.save(tmp_path / "model.safetensors")
    kinds = [Activation, BatchNormalization, LayerNormalization]
    loaded = load(tmp_path / "model.safetensors", custom=kinds)
    assert not np.allclose(model.state[:6], 0)
    for other in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.theta, model.theta) and np.array_equal(other.state, model.state)
        assert np.array_equal(other.transform(X), model.transform(X))
        assert [repr(layer) for layer in other.layers] == [repr(layer) for layer in model.layers]
        before = model.state.copy()
        other.fit(X, y, epochs=1, progress=False)
        assert np.array_equal(model.state, before) and not np.array_equal(other.state, before)


@pytest.mark.parametrize("layer", [BatchNormalization(), LayerNormalization(), LayerNormalization(axes=-1),
                                   Activation(Tanh())])
@pytest.mark.parametrize("shape", [(256, 512), (64, 8, 28, 28)])
def test_steady_state_allocates_nothing_large(layer, shape):
    layer, tape = bound(copy.deepcopy(layer), shape[1:], np.float32), Tape(train=True)
    values, G = batch_last(shape, np.float32), batch_last(shape, np.float32)
    values[...], G[...] = RNG.standard_normal((2, *shape))
    for _ in range(2):
        layer.backward(G, (layer.forward(values, tape), tape)[1])
    tracemalloc.start()
    layer.forward(values, tape)
    layer.backward(G, tape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 2
