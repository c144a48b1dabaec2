"""Penalties, constraints, callbacks and augmentation, where the notebooks do not look."""
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from slugnet.activation import ReLU, Softmax, Tanh
from slugnet.augmentation import Augmentation, augmented_minibatches
from slugnet.callbacks import CSVLogger, EarlyStopping, LambdaCallback, LearningRateScheduler, ModelCheckpoint
from slugnet.check import check_layer, check_model
from slugnet.contract import Layer, batch_last
from slugnet.layers import Dense
from slugnet.loss import CategoricalCrossEntropy, MeanSquaredError
from slugnet.model import Callback, Model, load
from slugnet.network import Network
from slugnet.optimizers import SGD
from slugnet.regularization import L1, L2, ElasticNet, MaxNorm, Penalty, project_to_norm

rng = np.random.default_rng(0)
X, y = rng.standard_normal((20, 6)), np.arange(20) % 3


def model(dtype="float64", optimizer=None, **settings):
    hidden = Network([Dense(8, activation=ReLU(), penalty=L1(1e-3), constraint=MaxNorm(1.0))])
    return Model([hidden, Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=1,
                 optimizer=optimizer or SGD(0.1, momentum=0.9), dtype=dtype, **settings)


@pytest.mark.parametrize("make, words", [
    (lambda: L2(-0.1), "strength"), (lambda: L1("a"), "strength"), (lambda: L2(np.nan), "strength"),
    (lambda: ElasticNet(0.1, -1), "l2"), (lambda: MaxNorm(0), "limit"),
    (lambda: Dense(3, penalty=L2), "penalty"), (lambda: Dense(3, penalty=0), "penalty"),
    (lambda: Dense(3, constraint=3.0), "constraint"), (lambda: Dense(3, constraint=L2()), "constraint"),
    (lambda: Model([Dense(3)], penalty=0.1), "penalty"), (lambda: Model([Dense(3)], penalty=MaxNorm()), "penalty"),
    (lambda: EarlyStopping(patience=0), "patience"), (lambda: EarlyStopping(min_delta=-1), "min_delta"),
    (lambda: EarlyStopping("mistakes"), "mode"), (lambda: EarlyStopping(mode="least"), "mode"),
    (lambda: LearningRateScheduler(0.1), "schedule"), (lambda: LambdaCallback(on_epoch_end=1), "on_epoch_end"),
    (lambda: Augmentation(shift=1.5), "shift"), (lambda: Augmentation(flip=1), "flip"),
    (lambda: Augmentation(image_shape=(0, 2, 2)), "image_shape"),
    (lambda: augmented_minibatches(X, y[:3], 2, Augmentation(), rng), "length"),
])
def test_bad_arguments_are_named(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.parametrize("penalty", [L1(0.1), L2(0.1), ElasticNet(0.1, 0.2)])
def test_a_penalty_is_part_of_loss_and_gradient(penalty):
    assert check_model(model(penalty=penalty).build((6,)), X, y) < 1e-11
    check_layer(Dense(3, activation=Tanh(), penalty=penalty), (4,))


def test_biases_are_neither_penalised_nor_constrained():
    plain, penalised = Model([Dense(3)], loss=MeanSquaredError(), seed=0), Model([Dense(3)], loss=MeanSquaredError(),
                                                                               seed=0, penalty=L2(5.0))
    T = rng.standard_normal((20, 3))
    gradients = [m.build((6,)).loss_and_gradients(X, T)[1] for m in (plain, penalised)]
    assert np.array_equal(gradients[0]["0.b"], gradients[1]["0.b"])
    np.testing.assert_allclose(gradients[1]["0.W"] - gradients[0]["0.W"], 5 * plain.parameters["0.W"], rtol=1e-4)
    held = Model([Dense(1, constraint=MaxNorm(0.1))], loss=MeanSquaredError(), optimizer=SGD(0.1), seed=0)
    held.fit(X, np.full(20, 9.0), epochs=20, progress=False)
    assert np.linalg.norm(held.parameters["0.W"]) <= 0.1 + 1e-6 and held.parameters["0.b"][0] > 5


def test_l2_is_weight_decay_for_plain_gradient_descent():
    a = model(optimizer=SGD(0.1, weight_decay=0.01))
    b = model(optimizer=SGD(0.1), penalty=L2(0.01))
    for each in (a, b):
        each.fit(X, y, epochs=3, progress=False)
    np.testing.assert_allclose(a.theta, b.theta)


def test_float32_stays():
    single = model("float32", penalty=ElasticNet()).build((6,))
    J, gradients = single.loss_and_gradients(X, y)
    assert {g.dtype for g in gradients.values()} == {np.dtype("float32")} and type(J) is float
    W = single.parameters["0.0.W"]
    for penalty in (L1(), L2(), ElasticNet()):
        assert penalty(W).dtype == penalty.gradient(W).dtype == np.float32
    project_to_norm(W, 0.5)
    assert W.dtype == np.float32


@pytest.mark.parametrize("shape, axis", [((4, 3), -1), ((3, 2, 2, 2), 0), ((2, 5, 3), 1), ((4,), -1), ((1, 1), -1)])
def test_projection_of_any_shape(shape, axis):
    W = rng.standard_normal(shape)
    project_to_norm(V := W.copy(), 0.7, axis)
    for v, w in zip(np.moveaxis(V, axis, 0), np.moveaxis(W, axis, 0)):
        length = np.sqrt(np.sum(w**2))
        np.testing.assert_allclose(v, w if length <= 0.7 else 0.7 * w / length)


def test_copies_and_files_carry_everything(tmp_path):
    first = model(penalty=ElasticNet(0.1, 0.2))

    def augment(X, rng):
        return X + 0.1 * rng.standard_normal(X.shape)

    first.fit(X, y, epochs=1, augment=augment, progress=False)
    first.save(tmp_path / "model")
    twins = [load(tmp_path / "model"), copy.deepcopy(first), pickle.loads(pickle.dumps(first))]
    first.fit(X, y, epochs=2, augment=augment, progress=False)
    for twin in twins:
        assert "penalty=ElasticNet(l1=0.1, l2=0.2)" in repr(twin) and "constraint=MaxNorm(limit=1.0)" in repr(twin)
        twin.fit(X, y, epochs=2, augment=augment, progress=False)
        assert np.array_equal(twin.theta, first.theta)


def test_a_custom_penalty_needs_two_methods():
    class Fourth(Penalty):
        def __call__(self, w, work=None):
            return np.sum(w**4)

        def gradient(self, w, out=None):
            return np.multiply(4, w**3, out=out)

    assert check_model(model(penalty=Fourth()).build((6,)), X, y) < 1e-11
    for act in (lambda: Penalty()(X), lambda: Penalty().gradient(X)):
        with pytest.raises(NotImplementedError):
            act()


def test_a_layer_in_two_places_or_models_is_refused():
    layer = Dense(6)
    with pytest.raises(ValueError, match="occurs twice"):
        Model([layer, Network([layer])])
    one, two = Model([layer], loss=MeanSquaredError()), Model([Network([layer])], loss=MeanSquaredError())
    one.build((6,))
    before = one.theta.copy()
    for act in (lambda: two.build((6,)), lambda: two.fit(X, X, progress=False)):
        with pytest.raises(ValueError, match="belongs to another model"):
            act()
    assert np.array_equal(one.theta, before) and not two.is_built
    shared = L2(0.1)
    Model([Dense(3, penalty=shared), Dense(2, penalty=shared)]).build((6,))


def test_penalties_and_constraints_allocate_nothing_large():
    large = Model([Dense(400, penalty=ElasticNet(), constraint=MaxNorm(1.0)), Dense(400)], loss=MeanSquaredError(),
                  seed=0, penalty=L1(1e-4))
    A, T = (np.zeros((64, 400), np.float32) for _ in range(2))
    peaks = []

    class Watch(Callback):
        def on_batch_begin(self, model, step):
            if step == 2:
                tracemalloc.start()
                tracemalloc.reset_peak()

        def on_batch_end(self, model, step, logs):
            if step == 6:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

    large.fit(A, T, epochs=1, batch_size=8, callbacks=[Watch()], progress=False)
    assert peaks[0] < 200_000


def test_early_stopping_goes_back_also_after_ctrl_c_and_errors():
    def interrupt(error):
        def act(model, step, logs):
            if len(model.history) == 3:
                model.theta += 1
                raise error
        return LambdaCallback(on_batch_end=act)

    for error in (KeyboardInterrupt(), RuntimeError("x"), FloatingPointError("y")):
        stopping, learner = EarlyStopping("loss"), model()
        kept = []
        keep = LambdaCallback(on_epoch_end=lambda m, epoch, logs: kept.append(m.theta.copy()))
        try:
            learner.fit(X, y, epochs=9, callbacks=[stopping, keep, interrupt(error)], progress=False)
        except (RuntimeError, FloatingPointError):
            pass
        assert len(learner.history) == 3 and np.array_equal(learner.theta, kept[stopping.best_epoch])


def test_a_callback_is_used_again():
    stopping = EarlyStopping("loss", patience=2, min_delta=1e3)
    for learner in (model(), model("float32"), Model([Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy())):
        assert len(learner.fit(X, y, epochs=9, callbacks=[stopping], progress=False)) == 3
        assert stopping.best_epoch == 0 and stopping.stopped_epoch == 2


def test_every_on_train_end_runs_and_state_is_restored():
    ended = []

    class Count(Layer):
        def build(self, input_shape):
            self.state_shapes = {"seen": (1,)}
            return input_shape

        def forward(self, X, tape):
            self.seen += len(X) * tape.train
            return X

        def backward(self, G, tape):
            return G

    def bad(model, logs):
        ended.append("bad")
        raise OSError("disk")

    learner = Model([Count(), Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    stopping = EarlyStopping("loss", patience=1, min_delta=1e3)
    with pytest.raises(OSError, match="disk"):
        learner.fit(X, y, epochs=5, progress=False,
                    callbacks=[LambdaCallback(on_train_end=lambda m, logs: ended.append(dict(logs))), stopping,
                               LambdaCallback(on_train_end=bad)])
    assert ended[0] == "bad" and set(ended[1]) == {"loss"} and learner.state.tolist() == [20]


def test_unknown_names_are_explained(tmp_path):
    for callback, words in ((EarlyStopping(), "no 'val_loss'.*measures loss.*no validation"),
                            (ModelCheckpoint(tmp_path / "{nothing}"), "cannot be filled in with epoch, loss"),
                            (LearningRateScheduler(lambda epoch: "fast"), "schedule")):
        with pytest.raises((TypeError, ValueError), match=words):
            model().fit(X, y, epochs=3, callbacks=[callback], progress=False)
    path = tmp_path / "log.csv"
    path.write_text("epoch,other\n")
    with pytest.raises(ValueError, match="has the columns epoch, other"):
        model().fit(X, y, epochs=1, callbacks=[CSVLogger(path, append=True)], progress=False)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (1, 3, 5, 7), (2, 2, 3, 2)])
def test_augmentation_for_any_strides(shape):
    A = rng.standard_normal(shape).astype(np.float32)
    last = batch_last(shape, np.float32)
    last[...] = A
    results = [Augmentation(shift=1, flip=True, noise=0.1)(Z, np.random.default_rng(3)) for Z in (A, last)]
    assert results[0].dtype == np.float32 and results[0].shape == shape and np.array_equal(*results)
    with pytest.raises(ValueError, match="shift must be less"):
        Augmentation(shift=min(shape[2:]))(A, rng)
    with pytest.raises(ValueError, match="images"):
        Augmentation(flip=True)(X, rng)


def test_augmentation_in_fit_is_refused_before_anything_changes():
    learner = model()
    with pytest.raises(ValueError, match="images"):
        learner.fit(X, y, augment=Augmentation(shift=1), progress=False)
    assert not learner.is_built
    learner.fit(X, y, epochs=1, augment=Augmentation(shift=1, image_shape=(1, 2, 3)), progress=False)
