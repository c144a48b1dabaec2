"""Each mistake of earlier work has a test with its name."""
import ast
import copy
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import slugnet
from slugnet.activation import ReLU, Sigmoid, Softmax, Tanh
from slugnet.check import CheckError, check_layer, complex_step
from slugnet.contract import Layer, Tape
from slugnet.data import digits, minibatches, spirals, split
from slugnet.layers import Convolution, Dense, Embedding, Reshape
from slugnet.loss import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquaredError
from slugnet.metrics import accuracy
from slugnet.model import Callback, Model
from slugnet.network import Network
from slugnet.optimizers import SGD, ExponentialDecay, InverseTimeDecay, StepDecay

RNG = np.random.default_rng(0)
X, y = RNG.standard_normal((10, 3)), np.arange(10) % 3


def classifier(optimizer=None, seed=0, layers=None, dtype="float64") -> Model:
    layers = layers or [Dense(6, activation=Tanh()), Dense(3, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), optimizer=optimizer, seed=seed, dtype=dtype)


class Watch(Layer):
    """Lets everything pass, and writes down what passed."""

    def __init__(self):
        self.seen = []

    def forward(self, X, tape):
        self.seen.append((tape.train, X.copy()))
        return X

    def backward(self, G, tape):
        return G


def test_every_parameter_trains():
    model = classifier(SGD(0.1)).build((3,))
    before = {name: value.copy() for name, value in model.parameters.items()}
    model.fit(X, y, epochs=2, progress=False)
    assert all((model.parameters[name] != before[name]).any() for name in before)
    assert set(before) == {"0.W", "0.b", "1.W", "1.b"}


def test_the_derivative_of_softmax_is_no_stub():
    A, G = RNG.standard_normal((2, 4, 5))
    S = Softmax()(A)
    G_A = Softmax().vjp(G, A, S)
    assert not np.allclose(G_A, G) and not np.allclose(G_A, G * S * (1 - S))
    np.testing.assert_allclose(G_A, complex_step(lambda Z: np.sum(G * Softmax()(Z)), A), atol=1e-14)


def test_the_mean_is_taken_exactly_once():
    model = classifier().build((3,))
    J, gradients = model.loss_and_gradients(X, y)
    J_twice, twice = model.loss_and_gradients(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(J, J_twice)
    for name in gradients:
        np.testing.assert_allclose(gradients[name], twice[name], atol=1e-14)
    single = [model.loss_and_gradients(X[i:i + 1], y[i:i + 1])[1]["0.W"] for i in range(10)]
    np.testing.assert_allclose(gradients["0.W"], sum(single) / 10, atol=1e-14)


def test_transform_returns_every_example():
    model = classifier().build((3,))
    many = RNG.standard_normal((2500, 3))
    assert model.transform(many).shape == (2500, 3)
    np.testing.assert_allclose(model.transform(many)[2400], model.transform(many[2400:2401])[0])


@pytest.mark.parametrize("schedule, expected", [
    (InverseTimeDecay(0.5, decay=1.0), [0.5, 0.25, 0.5 / 3, 0.125]),
    (ExponentialDecay(0.5, decay=np.log(2)), [0.5, 0.25, 0.125, 0.0625]),
    (StepDecay(0.5, factor=0.1, every=2), [0.5, 0.5, 0.05, 0.05]),
])
def test_a_decay_lowers_the_rate_that_is_really_used(schedule, expected):
    optimizer, theta, steps = SGD(schedule), np.zeros(1), []
    memory = optimizer.start(theta)
    for _ in range(4):
        before = theta.copy()
        optimizer.step(theta, np.ones(1), memory)
        steps.append((before - theta)[0])
    np.testing.assert_allclose(steps, expected)


def test_an_activation_shared_by_two_layers_keeps_nothing():
    tanh = Tanh()
    check_layer(Network([Dense(4, activation=tanh), Dense(3, activation=tanh)]), (5,), limit=1e-10)


def test_models_share_no_default_optimizer_and_no_memory():
    a, b = classifier(), classifier()
    assert a.optimizer is not b.optimizer
    shared = SGD(0.1, momentum=0.9)
    a, b, alone = classifier(shared), classifier(shared), classifier(SGD(0.1, momentum=0.9))
    for _ in range(3):
        a.fit(X, y, epochs=1, progress=False)
        b.fit(-X, y, epochs=1, progress=False)
        alone.fit(X, y, epochs=1, progress=False)
    assert np.array_equal(a.theta, alone.theta) and not np.array_equal(a.theta, b.theta)


def test_the_learning_rate_is_read():
    moves = []
    for rate in (0.1, 0.2):
        model = classifier(SGD(rate)).build((3,))
        before = model.theta.copy()
        model.fit(X, y, epochs=1, batch_size=10, shuffle=False, progress=False)
        moves.append(model.theta - before)
    np.testing.assert_allclose(moves[1], 2 * moves[0], atol=1e-15)


def test_a_learning_rate_set_later_is_read():
    model = classifier(SGD(0.1))
    model.fit(X, y, epochs=1, progress=False)
    before = model.theta.copy()
    model.optimizer.learning_rate = 0.0
    model.fit(X, y, epochs=1, progress=False)
    assert np.array_equal(model.theta, before)


def test_validation_does_not_run_in_training_mode():
    watch = Watch()
    model = classifier(layers=[watch, Dense(3, activation=Softmax())])
    model.fit(X, y, epochs=1, batch_size=10, validation_data=(X[:4], y[:4]), metrics=["accuracy"], progress=False)
    assert [(train, len(rows)) for train, rows in watch.seen] == [(True, 10), (False, 10), (False, 4)]


def test_a_second_fit_holds_out_the_same_examples():
    watch = Watch()
    model = classifier(layers=[watch, Dense(3, activation=Softmax())])
    held = []
    for _ in range(3):
        watch.seen.clear()
        model.fit(X, y, epochs=1, batch_size=99, validation_split=0.3, progress=False)
        held.append({tuple(row) for train, rows in watch.seen if not train for row in rows})
        trained = {tuple(row) for train, rows in watch.seen if train for row in rows}
        assert len(held[-1]) == 3 and not held[-1] & trained and len(trained) == 7
    assert held[0] == held[1] == held[2]


def test_examples_are_shuffled_and_the_last_short_batch_is_seen():
    watch = Watch()
    model = classifier(layers=[watch, Dense(3, activation=Softmax())])
    model.fit(X, y, epochs=2, batch_size=4, progress=False)
    assert [len(rows) for _, rows in watch.seen] == [4, 4, 2] * 2
    orders = [np.concatenate([rows for _, rows in watch.seen[i:i + 3]])[:, 0] for i in (0, 3)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(X[:, 0])
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], X[:, 0])


