"""Metrics against scikit-learn, the range test and its bad input, beyond what the notebooks hold."""
import copy
import functools
import pickle

import numpy as np
import pytest

from slugnet import metrics, plot
from slugnet.activation import ReLU, Softmax
from slugnet.layers import Dense
from slugnet.learning_rate import learning_rate_range_test
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.optimizers import SGD, Adam, CosineDecay

RNG = np.random.default_rng(0)


@pytest.mark.filterwarnings("ignore:A single label")
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("m", [1, 5, 200])
def test_counts_agree_with_scikit_learn(classes, m):
    theirs = pytest.importorskip("sklearn.metrics")
    y_true, y_pred = RNG.integers(0, classes, (2, m))
    assert np.array_equal(metrics.confusion_matrix(y_true, y_pred), theirs.confusion_matrix(y_true, y_pred))
    for average in ("macro", "micro") + (("binary",) if classes == 2 else ()):
        for name in ("precision", "recall", "f1"):
            expected = getattr(theirs, f"{name}_score")(y_true, y_pred, average=average, zero_division=0)
            assert np.isclose(getattr(metrics, name)(y_true, y_pred, average), expected)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_top_k_agrees_with_scikit_learn(k):
    theirs = pytest.importorskip("sklearn.metrics")
    y_true, scores = RNG.integers(0, 7, 100), RNG.standard_normal((100, 7))
    expected = theirs.top_k_accuracy_score(y_true, scores, k=k, labels=range(7))
    assert np.isclose(metrics.top_k_accuracy(y_true, scores, k), expected)


@pytest.mark.parametrize("shape", [(30,), (30, 3)])
def test_regression_agrees_with_scikit_learn(shape):
    theirs = pytest.importorskip("sklearn.metrics")
    a, b = RNG.standard_normal((2, *shape))
    assert np.isclose(metrics.r2(a, b), theirs.r2_score(a, b))
    assert np.isclose(metrics.mean_absolute_error(a, b), theirs.mean_absolute_error(a, b))


PAIRS = [metrics.confusion_matrix, metrics.precision, metrics.recall, metrics.f1, metrics.r2,
         metrics.mean_absolute_error]


@pytest.mark.parametrize("metric", PAIRS)
def test_nothing_is_broadcast(metric):
    with pytest.raises(ValueError, match="same shape"):
        metric([0, 1, 1], [[0], [1], [1]])
    with pytest.raises(ValueError, match="at least one"):
        metric([], [])


@pytest.mark.parametrize("arguments, error, text", [
    ((metrics.precision, [0, 1], [0, 1], "weighted"), ValueError, "average must be"),
    ((metrics.f1, [0, 2], [0, 1], "binary"), ValueError, "labels 0 and 1"),
    ((metrics.confusion_matrix, [0, 3], [0, 1], 3), ValueError, "y_true must hold only"),
    ((metrics.confusion_matrix, [0, 1], [0, 3], [0, 1]), ValueError, "y_pred must hold only"),
    ((metrics.confusion_matrix, [0, 1], [0, 1], [0, 1, 1]), ValueError, "classes must name"),
    ((metrics.confusion_matrix, [0, 1], [0, 1], 0), ValueError, "classes must be at least 1"),
    ((metrics.confusion_matrix, [0, 1], [0, 1], 2.5), TypeError, "classes must be an integer"),
    ((metrics.top_k_accuracy, [0, 1], [0, 1]), ValueError, "one column for each class"),
    ((metrics.top_k_accuracy, [0, 1], [[0.5], [0.5]]), ValueError, "one column for each class"),
    ((metrics.top_k_accuracy, [0, 1], np.eye(2)), ValueError, "k must be at most the number of classes, 2; got 5"),
    ((metrics.top_k_accuracy, [0, 1], np.eye(2), 0), ValueError, "k must be at least 1"),
    ((metrics.top_k_accuracy, [0, 2], np.eye(2), 1), ValueError, "y_true must be from 0 to 1"),
    ((metrics.top_k_accuracy, [0, -1], np.eye(2), 1), ValueError, "y_true must be from 0 to 1"),
    ((metrics.top_k_accuracy, [0.0, 1.0], np.eye(2), 1), ValueError, "y_true must be 2 integers"),
    ((metrics.top_k_accuracy, [0], np.eye(2), 1), ValueError, "y_true must be 2 integers"),
    ((metrics.top_k_accuracy, [0, 1], [[np.nan, 0], [0, 1]], 1), ValueError, "NaN"),
    ((metrics.r2, ["a", "b"], ["a", "b"]), TypeError, "y_true must be numbers"),
    ((plot.confusion, [[1, 2, 3], [4, 5, 6]]), ValueError, "square"),
    ((plot.confusion, [[1, -2], [4, 5]]), ValueError, "at least 0"),
    ((plot.confusion, [[1, 2], [4, 5]], ["a"]), ValueError, "labels must be as many"),
])
def test_bad_input_is_named(arguments, error, text):
    with pytest.raises(error, match=text):
        arguments[0](*arguments[1:])


