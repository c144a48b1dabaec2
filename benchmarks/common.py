"""What every benchmark shares: threads, timing in turns, and a table that says on what it was measured."""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"


def limit_threads(number: int) -> None:
    """Let NumPy's BLAS and PyTorch use so many threads."""
    import threadpoolctl
    import torch

    threadpoolctl.threadpool_limits(number)
    torch.set_num_threads(number)


def in_turns(functions: Sequence[Callable[[], None]], rounds: int = 100, seconds: float = 5.0) -> list[list[float]]:
    """The seconds that each function takes, in rounds of all of them, after one that is not counted.

    Rounds stop early when `seconds` have passed, but not before the third.
    """
    times: list[list[float]] = [[] for _ in functions]
    start = time.perf_counter()
    for round_number in range(rounds + 1):
        for own, function in zip(times, functions):
            began = time.perf_counter()
            function()
            if round_number:
                own.append(time.perf_counter() - began)
        if round_number >= 3 and time.perf_counter() - start > seconds:
            break
    return times


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Our minimum over theirs, and the least and the greatest ratio of a round: what the noise was."""
    rounds = [a / b for a, b in zip(ours, theirs)]
    return {"ours_ms": 1e3 * min(ours), "theirs_ms": 1e3 * min(theirs), "ratio": min(ours) / min(theirs),
            "lowest": min(rounds), "highest": max(rounds)}


def machine() -> dict[str, str]:
    """Versions, processor, number of cores, NumPy's BLAS, and how busy the machine was in the last minute."""
    import threadpoolctl
    import torch

    found = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
             "machine": platform.machine(), "cores": str(os.cpu_count())}
    try:
        import sklearn
        found["scikit-learn"] = sklearn.__version__
    except ImportError:
        pass
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas" and "numpy" in library["filepath"]:
            found["blas"] = f"{library['internal_api']} {library['version']}"
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            found["processor"] = line.split(":", 1)[1].strip()
            break
    return found | {"load": f"{os.getloadavg()[0]:.1f}"}


def write(name: str, rows: list[dict], **more) -> dict:
    """Write what a script measured as JSON, with the machine and the day, and return it."""
    result = {"machine": machine(), "date": datetime.date.today().isoformat(), "rows": rows, **more}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def show(name: str, result: dict) -> None:
    """Print on what a table was measured."""
    print(f"{name}, {result['date']}: " + ", ".join(f"{key} {value}" for key, value in result["machine"].items()))


def judged(row: dict) -> str:
    """The goal of a row, and whether it was missed."""
    return "" if row["goal"] is None else f"≤ {row['goal']}{'' if row['ratio'] <= row['goal'] else '  missed'}"


def print_ratios(rows: list[dict], ours: str = "slugnet", theirs: str = "other") -> None:
    """Print rows that `ratio` made, as a table."""
    print(f"{'threads':>7}  {'work':<52} {'against':<14} {ours:>9} {theirs:>9} {'ratio':>6} {'rounds':>11}  goal")
    for row in rows:
        print(f"{row['threads']:>7}  {row['work']:<52} {row['against']:<14} {row['ours_ms']:>7.2f}ms "
              f"{row['theirs_ms']:>7.2f}ms {row['ratio']:>6.2f} {row['lowest']:>5.2f}–{row['highest']:<5.2f}  {judged(row)}")


def report(name: str, measure: Callable[[], list[dict]]) -> None:
    """Measure at the numbers of threads asked for, print the table, and write it as JSON.

    `measure` returns rows with `work`, `against`, `goal` (None where only the ratio is of interest) and what
    `ratio` gives.
    """
    options = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    rows = []
    for number in options.parse_args().threads:
        limit_threads(number)
        rows += [{"threads": number, **row} for row in measure()]
    show(name, write(name, rows))
    print_ratios(rows)


def same_loss(ours: float, theirs: float) -> None:
    """Refuse to compare two things that do not compute the same."""
    if not np.isclose(ours, theirs, rtol=1e-4):
        raise AssertionError(f"the losses differ: {ours} here, {theirs} there")
