"""How a network is put together is looked up once in a call of fit, but anew in each step where code of the user's may change it."""
from unittest import mock

import numpy as np
import pytest
from slugnet import model as module
from slugnet.activation import Identity, ReLU, Softmax, Tanh
from slugnet.layers import Dense
from slugnet.loss import CategoricalCrossEntropy, Huber
from slugnet.model import Callback, Model
from slugnet.network import Objective
from slugnet.optimizers import SGD
from slugnet.regularization import L1, L2, MaxNorm

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((24, 5)), rng.integers(0, 3, 24)
EVENTS = ("on_train_begin", "on_epoch_begin", "on_batch_begin", "on_gradient", "on_batch_end", "on_epoch_end")


def network(kind: type = Model, loss=None, optimizer=None, top=None) -> Model:
    """A model of two layers, built; the same numbers each time."""
    layers = [Dense(4, ReLU()), Dense(3, Softmax() if top is None else top)]
    return kind(layers, loss or CategoricalCrossEntropy(), optimizer or SGD(0.5), seed=1, dtype="float64").build((5,))


def penalize_layer(model: Model) -> None:
    model.layers[0].penalty = L1(0.1)


def penalize_model(model: Model) -> None:
    model.penalty = L2(0.3)


def bound(model: Model) -> None:
    model.layers[0].constraint = MaxNorm(0.2)


def activate(model: Model) -> None:
    model.layers[0].activation = Tanh()


CHANGES = (penalize_layer, penalize_model, bound, activate)


def train(model: Model, **options) -> np.ndarray:
    """The parameters after an epoch of one step, so that each event of a callback comes once."""
    model.fit(X, Y, epochs=1, batch_size=24, progress=False, **options)
    return model.theta.copy()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_callback_changes_counts_at_once(change, event) -> None:
    class Changing(Callback):
        pass

    setattr(Changing, event, lambda self, model, *rest: change(model))
    changed, by_hand = network(), network()
    first = train(changed, callbacks=[Changing()])
    too_late = event in ("on_batch_end", "on_epoch_end") or (event == "on_gradient" and change is not bound)
    if not too_late:
        change(by_hand)
    np.testing.assert_array_equal(first, train(by_hand))
    change(by_hand)
    second = train(changed)
    np.testing.assert_array_equal(second, train(by_hand))
    plain = network()
    train(plain)
    assert not np.array_equal(second, train(plain))


@pytest.mark.parametrize("change", CHANGES)
def test_so_does_what_an_augmentation_or_a_metric_changes(change) -> None:
    changed, by_hand = network(), network()

    def augment(inputs, generator):
        change(changed)
        return inputs

    def metric(truth, decisions):
        change(measured)
        return 0.0

    change(by_hand)
    np.testing.assert_array_equal(train(changed, augment=augment), train(by_hand))
    measured, by_hand = network(), network()
    measured.fit(X, Y, epochs=2, batch_size=24, metrics=[metric], progress=False)
    train(by_hand)
    change(by_hand)
    np.testing.assert_array_equal(measured.theta, train(by_hand))


def test_classes_of_the_users_own_are_asked_in_each_step() -> None:
    class Warming(Model):
        @property
        def penalty(self):
            return L2(0.1 * self._memory["t"]) if self._memory else None

        @penalty.setter
        def penalty(self, value):
            """Not kept."""

    class Rule(SGD):
        def update(self, theta, grad, rate, memory):
            super().update(theta, grad, rate, memory)
            ruled.penalty = L2(0.1 * (memory["t"] + 1))

    class Loss(CategoricalCrossEntropy):
        def joint(self, A, Y, weights=None, out=None):
            lossy.penalty = L2(0.1 * (lossy._memory["t"] + 1))
            return super().joint(A, Y, weights, out)

    by_hand, warming, ruled = network(), network(Warming), network(optimizer=Rule(0.5))
    lossy = network(loss=Loss())
    for step in range(4):
        by_hand.penalty = L2(0.1 * step)
        by_hand.fit(X[6 * step:6 * step + 6], Y[6 * step:6 * step + 6], epochs=1, batch_size=6, shuffle=False, progress=False)
    for model in (warming, ruled, lossy):
        model.fit(X, Y, epochs=1, batch_size=6, shuffle=False, progress=False)
        np.testing.assert_allclose(model.theta, by_hand.theta, rtol=1e-12)


@pytest.mark.parametrize(("options", "times"), [
    ({}, 1), ({"metrics": ["accuracy"]}, 4), ({"callbacks": [Callback()]}, 12), ({"augment": lambda Z, rng: Z}, 12),
    ({"metrics": [lambda truth, decisions: 0.0]}, 6 + 1)])
def test_how_often_it_is_looked_up(options, times) -> None:
    model = network()
    with mock.patch.object(module, "Objective", side_effect=Objective) as made:
        model.fit(X, Y, epochs=3, batch_size=6, progress=False, **options)
    assert made.call_count == times


def test_an_objective_is_of_the_moment_when_it_was_made() -> None:
    model = network(loss=Huber(), top=Identity())
    objective = Objective(model.layers, model.loss, model.penalty)
    J, _ = objective.mean_loss(X, np.zeros((24, 3)), module.Tape())
    penalize_layer(model)
    assert objective.mean_loss(X, np.zeros((24, 3)), module.Tape())[0] == J
    assert Objective(model.layers, model.loss).mean_loss(X, np.zeros((24, 3)), module.Tape())[0] > J
