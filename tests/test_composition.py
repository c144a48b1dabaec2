"""Any layer after any other whose shapes fit: gradients, files and copies of networks of two layers in every order."""
import copy
import itertools

import numpy as np
import pytest

import slugnet.layers
from slugnet import Model, load
from slugnet.activation import GELU, ReLU, Softmax, Tanh
from slugnet.layers import (
    Activation, BatchNormalization, Convolution, Dense, Dropout, Embedding, Flatten, GaussianNoise, GlobalMaxPooling,
    GlobalMeanPooling, LayerNormalization, MaxPooling, MeanPooling, Parallel, Permute, Reshape, Residual, Upsampling,
    ZeroPadding)
from slugnet.contract import ActivatedLayer, Layer, Tape
from slugnet.loss import CategoricalCrossEntropy
from slugnet.network import Network, leaves
from slugnet.optimizers import Adam

ON_IMAGES = {
    "activation": lambda: Activation(Tanh()),
    "batch normalisation": BatchNormalization,
    "convolution": lambda: Convolution(4, 3, padding="same", stride=2, activation=GELU()),
    "dropout": lambda: Dropout(0.3),
    "global max": lambda: Parallel([[GlobalMaxPooling()], [GlobalMeanPooling()]], join="concatenate"),
    "layer normalisation": LayerNormalization,
    "max pooling": lambda: MaxPooling(2, stride=1),
    "mean pooling": lambda: MeanPooling(2, padding="same"),
    "noise": lambda: GaussianNoise(0.1),
    "parallel": lambda: Parallel([[Convolution(2, 1)], [MaxPooling(3, stride=1, padding="same")]], join="concatenate"),
    "permute": lambda: Permute((2, 0, 1)),
    "reshape": lambda: Reshape((-1, 2)),
    "residual": lambda: Residual([BatchNormalization(), Convolution(4, 3, padding="same", groups=2)]),
    "upsampling": lambda: Upsampling(2),
    "zero padding": lambda: ZeroPadding(1),
}
ON_VECTORS = {
    "activation": lambda: Activation(Tanh()),
    "batch normalisation": BatchNormalization,
    "dense": lambda: Dense(6, activation=ReLU()),
    "dropout": lambda: Dropout(0.5),
    "layer normalisation": LayerNormalization,
    "parallel": lambda: Parallel([[Dense(6)], [Activation(ReLU())]], join="sum"),
    "residual": lambda: Residual([Dense(6, activation=Tanh())]),
}


def test_every_layer_takes_part():
    parts = {type(part) for makers in (ON_IMAGES, ON_VECTORS) for make in makers.values() for part in leaves([make()])}
    every = {getattr(slugnet.layers, name) for name in slugnet.layers.__all__} - {ActivatedLayer, Layer, Tape}
    assert every - parts == {Embedding, Flatten}        # which have tests of their own below


def fits(layer, shape: tuple) -> tuple | None:
    """The shape that a layer makes of another; None if it refuses it."""
    try:
        return layer.build(shape)
    except ValueError:
        return None


def pairs(makers: dict, shape: tuple) -> list:
    """The pairs of names of which the second takes what the first gives."""
    found = []
    for first, second in itertools.product(makers, repeat=2):
        between = fits(makers[first](), shape)
        if between is not None and fits(makers[second](), between) is not None:
            found.append((first, second))
    return found


def network(makers: dict, names: tuple, shape: tuple, dtype="float64") -> Model:
    """Two layers and a classifier on top."""
    model = Model([*(makers[name]() for name in names), Flatten(), Dense(3, activation=Softmax())],
                  loss=CategoricalCrossEntropy(), optimizer=Adam(1e-3), seed=0, dtype=dtype)
    return model.build(shape)


CASES = ([(ON_IMAGES, (4, 5, 4), names) for names in pairs(ON_IMAGES, (4, 5, 4))]
         + [(ON_VECTORS, (6,), names) for names in pairs(ON_VECTORS, (6,))])
PARAMETERS = pytest.mark.parametrize("makers, shape, names", CASES, ids=[" - ".join(names) for *_, names in CASES])


def test_most_pairs_fit():
    assert len(CASES) > 200


@PARAMETERS
def test_gradient_along_a_line(makers, shape, names):
    model, rng = network(makers, names, shape), np.random.default_rng(1)
    X, y, direction = rng.standard_normal((5, *shape)), rng.integers(0, 3, 5), rng.standard_normal(model.theta.shape)
    model.theta += 0.1 * direction
    model.loss_and_gradients(X, y)
    twin = model.astype("complex128")
    twin.theta += 1e-30j * direction
    slope = twin.mean_loss(X, y).imag / 1e-30
    np.testing.assert_allclose(model.grad @ direction, slope, rtol=1e-9, atol=1e-12)




@PARAMETERS
def test_fit_save_load_copy(makers, shape, names, tmp_path):
    model, rng = network(makers, names, shape, "float32"), np.random.default_rng(1)
    X, y = rng.standard_normal((7, *shape)), rng.integers(0, 3, 7)
    model.fit(X, y, epochs=1, batch_size=4, progress=False)
    model.save(tmp_path / "model")
    loaded, copied = load(tmp_path / "model"), copy.deepcopy(model)
    assert repr(loaded) == repr(model)
    for other in (model, loaded, copied):
        other.fit(X, y, epochs=1, batch_size=4, progress=False)
    P = model.transform(X)
    assert P.dtype == np.float32 and np.isfinite(P).all()
    for other in (loaded, copied):
        assert np.array_equal(other.transform(X), P)
    one_by_one = np.concatenate([model.transform(x[None]) for x in X])
    np.testing.assert_allclose(P, one_by_one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_layer_object_is_used_once(name):
    layer = ON_IMAGES[name]()
    with pytest.raises(ValueError, match="weights are not shared"):
        Model([layer, layer])
    Model([layer, Flatten(), Dense(2, activation=Softmax())], loss=CategoricalCrossEntropy()).build((4, 5, 4))
    with pytest.raises(ValueError, match="weights are not shared"):
        Model([layer, Flatten(), Dense(2, activation=Softmax())], loss=CategoricalCrossEntropy()).build((4, 5, 4))


def test_a_network_without_layers_passes_on_what_it_gets():
    models = [Model([*front, Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
              for front in ([], [Network([])], [Network([Network([])])])]
    X, y = np.random.default_rng(0).standard_normal((6, 4)), np.arange(6) % 3
    for model in models:
        model.fit(X, y, epochs=2, progress=False)
        assert np.array_equal(model.transform(X), models[0].transform(X))


def test_a_layer_inside_two_composites_is_refused():
    shared = Dense(6)
    with pytest.raises(ValueError, match="weights are not shared"):
        Model([Residual([shared]), Residual([shared])])
    with pytest.raises(ValueError, match="weights are not shared"):
        Model([Parallel([[shared], [shared]], join="sum")])


def test_words_then_anything():
    model = Model([Embedding(11, 4), Convolution(3, 3, padding="same", activation=ReLU()), GlobalMaxPooling(),
                   Dense(2, activation=Softmax())], loss=CategoricalCrossEntropy(), optimizer=Adam(0.05), seed=0)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 11, (64, 4))
    model.fit(X, (X == 7).any(axis=1), epochs=60, progress=False)
    assert model.evaluate(X, (X == 7).any(axis=1))["accuracy"] == 1
    with pytest.raises(ValueError, match="11"):
        model.transform([[0, 1, 2, 11]])
