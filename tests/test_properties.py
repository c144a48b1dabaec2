"""What must hold for every input that fits, tried with many that hypothesis invents."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slugnet.activation import Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Softplus, Tanh
from slugnet.data import Standardizer, minibatches, one_hot, split_indices
from slugnet.layers import Dense
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, MeanAbsoluteError, MeanSquaredError
from slugnet.model import Model

settings.register_profile("slugnet", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("slugnet")

ACTIVATIONS = [Identity(), ReLU(), LeakyReLU(), Tanh(), Sigmoid(), Softplus(), Softmax(), LogSoftmax()]
sizes = st.integers(1, 6)
moderate = st.floats(-30, 30, allow_subnormal=False)
huge = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
matrices = st.tuples(sizes, sizes).flatmap(lambda shape: arrays(np.float64, shape, elements=moderate))


def classifier(n_in: int, n_out: int, seed: int = 0, dtype="float64") -> Model:
    layers = [Dense(4, activation=Tanh()), Dense(n_out, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), seed=seed, dtype=dtype).build((n_in,))


@given(m=sizes, n_in=sizes, n_out=sizes, activation=st.sampled_from(ACTIVATIONS))
def test_shapes(m, n_in, n_out, activation):
    model = Model([Dense(n_out, activation=activation)], loss=MeanSquaredError(), seed=0).build((n_in,))
    X = np.random.default_rng(0).standard_normal((m, n_in))
    assert model.transform(X).shape == (m, n_out) and model.transform(X).dtype == np.float32
    J, gradients = model.loss_and_gradients(X, np.zeros((m, n_out)))
    assert isinstance(J, float) and {k: g.shape for k, g in gradients.items()} == {"0.W": (n_in, n_out), "0.b": (n_out,)}


@given(A=matrices, shift=moderate)
def test_softmax_does_not_feel_a_shift(A, shift):
    np.testing.assert_allclose(Softmax()(A + shift), Softmax()(A), atol=1e-12)
    np.testing.assert_allclose(Softmax()(A).sum(axis=1), 1)


@given(A=st.tuples(sizes, sizes).flatmap(lambda shape: arrays(np.float32, shape, elements=huge)),
       activation=st.sampled_from(ACTIVATIONS))
def test_activations_are_safe_in_float32(A, activation):
    before = A.copy()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        H = activation(A)
        G = activation.vjp(np.ones_like(A), A, H)
    assert H.dtype == G.dtype == np.float32 and np.isfinite(H).all() and np.isfinite(G).all()
    assert np.array_equal(A, before)
    out = np.empty_like(A)
    assert activation(A, out=out) is out and np.array_equal(out, H)


@given(A=arrays(np.float32, (4, 3), elements=huge), y=arrays(np.int64, 4, elements=st.integers(0, 2)))
def test_joint_losses_are_exact_for_any_logits(A, y):
    exact = A.astype(np.longdouble)
    shifted = exact - exact.max(axis=1, keepdims=True)
    logsum = np.log(np.exp(shifted).sum(axis=1))
    J, G = CategoricalCrossEntropy().joint(A.copy(), y)
    np.testing.assert_allclose(float(J), float((logsum - shifted[np.arange(4), y]).mean()), rtol=1e-5, atol=1e-6)
    expected = (np.exp(shifted - logsum[:, None]) - np.eye(3)[y]) / 4
    np.testing.assert_allclose(G, expected.astype(float), atol=1e-6)
    Y = np.eye(3, dtype=np.float32)[y]
    J, G = BinaryCrossEntropy().joint(A.copy(), Y)
    each = np.maximum(exact, 0) + np.log1p(np.exp(-np.abs(exact))) - Y * exact
    np.testing.assert_allclose(float(J), float(each.sum(axis=1).mean()), rtol=1e-5, atol=1e-6)
    assert np.isfinite(G).all() and np.abs(G).max() <= 0.25


@given(m=st.integers(1, 7), n_in=sizes, n_out=st.integers(2, 5))
def test_a_batch_is_its_examples(m, n_in, n_out):
    model, rng = classifier(n_in, n_out), np.random.default_rng(1)
    X, y = rng.standard_normal((m, n_in)), rng.integers(0, n_out, m)
    single = np.concatenate([model.transform(X[i:i + 1]) for i in range(m)])
    np.testing.assert_allclose(model.transform(X), single, rtol=1e-12)
    J, gradients = model.loss_and_gradients(X, y)
    parts = [model.loss_and_gradients(X[i:i + 1], y[i:i + 1]) for i in range(m)]
    np.testing.assert_allclose(J, np.mean([part[0] for part in parts]))
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, np.mean([part[1][name] for part in parts], axis=0), atol=1e-12)


@given(order=st.permutations(range(6)))
def test_order_of_examples_does_not_matter_to_the_gradient(order):
    model, rng = classifier(3, 4), np.random.default_rng(2)
    X, y = rng.standard_normal((6, 3)), rng.integers(0, 4, 6)
    J, gradients = model.loss_and_gradients(X, y)
    J_other, others = model.loss_and_gradients(X[list(order)], y[list(order)])
    np.testing.assert_allclose(J, J_other)
    for name in gradients:
        np.testing.assert_allclose(gradients[name], others[name], atol=1e-13)


@given(counts=st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any))
def test_a_weight_is_a_number_of_copies(counts):
    model, rng = classifier(3, 4), np.random.default_rng(3)
    X, y = rng.standard_normal((5, 3)), rng.integers(0, 4, 5)
    J, gradients = model.loss_and_gradients(X, y, sample_weight=counts)
    copies = np.repeat(np.arange(5), counts)
    J_copies, other = model.loss_and_gradients(X[copies], y[copies])
    np.testing.assert_allclose(J, J_copies)
    for name in gradients:
        np.testing.assert_allclose(gradients[name], other[name], atol=1e-13)


@given(y=arrays(np.int64, st.integers(1, 8), elements=st.integers(0, 3)))
def test_indices_and_one_hot_rows_are_the_same_target(y):
    loss, rng = CategoricalCrossEntropy(), np.random.default_rng(4)
    A = rng.standard_normal((len(y), 4))
    rows = loss.prepare(one_hot(y, 4), len(y), (4,), np.float64)
    indices = loss.prepare(y, len(y), (4,), np.float64)
    for a, b in zip(loss.joint(A.copy(), rows), loss.joint(A.copy(), indices)):
        np.testing.assert_allclose(a, b, atol=1e-14)
    S = Softmax()(A)
    np.testing.assert_allclose(loss(S, rows), loss(S, indices))
    np.testing.assert_allclose(loss.gradient(S, rows), loss.gradient(S, indices))


@given(m=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 5))
def test_minibatches_serve_every_example_once(m, batch_size, seed):
    batches = list(minibatches(m, batch_size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(batches)) == list(range(m))
    assert all(len(batch) == batch_size for batch in batches[:-1]) and 1 <= len(batches[-1]) <= batch_size


@given(m=st.integers(2, 60), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 5))
def test_a_split_is_a_partition(m, fraction, seed):
    kept, held = split_indices(m, fraction, np.random.default_rng(seed))
    assert sorted([*kept, *held]) == list(range(m)) and len(kept) and len(held)
    assert abs(len(held) - fraction * m) <= 1


@given(X=arrays(np.float64, (7, 3), elements=st.floats(-100, 100, allow_subnormal=False)))
def test_standardizer_goes_there_and_back(X):
    scaler = Standardizer().fit(X)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, atol=1e-9)


@given(loss=st.sampled_from([MeanSquaredError(), MeanAbsoluteError()]), Y=matrices)
def test_no_error_no_loss(loss, Y):
    assert loss(Y, Y) == 0 and not loss.gradient(Y.copy(), Y).any()
