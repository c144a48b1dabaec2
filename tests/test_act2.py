"""ELU, SiLU and GELU, Huber's and the hinge loss, label smoothing: bad input, extremes, dtypes, whole models."""
import sys

import numpy as np
import pytest

from slugnet.activation import (
    ELU,
    GELU,
    Identity,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from slugnet.layers import Dense
from slugnet.loss import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Hinge,
    Huber,
    MeanSquaredError,
)
from slugnet.model import Model, load

UNITS = [ELU(), ELU(0.3), SiLU(), GELU(), GELU(exact=True)]


@pytest.mark.parametrize("unit", UNITS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_raise_no_warning(unit, dtype):
    A = np.array([[-1e4, -100, -40, -1e-30, 0, 1e-30, 40, 100, 1e4]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        H = unit(A)
        slope = unit.vjp(np.ones_like(A), A, H)
    assert H.dtype == slope.dtype == dtype
    floor = -getattr(unit, "alpha", 0)
    np.testing.assert_allclose(H[0, :3], floor, atol=1e-15)
    np.testing.assert_array_equal(H[0, -3:], A[0, -3:])
    np.testing.assert_allclose(slope[0, :3], 0, atol=1e-15)
    np.testing.assert_array_equal(slope[0, -3:], 1)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_out_is_written_and_inputs_stay(unit):
    A, G = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    kept, H, G_A = A.copy(), np.empty_like(A), np.empty_like(A)
    assert unit(A, out=H) is H and unit.vjp(G, A, H, out=G_A) is G_A
    np.testing.assert_array_equal(H, unit(A))
    np.testing.assert_array_equal(G_A, unit.vjp(G, A, H))
    np.testing.assert_array_equal(A, kept)
    assert repr(unit.initializer()) == "HeNormal()"


def test_repr():
    assert [repr(unit) for unit in UNITS] == ["ELU()", "ELU(alpha=0.3)", "SiLU()", "GELU()", "GELU(exact=True)"]
    assert repr(CategoricalCrossEntropy(0.1)) == "CategoricalCrossEntropy(label_smoothing=0.1)"
    assert repr(Huber(2)) == "Huber(delta=2.0)" and repr(Hinge()) == "Hinge()"


def test_exact_gelu_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    GELU()(np.ones(3))
    with pytest.raises(ImportError, match=r"slugnet\[scipy\]"):
        GELU(exact=True)(np.ones(3))


@pytest.mark.parametrize("make, error, message", [
    (lambda: ELU(0), ValueError, "alpha must be finite and above 0; got 0"),
    (lambda: ELU("1"), TypeError, "alpha must be a real number"),
    (lambda: GELU(1), TypeError, "exact must be of type bool"),
    (lambda: Huber(-1), ValueError, "delta must be finite and above 0"),
    (lambda: Huber(np.inf), ValueError, "delta must be finite"),
    (lambda: BinaryCrossEntropy(1), ValueError, "label_smoothing must be"),
    (lambda: CategoricalCrossEntropy(-0.1), ValueError, "label_smoothing must be"),
    (lambda: CategoricalCrossEntropy(True), TypeError, "label_smoothing must be"),
    (lambda: Hinge().prepare([0, 2], 2, (1,), float), ValueError, "0 and 1, or -1 and 1"),
    (lambda: Hinge().prepare([0, 0.5], 2, (1,), float), ValueError, "0 and 1, or -1 and 1"),
    (lambda: Hinge().prepare([-1, 1], 2, (3,), float), ValueError, "from 0 to 2; got -1"),
    (lambda: Hinge().prepare([[0.5, 0.5]], 1, (2,), float), ValueError, "one-hot rows"),
    (lambda: Huber().prepare([1, 2], 2, (2,), float), ValueError, "shape of the outputs"),
])
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), CategoricalCrossEntropy()], ids=repr)
@pytest.mark.parametrize("last", [Identity(), ReLU(), Tanh(), ELU(), SiLU(), GELU(), LogSoftmax()], ids=repr)
def test_cross_entropy_refuses_what_gives_no_probabilities(loss, last):
    with pytest.raises(ValueError, match=rf"takes probabilities such as \w+\(\) gives, not what {type(last).__name__}"):
        Model([Dense(3, activation=last)], loss=loss).build((4,))


def test_cross_entropy_takes_what_gives_probabilities():
    for loss, last in ((BinaryCrossEntropy, Sigmoid), (BinaryCrossEntropy, Softmax), (CategoricalCrossEntropy, Softmax)):
        Model([Dense(3, activation=last())], loss=loss()).build((4,))
    for loss, last in ((BinaryCrossEntropy, Softplus), (CategoricalCrossEntropy, Softplus),
                       (CategoricalCrossEntropy, Sigmoid)):
        with pytest.raises(ValueError, match=last.__name__):
            Model([Dense(3, activation=last())], loss=loss()).build((4,))
    Model([Dense(3, activation=Tanh())], loss=MeanSquaredError()).build((4,))


def test_huber_of_large_errors_in_float32():
    big = np.array([[1e30], [-1e30]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        L = Huber(0.5).examples(big, np.zeros_like(big))
    assert L.dtype == np.float32
    np.testing.assert_allclose(L, 5e29, rtol=1e-6)


@pytest.mark.parametrize("loss, y", [(Huber(), np.ones((4, 3))), (Hinge(), np.array([0, 1, 2, 0])),
                                     (BinaryCrossEntropy(0.1), np.eye(4)[:, :3]),
                                     (CategoricalCrossEntropy(0.1), np.array([0, 1, 2, 0])),
                                     (CategoricalCrossEntropy(0.1), np.eye(3)[[0, 1, 2, 0]])], ids=repr)
def test_float32_stays(loss, y):
    P = np.full((4, 3), 1 / 3, np.float32)
    Y = loss.prepare(y, 4, (3,), np.float32)
    assert loss(P, Y).dtype == loss.gradient(P, Y).dtype == np.float32
    if loss.canonical:
        J, G_A = loss.joint(P, Y)
        assert J.dtype == G_A.dtype == np.float32


def test_smoothing_of_labels_and_of_one_hot_rows_is_the_same():
    A, labels = np.random.default_rng(2).standard_normal((4, 3)), np.array([0, 1, 2, 0])
    loss = CategoricalCrossEntropy(0.2)
    for got, expected in zip(loss.joint(A, labels), loss.joint(A, np.eye(3)[labels])):
        np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("K", [1, 3])
def test_hinge_learns_and_is_saved(tmp_path, K):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = (X[:, 0] > 0).astype(int) if K == 1 else np.abs(X).argmax(axis=1) + (X.sum(axis=1) > 0)
    model = Model([Dense(16, activation=GELU(exact=True)), Dense(16, activation=ELU(0.5)), Dense(K)],
                  loss=Hinge(), seed=0)
    model.fit(X, y, epochs=120, progress=False)
    assert model.evaluate(X, y)["accuracy"] > 0.8
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert repr(again.layers) == repr(model.layers)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
