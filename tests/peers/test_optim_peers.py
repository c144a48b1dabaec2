"""Every optimizer beside PyTorch's: fifty steps in float64, to a relative error of 1e-12."""
import numpy as np
import pytest

from slugnet.optimizers import SGD, Adadelta, AdaGrad, Adam, AdamW, AMSGrad, CosineDecay, Nadam, RMSProp

torch = pytest.importorskip("torch")
optim = torch.optim

PAIRS = {
    "SGD": (SGD(0.05), lambda p: optim.SGD(p, lr=0.05)),
    "SGD, decay": (SGD(0.05, weight_decay=0.1), lambda p: optim.SGD(p, lr=0.05, weight_decay=0.1)),
    "momentum": (SGD(0.02, momentum=0.9), lambda p: optim.SGD(p, lr=0.02, momentum=0.9)),
    "momentum, decay": (SGD(0.02, momentum=0.9, weight_decay=0.1),
                        lambda p: optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.1)),
    "Nesterov": (SGD(0.02, momentum=0.9, nesterov=True),
                 lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True)),
    "Nesterov, decay": (SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
                        lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1)),
    "AdaGrad": (AdaGrad(), optim.Adagrad),
    "AdaGrad, settings": (AdaGrad(0.3, epsilon=0.01, weight_decay=0.1),
                          lambda p: optim.Adagrad(p, lr=0.3, eps=0.01, weight_decay=0.1)),
    "RMSProp": (RMSProp(), optim.RMSprop),
    "RMSProp, settings": (RMSProp(0.03, rho=0.9, epsilon=0.01, weight_decay=0.1),
                          lambda p: optim.RMSprop(p, lr=0.03, alpha=0.9, eps=0.01, weight_decay=0.1)),
    "Adadelta": (Adadelta(), optim.Adadelta),
    "Adadelta, settings": (Adadelta(0.5, rho=0.95, epsilon=0.01, weight_decay=0.1),
                           lambda p: optim.Adadelta(p, lr=0.5, rho=0.95, eps=0.01, weight_decay=0.1)),
    "Adam": (Adam(), optim.Adam),
    "Adam, settings": (Adam(0.1, beta1=0.8, beta2=0.95, epsilon=0.01, weight_decay=0.1),
                       lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.95), eps=0.01, weight_decay=0.1)),
    "AdamW": (AdamW(), optim.AdamW),
    "AdamW, settings": (AdamW(0.1, beta1=0.8, beta2=0.95, epsilon=0.01, weight_decay=0.3),
                        lambda p: optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), eps=0.01, weight_decay=0.3)),
    "Nadam": (Nadam(), optim.NAdam),
    "Nadam, settings": (Nadam(0.1, beta1=0.8, beta2=0.95, epsilon=0.01, momentum_decay=0.1, weight_decay=0.1),
                        lambda p: optim.NAdam(p, lr=0.1, betas=(0.8, 0.95), eps=0.01, momentum_decay=0.1,
                                              weight_decay=0.1)),
    "AMSGrad": (AMSGrad(), lambda p: optim.Adam(p, amsgrad=True)),
    "AMSGrad, settings": (AMSGrad(0.1, beta1=0.8, beta2=0.7, epsilon=0.01, weight_decay=0.1),
                          lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.7), eps=0.01, weight_decay=0.1,
                                               amsgrad=True)),
}


def gradient(theta: np.ndarray) -> np.ndarray:
    """Of a loss that is no quadratic, with coupled coordinates and curvatures from 0.01 to 10."""
    scales = np.geomspace(0.01, 10, theta.size)
    return scales * np.tanh(theta) + 0.1 * np.roll(theta, 1) - 0.05 * np.sin(3 * theta)


@pytest.fixture(autouse=True)
def in_float64():
    """PyTorch's NAdam keeps its product of momenta in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", PAIRS)
def test_fifty_steps(name):
    """θ is compared at every step. Both see the same gradient, at PyTorch's θ: the rules are under test, not the
    loss, which near a minimum would blow up the rounding of the last step."""
    ours, make = PAIRS[name]
    theta = np.random.default_rng(0).standard_normal(101)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    theirs, memory = make([parameter]), ours.start(theta)
    for t in range(50):
        g = gradient(parameter.detach().numpy())
        parameter.grad = torch.tensor(g)
        ours.step(theta, g, memory)
        theirs.step()
        expected = parameter.detach().numpy()
        error = np.max(np.abs(theta - expected)) / np.max(np.abs(expected))
        assert error <= 1e-12, f"{name}, step {t + 1}: {error:.1e}"


def test_a_schedule_is_followed():
    """Adam with a cosine, beside Adam whose rate is set before each step."""
    schedule = CosineDecay(0.1, steps=40)
    theta = np.random.default_rng(1).standard_normal(11)
    parameter = torch.nn.Parameter(torch.tensor(theta))
    ours, theirs = Adam(schedule), optim.Adam([parameter])
    memory = ours.start(theta)
    for t in range(50):
        ours.step(theta, gradient(theta), memory)
        theirs.param_groups[0]["lr"] = schedule(t)
        parameter.grad = torch.tensor(gradient(parameter.detach().numpy()))
        theirs.step()
    np.testing.assert_allclose(theta, parameter.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_decay_of_some_entries():
    """AdamW and Adam, with decay on weights and none on biases, beside PyTorch's parameter groups."""
    for ours, kind in ((AdamW(0.1, weight_decay=0.3), optim.AdamW), (Adam(0.1, weight_decay=0.3), optim.Adam)):
        theta = np.random.default_rng(2).standard_normal(10)
        parts = [torch.nn.Parameter(torch.tensor(part)) for part in (theta[:6], theta[6:])]
        groups = [{"params": parts[:1], "weight_decay": 0.3}, {"params": parts[1:], "weight_decay": 0.0}]
        theirs, memory = kind(groups, lr=0.1), ours.start(theta, np.arange(10) < 6)
        for _ in range(50):
            ours.step(theta, gradient(theta), memory)
            g = gradient(np.concatenate([p.detach().numpy() for p in parts]))
            parts[0].grad, parts[1].grad = torch.tensor(g[:6]), torch.tensor(g[6:])
            theirs.step()
        found = np.concatenate([p.detach().numpy() for p in parts])
        np.testing.assert_allclose(theta, found, rtol=1e-12, atol=1e-13)
