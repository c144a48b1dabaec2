"""MNIST: files that lie, downloads that fail, and notebooks and programs without the data."""
import contextlib
import functools
import gzip
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import notebooks
import numpy as np
import pytest

from slugnet import data
from slugnet.data import MNIST_HASHES, MNIST_MIRRORS, mnist
from slugnet.idx import read_idx

ROOT = notebooks.ROOT
REAL = Path(notebooks.environment().get("SLUGNET_DATA") or "nowhere")
needs_real = pytest.mark.skipif(not all((REAL / name).is_file() for name in MNIST_HASHES),
                                reason="SLUGNET_DATA names no folder with the four packed files of MNIST")


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small MNIST: six images to learn from, three to test with."""
    place, rng = tmp_path / "mnist", np.random.default_rng(0)
    place.mkdir()
    for name, m in (("train", 6), ("t10k", 3)):
        pixels, labels = rng.integers(0, 256, (m, 28, 28)), rng.integers(0, 10, m)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            (place / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array.astype(np.uint8))))
    return place


@contextlib.contextmanager
def serve(directory: Path):
    """A server of a folder on loopback; gives its address and the list of what was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked.append(self.path.strip("/"))
            super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An address on loopback at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder is set, no proxy stands between, and the user's cache is left alone."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SLUGNET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def hashes_of(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MNIST_HASHES}