def test_data_smaller_than_a_batch_train():
    model = classifier(SGD(0.5)).build((3,))
    before = model.evaluate(X, y)["loss"]
    model.fit(X, y, epochs=20, batch_size=1000, progress=False)
    assert model.evaluate(X, y)["loss"] < 0.8 * before
    assert [len(rows) for rows in minibatches(3, 8)] == [3]


def test_accuracy_does_not_broadcast():
    labels = np.array([0, 1, 1, 0])
    with pytest.raises(ValueError, match="shape"):
        accuracy(labels[:, None], labels)
    model = Model([Dense(1, activation=Sigmoid())], loss=BinaryCrossEntropy(), seed=0)
    model.fit(X[:4], labels[:, None], epochs=1, progress=False)
    both = [model.evaluate(X[:4], target)["accuracy"] for target in (labels, labels[:, None])]
    assert both[0] == both[1] == np.mean(model.predict(X[:4]) == labels) and model.predict(X[:4]).shape == (4,)


@pytest.mark.parametrize("clip", [{"clip_norm": 0.01}, {"clip_value": 0.001}])
def test_a_clip_applies(clip):
    model = classifier(SGD(1.0, **clip)).build((3,))
    before = model.theta.copy()
    model.fit(100 * X, y, epochs=1, batch_size=10, progress=False)
    step = model.theta - before
    if "clip_norm" in clip:
        np.testing.assert_allclose(np.linalg.norm(step), 0.01)
    else:
        assert np.abs(step).max() <= 0.001 + 1e-15 and np.abs(step).max() > 0.0009


def test_a_wrong_gradient_is_caught():
    class Wrong(Dense):
        def affine_backward(self, G_A, tape):
            G_in = super().affine_backward(G_A, tape)
            self.dW /= len(G_A)
            return G_in

    with pytest.raises(CheckError, match="gradient of W"):
        check_layer(Wrong(3), (4,))


def test_saturated_units_learn():
    model = Model([Dense(1, activation=Sigmoid())], loss=BinaryCrossEntropy(), seed=0).build((1,))
    model.parameters["0.W"][...] = 40.0
    J, gradients = model.loss_and_gradients([[1.0]], [0])
    assert J == 40 and gradients["0.W"] == 1 and gradients["0.b"] == 1


