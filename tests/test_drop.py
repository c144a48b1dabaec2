"""Dropout, noise, embedding, residual and parallel layers: what their pages do not hold."""
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from slugnet.activation import ReLU, Softmax, Tanh
from slugnet.check import CheckError, check_layer, check_model
from slugnet.component import describe
from slugnet.contract import Layer, Tape, batch_last
from slugnet.layers.dense import Dense
from slugnet.layers.dropout import Dropout, GaussianNoise, draw_mask
from slugnet.layers.embedding import Embedding, scatter
from slugnet.layers.reshaping import Flatten
from slugnet.layers.residual import Parallel, Residual
from slugnet.loss import CategoricalCrossEntropy, MeanSquaredError
from slugnet.model import Model, load
from slugnet.network import Network
from slugnet.optimizers import SGD


def training(seed=0):
    return Tape(train=True, rng=np.random.default_rng(seed))


class Same(Layer):
    """Hands on its input and the gradient themselves, with no copy."""

    def forward(self, X, tape):
        return X

    def backward(self, G, tape):
        return G


# Dropout and noise


@pytest.mark.parametrize("rate", [1, 1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_rates_outside_the_range_are_refused(rate):
    with pytest.raises(ValueError, match="rate must be finite and at least 0 and below 1; got"):
        Dropout(rate)


@pytest.mark.parametrize("rate", [True, "0.5", None])
def test_rates_that_are_no_numbers_are_refused(rate):
    with pytest.raises(TypeError, match="rate must be a real number"):
        Dropout(rate)


def test_bad_noise_is_refused():
    with pytest.raises(ValueError, match="std must be"):
        GaussianNoise(-1)


@pytest.mark.parametrize("layer", [Dropout(0.5), GaussianNoise(0.5)])
def test_without_a_generator_training_says_so(layer):
    with pytest.raises(ValueError, match="rng="):
        layer.forward(np.ones((2, 3)), Tape(train=True))


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 7), (3, 5, 2), (2, 1, 3, 3)])
@pytest.mark.parametrize("layer", [Dropout(0), Dropout(0.5), Dropout(0.123), GaussianNoise(0), GaussianNoise(0.7)])
@pytest.mark.parametrize("train", [True, False])
def test_gradients(layer, shape, train):
    check_layer(layer, shape, batch=3, train=train)
    check_layer(layer, shape, batch=1, train=train)


def test_dropout_is_scaled_once():
    """Earlier work scaled both in training and at test."""
    X = np.ones((200, 50))
    for rate in (0.1, 0.5, 0.8):
        layer = Dropout(rate)
        kept = layer.forward(X, training())
        assert set(np.unique(kept)) == {0, 1 / (1 - rate)}
        assert abs(kept.mean() - 1) < 0.05
        assert layer.forward(X, Tape()) is X


