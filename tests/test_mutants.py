"""The tool that tests the tests: it kills what should die, and reports what survives."""

import configparser
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "nbs" / "_tools" / "mutants.py"
CHECKED = [
    "#| default_exp checked",
    "#| export\nimport numpy as np",
    """#| export
def twice(x: int = 7):
    "No 3 + 4 of these words is a formula."
    return 2 * x


def column_sums(X):
    return X.sum(axis=0)  # eq-toy-sums""",
    """#| export
#| code-summary: "One"

def refuse(n):
    if n < 5:
        raise ValueError(f"{n + 1}")
    print(2 + 3)
    return 5 <= n  # no-mutant [<=]: for the test
""",
    "assert twice(3) == 6",
    "from toys.other import four_times\nassert four_times(1) == 4",
    "assert column_sums(np.arange(6).reshape(2, 3)).tolist() == [3, 5, 7]",
    "#| eval: false\nraise SystemError",
    "assert refuse(6) and refuse(5.5)",
]
OTHER = [
    "#| default_exp other",
    "#| export\nfrom toys.checked import twice",
    """#| export
def four_times(x):
    return twice(twice(x))


def unchecked(x, y):
    return x - y


def excluded(x):
    return x + 1  # no-mutant: for the test""",
    "unchecked(5, 3)",
]
ELSEWHERE = [
    "#| default_exp elsewhere",
    "#| export\ndef half(x):\n    return x / 2",
    "from toys.user import quarter\nassert quarter(8) == 2",
]
USER = [
    "#| default_exp user",
    "#| export\nfrom toys.elsewhere import half",
    "#| export\ndef quarter(x):\n    return half(half(x))",
]
BOOKS = {"checked": CHECKED, "sub/other": OTHER, "elsewhere": ELSEWHERE, "user": USER}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("mutants", TOOL)
    module = sys.modules["mutants"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """A project of four notebooks, exported by nbdev itself."""
    project = tmp_path_factory.mktemp("project")
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "settings.ini")
    settings["DEFAULT"].update({"lib_name": "toys", "lib_path": "toys"})
    with open(project / "settings.ini", "w", encoding="utf-8") as file:
        settings.write(file)
    (project / "nbs").mkdir()
    for name, sources in BOOKS.items():
        path = project / "nbs" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        cells = [{"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "execution_count": None,
                  "source": source} for i, source in enumerate(sources)]
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    script = "from nbdev.doclinks import nbdev_export; nbdev_export()"
    subprocess.run([sys.executable, "-c", script], cwd=project, check=True)
    return project


def run(project, *arguments):
    """The exit code and the output of the tool as it is called."""
    command = [sys.executable, TOOL, "--project", project, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=120, check=False)
    return result.returncode, result.stdout + result.stderr


def mutations(tool, *lines):
    """What becomes of a function with these lines; of each mutant, the line that differs."""
    source = "def f():\n" + "".join(f"    {line}\n" for line in lines)
    changed = [source[:start] + new + source[stop:] for start, stop, new, _ in tool.Formulas(source).edits]
    return {next(b for a, b in zip(source.split("\n"), text.split("\n"), strict=True) if a != b).strip()
            for text in changed}


@pytest.mark.parametrize(("line", "expected"), [
    ("y = a + b - c", {"y = a - b - c", "y = a + b + c"}),
    ("y = (a) * (b) / c", {"y = (a) / (b) / c", "y = (a) * (b) * c"}),
    ("y -= x ** 2", {"y += x ** 2", "y -= x ** 3"}),
    ("y = a ** n", {"y = a * n"}),
    ("return A @ b", {"return A.T @ b", "return b @ A"}),
    ("return (A - B).T @ C", {"return (A + B).T @ C", "return (A - B) @ C", "return (A - B).T @ C.T",
                              "return C @ (A - B).T"}),
    ("return (A - B) @ C", {"return (A + B) @ C", "return ((A - B).T) @ C", "return (A - B) @ C.T"}),
    ("return g @ h", set()),
    ("np.matmul(X.T, G, out=out)", {"np.matmul(X, G, out=out)", "np.matmul(X.T, G.T, out=out)",
                                    "np.matmul(G, X.T, out=out)"}),
    ("y = -σ * 1", {"y = σ * 1", "y = -σ / 1", "y = -σ * 0"}),
    ("h = 1e-30j", {"h = 1.0j"}),
    ("X.sum(axis=-1, keepdims=True)", {"X.mean(axis=-1, keepdims=True)", "X.sum(axis=0, keepdims=True)",
                                       "X.sum(axis=-1, keepdims=False)"}),
    ("np.maximum(x[-1], 0)", {"np.minimum(x[-1], 0)", "np.maximum(x[0], 0)", "np.maximum(x[-1], 1)"}),
    ("y = x[:, None] * math.prod(s)", {"y = x[None, :] * math.prod(s)", "y = x[:, None] / math.prod(s)",
                                       "y = x[:, None] * sum(s)"}),
    ('np.einsum("ij,jk->ik", A, B)', {'np.einsum("ij,jk->ki", A, B)'}),
    ("y = a < b and c == d", {"y = a <= b and c == d", "y = a < b and c != d", "y = a < b or c == d"}),
    ('y = f"{1 + 1}" + "a" * n', set()),
    ("s = (1 if a is None else b, *c) + d", {"s = (0 if a is None else b, *c) + d"}),
    ('x = require_number("x", x, minimum=1)', set()),
    ("y = np.array(x, copy=True)", set()),
    ("y: float = 2", {"y: float = 3"}),
])
def test_each_operator(tool, line, expected):
    assert mutations(tool, line) == expected