# ---- and what a library must not do either


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone():
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    thetas = []
    for _ in range(2):
        model = classifier(SGD(0.1, momentum=0.9), seed=3, dtype="float32")
        model.fit(X, y, epochs=3, batch_size=3, validation_split=0.2, progress=False)
        thetas.append(model.theta)
    assert np.array_equal(*thetas) and np.array_equal(np.random.random(3), expected)


@pytest.mark.parametrize("layer, inputs, targets", [
    ([Dense(6), Reshape((2, 3))], RNG.standard_normal((9, 4), dtype="float32"), (2, 3)),
    ([Embedding(5, 3)], RNG.integers(0, 5, (9, 4)), (4, 3)),
    ([Convolution(2, 3, padding="same")], RNG.standard_normal((9, 1, 5, 5), dtype="float32"), (2, 5, 5))])
def test_targets_of_many_axes_are_those_of_their_examples(layer, inputs, targets):
    Y = RNG.standard_normal((9, *targets))
    for batch_size in (1, 2, 9):
        model = Model(copy.deepcopy(layer), loss=MeanSquaredError(), optimizer=SGD(0.0), seed=0).build(inputs.shape[1:])
        history = model.fit(inputs, Y, epochs=2, batch_size=batch_size, progress=False)
        assert np.allclose(history["loss"], model.mean_loss(inputs, Y), rtol=1e-5)


def test_what_a_user_holds_is_never_a_buffer():
    model = classifier().build((3,))
    J, gradients = model.loss_and_gradients(X, y)
    outputs, one_pass, kept = model.transform(X), model.feedforward(X), {k: g.copy() for k, g in gradients.items()}
    copies = outputs.copy(), one_pass.copy()
    model.loss_and_gradients(-X, y)
    model.transform(-X)
    model.feedforward(-X)
    assert np.array_equal(outputs, copies[0]) and np.array_equal(one_pass, copies[1])
    assert all(np.array_equal(gradients[name], kept[name]) for name in kept)


def test_threads_share_a_model():
    model = classifier(dtype="float32").build((3,))
    inputs = [RNG.standard_normal((200 + 10 * i, 3)) for i in range(8)]
    expected, wrong = [model.transform(Z) for Z in inputs], []

    def ask(i):
        for _ in range(30):
            if not np.array_equal(model.transform(inputs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_copies_and_pickles_have_parameters_of_their_own():
    model = classifier(SGD(0.1, momentum=0.9))
    model.fit(X, y, epochs=2, progress=False)
    before = model.theta.copy()
    for twin in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin.transform(X), model.transform(X))
        if twin.layers[0] is not model.layers[0]:
            twin.theta[...] = 0
            assert np.ptp(twin.transform(X)) == 0 and np.array_equal(model.theta, before)
        twin.fit(X, y, epochs=1, progress=False)


def test_saving_keeps_everything(tmp_path):
    model = classifier(SGD(InverseTimeDecay(0.3, decay=0.1), momentum=0.9, weight_decay=1e-3), seed=4)
    model.fit(X, y, epochs=2, batch_size=3, validation_split=0.2, progress=False)
    model.save(tmp_path / "model.safetensors")
    other = slugnet.load(tmp_path / "model.safetensors")
    assert repr(other) == repr(model) and other.history.to_dict() == model.history.to_dict()
    for m in (model, other):
        m.fit(X, y, epochs=2, batch_size=3, validation_split=0.2, progress=False)
    assert np.array_equal(other.theta, model.theta) and other.theta.dtype == model.theta.dtype


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:50], lambda b: b"", lambda b: b"\xff" * 8 + b[8:],
                                    lambda b: b.replace(b"slugnet", b"snailne", 1), lambda b: b.replace(b"Tanh", b"exec")])
def test_a_damaged_file_gives_a_clear_error(tmp_path, damage):
    path = tmp_path / "model"
    classifier().build((3,)).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="path"):
        slugnet.load(path)


def test_a_foreign_file_gives_a_clear_error(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="slugnet"):
        slugnet.load(tmp_path / "foreign")
    with pytest.raises(FileNotFoundError):
        slugnet.load(tmp_path / "missing")


