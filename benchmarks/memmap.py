"""One shuffled epoch over a file of 4 GB, in a process of at most 1 GB: at what share of the disk's speed?

    python -m benchmarks.memmap [--folder FOLDER] [--gigabytes 4] [--batch-size 256]

The file is written into a temporary folder of the current one, and removed. It has rows of 1,024 numbers, 4 kB, a page
each, so that no row is read along with another. What the system keeps of the file in memory is dropped before each
measurement, and the map is told that the order is random, so that the system reads no rows ahead that it was not asked for.

The limit is RLIMIT_DATA: it counts what a process holds that is not a file's, and so not the mapped file, whose
pages the system takes back when it needs them. (RLIMIT_AS would count addresses, of which a map of 4 GB has 4 GB.) The
benchmark also shows that the data do not fit, and reports the most anonymous memory that the process held.
"""
from __future__ import annotations

import argparse
import json
import mmap
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

FEATURES, LIMIT = 1024, 1 << 30
ROW = 4 * FEATURES


def write(path: Path, m: int) -> None:
    """A file of m rows of random numbers."""
    block = np.random.default_rng(0).random((16_384, FEATURES), dtype=np.float32)
    with open(path, "wb") as file:
        for start in range(0, m, len(block)):
            file.write(block[:m - start])
        file.flush()
        os.fsync(file.fileno())


def drop(path: Path) -> None:
    """Let the system forget what it keeps of the file in memory."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential(path: Path) -> float:
    """Bytes a second, from the beginning to the end."""
    drop(path)
    began = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 23):
            pass
    return path.stat().st_size / (time.perf_counter() - began)


def one_by_one(path: Path, rows: np.ndarray) -> float:
    """Bytes a second, row by row in random order, each asked for when the one before is there."""
    drop(path)
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        began = time.perf_counter()
        for row in rows.tolist():
            os.pread(file.fileno(), ROW, row * ROW)
        return len(rows) * ROW / (time.perf_counter() - began)


def network():
    """A network so small that reading is most of the work."""
    from slugnet.activation import ReLU, Softmax
    from slugnet.layers import Dense
    from slugnet.loss import CategoricalCrossEntropy
    from slugnet.model import Model

    layers = [Dense(16, activation=ReLU()), Dense(10, activation=Softmax())]
    return Model(layers, loss=CategoricalCrossEntropy(), seed=0)


def epoch(path: Path, m: int, batch_size: int, answers) -> None:
    """In a process of its own: an epoch within the limit; seconds, and the most anonymous memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    X = np.memmap(path, np.float32, "r", shape=(m, FEATURES))
    X._mmap.madvise(mmap.MADV_RANDOM)
    try:
        np.ones(X.shape, X.dtype)
        raise AssertionError("the data fit into memory; the measurement would say nothing")
    except MemoryError:
        pass
    y, model = np.arange(m) % 10, network()
    drop(path)
    began = time.perf_counter()
    model.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
    seconds = time.perf_counter() - began
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    answers.put({"seconds": seconds, "anonymous_kB": int(status["RssAnon"].split()[0]),
                 "peak_data_kB": int(status["VmData"].split()[0])})


def in_memory(m: int, batch_size: int) -> float:
    """Seconds of a step on data that are in memory."""
    X, y, model = np.random.default_rng(0).random((m, FEATURES), dtype=np.float32), np.arange(m) % 10, network()
    model.fit(X[:batch_size], y[:batch_size], epochs=1, batch_size=batch_size, progress=False)
    began = time.perf_counter()
    model.fit(X, y, epochs=1, batch_size=batch_size, progress=False)
    return (time.perf_counter() - began) / -(-m // batch_size)


def main() -> None:
    """Write, measure, print, remove."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.memmap")
    options.add_argument("--folder", default=".", help="on the disk that is to be measured")
    options.add_argument("--gigabytes", type=float, default=4.0)
    options.add_argument("--batch-size", type=int, default=256)
    options = options.parse_args()
    m = int(options.gigabytes * (1 << 30)) // ROW
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "rows"
        write(path, m)
        forward = sequential(path)
        single = one_by_one(path, np.random.default_rng(1).permutation(m)[:20_000])
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        child = context.Process(target=epoch, args=(path, m, options.batch_size, answers))
        child.start()
        found = answers.get()
        child.join()
        forward_again = sequential(path)
    speed, steps = m * ROW / found["seconds"], -(-m // options.batch_size)
    rows = {"file_bytes": m * ROW, "limit_bytes": LIMIT, "epoch_seconds": found["seconds"], "epoch_MB_s": speed / 1e6,
            "sequential_MB_s": [forward / 1e6, forward_again / 1e6], "one_by_one_MB_s": single / 1e6,
            "share_of_sequential": speed / max(forward, forward_again), "share_of_one_by_one": speed / single,
            "step_ms": 1e3 * found["seconds"] / steps, "step_in_memory_ms": 1e3 * in_memory(20_480, options.batch_size),
            "anonymous_MB": found["anonymous_kB"] / 1024, "data_MB": found["peak_data_kB"] / 1024}
    for name, value in rows.items():
        print(f"{name:>22}  " + ", ".join(f"{v:,.2f}" for v in (value if isinstance(value, list) else [value])))
    results = Path(__file__).resolve().parent / "results"
    results.mkdir(exist_ok=True)
    (results / "memmap.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
