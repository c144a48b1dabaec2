"""Each bad input gives one clear exception that names the argument, and leaves every parameter as it was."""
import io
import os
import sys
import threading

import numpy as np
import pytest

from slugnet import NotFittedError, metrics
from slugnet.activation import Identity, LeakyReLU, ReLU, Sigmoid, Softmax
from slugnet.averaging import AverageParameters
from slugnet.callbacks import CSVLogger
from slugnet.contract import Layer, Tape
from slugnet.initializations import Normal, Uniform, Zeros
from slugnet.layers import Activation, Dense, Embedding
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, Hinge, MeanSquaredError
from slugnet.data import split_indices
from slugnet.learning_rate import learning_rate_range_test
from slugnet.model import Callback, Model, load
from slugnet.network import Network
from slugnet.optimizers import SGD, Adam, CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay, Warmup

RNG = np.random.default_rng(0)
X, y = RNG.standard_normal((8, 3)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2, 0, 1])
NAN, INF = X.copy(), X.copy()
NAN[2, 1], INF[2, 1] = np.nan, np.inf
ONE_HOT = np.eye(3, dtype=np.float32)[y]


class Sparse:
    """What is asked of a sparse matrix of SciPy before it is refused."""

    dtype, shape = X.dtype, X.shape

    def __getitem__(self, rows):
        return self

    def toarray(self):
        raise AssertionError("not asked for")


BAD_EXAMPLES = {
    "NaN in X": (NAN, y, ValueError, ["X", "finite", "NaN"]),
    "infinity in X": (INF, y, ValueError, ["X", "finite"]),
    "y too short": (X, y[:-1], ValueError, ["y", "8", "(7,)"]),
    "y too long": (X, np.append(y, 0), ValueError, ["y", "8", "(9,)"]),
    "label too large": (X, np.where(y == 2, 3, y), ValueError, ["y", "0 to 2", "3"]),
    "label negative": (X, y - 1, ValueError, ["y", "0 to 2", "-1"]),
    "label fractional": (X, y + 0.5, ValueError, ["y", "0.5"]),
    "NaN in y": (X, np.where(y == 2, np.nan, y), ValueError, ["y", "finite"]),
    "one-hot too wide": (X, np.eye(4)[y], ValueError, ["y", "(8, 3)", "(8, 4)"]),
    "one-hot rows that do not sum to 1": (X, 2 * ONE_HOT, ValueError, ["y", "sum to 1"]),
    "strings in X": (X.astype(str), y, TypeError, ["X", "numeric"]),
    "strings in y": (X, y.astype(str), TypeError, ["y", "numeric"]),
    "no data": (X[:0], y[:0], ValueError, ["X", "at least one", "(0, 3)"]),
    "X too wide": (np.hstack([X, X]), y, ValueError, ["X", "3", "(8, 6)"]),
    "X a vector": (X[0], y[:3], ValueError, ["X", "(3,)"]),
    "X ragged": ([[1.0], [1.0, 2.0]], y[:2], ValueError, ["X"]),
    "X None": (None, y, TypeError, ["X", "numeric"]),
    "X sparse": (Sparse(), y, TypeError, ["X", "dense", "Sparse", "X.toarray()"]),
    "y sparse": (X, Sparse(), TypeError, ["y", "dense", "y.toarray()"]),
    "X complex": (X + 1j, y, TypeError, ["X", "real", "complex"]),
    "X too large for float32": (1e300 * np.sign(X.astype(float)), y, ValueError, ["X", "float32", "1e+300"]),
    "X as negative": (-1e39 * np.abs(X.astype(float)) - 1e39, y, ValueError, ["X", "float32"]),
}