def test_interruption_by_a_real_signal():
    """Ctrl-C during fit ends it cleanly with what has been learnt."""
    program = """
import signal
import numpy as np
from slugnet.activation import Softmax
from slugnet.layers import Dense
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Callback, Model

class Ready(Callback):
    def on_epoch_end(self, model, epoch, logs):
        if epoch == 2:
            print("ready", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background jobs start with it ignored
model = Model([Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
history = model.fit(np.random.default_rng(0).standard_normal((2000, 20)), np.arange(2000) % 10, epochs=10**6,
                    callbacks=[Ready()], progress=False)
print("learnt", len(history) >= 3, np.isfinite(model.theta).all())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[1])
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert out == "learnt True True\n" and process.returncode == 0, error


def test_progress_is_plain_lines_without_a_terminal_and_silent_on_request(capsys):
    model = classifier()
    model.fit(X, y, epochs=2, validation_split=0.2, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "loss" in lines[0] and "val_loss" in lines[0]
    model.fit(X, y, epochs=2, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_layer_serves_one_model():
    layer = Dense(3, activation=Softmax())
    with pytest.raises(ValueError, match="twice"):
        Model([layer, layer])
    Model([layer], loss=CategoricalCrossEntropy(), seed=0).build((3,))
    with pytest.raises(ValueError, match="another model"):
        Model([layer], loss=CategoricalCrossEntropy(), seed=0).fit(X, y, progress=False)


def test_callbacks_can_stop_training():
    class Stop(Callback):
        def on_epoch_end(self, model, epoch, logs):
            model.stop_training = epoch == 4

    assert len(classifier().fit(X, y, epochs=50, callbacks=[Stop()], progress=False)) == 5


def test_training_allocates_nothing_large_after_its_first_steps():
    import tracemalloc

    sizes = []

    class Meter(Callback):
        def on_batch_begin(self, model, step):
            tracemalloc.reset_peak()
            self.before = tracemalloc.get_traced_memory()[0]

        def on_batch_end(self, model, step, logs):
            sizes.append(tracemalloc.get_traced_memory()[1] - self.before)

    model = Model([Dense(300, activation=ReLU()), Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(),
                  optimizer=SGD(0.01, momentum=0.9, weight_decay=1e-3, clip_norm=1.0), seed=0)
    big, labels = RNG.standard_normal((640, 200)).astype(np.float32), RNG.integers(0, 10, 640)
    tracemalloc.start()
    model.fit(big, labels, epochs=2, batch_size=64, callbacks=[Meter()], progress=False)
    tracemalloc.stop()
    assert model.theta.nbytes > 200_000 and max(sizes[2:]) < 120_000, max(sizes[2:])


def test_spirals_and_digits_are_learnt():
    model = Model([Dense(32, activation=Tanh()), Dense(32, activation=Tanh()), Dense(3, activation=Softmax())],
                  loss=CategoricalCrossEntropy(), optimizer=SGD(0.1, momentum=0.9), seed=0)
    points, arms = spirals(300, classes=3, turns=1.0, seed=0)
    model.fit(points, arms, epochs=200, progress=False)
    assert model.evaluate(points, arms)["accuracy"] > 0.97
    X_train, X_test, y_train, y_test = split(*digits(), seed=0, stratify=True)
    model = Model([Dense(64, activation=ReLU()), Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(),
                  optimizer=SGD(0.1, momentum=0.9), seed=0)
    model.fit(X_train, y_train, epochs=20, progress=False)
    assert model.evaluate(X_test, y_test)["accuracy"] > 0.95


def test_regression_predicts_values():
    model = Model([Dense(16, activation=Tanh()), Dense(1)], loss=MeanSquaredError(), optimizer=SGD(0.05, momentum=0.9),
                  seed=0)
    line = np.linspace(-2, 2, 100)[:, None]
    model.fit(line, np.sin(line[:, 0]), epochs=200, progress=False)
    assert model.predict(line).shape == (100,) and model.evaluate(line, np.sin(line))["loss"] < 0.01


def test_nothing_is_evaluated_but_literals():
    """No eval, exec, pickle or import by name anywhere in the package."""
    for path in Path(slugnet.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__", "compile"}, path
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "marshal", "importlib"} & {name.split(".")[0] for name in names
                                                                 if name != "importlib.resources"} or path.stem == "data"


def test_tape_belongs_to_a_pass():
    layer = Dense(2, activation=Tanh())
    network = Network([layer])
    network.build((3,))
    theta, grad = RNG.standard_normal(network.size), np.zeros(network.size)
    network.bind(theta, grad, np.zeros(0))
    first, second = Tape(train=True), Tape()
    network.forward(X[:4], first)
    network.forward(X[4:], second)
    network.backward(np.ones((4, 2)), first)
    expected = complex_step(lambda W: np.sum(np.tanh(X[:4] @ W + theta[6:])), theta[:6].reshape(3, 2))
    np.testing.assert_allclose(layer.dW, expected)
