"""What training takes: nothing large in a step, a bounded peak, and of data in files only the batches it needs."""
import copy
import io
import math
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import pytest

from slugnet.activation import (ELU, GELU, Elementwise, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus,
                                Tanh)
from slugnet.contract import Layer, Tape, batch_last
from slugnet.data import Stored, is_finite, take_rows
from slugnet.layers import (Activation, BatchNormalization, Convolution, Dense, Dropout, Embedding, Flatten,
                            LayerNormalization, MaxPooling, MeanPooling)
from slugnet.loss import (BinaryCrossEntropy, CategoricalCrossEntropy, Hinge, Huber, MeanAbsoluteError,
                          MeanSquaredError)
from slugnet.model import Callback, Model, _Learnt
from slugnet.network import leaves
from slugnet.optimizers import SGD, Adam, AdamW, RMSProp

KB, MB = 1 << 10, 1 << 20
RNG = np.random.default_rng(0)


def mlp():
    return [Dense(200, activation=ReLU()), Dense(10, activation=Softmax())]


def thinned():
    return [Dense(200, activation=ReLU()), Dropout(0.5), Dense(10, activation=Softmax())]


def normalised():
    return [Dense(200), BatchNormalization(), Activation(ReLU()), Dense(50), LayerNormalization(), Activation(Tanh()),
            Dense(10, activation=Softmax())]


def lenet():
    return [Convolution(6, 5, padding="same", activation=ReLU()), MaxPooling(2), Convolution(16, 5, activation=ReLU()),
            MaxPooling(2), Flatten(), Dense(120, activation=ReLU()), Dense(84, activation=ReLU()),
            Dense(10, activation=Softmax())]


def convolutional():
    return [Convolution(6, 5), BatchNormalization(), Activation(ReLU()), MeanPooling(2),
            Convolution(16, 5, activation=Tanh()), MaxPooling(2), Dropout(0.2), Flatten(),
            Dense(10, activation=Softmax())]


class Clipped(Elementwise):
    """Probabilities that a loss takes without its joint form."""

    def __call__(self, A, out=None):
        return np.clip(A, np.float32(0.05), np.float32(0.95), out=out)

    def derivative(self, A, H, out=None):
        return H == A


OPTIMIZERS = {"SGD": lambda: SGD(0.01), "momentum": lambda: SGD(0.01, momentum=0.9), "Adam": lambda: Adam(1e-3),
              "Nesterov, decay, clipping": lambda: SGD(0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, clip_norm=1.0),
              "AdamW": lambda: AdamW(1e-3), "RMSProp": lambda: RMSProp(1e-3)}


class Meter(Callback):
    """The most bytes that each step held beyond those it found."""

    def on_train_begin(self, model):
        self.peaks = []

    def on_batch_begin(self, model, step):
        tracemalloc.reset_peak()
        self.found = tracemalloc.get_traced_memory()[0]

    def on_batch_end(self, model, step, logs):
        self.peaks.append(tracemalloc.get_traced_memory()[1] - self.found)


@pytest.fixture
def traced():
    """Bytes are counted by tracemalloc, to which NumPy reports its arrays."""
    tracemalloc.start()
    size = np.setbufsize(1024)  # the space in which ufuncs convert: no arrays, but counted with them
    yield
    np.setbufsize(size)
    tracemalloc.stop()


def step_peaks(model, X, y, batch_size=128, **settings):
    meter = Meter()
    model.fit(X, y, epochs=1, batch_size=batch_size, callbacks=[meter], progress=False, **settings)
    return meter.peaks


# ---- (a) a step allocates nothing large

@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", [mlp, lenet])
def test_a_step_allocates_nothing_large(traced, network, optimizer):
    X = RNG.random((512, 784), dtype=np.float32)
    X = X if network is mlp else X.reshape(-1, 1, 28, 28)
    model = Model(network(), loss=CategoricalCrossEntropy(), optimizer=OPTIMIZERS[optimizer](), seed=0)
    peaks = step_peaks(model, X, RNG.integers(0, 10, 512))
    assert max(peaks[1:]) <= 64 * KB, peaks


@pytest.mark.parametrize("network", [thinned, normalised, convolutional])
def test_nor_do_other_layers(traced, network):
    X = RNG.random((512, 784), dtype=np.float32)
    X = X.reshape(-1, 1, 28, 28) if network is convolutional else X
    model = Model(network(), loss=CategoricalCrossEntropy(), optimizer=Adam(1e-3), seed=0)
    peaks = step_peaks(model, X, RNG.integers(0, 10, 512))
    assert max(peaks[1:]) <= 64 * KB, peaks