BAD_SETTINGS = {
    "batch_size 0": ({"batch_size": 0}, ValueError, ["batch_size", "at least 1", "0"]),
    "batch_size negative": ({"batch_size": -4}, ValueError, ["batch_size", "-4"]),
    "batch_size a float": ({"batch_size": 2.5}, TypeError, ["batch_size", "2.5"]),
    "epochs 0": ({"epochs": 0}, ValueError, ["epochs", "0"]),
    "validation_split 1.0": ({"validation_split": 1.0}, ValueError, ["validation_split", "1"]),
    "validation_split negative": ({"validation_split": -0.1}, ValueError, ["validation_split", "-0.1"]),
    "validation_split NaN": ({"validation_split": float("nan")}, ValueError, ["validation_split", "nan"]),
    "validation_split of one": ({"validation_split": 0.5, "X": X[:1], "y": y[:1]}, ValueError, ["validation_split", "2", "1"]),
    "validation_data no pair": ({"validation_data": X}, ValueError, ["validation_data"]),
    "validation_data too wide": ({"validation_data": (np.hstack([X, X]), y)}, ValueError, ["validation_data", "X"]),
    "both validations": ({"validation_split": 0.2, "validation_data": (X, y)}, ValueError, ["validation_split"]),
    "unknown metric": ({"metrics": ["roc"]}, ValueError, ["metrics", "roc"]),
    "metrics of one name": ({"metrics": [lambda t, p: 0, lambda t, p: 1]}, ValueError, ["metrics", "<lambda>", "taken"]),
    "metrics a string": ({"metrics": "accuracy"}, TypeError, ["metrics", "list"]),
    "weights too few": ({"sample_weight": [1.0]}, ValueError, ["sample_weight", "(8,)", "(1,)"]),
    "weights negative": ({"sample_weight": -np.ones(8)}, ValueError, ["sample_weight", "negative"]),
    "weights all zero": ({"sample_weight": np.zeros(8)}, ValueError, ["sample_weight", "zero"]),
    "weights ragged": ({"sample_weight": [[1.0], [1.0, 2.0]]}, ValueError, ["sample_weight", "lengths"]),
    "weights too small": ({"sample_weight": np.full(8, 1e-60)}, ValueError, ["sample_weight", "float32", "1e-60"]),
    "weights too large": ({"sample_weight": np.full(8, 1e60)}, ValueError, ["sample_weight", "float32", "1e+60"]),
    "their sum too large": ({"sample_weight": np.full(8, 2e38)}, ValueError, ["sample_weight", "sum", "2e+38"]),
    "callbacks a callback": ({"callbacks": Callback()}, TypeError, ["callbacks", "list"]),
    "callbacks None": ({"callbacks": None}, TypeError, ["callbacks", "list", "None"]),
    "callback a function": ({"callbacks": [print]}, TypeError, ["callbacks[0]", "Callback"]),
}

BAD_CONSTRUCTIONS = {
    "units 0": (lambda: Dense(0), ValueError, ["units", "0"]),
    "units a float": (lambda: Dense(3.0), TypeError, ["units", "3.0"]),
    "units True": (lambda: Dense(True), TypeError, ["units", "True"]),
    "activation a class": (lambda: Dense(3, activation=ReLU), TypeError, ["activation", "ReLU()"]),
    "activation a string": (lambda: Dense(3, activation="relu"), TypeError, ["activation", "relu"]),
    "initializer a string": (lambda: Dense(3, initializer="he"), TypeError, ["initializer", "he"]),
    "slope 1": (lambda: LeakyReLU(1.0), ValueError, ["slope", "1"]),
    "rate negative": (lambda: SGD(learning_rate=-0.1), ValueError, ["learning_rate", "-0.1"]),
    "rate NaN": (lambda: SGD(learning_rate=float("nan")), ValueError, ["learning_rate", "nan"]),
    "rate infinite": (lambda: SGD(learning_rate=float("inf")), ValueError, ["learning_rate", "inf"]),
    "rate a string": (lambda: SGD(learning_rate="fast"), TypeError, ["learning_rate", "fast"]),
    "rate a class": (lambda: SGD(learning_rate=CosineDecay), TypeError, ["learning_rate", "CosineDecay"]),
    "momentum 1": (lambda: SGD(0.1, momentum=1.0), ValueError, ["momentum", "1"]),
    "nesterov alone": (lambda: SGD(0.1, nesterov=True), ValueError, ["nesterov", "momentum"]),
    "weight_decay negative": (lambda: SGD(0.1, weight_decay=-1.0), ValueError, ["weight_decay", "-1"]),
    "clip_norm 0": (lambda: SGD(0.1, clip_norm=0.0), ValueError, ["clip_norm", "0"]),
    "clip_value negative": (lambda: SGD(0.1, clip_value=-1.0), ValueError, ["clip_value", "-1"]),
    "steps 0": (lambda: CosineDecay(0.1, steps=0), ValueError, ["steps", "0"]),
    "factor 0": (lambda: StepDecay(0.1, factor=0.0), ValueError, ["factor", "0"]),
    "decay negative": (lambda: InverseTimeDecay(0.1, decay=-1.0), ValueError, ["decay", "-1"]),
    "decay NaN": (lambda: ExponentialDecay(0.1, decay=float("nan")), ValueError, ["decay", "nan"]),
    "warm-up of nothing": (lambda: Warmup("fast", steps=3), TypeError, ["schedule", "fast"]),
    "std 0": (lambda: Normal(std=0.0), ValueError, ["std", "0"]),
    "bounds exchanged": (lambda: Uniform(1.0, -1.0), ValueError, ["high"]),
    "a layer that is none": (lambda: Model([ReLU()]), TypeError, ["layers[0]", "Layer"]),
    "a layer class": (lambda: Model([Dense]), TypeError, ["layers[0]", "Dense"]),
    "a loss class": (lambda: Model([Dense(1)], loss=MeanSquaredError), TypeError, ["loss", "MeanSquaredError()"]),
    "an optimizer string": (lambda: Model([Dense(1)], optimizer="sgd"), TypeError, ["optimizer", "sgd"]),
    "seed negative": (lambda: Model(seed=-1), ValueError, ["seed", "-1"]),
    "dtype of integers": (lambda: Model(dtype="int32"), ValueError, ["dtype", "int32"]),
    "input_shape 0": (lambda: Model([Dense(2)]).build((0,)), ValueError, ["input_shape", "0"]),
    "indices from a layer": (lambda: Model([Dense(2), Embedding(3, 2)]).build((3,)), ValueError,
                             ["layer 1", "Embedding", "first"]),
    "no layers": (lambda: Model([]).build((3,)), ValueError, ["no layers"]),
    "images into dense": (lambda: Model([Dense(2)]).build((8, 8)), ValueError, ["layer 0", "Dense", "(8, 8)"]),
    "no loss": (lambda: Model([Dense(2)]).fit(X, X), ValueError, ["loss"]),
}