def test_unsigned_labels_do_not_wrap_around():
    a, b = np.array([0, 250], np.uint8), np.array([250, 250], np.uint8)
    assert metrics.confusion_matrix(a, b).tolist() == [[0, 1], [0, 1]]
    assert metrics.mean_absolute_error(np.array([3], np.uint8), np.array([5], np.uint8)) == 2


def test_a_model_reports_them():
    X, y = RNG.standard_normal((40, 3)), RNG.integers(0, 3, 40)
    model = Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0).build((3,))
    def top_2(y_true, scores):
        return metrics.top_k_accuracy(y_true, scores, k=2)

    top_2.takes_scores = metrics.top_k_accuracy.takes_scores
    got = model.evaluate(X, y, metrics=[metrics.f1, top_2])
    assert np.isclose(got["f1"], metrics.f1(y, model.predict(X)))
    assert np.isclose(got["top_2"], metrics.top_k_accuracy(y, model.transform(X), k=2))


# --- the range test ---

def classifier(optimizer=None, seed=0, **more):
    layers = [Dense(8, activation=ReLU()), Dense(3, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), optimizer=optimizer or SGD(), seed=seed, **more)


X, Y = RNG.standard_normal((90, 4)).astype(np.float32), np.repeat([0, 1, 2], 30)
X[np.arange(90), Y] += 3


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(CosineDecay(0.01, 100))])
def test_the_model_stays_as_it_is(optimizer):
    model, twin = classifier(optimizer), classifier(copy.deepcopy(optimizer))
    for m in (model, twin):
        m.fit(X, Y, epochs=2, progress=False)
    before = pickle.dumps((model.theta, model.state, model.history.to_dict(), repr(model)))
    learning_rate_range_test(model, X, Y)
    assert pickle.dumps((model.theta, model.state, model.history.to_dict(), repr(model))) == before
    for m in (model, twin):
        m.fit(X, Y, epochs=2, progress=False)
    assert np.array_equal(model.theta, twin.theta)


def test_a_model_that_is_not_built_stays_so_and_gives_the_same_twice():
    model = classifier()
    first, second = (learning_rate_range_test(model, X, Y) for _ in range(2))
    assert not model.is_built and np.array_equal(first.losses, second.losses)
    assert len(first.rates) == len(first.losses) == len(first.smoothed) <= 100
    assert 1e-5 < first.suggestion < 10 and "suggestion" in repr(first)


def test_all_rates_are_tried_if_nothing_explodes():
    result = learning_rate_range_test(classifier(), X, Y, lowest=1e-4, highest=1e-2, steps=17)
    assert np.allclose(result.rates, np.geomspace(1e-4, 1e-2, 17)) and np.isfinite(result.losses).all()


@pytest.mark.parametrize("change, error, text", [
    (dict(lowest=0), ValueError, "lowest must be"), (dict(lowest=1, highest=0.1), ValueError, "highest must be"),
    (dict(steps=1), ValueError, "steps must be at least 2"), (dict(batch_size=0), ValueError, "batch_size"),
    (dict(batch_size=2.5), TypeError, "batch_size"), (dict(model=classifier), TypeError, "model must be"),
    (dict(model=Model([Dense(3)])), ValueError, "loss"), (dict(y=Y[:5]), ValueError, "y must"),
])
def test_bad_input_of_the_range_test(change, error, text):
    with pytest.raises(error, match=text):
        learning_rate_range_test(**{"model": classifier(), "X": X, "y": Y, **change})


def test_r2_of_equal_targets_is_nan_and_does_not_stop_a_fit():
    assert np.isnan(metrics.r2([1.0, 1.0], [1.0, 2.0]))


def test_a_partial_metric_keeps_its_scores_and_shows_its_arguments():
    X, y = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 3
    model = Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    model.fit(X, y, epochs=1, progress=False)
    found = model.evaluate(X, y, metrics=[functools.partial(metrics.top_k_accuracy, k=k) for k in (1, 2, 3)])
    assert found["top_k_accuracy k=1"] == found["accuracy"] <= found["top_k_accuracy k=2"] <= found["top_k_accuracy k=3"] == 1