def peak_of(action) -> int:
    """The most memory, in bytes, that an action asked for at once; it must raise ValueError."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- the four arrays

def test_arrays(folder: Path) -> None:
    X_train, X_test, y_train, y_test = mnist(folder)
    assert X_train.shape == (6, 1, 28, 28) and X_test.shape == (3, 1, 28, 28)
    assert X_train.dtype == X_test.dtype == np.float32 and y_train.dtype == y_test.dtype == np.intp
    raw = read_idx(folder / "t10k-images-idx3-ubyte.gz")
    assert np.array_equal(X_test[:, 0], raw / np.float32(255))
    assert np.array_equal(y_train, read_idx(folder / "train-labels-idx1-ubyte.gz"))
    assert mnist(folder, flatten=True)[0].shape == (6, 784)


def test_unpacked_files_do_as_well_and_may_be_mixed(folder: Path) -> None:
    packed = mnist(folder)
    for name in list(MNIST_HASHES)[::2]:
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert all(np.array_equal(a, b) for a, b in zip(packed, mnist(str(folder))))


def test_folder_of_the_environment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    monkeypatch.setenv("SLUGNET_DATA", str(folder))
    assert len(mnist(mirrors=[nobody])[0]) == 6
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        mnist(tmp_path / "elsewhere")  # the argument counts more
    monkeypatch.setenv("SLUGNET_DATA", "")
    with pytest.raises(ConnectionError):  # empty is as good as unset
        mnist(mirrors=[nobody])


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        mnist(folder)
    assert "train-labels-idx1-ubyte.gz" in str(caught.value) and str(folder) in str(caught.value)
    assert "t10k" not in str(caught.value) and MNIST_MIRRORS[0] in str(caught.value)


@needs_real
def test_the_real_data() -> None:
    X_train, X_test, y_train, y_test = mnist(REAL)
    assert X_train.shape == (60000, 1, 28, 28) and X_test.shape == (10000, 1, 28, 28)
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert X_train.min() == 0 and X_train.max() == 1 and round(float(X_train.mean(dtype=float)), 4) == 0.1307


# ---- downloads

@needs_real
def test_the_real_data_are_downloaded_once(tmp_path: Path) -> None:
    hashes = hashes_of(REAL)
    assert hashes.keys() == MNIST_HASHES.keys() and hashes != dict(MNIST_HASHES)  # they were packed anew
    with serve(REAL) as (address, asked):
        first = mnist(mirrors=[address], hashes=hashes)
        assert sorted(asked) == sorted(MNIST_HASHES)
        second = mnist(mirrors=[address], hashes=hashes)
        assert len(asked) == 4
        with pytest.raises(ValueError, match=MNIST_HASHES["train-images-idx3-ubyte.gz"]):
            mnist(mirrors=[address], cache=tmp_path / "published")  # they are not the published bytes
    assert len(first[0]) == 60000 and all(np.array_equal(a, b) for a, b in zip(first, second))
    assert [path.name for path in (tmp_path / "cache").rglob("*ubyte.gz")]


def test_one_wrong_byte_is_refused_and_not_kept(folder: Path, tmp_path: Path, nobody: str) -> None:
    hashes, victim = hashes_of(folder), folder / "t10k-labels-idx1-ubyte.gz"
    damaged = bytearray(victim.read_bytes())
    damaged[-12] ^= 1
    victim.write_bytes(damaged)
    with serve(folder) as (address, _):
        for mirrors in ([address], [address, nobody], [nobody, address]):
            with pytest.raises(ValueError) as caught:
                mnist(mirrors=mirrors, hashes=hashes, cache=tmp_path / "kept")
            assert "t10k-labels-idx1-ubyte.gz" in str(caught.value) and hashes[victim.name] in str(caught.value)
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == set(MNIST_HASHES) - {victim.name}


def test_a_damaged_file_in_the_cache_is_fetched_again(folder: Path, tmp_path: Path) -> None:
    hashes = hashes_of(folder)
    with serve(folder) as (address, asked):
        mnist(mirrors=[address], hashes=hashes, cache=tmp_path)
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"nonsense")
        assert len(mnist(mirrors=[address], hashes=hashes, cache=tmp_path)[0]) == 6
    assert asked.count("train-images-idx3-ubyte.gz") == 2 and len(asked) == 5


def test_the_next_mirror_is_asked(folder: Path, tmp_path: Path, nobody: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with serve(empty) as (lacking, _), serve(folder) as (address, _):
        assert len(mnist(mirrors=[nobody, lacking, address + "/"], hashes=hashes_of(folder))[1]) == 3


def test_without_internet_the_error_says_which_files_to_put_where(nobody: str) -> None:
    with pytest.raises(ConnectionError) as caught:
        mnist(mirrors=[nobody])
    assert all(name in str(caught.value) for name in MNIST_HASHES)
    assert all(word in str(caught.value) for word in ("SLUGNET_DATA", "mnist(folder)", nobody))


def test_without_pooch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert len(mnist(folder)[0]) == 6
    with pytest.raises(ImportError, match=r"slugnet\[data\]"):
        mnist()


def test_a_download_says_nothing(folder: Path, capfd: pytest.CaptureFixture) -> None:
    with serve(folder) as (address, _):
        mnist(mirrors=[address], hashes=hashes_of(folder))
    assert capfd.readouterr() == ("", "")


# ---- files that are damaged, cut short, or lie

LIES = {"more images": (60000, 28, 28), "one row more": (6, 29, 28), "fewer": (5, 28, 28),
        "all there is": (2**32 - 1,) * 3, "overflow of 64 bits": (2**31, 2**31, 8), "none": (0, 28, 28)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_costs_no_memory(folder: Path, tmp_path: Path, lie: str, packed: bool) -> None:
    content = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    content = content[:4] + struct.pack(">3I", *LIES[lie]) + content[16:]
    (folder / "train-images-idx3-ubyte.gz").unlink()
    path = folder / ("train-images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match="train-images.*promises"):
        mnist(folder)
    assert peak_of(lambda: read_idx(path)) < 2**20


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with gzip.open(path, "wb", 1) as file:
        file.write(idx(np.zeros((1, 28, 28), np.uint8)))
        for _ in range(256):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**21
    assert peak_of(lambda: read_idx(path)) < 2**20


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_noticed(tmp_path: Path, packed: bool) -> None:
    content, path = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), tmp_path / "cut"
    content = gzip.compress(content) if packed else content
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cut"):
            read_idx(path)
    path.write_bytes(content)
    assert read_idx(path).shape == (2, 3, 4)


def test_every_damaged_byte_of_a_packed_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    array, path = np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.uint8), tmp_path / "damaged"
    content, noticed = gzip.compress(idx(array)), 0
    for place in range(len(content)):
        bad = bytearray(content)
        bad[place] ^= 0x11
        path.write_bytes(bad)
        try:
            assert np.array_equal(read_idx(path), array)  # bytes that say when and where it was packed
        except ValueError:
            noticed += 1
    assert noticed >= len(content) - 10


def test_a_folder_or_nothing_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError):
            read_idx(path)


# ---- notebooks and programs without the data

PAGE = {"nbformat": 4, "nbformat_minor": 5, "metadata": notebooks.METADATA, "cells": [
    {"cell_type": "code", "id": str(i), "execution_count": None, "metadata": {}, "outputs": [], "source": [text]}
    for i, text in enumerate(["from slugnet.examples import mnist_or_end", "X_train, *_ = mnist_or_end()",
                              "assert len(X_train) == 6", "open('reached', 'w').close()", "%notamagic"])]}


def run_in_nbdev(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """What the tests do with a notebook."""
    import ledger

    return subprocess.run([sys.executable, "-c", ledger.RUN, str(path), str(ROOT), ""], cwd=path.parent, check=False,
                          capture_output=True, text=True, env={**notebooks.environment(), **environment})


def test_a_notebook_without_data_ends_cleanly(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps(PAGE))
    done = run_in_nbdev(path, SLUGNET_DATA=str(tmp_path), SLUGNET_REQUIRE_ALL="0")
    assert done.returncode == 0 and not (tmp_path / "reached").exists(), done.stderr


def test_a_notebook_without_data_fails_where_all_is_required(tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps(PAGE))
    done = run_in_nbdev(path, SLUGNET_DATA=str(tmp_path), SLUGNET_REQUIRE_ALL="1")
    assert done.returncode != 0 and "t10k-labels-idx1-ubyte" in done.stderr


def test_a_notebook_with_data_runs_on(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps(PAGE | {"cells": PAGE["cells"][:-1]}))
    done = run_in_nbdev(path, SLUGNET_DATA=str(folder))
    assert done.returncode == 0 and (tmp_path / "reached").exists(), done.stderr


def test_execute_keeps_the_outputs_of_a_notebook_that_ended(folder: Path, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path = tmp_path / "nbs" / "page.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(PAGE | {"cells": PAGE["cells"][:-1]}))
    monkeypatch.setattr(notebooks, "clean", lambda root: None)
    monkeypatch.setattr(notebooks, "environment", lambda root: {**os.environ, "PYTHONPATH": str(ROOT)})
    monkeypatch.setenv("SLUGNET_REQUIRE_ALL", "0")
    before = path.read_bytes()
    monkeypatch.setenv("SLUGNET_DATA", str(tmp_path))
    assert notebooks.execute(tmp_path, ["page"]) == [] and path.read_bytes() == before
    assert "for want of data" in capsys.readouterr().out
    monkeypatch.setenv("SLUGNET_REQUIRE_ALL", "1")
    [failure] = notebooks.execute(tmp_path, ["page"])
    assert "MNIST is not whole" in failure
    monkeypatch.setenv("SLUGNET_DATA", str(folder))
    assert notebooks.execute(tmp_path, ["page"]) == [] and (path.parent / "reached").exists()


def test_the_data_may_come_while_a_notebook_is_open(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from execnb.shell import CaptureShell

    monkeypatch.setenv("SLUGNET_REQUIRE_ALL", "0")
    monkeypatch.setenv("SLUGNET_DATA", str(tmp_path))
    shell = CaptureShell()
    shell.run("from slugnet.examples import mnist_or_end\nimport os\nx = 0")
    for _ in range(2):
        shell.run("X, *_ = mnist_or_end()")
        shell.run("x = len(X)")
    assert shell.user_ns["x"] == 0 and shell.user_ns["X"] is None
    monkeypatch.setenv("SLUGNET_DATA", str(folder))
    shell.run("X, *_ = mnist_or_end()")
    shell.run("x = len(X)")
    assert shell.user_ns["x"] == 6


def test_outside_a_notebook_missing_data_are_an_error(tmp_path: Path) -> None:
    code = "from slugnet.examples import mnist_or_end\nmnist_or_end()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env={**notebooks.environment(), "SLUGNET_DATA": str(tmp_path)})
    assert done.returncode and "FileNotFoundError" in done.stderr


PROGRAMS = ["digits", "xor", "mnist", "mnist_dropout", "mnist_convolution"]


def program(name: str, *argv: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", f"slugnet.examples.{name}", *argv], cwd="/", text=True, check=False,
                          capture_output=True, env={**notebooks.environment(), **environment})


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_share_their_options(name: str) -> None:
    done = program(name, "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--epochs", "--batch-size", "--seed", "--save-figure"))
    done = program(name, "--batch-size", "0")
    assert done.returncode == 2 and "Traceback" not in done.stderr and not done.stdout
    assert done.stderr.splitlines()[-1].endswith("--batch-size: must be an integer of at least 1; got 0")


@pytest.mark.parametrize("name", PROGRAMS[2:])
def test_programs_without_data_end_in_one_line(name: str, tmp_path: Path) -> None:
    done = program(name, SLUGNET_DATA=str(tmp_path))
    assert done.returncode == 1 and not done.stdout
    [line] = done.stderr.splitlines()
    assert "train-images-idx3-ubyte.gz" in line and str(tmp_path) in line


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_draw(name: str, folder: Path, tmp_path: Path) -> None:
    done = program(name, "--epochs", "1", "--batch-size", "4" if name in PROGRAMS[1:] else "64", "--seed", "3",
                   "--save-figure", str(tmp_path / "figure.svg"), SLUGNET_DATA=str(folder))
    assert done.returncode == 0 and "<svg" in (tmp_path / "figure.svg").read_text(), done.stderr


def test_the_tools_find_the_data_beside_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "checkout"
    (tmp_path / "shared" / "data" / "mnist").mkdir(parents=True)
    assert notebooks.environment(root)["SLUGNET_DATA"] == str(tmp_path / "shared" / "data" / "mnist")
    monkeypatch.setenv("SLUGNET_DATA", "mine")
    assert notebooks.environment(root)["SLUGNET_DATA"] == "mine"
    monkeypatch.delenv("SLUGNET_DATA")
    assert "SLUGNET_DATA" not in notebooks.environment(tmp_path / "elsewhere" / "checkout")


def test_nothing_is_downloaded_at_import() -> None:
    code = "import sys, slugnet.data; print('pooch' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=notebooks.environment())
    assert done.stdout.split() == ["False", "False"]
    assert data.mnist is mnist
