"""Embedding, residual and parallel layers against PyTorch; the shares of dropout against its own."""
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from slugnet.activation import Tanh  # noqa: E402
from slugnet.contract import Tape  # noqa: E402
from slugnet.layers.dense import Dense  # noqa: E402
from slugnet.layers.dropout import Dropout  # noqa: E402
from slugnet.layers.embedding import Embedding  # noqa: E402
from slugnet.layers.residual import Parallel, Residual  # noqa: E402


def bound(layer, input_shape):
    layer.build(input_shape)
    layer.bind(*np.zeros((2, layer.size)), np.zeros(0))
    layer.initialize(np.random.default_rng(0))
    return layer


def peer(layer):
    """A dense layer with tanh, in PyTorch, with the same weights."""
    W, b = (torch.tensor(a, requires_grad=True) for a in (layer.W, layer.b))
    return W, b, lambda X: torch.tanh(X @ W + b)


def test_embedding():
    rng = np.random.default_rng(0)
    layer, tape = bound(Embedding(20, 6), (9,)), Tape()
    X, G = rng.integers(0, 20, (5, 9)), rng.standard_normal((5, 9, 6))
    W = torch.tensor(layer.W, requires_grad=True)
    H = torch.nn.functional.embedding(torch.tensor(X), W)
    H.backward(torch.tensor(G))
    np.testing.assert_array_equal(layer.forward(X, tape), H.detach().numpy())
    layer.backward(G, tape)
    np.testing.assert_allclose(layer.dW, W.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("kind", ["residual", "sum", "concatenate"])
def test_branches(kind):
    rng = np.random.default_rng(0)
    dense = [Dense(4, Tanh()), Dense(4, Tanh())]
    layer = Residual(dense) if kind == "residual" else Parallel([[dense[0]], [dense[1]]], kind)
    bound(layer, (4,))
    X = rng.standard_normal((5, 4))
    (W0, b0, f0), (W1, b1, f1) = map(peer, dense)
    X_peer, tape = torch.tensor(X, requires_grad=True), Tape()
    H_peer = {"residual": lambda X: X + f1(f0(X)), "sum": lambda X: f0(X) + f1(X),
              "concatenate": lambda X: torch.cat([f0(X), f1(X)], dim=1)}[kind](X_peer)
    H = layer.forward(X, tape)
    np.testing.assert_allclose(H, H_peer.detach().numpy(), atol=1e-12)
    G = rng.standard_normal(H.shape)
    H_peer.backward(torch.tensor(G))
    np.testing.assert_allclose(layer.backward(G, tape), X_peer.grad.numpy(), atol=1e-12)
    for inner, W, b in ((dense[0], W0, b0), (dense[1], W1, b1)):
        np.testing.assert_allclose(inner.dW, W.grad.numpy(), atol=1e-12)
        np.testing.assert_allclose(inner.db, b.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_same_share_and_scales_alike(rate):
    X = np.ones((200, 500))
    H = Dropout(rate).forward(X, Tape(train=True, rng=np.random.default_rng(0)))
    torch.manual_seed(0)
    H_peer = torch.nn.functional.dropout(torch.tensor(X), rate, training=True).numpy()
    assert np.unique(H).tolist() == pytest.approx(np.unique(H_peer).tolist())
    assert abs(np.mean(H == 0) - np.mean(H_peer == 0)) < 0.01
