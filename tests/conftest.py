"""The order of the tests, what a run says at its end, and the rule that nothing is skipped where everything must run."""
import importlib.util
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")   # each worker's threads would wait in a loop for a processor
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

pytest_plugins = ["site_browser"] if importlib.util.find_spec("filelock") else []   # without it, no test of the site runs
FIRST, LAST = "test_notebooks.py", ("test_site.py", "test_motion_site.py", "test_front.py", "test_play.py")
REQUIRE_ALL = os.environ.get("SLUGNET_REQUIRE_ALL") == "1"
LEAVE_OUT_PEERS = importlib.util.find_spec("torch") is None and not REQUIRE_ALL


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the comparisons with other libraries where those are not installed."""
    return True if LEAVE_OUT_PEERS and collection_path.name == "peers" else None


_FIRST_STATES = {}


@pytest.fixture(autouse=True)
def same_numbers_in_any_order(request: pytest.FixtureRequest) -> None:
    """Let a module's generators of random numbers start every test alike, whichever tests ran before in the process."""
    for name, generator in vars(request.module).items():
        if isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            bits.state = _FIRST_STATES.setdefault((request.module.__name__, name), bits.state)


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many of ONNX's cases were run and passed, and what was left out."""
    passed = [report for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    for report in passed:
        for name, text in report.user_properties:
            if name == "onnx":
                cases = sum("test_onnx.py::test_node" in other.nodeid for other in passed)
                terminalreporter.write_line(f"ONNX: {text}; {cases} passed.")
    left_out = Counter(report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                       for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in left_out.items():
        terminalreporter.write_line(f"left out: {count} test{'s' * (count > 1)}: {reason.removeprefix('Skipped: ')}")
    if LEAVE_OUT_PEERS:
        terminalreporter.write_line("left out: tests/peers, which compare with PyTorch; `make peers` installs it.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, for what they measure goes into the site; the site's tests last, when it has been built.

    One of them comes between the others: it builds the site while the other workers have something else to do.
    """
    rank = {FIRST: 0} | dict.fromkeys(LAST, 2)
    items.sort(key=lambda item: rank.get(item.path.name, 1))
    builders = [item for item in items if "docs" in item.fixturenames and "browser" not in item.fixturenames]
    if builders:
        items.remove(builders[0])
        items.insert(sum(item.path.name == FIRST for item in items) + 20, builders[0])


def _fail_if_skipped(report) -> None:
    """Turn a skip into a failure that gives its reason."""
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"SLUGNET_REQUIRE_ALL=1 allows no skip. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """With SLUGNET_REQUIRE_ALL=1, a skipped test fails."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """With SLUGNET_REQUIRE_ALL=1, a file that skips itself fails."""
    report = yield
    _fail_if_skipped(report)
    return report