def test_models_validate_in_test_mode():
    """Earlier work validated in training mode: with dropout before the loss, the result would change."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), np.arange(30) % 3
    model = Model([Dense(8, Tanh()), Dropout(0.5), GaussianNoise(0.5), Dense(3, Softmax())], CategoricalCrossEntropy(),
                  SGD(1e-12), seed=0)
    history = model.fit(X, y, epochs=2, validation_data=(X, y), progress=False)
    assert model.evaluate(X, y) == model.evaluate(X, y)
    assert abs(history["val_loss"][-1] - model.evaluate(X, y)["loss"]) < 1e-6
    assert abs(history["val_loss"][-1] - history["loss"][-1]) > 1e-3
    assert np.array_equal(model.transform(X), model.transform(X))


@pytest.mark.parametrize("rate", [0.5, 0.2, 1 / 3, 0.9, 1 / 512, 255.9 / 256])
def test_the_share_of_dropped_entries(rate):
    mask = np.empty(1_000_003, bool)
    draw_mask(rate, mask, np.random.default_rng(7))
    assert abs(np.mean(~mask) - rate) < 4.5 * np.sqrt(rate * (1 - rate) / mask.size)


def test_masks_depend_on_the_shape_and_not_on_the_strides():
    X = np.random.default_rng(1).standard_normal((6, 2, 5, 4))
    stored = batch_last(X.shape, float)
    stored[...] = X
    for layer in (Dropout(0.3), GaussianNoise(0.3)):
        assert np.array_equal(layer.forward(X, training()), layer.forward(stored, training()))
        assert np.array_equal(layer.forward(X, training(1)), layer.forward(np.asfortranarray(X), training(1)))


def test_every_pass_has_a_new_mask_and_the_seed_repeats_it():
    layer, X, tape = Dropout(0.5), np.ones((20, 9)), training()
    first = layer.forward(X, tape).copy()
    assert not np.array_equal(first, layer.forward(X, tape))
    assert np.array_equal(first, layer.forward(X, training()))
    assert (X == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", [Dropout(0.3), GaussianNoise(0.3)])
def test_the_dtype_stays(layer, dtype):
    X, tape = np.ones((4, 3, 2, 2), dtype), training()
    assert layer.forward(X, tape).dtype == dtype and layer.backward(X, tape).dtype == dtype


def test_the_mask_on_the_tape_is_one_byte_an_entry():
    layer, tape = Dropout(0.5), training()
    layer.forward(np.ones((8, 100), np.float32), tape)
    assert tape[layer]["mask"].nbytes == 800


@pytest.mark.parametrize("layer", [Dropout(0.3), Dropout(0.5), GaussianNoise(1)])
def test_the_steady_state_allocates_little(layer):
    X, tape = batch_last((64, 16, 28, 28), np.float32), training()
    X[...] = 1
    assert peak(lambda: layer.backward(layer.forward(X, tape), tape)) < X.nbytes / 8


def peak(step):
    """The most memory that a step takes beyond what it found, after two to settle."""
    step(), step()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Embedding


@pytest.mark.parametrize("arguments, error, words", [((0, 3), ValueError, "count"), ((3, 0), ValueError, "width"),
                                                     ((2.0, 3), TypeError, "count"), ((3, "2"), TypeError, "width")])
def test_bad_tables_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        Embedding(*arguments)


def test_initializers_of_other_types_are_refused():
    with pytest.raises(TypeError, match="initializer"):
        Embedding(3, 2, initializer=0)


def classifier(**options):
    return Model([Embedding(6, 3), Mean(), Dense(2, Softmax())], CategoricalCrossEntropy(), SGD(0.5, momentum=0.9),
                 seed=0, **options)


class Mean(Layer):
    """The mean over the places of an example."""

    def build(self, input_shape):
        return input_shape[1:]

    def forward(self, X, tape):
        tape[self]["shape"] = X.shape
        return X.mean(axis=1)

    def backward(self, G, tape):
        shape = tape[self]["shape"]
        return np.broadcast_to(G[:, None] / shape[1], shape)


WORDS, LABELS = np.array([[0, 1, 1], [2, 1, 0], [3, 4, 3], [5, 5, 4]]), np.array([0, 0, 1, 1])


def test_a_model_with_a_table_learns_and_is_checked():
    model = classifier()
    model.fit(WORDS, LABELS, epochs=60, batch_size=2, progress=False)
    assert model.evaluate(WORDS, LABELS)["accuracy"] == 1
    check_model(model, WORDS, LABELS)
    for dtype in (np.uint8, np.int32, np.uint64, float):
        assert np.array_equal(model.transform(WORDS.astype(dtype)), model.transform(WORDS))


@pytest.mark.parametrize("wrong, got", [(6, 6), (-1, -1)])
def test_wrong_indices_are_refused_before_anything_is_learnt(wrong, got):
    words = WORDS.copy()
    words[2, 1] = wrong
    model = classifier().build((3,))
    theta = model.theta.copy()
    for call in (lambda: model.fit(words, LABELS, progress=False), lambda: model.transform(words)):
        with pytest.raises(ValueError, match=rf"indices from 0 to 5 for Embedding\(6, 3\); got {got} at \[2, 1\]"):
            call()
    assert np.array_equal(theta, model.theta)


def test_a_table_in_the_midst_is_refused():
    with pytest.raises(ValueError, match="layer 1, .*must come first"):
        Model([Dense(3), Embedding(4, 2)], seed=0).build((2,))
    Model([Network([]), Embedding(4, 2)], seed=0).build((2,))


class Encoder(Network):
    """A network of one's own that begins with a table."""

    def __init__(self):
        super().__init__([Embedding(5, 2), Flatten()])


class NotNegative(Same):
    def require_inputs(self, X):
        if X.min() < 0:
            raise ValueError("X must not be negative")


def test_networks_ask_their_first_layer():
    model = Model([Encoder(), Dense(2, Softmax())], CategoricalCrossEntropy(), seed=0)
    words = np.array([[0, 1, 4], [3, 2, 0]])
    assert len(model.fit(words, [0, 1], epochs=1, progress=False)) == 1
    with pytest.raises(ValueError, match="indices from 0 to 4"):
        model.predict(words + 1)
    for layer in (Residual([NotNegative()]), Parallel([Residual([NotNegative()])]), Network([NotNegative()])):
        with pytest.raises(ValueError, match="not be negative"):
            Model([layer, Dense(1)], seed=0).build((3,)).transform(-np.ones((1, 3)))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
