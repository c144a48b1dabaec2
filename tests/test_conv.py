"""The convolution: bad input, odd shapes, files, memory, and another library's answers."""
import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.signal import correlate2d

from slugnet.activation import ReLU, Softmax, Tanh
from slugnet.check import check_layer, check_model
from slugnet.component import describe, revive
from slugnet.contract import Layer, Tape, batch_last
from slugnet.layers.convolution import Convolution, output_size, same_padding
from slugnet.layers.dense import Dense
from slugnet.loss import CategoricalCrossEntropy, MeanSquaredError
from slugnet.model import Model, load
from slugnet.optimizers import SGD

RNG = np.random.default_rng(0)


class Flatten(Layer):
    """Images as rows."""

    def build(self, input_shape):
        return (int(np.prod(input_shape)),)

    def forward(self, X, tape):
        tape[self]["shape"] = X.shape
        return X.reshape(len(X), -1)

    def backward(self, G, tape):
        return G.reshape(tape[self]["shape"])


def bound(layer: Convolution, shape: tuple, dtype=float) -> Convolution:
    layer.build(shape)
    layer.bind(np.zeros(layer.size, dtype), np.zeros(layer.size, dtype), np.zeros(0, dtype))
    layer.initialize(np.random.default_rng(0))
    return layer


