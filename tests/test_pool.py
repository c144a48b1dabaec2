"""Pooling and reshaping beyond what their notebooks hold: bad input, odd shapes, memory, and whole models."""
import copy
import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

from slugnet.activation import ReLU, Softmax
from slugnet.check import check_layer
from slugnet.contract import Tape, batch_last
from slugnet.layers import (
    Dense, Flatten, GlobalMaxPooling, GlobalMeanPooling, MaxPooling, MeanPooling, Permute, Reshape, Upsampling, ZeroPadding)
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model, load

BAD = {
    "window 0": (lambda: MaxPooling(0), ValueError, ["window", "0"]),
    "window negative": (lambda: MeanPooling(-2), ValueError, ["window", "-2"]),
    "window of floats": (lambda: MaxPooling(2.0), TypeError, ["window", "2.0"]),
    "window a word": (lambda: MaxPooling("2"), TypeError, ["window", "'2'"]),
    "one entry bad": (lambda: MaxPooling((2, 0)), ValueError, ["window[1]", "0"]),
    "stride negative": (lambda: MaxPooling(2, stride=-1), ValueError, ["stride", "-1"]),
    "stride 0": (lambda: MeanPooling(2, stride=(1, 0)), ValueError, ["stride[1]", "0"]),
    "padding unknown": (lambda: MaxPooling(2, padding="full"), ValueError, ["padding", "full", "same"]),
    "padding negative": (lambda: MaxPooling(2, padding=-1), ValueError, ["padding", "-1"]),
    "padding None": (lambda: MaxPooling(2, padding=None), TypeError, ["padding", "None"]),
    "three sides": (lambda: MaxPooling(2, padding=((1, 1, 1), 0)), ValueError, ["padding[0]", "(1, 1, 1)"]),
    "count_padding a number": (lambda: MeanPooling(2, count_padding=1), TypeError, ["count_padding", "1"]),
    "too large": (lambda: MaxPooling(9).build((1, 8, 8)), ValueError, ["window", "(9, 9)", "(8, 8)"]),
    "too wide": (lambda: MeanPooling((1, 9)).build((1, 9, 8)), ValueError, ["window", "(1, 9)", "(9, 8)"]),
    "nothing but padding": (lambda: MaxPooling(2, padding=2).build((1, 8, 8)), ValueError, ["padding", "window"]),
    "padding at the end": (lambda: MeanPooling(2, 1, ((0, 2), 0)).build((1, 8, 8)), ValueError, ["padding"]),
    "vectors": (lambda: MaxPooling(2).build((64,)), ValueError, ["MaxPooling", "(64,)", "channels"]),
    "global, vectors": (lambda: GlobalMaxPooling().build((64,)), ValueError, ["GlobalMaxPooling", "(64,)"]),
    "axes of window": (lambda: MaxPooling((2, 2)).build((1, 8)), ValueError, ["window", "(2, 2)"]),
    "axes of stride": (lambda: MaxPooling(2, (2, 2)).build((1, 8)), ValueError, ["stride", "(2, 2)"]),
    "axes of padding": (lambda: MaxPooling(2, padding=(1,)).build((1, 8, 8)), ValueError, ["padding", "(1,)"]),
    "two unknowns": (lambda: Reshape((-1, -1)), ValueError, ["shape", "-1"]),
    "size 0": (lambda: Reshape((0, 3)), ValueError, ["shape", "0"]),
    "does not fill": (lambda: Reshape((3, -1)).build((8,)), ValueError, ["shape", "8"]),
    "too few": (lambda: Reshape((2, 3)).build((8,)), ValueError, ["shape", "(2, 3)"]),
    "frame of words": (lambda: ZeroPadding("same"), TypeError, ["padding", "same"]),
    "frame negative": (lambda: ZeroPadding(((1, -1), 0)), ValueError, ["padding", "-1"]),
    "frame, axes": (lambda: ZeroPadding((1, 1)).build((1, 8)), ValueError, ["padding", "(1, 1)"]),
    "factor 0": (lambda: Upsampling(0), ValueError, ["factor", "0"]),
    "factor, axes": (lambda: Upsampling((2, 2)).build((1, 8)), ValueError, ["factor", "(2, 2)"]),
    "in a model": (lambda: Model([MaxPooling(9)]).build((1, 8, 8)), ValueError, ["layer 0", "window", "(9, 9)"]),
}