def test_tables_of_any_shape(shape):
    rng = np.random.default_rng(0)
    for count, width in ((1, 1), (2, 5), (9, 2)):
        check_layer(Embedding(count, width), shape, inputs=rng.integers(0, count, (5, *shape)))


def test_equal_indices_add_up_in_any_dtype_and_order():
    rng = np.random.default_rng(0)
    X, G = rng.integers(0, 200, (7, 30)), rng.standard_normal((7, 30, 4))
    expected = np.zeros((200, 4))
    for place in np.ndindex(7, 30):
        expected[X[place]] += G[place]
    for dtype in (np.uint8, np.int64, np.uint64):
        for order in "CF":
            got = scatter(X.astype(dtype), np.array(G, order=order), out=np.ones((200, 4)))
            np.testing.assert_allclose(got, expected, atol=1e-13)


def test_tables_write_in_float32_and_allocate_little():
    layer, tape, rng = Embedding(500, 64), Tape(), np.random.default_rng(0)
    layer.build((50,))
    layer.bind(*np.zeros((2, layer.size), np.float32), np.zeros(0, np.float32))
    layer.initialize(rng)
    X, G = rng.integers(0, 500, (64, 50)), batch_last((64, 50, 64), np.float32)
    G[...] = rng.standard_normal(G.shape)
    assert layer.forward(X, tape).dtype == np.float32

    def step():
        layer.forward(X, tape)
        layer.backward(G, tape)
    assert peak(step) < G.nbytes / 4


# Residual and Parallel


def model_of_branches(seed=3, **options):
    layers = [Residual([Dense(5, ReLU()), Dropout(0.2), Dense(4)]),
              Parallel([[Dense(3, Tanh()), Dense(2)], Dense(1), []], "concatenate"),
              Residual([Parallel([Dense(7), Residual([Dense(7)])])]), Dense(3, Softmax())]
    return Model(layers, CategoricalCrossEntropy(), SGD(0.1, momentum=0.9, weight_decay=0.01), seed=seed, **options)


def data(n=12):
    return np.random.default_rng(0).standard_normal((n, 4)), np.arange(n) % 3


def test_models_of_branches_are_saved_loaded_copied_and_pickled(tmp_path):
    X, y = data()
    model = model_of_branches()
    model.fit(X, y, epochs=2, progress=False)
    model.save(tmp_path / "model")
    others = [load(tmp_path / "model", custom=[Residual, Parallel, Dropout]), copy.deepcopy(model),
              pickle.loads(pickle.dumps(model))]
    model.fit(X, y, epochs=2, progress=False)
    for other in others:
        assert describe(other.layers) == describe(model.layers) and repr(other) == repr(model)
        other.fit(X, y, epochs=2, progress=False)
        assert np.array_equal(other.theta, model.theta)
        assert np.array_equal(other.transform(X), model.transform(X))


def test_branches_after_a_copy_are_the_layers():
    layer = copy.deepcopy(Parallel([[Dense(2)], Dense(2)]))
    assert layer.branches[0][0] is layer.layers[0].layers[0] and layer.branches[1] is layer.layers[1]


def test_the_whole_model_is_checked():
    X, y = data()
    check_model(model_of_branches().build((4,)), X, y)


def test_decay_reaches_inner_weights_and_not_inner_biases():
    model = model_of_branches().build((4,))
    decayed = model._decayed()
    start = 0
    for name, parameter in model.parameters.items():
        assert (decayed[start:start + parameter.size] == name.endswith("W")).all(), name
        start += parameter.size


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (3, 4, 5)])
@pytest.mark.parametrize("train", [True, False])
def test_composites_of_layers_that_hand_on_arrays_themselves(shape, train):
    """What comes in is neither copied nor changed by such layers, so nothing may be written into it."""
    check_layer(Residual([Same()]), shape, train=train)
    check_layer(Residual([Residual([Same()]), Dropout(0.5)]), shape, train=train)
    for join in ("sum", "concatenate"):
        check_layer(Parallel([[], Same(), Residual([Same()]), []], join), shape, train=train)
        check_layer(Parallel([[Dropout(0.4)], Same()], join), shape, train=train)
        check_layer(Network([Same(), Parallel([Parallel([[], []], join)], join)]), shape, train=train)