def fitted() -> Model:
    """A model that has learnt a little."""
    model = Model([Dense(4, activation=ReLU()), Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(),
                  optimizer=SGD(0.1, momentum=0.9), seed=0)
    model.fit(X, y, epochs=1, progress=False)
    return model


def assert_refused(action, kind, words) -> None:
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert caught.value.__cause__ is None or isinstance(caught.value, kind)


@pytest.mark.parametrize("case", BAD_EXAMPLES)
@pytest.mark.parametrize("method", ["fit", "evaluate", "loss_and_gradients", "validation_data"])
def test_bad_examples(case, method):
    bad_X, bad_y, kind, words = BAD_EXAMPLES[case]
    model = fitted()
    theta, memory_v = model.theta.copy(), model._memory["v"].copy()
    actions = {"fit": lambda: model.fit(bad_X, bad_y, progress=False), "evaluate": lambda: model.evaluate(bad_X, bad_y),
               "loss_and_gradients": lambda: model.loss_and_gradients(bad_X, bad_y),
               "validation_data": lambda: model.fit(X, y, validation_data=(bad_X, bad_y), progress=False)}
    assert_refused(actions[method], kind, words)
    assert np.array_equal(model.theta, theta) and np.array_equal(model._memory["v"], memory_v)
    assert len(model.history) == 1


@pytest.mark.parametrize("case", [case for case, (_, bad_y, *_) in BAD_EXAMPLES.items() if bad_y is y or "X" in case])
def test_bad_inputs_of_transform(case):
    bad_X, _, kind, words = BAD_EXAMPLES[case]
    assert_refused(lambda: fitted().transform(bad_X), kind, words)
    assert_refused(lambda: fitted().predict(bad_X), kind, words)


@pytest.mark.parametrize("case", BAD_SETTINGS)
@pytest.mark.parametrize("built", [True, False])
def test_bad_settings_of_fit(case, built):
    settings, kind, words = BAD_SETTINGS[case]
    model = fitted() if built else Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    theta = model.theta.copy() if built else None
    assert_refused(lambda: model.fit(**{"X": X, "y": y, "progress": False, **settings}), kind, words)
    assert model.is_built == built
    assert not built or np.array_equal(model.theta, theta)


@pytest.mark.parametrize("case", BAD_CONSTRUCTIONS)
def test_bad_constructions(case):
    action, kind, words = BAD_CONSTRUCTIONS[case]
    assert_refused(action, kind, words)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_transform_refuses_what_comes_late_and_writes_nothing(bad):
    model, X, out = Model([Dense(2)], seed=0).build((784,)), np.zeros((1500, 784), np.float32), np.full((1500, 2), 7, np.float32)
    X[1499, 783] = bad
    for given in ({}, {"out": out}):
        with pytest.raises(ValueError, match="X must be finite"):
            model.transform(X, **given)
    assert (out == 7).all()


def test_transform_names_the_place_of_what_comes_late():
    model, X = Model([Embedding(10, 1024)], seed=0).build((4,)), np.zeros((1500, 4), int)
    X[1499, 3] = 10
    with pytest.raises(ValueError, match=r"got 10 at \[1499, 3\]"):
        model.transform(X)
    with pytest.raises(ValueError, match="whole numbers"):
        model.transform(np.where(X == 10, 0.5, X))


def test_transform_before_fit():
    model = Model([Dense(3)], loss=MeanSquaredError(), seed=0)
    for action in (lambda: model.transform(X), lambda: model.predict(X), lambda: model.evaluate(X, y),
                   lambda: model.feedforward(X), lambda: model.loss_and_gradients(X, y), lambda: model.summary(),
                   lambda: model.parameters, lambda: model.save("nowhere")):
        assert_refused(action, NotFittedError, ["fit", "build"])
    assert issubclass(NotFittedError, ValueError)


def test_targets_of_a_binary_loss_outside_0_and_1():
    model = Model([Dense(1, activation=Sigmoid())], loss=BinaryCrossEntropy(), seed=0)
    assert_refused(lambda: model.fit(X, y, progress=False), ValueError, ["y", "between 0 and 1", "2"])
    assert not model.is_built


def test_regression_target_is_never_broadcast():
    model = Model([Dense(2)], loss=MeanSquaredError(), seed=0)
    assert_refused(lambda: model.fit(X, np.zeros(8), progress=False), ValueError, ["y", "(8, 2)", "(8,)"])


def test_a_layer_that_does_not_fit_the_one_before():
    class Images(Layer):
        def build(self, input_shape):
            return (2, *input_shape)

    model = Model([Images(), Dense(3)], loss=MeanSquaredError(), seed=0)
    assert_refused(lambda: model.build((4,)), ValueError, ["layer 1", "Dense", "(2, 4)"])
    assert not model.is_built


@pytest.mark.parametrize("rate", [1e30, 50.0])
def test_divergence_restores_the_epoch_it_happened_in(rate):
    model = Model([Dense(8, activation=ReLU()), Dense(1)], loss=MeanSquaredError(), optimizer=SGD(1e-6), seed=0)
    model.fit(100 * X, y[:, None], epochs=2, batch_size=2, progress=False)
    theta, epochs = model.theta.copy(), len(model.history)
    model.optimizer = SGD(rate)
    with pytest.raises(FloatingPointError, match=r"epoch 3, step \d+"):
        model.fit(100 * X, y[:, None], epochs=50, batch_size=2, progress=False)
    assert np.array_equal(model.theta, theta) and len(model.history) == epochs
    assert np.isfinite(model.evaluate(100 * X, y[:, None])["loss"])


def test_the_users_data_is_as_before():
    kept_X, kept_y, w = X.copy(), y.copy(), np.ones(8)
    for bad in (X, X[::-1], np.asfortranarray(X), X.astype(np.float64), (10 * X).astype(int)):
        before = bad.copy()
        fitted().fit(bad, y, epochs=2, sample_weight=w, validation_split=0.3, progress=False)
        fitted().transform(bad)
        assert np.array_equal(bad, before)
    assert np.array_equal(X, kept_X) and np.array_equal(y, kept_y) and (w == 1).all()


def test_an_optimizer_may_be_exchanged_for_another_and_for_nothing_else(tmp_path) -> None:
    X, y = np.eye(4, dtype=np.float32), np.arange(4)
    model = Model([Dense(4, activation=Softmax())], loss=CategoricalCrossEntropy(), optimizer=SGD(0.1), seed=0)
    model.fit(X, y, epochs=1, progress=False)
    model.optimizer = Adam(0.1)
    model.save(tmp_path / "model.safetensors")
    twin = load(tmp_path / "model.safetensors")
    for each in (model, twin):
        each.fit(X, y, epochs=2, progress=False)
    assert np.array_equal(model.theta, twin.theta)
    with pytest.raises(TypeError, match="^optimizer must be"):
        model.optimizer = "adam"
    assert isinstance(model.optimizer, Adam) and model._memory["t"] == 2


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("part, words", [(0, "holds out"), (1, "learn from")])
def test_weights_that_are_zero_in_one_part(part, words, built) -> None:
    model = Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    w = np.zeros(8)
    w[split_indices(8, 0.25, model._generator(1))[part]] = 1
    theta = model.build((3,)).theta.copy() if built else None
    assert_refused(lambda: model.fit(X, y, validation_split=0.25, sample_weight=w, progress=False), ValueError,
                   ["sample_weight", words])
    assert model.is_built is built and (not built or np.array_equal(model.theta, theta)) and len(model.history) == 0


def test_an_augmentation_that_works_in_place_changes_no_data_of_the_user() -> None:
    def turned(batch, rng):
        batch *= -1
        return batch
    ours = X.copy()
    ours.flags.writeable = False
    fitted().fit(ours, y, augment=turned, epochs=2, progress=False)
    assert np.array_equal(ours, X)


@pytest.mark.parametrize("out, words", [(np.zeros((8, 3), int), ["out", "float32", "int"]), ("read-only", ["out", "read-only"])])
def test_where_predictions_cannot_be_written(out, words) -> None:
    if isinstance(out, str):
        out = np.zeros((8, 3), np.float32)
        out.flags.writeable = False
    assert_refused(lambda: fitted().transform(X, out=out), ValueError, words)
    assert not out.any()


def test_what_no_model_can_become() -> None:
    assert_refused(lambda: fitted().astype("int32"), ValueError, ["dtype", "float64", "int32"])
    assert_refused(lambda: Model([Dense(1)]).build(3.5), TypeError, ["input_shape", "3.5"])
    assert_refused(lambda: Model(Dense(1)), TypeError, ["layers", "list", "Dense"])
    assert Model([Dense(1)]).build(np.int64(3)).input_shape == (3,) and fitted().astype(float).theta.dtype == float


@pytest.mark.parametrize("custom, words", [(ReLU, ["custom", "list", "ReLU"]), ([ReLU()], ["custom[0]", "class"]), (None, ["custom"])])
def test_classes_of_ones_own_are_given_as_a_list(tmp_path, custom, words) -> None:
    fitted().save(tmp_path / "model.safetensors")
    assert_refused(lambda: load(tmp_path / "model.safetensors", custom=custom), TypeError, words)


def test_a_path_that_is_a_folder_leaves_nothing_beside_it(tmp_path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(OSError):
        fitted().save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


# ---- what is assigned to a built model

def test_vectors_are_written_into() -> None:
    model = Model([Dense(2)], loss=MeanSquaredError(), optimizer=SGD(0.1), seed=0).build((3,))
    with pytest.raises(ValueError, match=r"theta must have the shape \(8,\); got \(7,\)"):
        model.theta = np.zeros(7)
    with pytest.raises(TypeError):
        model.grad = np.zeros(8, complex)
    with pytest.raises(NotFittedError):
        Model([Dense(2)]).state = np.zeros(0)

    class Clip(Callback):
        def on_gradient(self, model, step, weight):
            model.grad = np.clip(model.grad, -0.01, 0.01)

    before = model.theta.copy()
    model.fit(np.eye(3), 9 * np.eye(3)[:, :2], epochs=1, callbacks=[Clip()], progress=False)
    assert 0 < np.abs(model.theta - before).max() <= 0.1 * 0.01 * (1 + 1e-4)


def test_a_loss_that_does_not_fit_is_refused_where_it_is_assigned() -> None:
    model = Model([Dense(2)], loss=MeanSquaredError(), seed=0).build((3,))
    kept = model.loss
    for wrong, kind in (("mse", TypeError), (BinaryCrossEntropy(), ValueError)):
        with pytest.raises(kind, match="loss must|takes probabilities"):
            model.loss = wrong
        assert model.loss is kept
    model.loss = None


def test_a_seed_may_be_a_number_of_numpy(tmp_path) -> None:
    model, twin = (Model([Dense(1)], seed=seed).build((2,)) for seed in (np.int64(3), 3))
    assert np.array_equal(model.theta, twin.theta)
    model.save(tmp_path / "model.safetensors")


def test_files_keep_what_a_loss_and_an_optimizer_were_given_beside_their_arguments(tmp_path) -> None:
    class Rule(SGD):
        def start(self, theta, decayed=None):
            return super().start(theta, decayed) | {"mean": np.zeros(3)}

        def update(self, theta, grad, rate, memory):
            memory["mean"] += 1
            super().update(theta, grad * memory["mean"][0], rate, memory)

    X, y = np.eye(4), np.array([0, 1, 1, 0])
    model = Model([Dense(1, Sigmoid())], loss=BinaryCrossEntropy(), optimizer=Rule(0.1), seed=0)
    model.fit(X, y, epochs=2, progress=False)
    model.loss.decision_threshold = 0.25
    model.save(tmp_path / "model.safetensors")
    twin = load(tmp_path / "model.safetensors", custom=[Rule])
    assert twin.loss.decision_threshold == 0.25
    for one in (model, twin):
        one.fit(X, y, epochs=2, progress=False)
    assert np.array_equal(model.theta, twin.theta)


def test_a_class_that_hides_one_of_slugnets_must_be_given(tmp_path) -> None:
    hiding = type("Dropout", (Dense,), {"__init__": lambda self, units: Dense.__init__(self, units)})
    model = Model([Network([hiding(1)])], seed=0).build((2,))
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="Dropout is not slugnet's but a class of your own: give it in custom"):
        load(tmp_path / "model.safetensors")
    assert type(load(tmp_path / "model.safetensors", custom=[hiding]).layers[0].layers[0]) is hiding


def test_a_metric_cannot_change_what_the_next_one_is_given() -> None:
    def sorting(truth, decisions):
        truth.sort()
        return 0.0

    model = Model([Dense(3, Softmax())], loss=CategoricalCrossEntropy(), seed=0).build((3,))
    with pytest.raises(ValueError, match="read-only") as caught:
        model.evaluate(X, y, metrics=[sorting])
    assert "sorting" in caught.value.__notes__[0]


def test_files_take_what_an_optimizer_remembers_in_the_arrays_that_it_has(tmp_path) -> None:
    class Rule(SGD):
        def start(self, theta, decayed=None):
            memory = super().start(theta, decayed)
            return memory | {"head": memory["v"][:3], "wide": np.zeros(2, np.longdouble)}

        def update(self, theta, grad, rate, memory):
            super().update(theta, grad, rate, memory)
            memory["head"] *= 0.5

    model = Model([Dense(2)], loss=MeanSquaredError(), optimizer=Rule(0.1, momentum=0.9), seed=0)
    model.fit(X, ONE_HOT[:, :2], epochs=2, progress=False)
    model.save(tmp_path / "model.safetensors")
    twin = load(tmp_path / "model.safetensors", custom=[Rule])
    for one in (model, twin):
        one.fit(X, ONE_HOT[:, :2], epochs=2, progress=False)
    assert np.array_equal(model.theta, twin.theta)


@pytest.mark.parametrize("name", ["t", "v", "decayed", "work"])
def test_a_file_cannot_replace_what_an_optimizer_keeps_itself(tmp_path, name) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    model = Model([Dense(2)], loss=MeanSquaredError(), optimizer=SGD(0.1, momentum=0.9), seed=0)
    model.fit(X, ONE_HOT[:, :2], epochs=1, progress=False)
    model.save(path := tmp_path / "model.safetensors")
    with safe_open(path, framework="numpy") as file:
        arrays, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    save_file(arrays | {f"memory.{name}": np.zeros(1)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=f"'{name}' itself"):
        load(path)


@pytest.mark.parametrize("threshold", [None, True, [0.5], np.array(0.25), np.inf, np.float32(0.25)], ids=repr)
def test_no_threshold_makes_a_model_that_cannot_be_saved_or_read(tmp_path, threshold) -> None:
    model = Model([Dense(1, Sigmoid())], loss=BinaryCrossEntropy(), seed=0).build((3,))
    model.loss.decision_threshold = threshold
    model.save(tmp_path / "model.safetensors")
    kept = load(tmp_path / "model.safetensors").loss.decision_threshold
    assert kept == (threshold if isinstance(threshold, (bool, np.float32)) else 0.5)


def test_a_loss_of_classes_need_not_say_how_to_decide() -> None:
    class Own(MeanSquaredError):
        classifies = True

    model = Model([Dense(3)], loss=Own(), seed=0).build((3,))
    assert [*model.evaluate(X, ONE_HOT)] == ["loss"]


def test_a_last_step_that_loses_the_parameters_is_an_error_though_its_loss_is_finite():
    model = Model([Dense(1, initializer=Zeros())], MeanSquaredError(), SGD(1e5), seed=0).build((1,))
    with pytest.raises(FloatingPointError, match="a parameter became infinite or NaN in epoch 1"):
        model.fit([[1e20]], [1e15], epochs=1, progress=False)
    assert model.theta.tolist() == [0, 0] and len(model.history) == 0


def test_an_embedding_by_itself_refuses_what_is_no_index():
    layer = Embedding(3, 2)
    layer.build((1,))
    layer.bind(np.zeros(6), np.zeros(6), np.zeros(0))
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="from 0 to 2"):
            layer.forward(np.array([[wrong]]), Tape())


def test_a_model_in_another_dtype_starts_with_nothing_remembered():
    model = Model([Dense(1)], MeanSquaredError(), SGD(0.01, momentum=0.9), seed=0)
    model.fit(X, X[:, 0], epochs=3, progress=False)
    other, fresh = model.astype("float64"), Model([Dense(1)], MeanSquaredError(), SGD(0.01, momentum=0.9), dtype="float64").build((3,))
    fresh.theta[...] = other.theta
    for each in (other, fresh):
        each.fit(X, X[:, 0], epochs=1, batch_size=8, progress=False)
    np.testing.assert_allclose(other.theta, fresh.theta, rtol=1e-12)


def test_ctrl_c_ends_a_range_test_at_once():
    class Interrupted(Layer):
        def forward(self, inputs, tape):
            if tape.train and (passed.append(1) or len(passed)) == 3:
                raise KeyboardInterrupt
            return inputs

        def backward(self, G, tape):
            return G

    passed = []
    model = Model([Dense(3, Softmax()), Interrupted()], MeanSquaredError(), seed=0).build((3,))
    with pytest.raises(KeyboardInterrupt):
        learning_rate_range_test(model, X, ONE_HOT, steps=10, batch_size=4)


def test_what_feedforward_hands_out_is_the_callers():
    model = Model([Activation(Identity())], seed=0).build((3,))
    given = model.feedforward(X)
    assert np.array_equal(given, X) and not np.shares_memory(given, X) and given.flags.writeable
    assert Model([Dense(3)], seed=0).build((3,)).feedforward(X).flags.c_contiguous


def small() -> Model:
    """A model of two classes, built."""
    return Model([Dense(1, Sigmoid())], BinaryCrossEntropy(), SGD(0.1), seed=0).build((3,))


def test_saving_is_whole_whoever_else_saves(tmp_path):
    model, path, wrong = small(), tmp_path / "model", []

    def save_and_load():
        for _ in range(20):
            try:
                model.save(path)
                load(path)
            except (OSError, ValueError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=save_and_load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and os.listdir(tmp_path) == ["model"]


def test_saving_keeps_links_and_rights_and_other_files(tmp_path):
    real, link, other = tmp_path / "real", tmp_path / "link", tmp_path / "real.part"
    other.write_text("mine")
    small().save(real)
    real.chmod(0o600)
    link.symlink_to(real)
    model = small()
    model.theta += 1
    model.save(link)
    assert link.is_symlink() and load(real).theta.tolist() == model.theta.tolist()
    assert real.stat().st_mode & 0o777 == 0o600 and other.read_text() == "mine"
    with pytest.raises(OSError, match="path must be that of a file"):
        model.save(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_saving_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch, error):
    def replace(*paths):
        raise error

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(error):
        small().save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("loss", "top", "thresholds"), [(BinaryCrossEntropy(), Sigmoid(), (0.0, 0.3, 1.1)),
                                                          (Hinge(), Identity(), (-1.5, 0.2, 1.2))])
def test_a_threshold_is_for_predictions_and_not_for_the_truth(loss, top, thresholds):
    model, truth = Model([Dense(1, top)], loss, seed=0).build((3,)), y % 2
    for model.loss.decision_threshold in thresholds:
        assert model.evaluate(X, truth)["accuracy"] == np.mean(model.predict(X) == truth)


def test_a_minibatch_without_weight_is_no_step_and_has_no_loss():
    class Losses(Callback):
        def on_batch_end(self, model, step, logs):
            seen.append(logs["loss"])

    seen, weights, average = [], np.array([1.0, 1, 0, 0, 0, 0, 1, 1]), AverageParameters()
    model = small()
    history = model.fit(X, y % 2, epochs=1, batch_size=2, sample_weight=weights, shuffle=False, callbacks=[Losses(), average],
                        progress=False)
    assert np.isnan(seen).tolist() == [False, True, True, False] and average.steps == model._memory["t"] == 2
    assert history["loss"][0] == pytest.approx((seen[0] + seen[3]) / 2)


@pytest.mark.parametrize("stream", [None, io.BytesIO(), object()])
def test_fit_needs_no_terminal(monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    small().fit(X, y % 2, epochs=2)
    assert capsys.readouterr().out.count("epoch") == 2


def test_outputs_may_overlap_inputs():
    model, room = Model([Dense(3)], seed=0).build((3,)), np.zeros((9, 3), np.float32)
    for out in (room[1:], room[:8]):
        room[:8] = X
        expected = model.transform(X)
        model.transform(room[:8], batch_size=3, out=out)
        assert np.array_equal(out, expected)


def test_a_log_that_was_cut_off_goes_on_in_a_new_line(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n1,0.5")
    small().fit(X, y % 2, epochs=2, callbacks=[CSVLogger(path, append=True)], progress=False)
    lines = path.read_text().split()
    assert lines[:2] == ["epoch,loss", "1,0.5"] and [line[:2] for line in lines[2:]] == ["1,", "2,"] and len(lines) == 4


@pytest.mark.parametrize("measure", [metrics.accuracy, metrics.confusion_matrix, metrics.f1])
def test_labels_are_numbers_or_texts(measure):
    with pytest.raises(TypeError, match="both hold numbers, or both texts"):
        measure([0, 1, 1], ["0", "1", "1"])
    with pytest.raises(TypeError, match="masked"):
        measure(np.ma.array([0, 1], mask=[0, 1]), [0, 1])


def test_paths_of_files_to_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small()
    for path in ("plain", b"bytes", tmp_path / "path", "n" * 250):
        model.save(path)
    assert sorted(os.listdir()) == sorted(["plain", "bytes", "path", "n" * 250])
    for path in ("folder/", "plain/", "no/model"):
        with pytest.raises(OSError, match=path):
            model.save(path)
    assert load("plain").theta.tolist() == model.theta.tolist()


def test_a_subclass_that_decides_for_itself_says_what_is_true():
    class Signs(Hinge):
        def decide(self, Y):
            return np.where(Y[:, 0] >= 0, 1, -1)

    class Words(BinaryCrossEntropy):
        def decide(self, Y):
            return np.where(Y[:, 0] >= 0.5, "yes", "no")

    for loss, top, answers in ((Signs(), Identity(), (-1, 1)), (Words(), Sigmoid(), ("no", "yes"))):
        model = Model([Dense(1, top)], loss, seed=0).build((3,))
        assert model.evaluate(X, y % 2)["accuracy"] == np.mean(model.predict(X) == np.choose(y % 2, answers))


def test_a_stored_source_must_not_be_overwritten(tmp_path):
    room = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "float32", (9, 3))
    room[:8] = X
    with pytest.raises(ValueError, match="must not overlap X"):
        Model([Dense(3)], seed=0).build((3,)).transform(room[:8], out=room[1:])
    assert np.array_equal(room[:8], X)


def test_a_layer_whose_weights_were_replaced_is_refused():
    model = small()
    model.layers[0].W = model.layers[0].W.copy()
    with pytest.raises(ValueError, match="W is no view"):
        model.fit(X, y % 2, epochs=1, progress=False)


def test_a_slot_is_looked_at_again():
    class Losing(SGD):
        def update(self, theta, grad, rate, memory):
            memory["v"] = 1.0 if memory["t"] == self.when else memory["v"]

    for when in (0, 25):
        model = Model([Dense(1)], MeanSquaredError(), Losing(), seed=0)
        model.optimizer.when = when
        for _ in range(2):
            with pytest.raises(TypeError, match="must stay float32"):
                model.fit(X, y, epochs=26, batch_size=8, progress=False)
