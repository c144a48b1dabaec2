"""ELU, SiLU, GELU, Huber's and the hinge loss and label smoothing beside PyTorch's and scikit-learn's."""
import numpy as np
import pytest

from slugnet.activation import ELU, GELU, SiLU
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, Hinge, Huber

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
A = np.concatenate([4 * RNG.standard_normal((6, 5)), [[0, -100, 100, -40, 40]]])


def slopes(f, A):
    """A torch function's value and its gradient."""
    tensor = torch.tensor(A, requires_grad=True)
    value = f(tensor)
    value.sum().backward()
    return value.detach().numpy(), tensor.grad.numpy()


@pytest.mark.parametrize("unit, module", [
    (ELU(), torch.nn.ELU()), (ELU(0.4), torch.nn.ELU(0.4)), (SiLU(), torch.nn.SiLU()),
    (GELU(), torch.nn.GELU(approximate="tanh")), (GELU(exact=True), torch.nn.GELU()),
], ids=str)
def test_activation(unit, module):
    value, slope = slopes(module, A)
    np.testing.assert_allclose(unit(A), value, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(unit.vjp(np.ones_like(A), A, unit(A)), slope, rtol=1e-12, atol=1e-14)


def compare(loss, Y, f, A, factor=1.0, joint=False):
    value, slope = slopes(f, A)
    J, G = loss.joint(A, Y) if joint else (loss(A, Y), loss.gradient(A, Y))
    np.testing.assert_allclose(J, factor * value, rtol=1e-12)
    np.testing.assert_allclose(G, factor * slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber(delta):
    Y = RNG.standard_normal(A.shape)
    module = torch.nn.HuberLoss(delta=delta)
    compare(Huber(delta), Y, lambda Z: module(Z, torch.tensor(Y)), A, factor=A.shape[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing(smoothing):
    labels = RNG.integers(0, 5, len(A))
    module = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    compare(CategoricalCrossEntropy(smoothing), labels, lambda Z: module(Z, torch.tensor(labels)), A, joint=True)
    rows = RNG.dirichlet(np.ones(5), len(A))
    compare(CategoricalCrossEntropy(smoothing), rows, lambda Z: module(Z, torch.tensor(rows)), A, joint=True)
    answers = RNG.integers(0, 2, A.shape).astype(float)
    binary = torch.nn.BCEWithLogitsLoss()
    smooth = torch.tensor(answers * (1 - smoothing) + smoothing / 2)
    compare(BinaryCrossEntropy(smoothing), answers, lambda Z: binary(Z, smooth), A, factor=5, joint=True)


def test_hinge_of_two_classes_is_twice_multi_margin():
    scores, labels = RNG.standard_normal((9, 2)), RNG.integers(0, 2, 9)
    module = torch.nn.MultiMarginLoss()
    compare(Hinge(), labels, lambda Z: module(Z, torch.tensor(labels)), scores, factor=2)


def test_hinge_of_one_score():
    scores, signs = 2 * RNG.standard_normal((9, 1)), RNG.choice([-1.0, 1.0], (9, 1))
    compare(Hinge(), signs, lambda Z: torch.clamp(1 - torch.tensor(signs) * Z, min=0).mean(), scores)


def test_hinge_as_in_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels = np.array([0, 1, 2, 3, 4, 1, 2])
    np.testing.assert_allclose(Hinge()(A, labels), metrics.hinge_loss(labels, A))
    signs = np.array([-1, 1, 1, -1, 1, -1, 1])
    np.testing.assert_allclose(Hinge()(A[:, :1], signs[:, None]), metrics.hinge_loss(signs, A[:, 0]))
