"""The order of the tests, and the rule that nothing is skipped where everything must run."""
import os

import pytest

FIRST, LAST = "test_notebooks.py", "test_site.py"
REQUIRE_ALL = os.environ.get("SLUGNET_REQUIRE_ALL") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, for what they measure goes into the site; the site's tests last."""
    rank = {FIRST: 0, LAST: 2}
    items.sort(key=lambda item: rank.get(item.path.name, 1))


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