LAYERS = {
    "max": lambda: MaxPooling(2), "max, overlapping": lambda: MaxPooling(3, 2, padding="same"),
    "mean": lambda: MeanPooling(2), "mean, overlapping": lambda: MeanPooling(3, 1, padding=((1, 0), 1)),
    "mean, padding counts": lambda: MeanPooling(3, 2, padding=1, count_padding=True),
    "global max": GlobalMaxPooling, "global mean": GlobalMeanPooling, "flatten": Flatten,
    "reshape": lambda: Reshape((-1, 2)), "zero padding": lambda: ZeroPadding(((1, 0), 2)),
    "upsampling": lambda: Upsampling((2, 3)), "permute": lambda: Permute((2, 0, 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    action, kind, words = BAD[case]
    with pytest.raises(kind) as caught:
        action()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_refused_shape_leaves_the_layer_as_it_was():
    layer = MaxPooling(3)
    layer.build((2, 7, 7))
    before = layer.windows
    with pytest.raises(ValueError, match="window"):
        layer.build((2, 2, 2))
    assert layer.windows is before


# ---- the mistake of earlier work: mean pooling slid by 1 forward and by the window backward

@pytest.mark.parametrize(("window", "stride"), [(2, 1), (3, 1), (3, 2), (2, 3), (4, 3)])
def test_mean_pooling_slides_alike_in_both_directions(window, stride):
    """Forward and backward are one matrix and its transpose, written out window by window."""
    layer, tape = MeanPooling(window, stride), Tape()
    _, rows, columns = layer.build((1, 7, 6))
    P = np.zeros((rows, columns, 7, 6))
    for i, j in np.ndindex(rows, columns):
        P[i, j, i * stride:i * stride + window, j * stride:j * stride + window] = 1 / window**2
    rng = np.random.default_rng(0)
    X, G = rng.standard_normal((2, 1, 7, 6)), rng.standard_normal((2, 1, rows, columns))
    np.testing.assert_allclose(layer.forward(X, tape), np.einsum("ijab,mcab->mcij", P, X), atol=1e-14)
    np.testing.assert_allclose(layer.backward(G, tape), np.einsum("ijab,mcij->mcab", P, G), atol=1e-14)
    assert (rows, columns) == ((7 - window) // stride + 1, (6 - window) // stride + 1)


# ---- the layers at odd shapes

@pytest.mark.parametrize(("shape", "batch"), list(itertools.product(((1, 1, 1), (1, 4, 3), (2, 1, 5), (2, 5)), (1, 2))))
@pytest.mark.parametrize("train", [True, False])
def test_gradients_at_odd_shapes(shape, batch, train):
    for layer in (MaxPooling(3, 2, "same"), MaxPooling(2, 3, padding=1), MeanPooling(3, 2, "same"),
                  MeanPooling(2, 3, padding=1, count_padding=True), GlobalMaxPooling(), GlobalMeanPooling(), Flatten(),
                  ZeroPadding(1), Upsampling(2)):
        assert check_layer(layer, shape, batch, train=train) < 1e-9


@pytest.mark.parametrize("layer", [MaxPooling(2), MaxPooling(3, 1, padding=1), MaxPooling((1, 4), (2, 3)),
                                   GlobalMaxPooling()], ids=repr)
def test_ties_pay_exactly_one_pixel(layer):
    """Of images in three grey levels, each window pays one pixel, the first of the largest, row by row."""
    X = np.random.default_rng(0).integers(0, 3, (3, 2, 5, 8)).astype(float)
    tape, shape = Tape(), layer.build(X.shape[1:])
    H = layer.forward(X, tape)
    for place in np.ndindex(H.shape):
        G = np.zeros((3, *shape))
        G[place] = 1
        paid = layer.backward(G, tape)
        [where] = np.argwhere(paid)
        assert paid.sum() == 1 and X[tuple(where)] == H[place]
        if isinstance(layer, GlobalMaxPooling) or layer.padding == "valid":
            window, stride = (getattr(layer, name, None) for name in ("window", "stride"))
            k = np.broadcast_to(window or (5, 8), 2)
            start = np.array([*place[2:], 0, 0][:2]) * np.broadcast_to(stride or k, 2)
            part = X[place[:2]][tuple(slice(a, a + b) for a, b in zip(start, k))]
            assert (where[2:] == start + np.unravel_index(part.argmax(), part.shape)).all()


def test_padding_never_wins_and_counts_only_if_asked():
    X = np.full((1, 1, 2, 2), -3.0)
    answers = {}
    for layer in (MaxPooling(3, 1, 1), MeanPooling(3, 1, 1), MeanPooling(3, 1, 1, count_padding=True)):
        layer.build((1, 2, 2))
        answers[repr(layer)] = layer.forward(X, Tape())
    largest, mean, counted = answers.values()
    assert (largest == -3).all() and (mean == -3).all() and np.allclose(counted, -3 * 4 / 9)


def test_infinities_and_nan():
    X = np.array([[[[-np.inf, -np.inf, 1, np.nan], [-np.inf, -np.inf, 2, 3]]]])
    layer, tape = MaxPooling(2), Tape()
    layer.build((1, 2, 4))
    H = layer.forward(X, tape)
    assert H[0, 0, 0, 0] == -np.inf and np.isnan(H[0, 0, 0, 1])
    assert layer.backward(np.ones_like(H), tape)[0, 0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


# ---- memory

@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_strides_and_arguments(name, dtype):
    """The same numbers whatever the memory's order; dtype kept; arguments unchanged; nothing stale."""
    rng, shape = np.random.default_rng(0), (4, 6, 8)
    layer = LAYERS[name]()
    out_shape = layer.build(shape)
    X, G = rng.standard_normal((3, *shape)).astype(dtype), rng.standard_normal((3, *out_shape)).astype(dtype)
    tape = Tape()
    H, G_in = layer.forward(X, tape).copy(), layer.backward(G, tape).copy()
    assert H.dtype == G_in.dtype == dtype and H.shape == (3, *out_shape) and G_in.shape == X.shape
    images, gradients = batch_last(X.shape, dtype), batch_last(G.shape, dtype)
    for factor in (2, 1):  # the second pass on a tape that the first has used
        images[...], gradients[...] = factor * X, factor * G
        again, back = layer.forward(images, tape), layer.backward(gradients, tape)
    np.testing.assert_allclose(again, H, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(back, G_in, rtol=1e-5, atol=1e-6)
    assert np.array_equal(images, X) and np.array_equal(gradients, G)


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_large_is_allocated_in_steady_state(name):
    shape, tape, layer = (8, 24, 24), Tape(train=True), LAYERS[name]()
    X, G = batch_last((32, *shape), np.float32), batch_last((32, *layer.build(shape)), np.float32)
    X[...], G[...] = np.random.default_rng(0).standard_normal(X.shape), 1
    if name == "flatten":
        G = X.reshape(G.shape)
    for _ in range(2):
        layer.forward(X, tape)
        layer.backward(G, tape)
    tracemalloc.start()
    layer.forward(X, tape)
    layer.backward(G, tape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 4, f"{peak} bytes, the images have {X.nbytes}"


def test_flatten_and_reshape_are_views_where_the_batch_lies_innermost():
    X = batch_last((5, 3, 4, 2), float)
    X[...] = np.arange(120).reshape(X.shape)
    for layer in (Flatten(), Reshape((4, 6)), Reshape((-1, 3, 2, 2))):
        tape, shape = Tape(), layer.build((3, 4, 2))
        H = layer.forward(X, tape)
        assert np.shares_memory(H, X) and np.shares_memory(layer.backward(H, tape), X)
        assert np.array_equal(H, np.arange(120).reshape(5, *shape))


# ---- in a model

def network() -> Model:
    layers = [Reshape((1, 8, 8)), ZeroPadding(((1, 0), 0)), MaxPooling(3, stride=2, padding=(1, (0, 1))), Upsampling(2),
              MeanPooling(2, stride=1, padding="same", count_padding=True), Flatten(), Dense(6, activation=ReLU()),
              Reshape((3, -1)), GlobalMeanPooling(), Dense(4, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), seed=0)


def test_save_load_copy_and_pickle_in_a_model(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 64)), rng.integers(0, 4, 30)
    model = network()
    model.fit(X, y, epochs=1, batch_size=8, progress=False)
    model.save(tmp_path / "model.safetensors")
    for other in (load(tmp_path / "model.safetensors"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other.layers) == repr(model.layers)
        assert np.array_equal(other.transform(X), model.transform(X))


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_repr_shows_the_arguments(make):
    assert repr(eval(repr(make()))) == repr(make())