@pytest.mark.parametrize("again", [lambda model: model, copy.deepcopy, lambda model: model.astype("float64")])
@pytest.mark.parametrize("network", [mlp, lenet, convolutional])
def test_what_is_kept_begins_with_a_line_of_memory(monkeypatch, network, again):
    tapes, step = {}, Model._step
    monkeypatch.setattr(Model, "_step", lambda self, plan, rows, own, *rest: tapes.update(own) or step(self, plan, rows, own, *rest))
    shape = (784,) if network is mlp else (1, 28, 28)
    model = again(Model(network(), loss=CategoricalCrossEntropy(), optimizer=Adam(1e-3), seed=0).build(shape))
    model.fit(RNG.random((48, *shape)), RNG.integers(0, 10, 48), epochs=1, batch_size=16, progress=False)
    kept = [model.theta, model.grad, model._memory["s"], model._memory["r"], model._memory["work"]]
    kept += [page[name] for page in tapes[16].values() for name in ("X", "A", "H", "G_A", "G_in") if name in page]
    assert len(kept) > 12 and {array.ctypes.data % 64 for array in kept} == {0}


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_nor_does_a_large_dropout(traced, rate):
    model = Model([Dense(1000), Dropout(rate), Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    peaks = step_peaks(model, RNG.random((512, 20), dtype=np.float32), RNG.integers(0, 10, 512))
    assert max(peaks[1:]) <= 64 * KB, peaks


ACTIVATIONS = [LeakyReLU(), Sigmoid(), Tanh(), Softplus(), ELU(), SiLU(), GELU(), GELU(exact=True), Softmax(), LogSoftmax()]
LOSSES = {"squares": (MeanSquaredError(), None), "absolute values": (MeanAbsoluteError(), None), "Huber": (Huber(), None),
          "yes or no": (BinaryCrossEntropy(), Sigmoid()), "smoothed": (BinaryCrossEntropy(0.1), Sigmoid()),
          "probabilities": (BinaryCrossEntropy(), Clipped()), "classes": (CategoricalCrossEntropy(0.1), Softmax()),
          "rows": (CategoricalCrossEntropy(), Softmax()), "scores": (Hinge(), None)}


@pytest.mark.parametrize("shape", [(784,), (1, 28, 28)])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_nor_does_an_activation_of_many_numbers(traced, activation, shape):
    """Each array is a piece, of 64 kB; a formula may need several at a time."""
    layers = [Dense(2500, activation=activation)] if len(shape) == 1 else [Convolution(16, 3, activation=activation), Flatten()]
    model = Model([*layers, Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    peaks = step_peaks(model, RNG.random((384, *shape), dtype=np.float32), RNG.integers(0, 10, 384))
    assert max(peaks[1:]) <= 384 * KB, peaks


@pytest.mark.parametrize("axes, shape", [(0, (2, 64, 64)), (-1, (32, 64, 2))])
def test_nor_do_the_statistics_of_a_normalisation(traced, axes, shape):
    """One array of all its means would have 1 MB; it makes several at a time, each of at most 64 kB."""
    model = Model([Activation(ReLU()), LayerNormalization(axes=axes), Flatten(), Dense(10, activation=Softmax())],
                  loss=CategoricalCrossEntropy(), seed=0)
    peaks = step_peaks(model, RNG.random((384, *shape), dtype=np.float32), RNG.integers(0, 10, 384))
    assert max(peaks[1:]) <= 512 * KB, peaks


class Deaf(SiLU):
    """An activation that writes nowhere."""

    def __call__(self, A, out=None):
        return super().__call__(A)

    def vjp(self, G, A, H, out=None):
        return super().vjp(G, A, H)


@pytest.mark.parametrize("shape", [(90,), (2, 9, 7)])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, Deaf()], ids=repr)
def test_pieces_of_a_batch_give_the_numbers_of_the_whole(monkeypatch, activation, shape):
    rng, found = np.random.default_rng(0), []
    A, G = rng.standard_normal((2, 20, *shape), dtype=np.float32)
    for piece in (1 << 20, 100):
        monkeypatch.setattr("slugnet.contract.PIECE", piece)
        layer, tape = Activation(activation), Tape(train=True)
        for values in (0 * A, A):
            X = tape.buffer("the test", "X", A.shape, A.dtype)
            X[...] = values
            found.append((layer.forward(X, tape).copy(), layer.backward(G, tape).copy()))
    assert all(np.array_equal(a, b) for a, b in zip(found[1], found[3]))
    whole = activation(A)
    assert np.allclose(found[3][0], whole, atol=1e-6) and np.allclose(found[3][1], activation.vjp(G, A, whole), atol=1e-6)


@pytest.mark.parametrize("case", LOSSES)
def test_nor_does_a_loss_of_many_outputs(traced, case):
    loss, activation = LOSSES[case]
    y = RNG.integers(0, 4000, 384) if case in ("classes", "scores") else RNG.random((384, 4000), dtype=np.float32)
    y = y / y.sum(axis=1, keepdims=True) if case == "rows" else y
    model = Model([Dense(20), Dense(4000, activation=activation)], loss=loss, seed=0)
    peaks = step_peaks(model, RNG.random((384, 30), dtype=np.float32), y)
    assert max(peaks[1:]) <= 640 * KB, peaks


@pytest.mark.parametrize("case", LOSSES)
def test_pieces_of_a_batch_give_the_loss_of_the_whole(monkeypatch, case):
    loss, activation = LOSSES[case]
    y = RNG.integers(0, 30, 50) if case in ("classes", "scores") else RNG.random((50, 30), dtype=np.float32)
    y = y / y.sum(axis=1, keepdims=True) if case == "rows" else y
    found = []
    for piece in (1 << 20, 64):
        monkeypatch.setattr("slugnet.loss.PIECE", piece)
        monkeypatch.setattr("slugnet.contract.PIECE", piece)
        model = Model([Dense(20), Dense(30, activation=activation)], loss=loss, seed=0).build((7,))
        X = np.random.default_rng(1).random((50, 7), dtype=np.float32)
        found.append((*model.loss_and_gradients(X, y, sample_weight=np.arange(50)), model.evaluate(X, y)))
        A, Y = X[:, :1] - np.linspace(0.1, 0.9, 30, dtype=np.float32) ** 2, loss.prepare(y, 50, (30,), np.float32)
        A = Clipped()(A)
        found[-1] += loss(A, Y), loss.gradient(A, Y)
    (J, g, logs, loss_of, D), (J2, g2, logs2, loss_of2, D2) = found
    assert J == J2 and logs == logs2 and loss_of == loss_of2 and np.array_equal(D, D2)
    assert all(np.array_equal(g[name], g2[name]) for name in g)


class DeafLoss(BinaryCrossEntropy):
    """A loss that writes nowhere."""

    def examples_joint(self, A, Y, out=None):
        return super().examples_joint(A, Y)

    def examples_gradient(self, Y_hat, Y, out=None):
        return super().examples_gradient(Y_hat, Y)


@pytest.mark.parametrize("piece", [65_536, 32])
@pytest.mark.parametrize("activation", [Sigmoid(), Clipped()], ids=["joint", "in two steps"])
def test_a_loss_need_not_write_where_it_is_told(monkeypatch, activation, piece):
    monkeypatch.setattr("slugnet.loss.PIECE", piece)
    monkeypatch.setattr("slugnet.contract.PIECE", piece)
    X, y = np.random.default_rng(2).random((2, 10, 3), dtype=np.float32)
    found = [Model([Dense(3, activation=activation)], loss=loss, seed=0).build((3,)).loss_and_gradients(X, y)
             for loss in (BinaryCrossEntropy(), DeafLoss())]
    assert found[0][0] == found[1][0] and all(np.allclose(found[0][1][k], found[1][1][k], 1e-5) for k in found[0][1])


def test_images_with_the_batch_innermost_are_not_cut_by_examples(monkeypatch):
    """Rows of them would lie far apart in memory."""
    seen, loss = [], MeanSquaredError()
    monkeypatch.setattr(loss, "examples", lambda Y_hat, Y: seen.append(len(Y_hat)) or np.zeros(len(Y_hat)))
    images = batch_last((6, 3, 64, 64), np.float32)
    images[...] = 1
    loss(images, images)
    loss(np.ascontiguousarray(images), images)
    assert seen[0] == 6 and sum(seen[1:]) == 6 and max(seen[1:]) == 1


@pytest.mark.parametrize("convert", [lambda X: X.astype(float), lambda X: (255 * X).astype(np.uint8), np.asfortranarray,
                                     lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_nor_does_other_data(traced, convert):
    X = convert(RNG.random((512, 784), dtype=np.float32))
    model = Model(mlp(), loss=CategoricalCrossEntropy(), optimizer=SGD(0.01), seed=0)
    peaks = step_peaks(model, X, RNG.integers(0, 10, 512), validation_split=0.25)
    assert max(peaks[1:]) <= 64 * KB, peaks


@pytest.mark.parametrize("network", [mlp, lenet])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["memmap", "HDF5"])
def test_nor_do_stored_data(tmp_path, traced, kind, shuffle, network):
    X = RNG.random((512, 784), dtype=np.float32)
    stored = KEPT[kind](tmp_path, "X", X if network is mlp else X.reshape(-1, 1, 28, 28))
    model = Model(network(), loss=CategoricalCrossEntropy(), optimizer=SGD(0.01), seed=0)
    peaks = step_peaks(model, stored, RNG.integers(0, 10, 512), shuffle=shuffle)
    assert max(peaks[1:]) <= 64 * KB, peaks


def test_nor_does_a_batch_of_stored_data_in_transform(tmp_path, traced):
    stored = in_hdf5(tmp_path, "X", np.ones((1024, 4000), np.float32))
    model, out = Model([Dense(1)], seed=0).build((4000,)), np.empty((1024, 1), np.float32)
    assert peak_beyond(lambda: model.transform(stored, batch_size=512, out=out)) <= 512 * 4000 * 4 + MB


def test_the_meter_sees_an_array(traced):
    class Wasteful(Callback):
        def on_gradient(self, model, step, weight):
            np.zeros(65 * KB, np.uint8)
    model, meter = Model(mlp(), loss=CategoricalCrossEntropy(), seed=0), Meter()
    model.fit(RNG.random((256, 20)), np.zeros(256, int), epochs=1, callbacks=[meter, Wasteful()], progress=False)
    assert min(meter.peaks) > 64 * KB


# ---- (b) the peak

def peak_beyond(action) -> int:
    tracemalloc.reset_peak()
    found = tracemalloc.get_traced_memory()[0]
    kept = action()
    peak = tracemalloc.get_traced_memory()[1] - found
    del kept
    return peak


def activation_bytes(model, batch_size) -> int:
    """A and H and the gradients in both, of all layers, for one batch."""
    model._require_built()
    return 4 * 4 * batch_size * sum(math.prod(shape) for shape in [model.input_shape, *model.output_shapes])


@pytest.mark.parametrize("settings", [{}, {"validation_split": 0.2}, {"metrics": ["accuracy"], "validation_split": 0.2},
                                      {"sample_weight": np.ones(60_000)}])
def test_the_peak_of_fit(traced, settings):
    X, y = np.zeros((60_000, 784), np.float32), np.zeros(60_000, np.uint8)
    model = Model(mlp(), loss=CategoricalCrossEntropy(), optimizer=Adam(1e-3), seed=0)
    peak = peak_beyond(lambda: model.fit(X, y, epochs=1, batch_size=512, progress=False, **settings))
    assert X.nbytes > 3 * 50 * MB
    assert peak <= 4 * 4 * model.theta.size + 2 * activation_bytes(model, 512) + 50 * MB


def test_the_peak_of_fit_with_large_targets(traced):
    X = np.zeros((60_000, 784), np.float32)
    model = Model([Dense(16, activation=ReLU()), Dense(784)], loss=MeanSquaredError(), seed=0)
    peak = peak_beyond(lambda: model.fit(X, X, epochs=1, batch_size=512, progress=False))
    assert peak <= 2 * 4 * model.theta.size + 2 * activation_bytes(model, 512) + 50 * MB


@pytest.mark.parametrize("kept", ["in memory", "stored"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_the_peak_of_fit_with_a_large_model(traced, tmp_path, kept, optimizer):
    model = Model([Dense(4000, activation=ReLU()), Dense(3000), Dense(2, activation=Softmax())],
                  loss=CategoricalCrossEntropy(), optimizer=OPTIMIZERS[optimizer](), seed=0).build((1000,))
    X, y = np.zeros((64, 1000), np.float32), np.zeros(64, int)
    X = in_memory_map(tmp_path, "x", X) if kept == "stored" else X
    peak = peak_beyond(lambda: model.fit(X, y, epochs=2, progress=False))
    memory = sum(array.nbytes for array in model._memory.values() if isinstance(array, np.ndarray))
    assert model.theta.nbytes > 60 * MB and peak <= memory + 2 * activation_bytes(model, 32) + 50 * MB


def test_the_peak_of_fit_with_images_and_validation(traced):
    X, y = np.zeros((6_000, 1, 28, 28), np.float32), np.zeros(6_000, int)
    model = Model(lenet(), loss=CategoricalCrossEntropy(), optimizer=SGD(0.01), seed=0)
    peak = peak_beyond(lambda: model.fit(X[:640], y[:640], epochs=1, validation_data=(X, y), progress=False))
    assert peak <= 2 * 4 * model.theta.size + 2 * activation_bytes(model, 32) + 50 * MB


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_transform_of_a_million_rows(traced, kind):
    X = np.zeros((1_000_000, 20), kind)
    model = Model([Dense(64, activation=ReLU()), Dense(3)], seed=0).build((20,))
    peak = peak_beyond(lambda: model.transform(X))
    assert peak <= 1_000_000 * 3 * 4 + 2 * activation_bytes(model, 1024) + MB
    out = np.empty((1_000_000, 3), np.float32)
    assert peak_beyond(lambda: model.transform(X, out=out)) <= 2 * activation_bytes(model, 1024) + MB


def test_rows_that_fit_are_read_in_place_and_cannot_be_written():
    class Careless(Layer):
        def forward(self, X, tape):
            seen.append(X)
            X *= 2
            return X
    seen, X = [], np.ones((5, 3), np.float32)
    model = Model([Careless()], seed=0).build((3,))
    for action in (model.transform, model.feedforward):
        with pytest.raises(ValueError, match="read-only"):
            action(X)
        assert np.shares_memory(seen[-1], X) and X.flags.writeable and (X == 1).all()
        action(X.astype(float))
        assert not np.shares_memory(seen[-1], X)


# ---- (c) data that stay where they are

def in_memory_map(folder, name, array):
    np.save(folder / f"{name}.npy", array)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def in_hdf5(folder, name, array):
    file = pytest.importorskip("h5py").File(folder / f"{name}.h5", "w")
    file[name] = array
    return file[name]


def in_zarr(folder, name, array):
    zarr = pytest.importorskip("zarr")
    stored = zarr.create_array(str(folder / f"{name}.zarr"), shape=array.shape, dtype=array.dtype,
                               chunks=(16, *array.shape[1:]))
    stored[...] = array
    return stored


KEPT = {"memmap": in_memory_map, "HDF5": in_hdf5, "Zarr": in_zarr}
X, labels = RNG.standard_normal((150, 6)).astype(np.float32), RNG.integers(0, 3, 150)
Z, words = RNG.random((150, 2, 6, 5)).astype(np.float32), RNG.integers(0, 9, (150, 4))


def dense(loss=CategoricalCrossEntropy, top=3, activation=Softmax):
    top = Dense(top, activation=activation()) if activation else Dense(top)
    return Model([Dense(8, activation=Tanh()), Dropout(0.1), top], loss=loss(), optimizer=Adam(0.01), seed=3)


def convolved():
    return Model([Convolution(3, 3), BatchNormalization(), Flatten(), Dense(3, activation=Softmax())],
                 loss=CategoricalCrossEntropy(), optimizer=SGD(0.05, momentum=0.9), seed=3)


def embedded():
    return Model([Embedding(9, 3), Flatten(), Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=3)


CASES = {"float32": (dense, X, labels), "float64": (dense, X.astype(float), labels.astype("uint8")),
         "uint8": (dense, (40 * X).astype("uint8"), labels[:, None]),
         "one-hot": (dense, X, np.eye(3, dtype=np.float32)[labels]), "images": (convolved, Z, labels),
         "float64 images": (convolved, Z.astype(float), labels), "words": (embedded, words, labels),
         "words as floats": (embedded, words.astype(np.float32), labels),
         "regression": (lambda: dense(MeanSquaredError, 2, None), X, X[:, :2].astype(float)),
         "hinge": (lambda: dense(Hinge, 1, None), X, (labels > 1).astype(np.float32)),
         "binary": (lambda: dense(BinaryCrossEntropy, 1, Sigmoid), X, labels > 1)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KEPT)
def test_stored_data_teach_the_same(tmp_path, kind, case):
    make, inputs, targets = CASES[case]
    stored = [KEPT[kind](tmp_path, name, array) for name, array in (("x", inputs), ("y", targets))]
    w = RNG.random(len(inputs)) * (np.arange(len(inputs)) % 7 > 0)
    for settings in ({}, {"validation_split": 0.3, "sample_weight": w}, {"shuffle": False}):
        one, other = make(), make()
        one.fit(inputs, targets, epochs=2, batch_size=32, progress=False, **settings)
        other.fit(*stored, epochs=2, batch_size=32, progress=False, **settings)
        assert np.array_equal(one.theta, other.theta) and np.array_equal(one.state, other.state)
        assert list(one.history) == list(other.history)
    assert np.array_equal(one.transform(inputs), other.transform(stored[0]))
    assert np.array_equal(one.predict(inputs), other.predict(stored[0]))
    assert np.array_equal(one.feedforward(inputs), other.feedforward(stored[0]))
    assert one.evaluate(inputs, targets, batch_size=40) == other.evaluate(*stored, batch_size=40)
    assert one.mean_loss(inputs, targets) == other.mean_loss(*stored)
    assert one.loss_and_gradients(inputs, targets)[0] == other.loss_and_gradients(*stored)[0]


@pytest.mark.parametrize("kind", KEPT)
def test_inputs_or_targets_alone_may_be_stored(tmp_path, kind):
    models = [dense() for _ in range(3)]
    stored = [KEPT[kind](tmp_path, name, array) for name, array in (("x", X), ("y", labels))]
    for model, x, y, held in zip(models, (X, stored[0], X), (labels, labels, stored[1]),
                                 ((X, labels), tuple(stored), (stored[0], labels))):
        model.fit(x, y, epochs=2, validation_data=held, metrics=["accuracy"], progress=False)
    assert list(models[0].history) == list(models[1].history) == list(models[2].history)
    assert np.array_equal(models[0].theta, models[1].theta) and np.array_equal(models[0].theta, models[2].theta)


def test_an_augmentation_sees_stored_data(tmp_path):
    stored, seen = in_memory_map(tmp_path, "x", X), []

    def noisy(batch, rng):
        seen.append(batch)
        return batch + rng.standard_normal(batch.shape)
    one, other = dense(), dense()
    one.fit(X, labels, epochs=2, augment=noisy, progress=False)
    other.fit(stored, labels, epochs=2, augment=noisy, progress=False)
    assert np.array_equal(one.theta, other.theta)
    assert not any(np.shares_memory(a, b) for a, b in zip(seen[1:], seen[2:]))


def everything(model):
    """All of a model that training changes, but for the optimizer's working space."""
    memory = {k: np.array(v).tolist() for k, v in (model._memory or {}).items() if k not in model.optimizer.scratch}
    generators = [repr(g.bit_generator.state) for g in (model._shuffler, model._noise, model._augmenter)]
    return (model.theta.tolist(), model.state.tolist(), memory, generators, list(model.history)) if model.is_built else (
        None, generators, list(model.history), [sorted(vars(layer)) for layer in leaves(model.layers)])


@pytest.mark.parametrize("most", [0, MB])
def test_what_was_learnt_is_put_back_from_a_file_and_from_memory(most):
    model = dense()
    model.fit(X, labels, epochs=2, progress=False)
    learnt = _Learnt(model, most)
    assert isinstance(learnt.file, io.BytesIO) == bool(most)
    for _ in range(2):
        learnt.note()
        before = everything(model)[:3]
        model.fit(X, labels, epochs=1, progress=False)
        assert all(a != b for a, b in zip(everything(model), before) if b)
        learnt.put_back()
        assert everything(model)[:3] == before
    learnt.file.close()


def spoilt(array, value, row=149):
    array = np.array(array)
    array[row] = value
    return array


BAD = {"NaN": (dense, spoilt(X, np.nan), labels, "X, row 149: X must be finite"),
       "infinity": (dense, spoilt(X, -np.inf), labels, "X, row 149: X must be finite"),
       "NaN in images": (convolved, spoilt(Z.astype(float), np.nan), labels, "X, row 149: X must be finite"),
       "label": (dense, X, spoilt(labels, 3), "y, row 149: y must hold class labels from 0 to 2; got 3"),
       "target": (lambda: dense(MeanSquaredError, 1, None), X, spoilt(X[:, 0], np.nan), "y, row 149: y must be finite"),
       "word": (embedded, spoilt(words, 9), labels, "X, row 149: X must hold indices from 0 to 8"),
       "fraction": (embedded, spoilt(words.astype(float), 0.5), labels, "X, row 149: X must hold whole numbers")}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_leaves_the_model_as_it_was(tmp_path, case, fitted, shuffle):
    make, inputs, targets, words_of_error = BAD[case]
    stored = in_memory_map(tmp_path, "x", inputs), in_memory_map(tmp_path, "y", targets)
    model, good = make(), (inputs[:140], targets[:140])
    if fitted:
        model.fit(*good, epochs=2, progress=False)
    before = everything(model)
    with pytest.raises(ValueError, match=words_of_error):
        model.fit(*stored, epochs=3, batch_size=16, shuffle=shuffle, progress=False)
    assert everything(model) == before
    twin = make()
    for each in (model, twin):
        if not (fitted and each is model):
            each.fit(*good, epochs=2, progress=False)
        each.fit(*good, epochs=1, progress=False)
    if fitted:
        assert everything(model) == everything(twin)


def test_a_bad_row_of_the_validation_data(tmp_path):
    stored, model = in_memory_map(tmp_path, "x", spoilt(X, np.nan)), dense()
    model.fit(X, labels, epochs=1, progress=False)
    before = everything(model)
    with pytest.raises(ValueError, match="X, row 149"):
        model.fit(X, labels, epochs=2, validation_data=(stored, labels), progress=False)
    assert everything(model) == before
    for action in (model.transform, model.predict, model.feedforward, lambda X: model.evaluate(X, labels)):
        with pytest.raises(ValueError, match="X, row 149"):
            action(stored)


class Failing:
    """Data on a disk that breaks after some reads."""

    shape, dtype = X.shape, X.dtype

    def __init__(self, reads):
        self.reads = reads

    def __getitem__(self, rows):
        self.reads -= 1
        if self.reads < 0:
            raise OSError("the disk is gone")
        return X[rows]


def test_a_disk_that_breaks_in_a_later_epoch():
    model = dense()
    model.fit(X, labels, epochs=1, progress=False)
    before = everything(model)
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(Failing(12), labels, epochs=5, progress=False)
    assert everything(model) == before


def test_other_errors_keep_their_meaning(tmp_path):
    class Tired(Callback):
        def on_batch_end(self, model, step, logs):
            raise RuntimeError("tired")
    stored, model = in_memory_map(tmp_path, "x", X), dense().build((6,))
    before = model.theta.copy()
    with pytest.raises(RuntimeError):
        model.fit(stored, labels, callbacks=[Tired()], progress=False)
    assert not np.array_equal(model.theta, before)


@pytest.mark.parametrize("wrong, error, words_of_error", [
    (X[:, :, None], ValueError, "X must have the shape"), (X[:0], ValueError, "at least one example"),
    (X[:, 0], ValueError, "one row for each example"), (X.astype("S3"), TypeError, "X must be numeric"),
    (X[:90], ValueError, "y must have one row for each of the 90 rows")])
def test_the_form_is_checked_before_anything_is_read(wrong, error, words_of_error):
    class Unread:
        shape, dtype = wrong.shape, wrong.dtype

        def __getitem__(self, rows):
            raise AssertionError("read")
    with pytest.raises(error, match=words_of_error):
        dense().build((6,)).fit(Unread(), labels, progress=False)


def test_only_batches_are_read():
    class Counting:
        shape, dtype, rows = X.shape, X.dtype, []

        def __getitem__(self, rows):
            self.rows.append(np.arange(len(X))[rows])
            return X[rows]
    source, model = Counting(), dense()
    model.fit(source, labels, epochs=2, batch_size=32, progress=False)
    assert max(map(len, source.rows)) == 32 and sorted(np.concatenate(source.rows)) == sorted([*range(150)] * 2)
    source.rows.clear()
    model.transform(source, batch_size=40)
    assert [len(rows) for rows in source.rows] == [40, 40, 40, 30]


# ---- (d) a process with less memory than its data

CHILD = """
    import resource, sys
    import numpy as np
    from slugnet.activation import ReLU, Softmax
    from slugnet.layers import Dense
    from slugnet.loss import CategoricalCrossEntropy
    from slugnet.model import Model
    model = Model([Dense(16, activation=ReLU()), Dense(10, activation=Softmax())], loss=CategoricalCrossEntropy(), seed=0)
    model.fit(np.zeros((256, 1024), np.float32), np.zeros(256, int), epochs=1, batch_size=256, progress=False)
    {opening}
    y = np.arange(len(X)) % 10
    used = {{l.split(":")[0]: int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("Vm")}}["{field}"]
    limit = 1024 * used + (48 << 20)
    resource.setrlimit(resource.{limit}, (limit, limit))
    try:
        np.ones(X.shape, X.dtype)
    except MemoryError:
        print("does not fit")
    model.fit(X, y, epochs=1, batch_size=256, progress=False)
    print(model.transform(X).shape, len(model.history))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set and read as Linux does it")
@pytest.mark.parametrize("kind", ["memmap", "HDF5"])
def test_a_file_larger_than_the_memory_of_the_process(tmp_path, kind):
    if kind == "memmap":  # a mapped file is no data of the process, so RLIMIT_DATA is the limit that means something
        opening = f"X = np.memmap({str(tmp_path / 'X')!r}, np.float32, 'w+', shape=(25_000, 1024))"
        field, limit = "VmData", "RLIMIT_DATA"
    else:
        pytest.importorskip("h5py")
        opening = (f"import h5py; X = h5py.File({str(tmp_path / 'X')!r}, 'w').create_dataset('X', (25_000, 1024), 'f4', "
                   "chunks=(8, 1024))")
        field, limit = "VmSize", "RLIMIT_AS"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(CHILD.format(opening=opening, field=field, limit=limit))],
                          capture_output=True, text=True, timeout=300)
    assert done.stdout.split("\n")[:2] == ["does not fit", "(25000, 10) 2"], done.stderr


# ---- gathering, and the place of an all-reduce

@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool", ">f4", "float16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_gathered_as_by_indices(dtype, order):
    given = np.array(100 * RNG.random((90, 3, 70)), dtype, order=order)
    for rows in (RNG.permutation(90), np.array([89]), np.array([], int), slice(3, 80, 7), slice(None)):
        for out_dtype in (dtype, "float32"):
            out = np.empty(given[rows].shape, out_dtype)
            assert take_rows(given, rows, out) is out and np.array_equal(out, given[rows].astype(out_dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, complex(0, np.inf)])
def test_is_finite_sees_one_number(value):
    given = np.ones((40, 50), complex if isinstance(value, complex) else np.float32)
    assert is_finite(given) and is_finite(given.T)
    given[39, 49] = value
    assert not is_finite(given) and not is_finite(given[:, ::-1].T)


def test_stored_data_are_named_by_their_own_name():
    def refuse(batch):
        if (batch < 0).any():
            raise ValueError("it must not be negative")
        return batch
    with pytest.raises(ValueError, match="heights, row 4: it must not be negative"):
        Stored(in_order(np.array([[1.0], [1], [1], [1], [-1]])), refuse, "heights").read(np.array([0, 4, 1]))


def in_order(array):
    class Rows:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, rows):
            return array[rows]
    return Rows()


@pytest.mark.parametrize("share", [4, 6])
@pytest.mark.parametrize("optimizer", ["momentum", "Adam", "Nesterov, decay, clipping"])
def test_two_models_that_average_gradients_are_one(optimizer, share):
    def model():
        return Model([Dense(8, activation=Tanh()), Dense(3, activation=Softmax())], loss=CategoricalCrossEntropy(),
                     optimizer=OPTIMIZERS[optimizer](), seed=1, dtype="float64").build((6,))

    class AllReduce(Callback):
        def __init__(self, models):
            self.models, self.weights, self.barrier = models, [0] * len(models), threading.Barrier(len(models))

        def on_gradient(self, model, step, weight):
            self.weights[self.models.index(model)] = weight
            self.barrier.wait()
            mean = sum(w * each.grad for w, each in zip(self.weights, self.models)) / sum(self.weights)
            self.barrier.wait()
            model.grad[...] = mean

    models, whole, rows = [model(), model()], model(), np.arange(144).reshape(-1, 8)
    reduce, parts = AllReduce(models), (rows[:, :share].ravel(), rows[:, share:].ravel())
    threads = [threading.Thread(target=lambda each=each, part=part, size=size: each.fit(
        X[part], labels[part], epochs=3, batch_size=size, shuffle=False, callbacks=[reduce], progress=False))
        for each, part, size in zip(models, parts, (share, 8 - share))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole.fit(X[:144], labels[:144], epochs=3, batch_size=8, shuffle=False, progress=False)
    for each in models:
        np.testing.assert_allclose(each.theta, whole.theta, rtol=1e-9, atol=1e-12)


def test_the_gradient_hook_gets_the_weight_of_its_batch():
    class Watch(Callback):
        weights = []

        def on_gradient(self, model, step, weight):
            self.weights.append((step, weight))
            model.grad[...] = 0
    model, w = dense().build((6,)), np.arange(5.0)
    model.optimizer = SGD(0.1)
    before = copy.copy(model)
    model.fit(X[:5], labels[:5], epochs=1, batch_size=2, shuffle=False, sample_weight=w, callbacks=[Watch()], progress=False)
    assert Watch.weights == [(0, 1), (1, 5), (2, 4)] and np.array_equal(model.theta, before.theta)