def test_branches_side_by_side_in_networks():
    check_layer(Parallel([[Dense(3, Tanh()), Dense(2)], Dense(5)], "concatenate"), (4,), batch=1)
    check_layer(Parallel([Network([Dense(2)]), [Network([Dense(4), Dense(2)])]]), (3,))
    check_layer(Network([Residual([Dense(1)]), Parallel([Dense(1)])]), (1,))


def test_shapes_that_do_not_fit_are_refused_with_their_names():
    with pytest.raises(ValueError, match=r"begins, \(3,\); it ends in \(2,\)"):
        Residual([Dense(2)]).build((3,))
    with pytest.raises(ValueError, match=r"'sum' .* \(2,\) and \(4,\)"):
        Parallel([Dense(2), Dense(4)]).build((3,))
    with pytest.raises(ValueError, match="branch 1: layer 0, Dense"):
        Parallel([Same(), [Dense(4)]]).build((3, 3))
    with pytest.raises(ValueError, match="layer 0, Residual.*layer 1, Dense"):
        Model([Residual([Same(), Dense(4)])]).build((3, 3))


class Shaped(Layer):
    def __init__(self, shape):
        self.shape = shape

    def build(self, input_shape):
        return tuple(self.shape)


def test_concatenation_needs_equal_other_axes():
    assert Parallel([Shaped((2, 5, 5)), Shaped((3, 5, 5))], "concatenate").build((1, 5, 5)) == (5, 5, 5)
    for shape in ((2, 4, 5), (2, 5), (5,)):
        with pytest.raises(ValueError, match="cannot join"):
            Parallel([Shaped((2, 5, 5)), Shaped(shape)], "concatenate").build((1, 5, 5))
    with pytest.raises(ValueError, match="cannot join"):
        Parallel([Shaped(()), Shaped(())], "concatenate").build(())


@pytest.mark.parametrize("branches", [[], None, Dense(2), "ab", 3])
def test_branches_must_be_a_list(branches):
    with pytest.raises(TypeError, match="branches must be a list"):
        Parallel(branches)


def test_what_is_no_layer_is_refused():
    for wrong in (lambda: Residual([3]), lambda: Parallel([[3]]), lambda: Parallel([3]), lambda: Parallel([Dense])):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match="at least one layer"):
        Residual([])


def test_a_layer_twice_is_refused_wherever_it_stands():
    def shared(make):
        layer = Dense(3)
        return make(layer)
    for make in (lambda a: [a, Residual([a])], lambda a: [Residual([a]), Residual([a])], lambda a: [Residual([a, a])],
                 lambda a: [Parallel([a, [a]])], lambda a: [a, Parallel([[], [Residual([a])]])]):
        with pytest.raises(ValueError, match="occurs twice"):
            Model(shared(make), seed=0).build((3,))
    inner = Dense(3)
    Model([Parallel([[], [Residual([inner])]])], seed=0).build((3,))
    for layers in ([inner], [Residual([inner])], [Parallel([[inner]])]):
        with pytest.raises(ValueError, match="belongs to another model"):
            Model(layers, seed=0).build((3,))


def test_dropout_inside_branches_knows_test_from_training():
    X, y = data()
    model = Model([Parallel([[Dropout(0.5)], Residual([Dropout(0.5)])]), Dense(1)], MeanSquaredError(), seed=0).build((4,))
    assert np.array_equal(model.transform(X), model.transform(X))
    noisy = [model.feedforward(X, train=True) for _ in range(2)]
    assert not np.array_equal(*noisy)


def test_composites_keep_float32_and_allocate_little():
    X = batch_last((64, 16, 28, 28), np.float32)
    X[...] = 1
    for layer in (Residual([Same()]), Parallel([[], [Same()]]), Parallel([[], [Same()]], "concatenate")):
        layer.build(X.shape[1:])
        layer.bind(*np.zeros((3, 0), np.float32))
        tape = training()
        H = layer.forward(X, tape)
        G = layer.backward(H, tape)
        assert H.dtype == G.dtype == np.float32 and G.shape == X.shape

        def step(layer=layer, tape=tape):
            layer.backward(layer.forward(X, tape), tape)
        assert peak(step) < X.nbytes / 8


def test_a_wrong_composite_would_be_found():
    class Forgetful(Residual):
        def backward(self, G, tape):
            return Network.backward(self, G, tape)
    with pytest.raises(CheckError):
        check_layer(Forgetful([Dense(3)]), (3,))


@pytest.mark.parametrize("layers", [Dense(3), None, 3])
def test_a_residual_layer_of_no_list_names_its_argument(layers):
    with pytest.raises(TypeError, match="layers must be a list of layers; got"):
        Residual(layers)