def bars(m: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Images of a bar that stands (1) or lies (0)."""
    rng = np.random.default_rng(1)
    X, y = 0.1 * rng.standard_normal((m, 1, 6, 6)), np.arange(m) % 2
    for picture, stands, place in zip(X[:, 0], y, rng.integers(0, 6, m)):
        (picture.T if stands else picture)[place] += 1
    return X, y


def classifier(seed: int = 0, dtype: str = "float32") -> Model:
    layers = [Convolution(4, 3, activation=ReLU()), Convolution(3, (2, 1), stride=2, padding="same", activation=Tanh()),
              Flatten(), Dense(2, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), optimizer=SGD(0.3), seed=seed, dtype=dtype)


# ---- bad input

@pytest.mark.parametrize(("arguments", "error", "words"), [
    ((0, 3), ValueError, "filters must be at least 1; got 0"),
    ((2.0, 3), TypeError, "filters must be an integer"),
    ((2, 0), ValueError, "window must be at least 1"),
    ((2, (3, 3, 3)), ValueError, "window must be an integer, or one for each axis"),
    ((2, ()), ValueError, "window must be an integer, or one for each axis"),
    ((2, "3"), TypeError, "window must be an integer"),
    ((2, 3, -1), ValueError, "stride must be at least 1; got -1"),
    ((2, 3, (1, 0)), ValueError, "stride must be at least 1; got 0"),
    ((2, 3, 1.5), TypeError, "stride must be an integer"),
    ((2, 3, 1, "full"), ValueError, "padding must be 'valid', 'same', .* got 'full'"),
    ((2, 3, 1, -1), ValueError, "padding must be at least 0; got -1"),
    ((2, 3, 1, (1, (0, -2))), ValueError, "padding must be at least 0; got -2"),
    ((2, 3, 1, ((1, 2, 3), 1)), ValueError, "padding of an axis must be an integer or a pair"),
    ((2, 3, 1, None), TypeError, "padding must be an integer"),
    ((2, 3, 1, 0, 0), ValueError, "dilation must be at least 1"),
    ((2, 3, 1, 0, 1, 0), ValueError, "groups must be at least 1"),
    ((4, 3, 1, 0, 1, 3), ValueError, "groups must divide the number of filters, 4; got 3"),
    ((4, 3, 1, 0, 1, 1, ReLU), TypeError, "activation must be an instance"),
    ((4, 3, 1, 0, 1, 1, None, 0), TypeError, "bias must be of type bool"),
    ((4, 3, 1, 0, 1, 1, None, True, "he"), TypeError, "initializer must be of type Initializer"),
])
def test_a_bad_argument_is_refused_at_construction(arguments, error, words):
    with pytest.raises(error, match=words):
        Convolution(*arguments)


@pytest.mark.parametrize(("layer", "shape", "words"), [
    (Convolution(2, 3), (64,), r"channels, height, width.*got \(64,\)"),
    (Convolution(2, 3), (1, 2, 3, 4), "channels, height, width"),
    (Convolution(2, 3), (1, 2, 8), r"window must not be larger than the input: \(3, 3\)"),
    (Convolution(2, 3, dilation=4), (1, 8, 8), "does not fit into"),
    (Convolution(2, 3), (1, 2), "does not fit into"),
    (Convolution(2, 3, groups=2), (3, 8, 8), "groups must divide the number of channels, 3; got 2"),
    (Convolution(2, (3, 3)), (1, 8), "window must have one entry for each axis in space, here 1"),
    (Convolution(2, 3, stride=(1,)), (1, 8, 8), "stride must have one entry"),
    (Convolution(2, 3, padding=(1, 2)), (1, 8), "padding must have one entry"),
    (Convolution(2, 3, dilation=(1, 2)), (1, 8), "dilation must have one entry"),
])
def test_what_does_not_fit_is_refused_at_build(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        layer.build(shape)
    assert not layer.shapes


# ---- shapes and numbers

@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_same_gives_as_many_as_the_stride_leaves(n, stride, window):
    expected = -(-n // stride)
    assert output_size(n, window, stride, same_padding(n, window, stride)) == expected
    assert Convolution(1, window, stride=stride, padding="same").build((1, n, n)) == (1, expected, expected)
    before, after = same_padding(n, window, stride)
    assert 0 <= after - before <= 1


@pytest.mark.parametrize("options", [{}, {"stride": 3}, {"padding": "same", "stride": 2}, {"dilation": 2, "padding": 2},
                                     {"padding": [[2, 0], 1]}, {"groups": 2, "bias": False}])
@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 3, 3), (4, 5, 8)])
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients(options, shape, batch):
    if options.get("groups") or shape[0] == 2:
        check_layer(Convolution(2, (3, 2), activation=Tanh(), **options), shape, batch=batch, limit=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (4, 6)])
@pytest.mark.parametrize("train", [True, False])
def test_gradients_of_signals(shape, train):
    check_layer(Convolution(4, 3, stride=2, padding=[(2, 1)], groups=shape[0]), shape, batch=2, train=train)
    check_layer(Convolution(2, 3, padding="same"), shape, batch=1, train=train)


def test_it_is_the_correlation_of_scipy():
    X = RNG.standard_normal((2, 3, 7, 6))
    for mode, padding in (("valid", "valid"), ("same", "same"), ("full", (2, 2))):
        layer = bound(Convolution(4, 3, padding=padding), (3, 7, 6))
        expected = [[sum(correlate2d(x[c], kernel[c], mode) for c in range(3)) for kernel in layer.W] for x in X]
        np.testing.assert_allclose(layer.forward(X, Tape()), expected, atol=1e-12)
    assert not np.allclose(layer.W, layer.W[:, :, ::-1, ::-1])


def test_a_signal_is_an_image_of_one_row():
    X = RNG.standard_normal((3, 2, 9))
    options = {"stride": 2, "groups": 2}
    signal = bound(Convolution(4, 3, padding=[(2, 1)], **options), (2, 9))
    image = bound(Convolution(4, (1, 3), padding=(0, (2, 1)), **options), (2, 1, 9))
    image.W[...] = signal.W[:, :, None]
    got, expected = signal.forward(X, Tape()), image.forward(X[:, :, None], Tape())
    assert got.shape == (3, 4, 5)
    np.testing.assert_allclose(got, expected[:, :, 0], atol=1e-14)


@pytest.mark.parametrize("m", [1, 5])
def test_any_order_in_memory_gives_the_same(m):
    layer = bound(Convolution(4, 3, stride=2, padding=(1, 0)), (2, 7, 6))
    X, results = RNG.standard_normal((m, 2, 7, 6)), []
    last, reverse = batch_last(X.shape, float), np.zeros((m, 2, 7, 12))[..., ::-2]
    last[...], reverse[...] = X, X
    G = RNG.standard_normal((m, *layer.build((2, 7, 6))))
    for inputs in (X, last, reverse, np.asfortranarray(X)):
        for gradient in (G, np.asfortranarray(G)):
            tape = Tape()
            H = layer.forward(inputs, tape)
            G_in = layer.affine_backward(gradient, tape)
            results.append([H.copy(), G_in.copy(), layer.dW.copy(), layer.db.copy()])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_blocks_of_any_size_give_the_same():
    X, G = RNG.standard_normal((2, 4, 11, 9)), RNG.standard_normal((2, 6, 6, 5))
    layer, results = bound(Convolution(6, 3, stride=2, padding=1, groups=2), (4, 11, 9)), []
    for layer.block_bytes in (1, 9000, 20_000, 10**9):
        tape = Tape()
        results.append([layer.forward(X, tape).copy(), layer.backward(G, tape).copy(), layer.dW.copy()])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype):
    layer, tape = bound(Convolution(2, 3, padding=1, activation=ReLU()), (1, 5, 5), dtype), Tape()
    H = layer.forward(RNG.standard_normal((2, 1, 5, 5)).astype(dtype), tape)
    assert H.dtype == layer.backward(H.copy(), tape).dtype == layer.dW.dtype == dtype


def test_arguments_are_not_changed_and_gradients_are_overwritten():
    layer, tape = bound(Convolution(2, 2, padding=1), (1, 4, 4)), Tape()
    X, G = RNG.standard_normal((3, 1, 4, 4)), RNG.standard_normal((3, 2, 5, 5))
    before = X.copy(), G.copy()
    layer.forward(X, tape)
    layer.backward(G, tape)
    first = layer.dW.copy(), layer.db.copy()
    layer.dW[...], layer.db[...] = np.nan, np.nan
    layer.backward(G, tape)
    assert np.array_equal(X, before[0]) and np.array_equal(G, before[1])
    assert np.array_equal(layer.dW, first[0]) and np.array_equal(layer.db, first[1])


def test_a_layer_does_not_divide_by_the_batch():
    layer, tape = bound(Convolution(2, 3), (1, 5, 5)), Tape()
    X, G = RNG.standard_normal((2, 1, 5, 5)), RNG.standard_normal((2, 2, 3, 3))
    layer.forward(X, tape)
    layer.backward(G, tape)
    once = layer.dW.copy()
    layer.forward(np.tile(X, (2, 1, 1, 1)), tape)
    layer.backward(np.tile(G, (2, 1, 1, 1)), tape)
    np.testing.assert_allclose(layer.dW, 2 * once)


@pytest.mark.parametrize(("m", "shape", "options"), [(64, (8, 16, 16), {"padding": 1}), (1, (16, 96, 96), {}),
                                                     (32, (8, 400), {"padding": "same", "groups": 4})])
def test_a_steady_state_allocates_nothing_large(m, shape, options):
    layer, tape = bound(Convolution(16, 3, activation=ReLU(), **options), shape, np.float32), Tape(train=True)
    X = batch_last((m, *shape), np.float32)
    X[...] = RNG.standard_normal(X.shape)
    H = layer.forward(X, tape)
    G = batch_last(H.shape, np.float32)
    G[...] = H
    layer.backward(G, tape)
    tracemalloc.start()
    try:
        layer.affine(X, tape)
        layer.affine_backward(G, tape)
        assert tracemalloc.get_traced_memory()[1] < 150_000 < H.nbytes / 3  # NumPy's own buffers take 96 kB
    finally:
        tracemalloc.stop()


# ---- in a model

def test_its_kernels_train():
    X, y = bars()
    model = classifier().build((1, 6, 6))
    before = {name: value.copy() for name, value in model.parameters.items()}
    model.fit(X, y, epochs=30, batch_size=10, progress=False)
    for name, value in model.parameters.items():
        assert (value != before[name]).any(), name
    assert (model.parameters["0.W"] != before["0.W"]).all()
    assert model.evaluate(X, y)["accuracy"] > 0.95


def test_kernels_find_those_that_made_the_targets():
    X = RNG.standard_normal((20, 1, 6, 6))
    Y = bound(Convolution(1, 3, padding="same"), (1, 6, 6)).forward(X[:, :, ::-1].copy(), Tape())[:, :, ::-1]
    layers = [Convolution(1, 3, padding="same"), Flatten()]
    model = Model(layers, loss=MeanSquaredError(), optimizer=SGD(0.01), seed=1, dtype="float64").build((1, 6, 6))
    before = model.evaluate(X, Y.reshape(20, -1))["loss"]
    model.fit(X, Y.reshape(20, -1), epochs=100, batch_size=20, progress=False)
    assert model.evaluate(X, Y.reshape(20, -1))["loss"] < 1e-3 * before


def test_the_gradient_of_a_whole_model():
    X, y = bars(4)
    check_model(classifier(dtype="float64").build((1, 6, 6)), X, y)


def test_copies_and_pickles_compute_the_same():
    X, y = bars()
    model = classifier()
    model.fit(X, y, epochs=1, progress=False)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.transform(X), model.transform(X))
        assert not np.shares_memory(twin.theta, model.theta)


@pytest.mark.parametrize("layer", [
    Convolution(8, 3), Convolution(8, (3, 2), stride=(1, 2), padding=((0, 1), 2), dilation=2, groups=2, bias=False),
    Convolution(4, [3], padding="same", activation=ReLU())])
def test_it_is_described_and_revived(layer):
    classes = {"Convolution": Convolution, "ReLU": ReLU, "Identity": type(Convolution(1, 1).activation)}
    twin = revive(describe(layer), classes)
    assert repr(twin) == repr(layer) and twin.padding == layer.padding and twin.window == layer.window


def test_save_and_load(tmp_path):
    X = RNG.standard_normal((5, 2, 6, 6)).astype(np.float32)
    layers = [Convolution(3, 3, stride=2, padding=((0, 1), (1, 0)), groups=1, activation=ReLU())]
    model = Model(layers, loss=MeanSquaredError(), seed=0).build((2, 6, 6))
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model", custom=[Convolution])
    assert np.array_equal(twin.transform(X), model.transform(X))