def test_what_is_no_formula_stays(tool):
    assert mutations(tool, '"""Add 1 + 1."""', "import numpy", "assert 1 + 1", "if x < 2:", "    raise E(1)",
                     'print(1, "a" == x)') == set()
    assert tool.Formulas("class A:\n    b = 1\n    def __repr__(self):\n        return 1 + 1\n").edits == []
    assert len(tool.Formulas("LIMIT = 3\n\nassert LIMIT > 2\n").edits) == 1


def test_checked_formulas_die(toys):
    code, output = run(toys, "checked", "--verbose")
    assert code == 0, output
    assert "killed 5 of 5 mutants (100.0 %)" in output
    assert "  - return X.sum(axis=0)  # eq-toy-sums\n  + return X.sum(axis=1)  # eq-toy-sums\n" in output
    assert "survived" not in output


def test_a_survivor_is_reported_with_its_line(toys):
    code, output = run(toys, "sub/other")
    line = (toys / "toys" / "other.py").read_text().split("\n").index("    return x - y") + 1
    assert code == 1
    assert f"toys/other.py:{line}\n  - return x - y\n  + return x + y\n  survived" in output
    assert "killed 0 of 1 mutants (0.0 %)" in output
    assert run(toys, "nbs/sub/other.ipynb", "--minimum", "0")[0] == 0


def test_other_modules_see_the_mutant(toys):
    assert "killed 2 of 2" in run(toys, "elsewhere")[1]


def test_a_sample_is_spread_and_the_same_every_time(toys):
    everything, first, again = (run(toys, "--list", "--sample", number)[1] for number in ("99", "4", "4"))
    assert "8 mutants" in everything and "4 mutants" in first
    assert first == again
    assert set(re.findall(r"toys/(\w+)\.py", first)) == {"checked", "other", "elsewhere"}


def test_nothing_is_written_in_the_project(toys):
    before = {path: path.stat().st_mtime_ns for path in toys.rglob("*")}
    run(toys, "checked")
    assert {path: path.stat().st_mtime_ns for path in toys.rglob("*")} == before


def test_a_notebook_that_fails_or_is_not_exported_stops_the_run(toys, tmp_path):
    for change, message in (('"assert twice(3) == 6"', "checked fails as it is: AssertionError"),
                            ('return 2 * x', "differs from its notebook checked: run nbdev_export")):
        project = tmp_path / message[:12].strip()
        subprocess.run(["cp", "-r", toys, project], check=True)
        path = project / "nbs" / "checked.ipynb"
        broken = change.replace("2 *", "5 *").replace("== 6", "== 9")
        path.write_text(path.read_text().replace(change, broken))
        code, output = run(project, "checked")
        assert code == 1 and message in output


def test_endless_and_crashing_notebooks_count_as_killed(toys):
    script = """if True:
        import sys, tempfile; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import mutants
        with tempfile.TemporaryDirectory() as place:
            laboratory = mutants.Laboratory(Path(sys.argv[2]), "toys", "nbs", Path(place).resolve())
            book = lambda *cells: type("Book", (), {"name": "b", "cells": cells, "runs": lambda *a: True})()
            tasks = [(book("while True: pass"), None, 0.5), (book("import os", "os._exit(0)"), None, 20),
                     (book("raise SystemExit"), None, 20), (book("display(1)"), None, 20)]
            print(sorted(end for _, end, _ in laboratory.run(tasks, 2)))"""
    command = [sys.executable, "-c", script, TOOL.parent, toys]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "['SystemExit in code cell 0: ', 'crash', 'survived', 'timeout']\n"
