"""No equation without an anchor, a number and a check; no name that does not exist."""
import json
from pathlib import Path

import ledger
import pytest
from test_exports import cell, none, order, write

EQUATION = '<a id="eq-a-x"></a>\n$$ x = 2 \\tag{1.1} $$'
CHECK = 'verify("eq-a-x", 2, 2)'
VERIFY = """\
import json, os
def verify(name, got, expected):
    with open(os.environ["SLUGNET_LEDGER"], "a") as file:
        file.write(json.dumps({"name": name, "error": 0.0, "limit": 1e-10}) + "\\n")"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one equation that is anchored, numbered, checked and cited."""
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_path = slugnet\nnbs_path = nbs\nrepo = slugnet\n")
    order(tmp_path, "a.ipynb")
    (tmp_path / "slugnet").mkdir()
    (tmp_path / "slugnet/a.py").write_text("def f():\n    return 2  # eq-a-x\n")
    page(tmp_path)
    assert ledger.problems(tmp_path) == []
    return tmp_path


def page(root: Path, markdown: str = EQUATION, code: str = CHECK) -> None:
    """Write the project's page."""
    write(root, "a", cell("# The page\n\n> Purpose.", "markdown"), cell(VERIFY), cell(markdown, "markdown"),
          cell(code))


# ---- this project

def test_the_ledger_is_complete() -> None:
    none(ledger.problems())


def test_there_is_something_to_check() -> None:
    assert len(ledger.collect()) >= 8


# ---- the test above can fail

@pytest.mark.parametrize(("markdown", "code", "problem"), [
    ("$$ x = 2 \\tag{1.1} $$", "", "no anchor"),
    ('<a id="eq-a-x"></a>\n\n$$ x = 2 \\tag{1.1} $$', CHECK, "no anchor"),
    ('<a id="eq-a-x"></a>\n$$ x = 2 $$', CHECK, "no number"),
    (EQUATION, "x = 1", "no check"),
    (EQUATION, 'for name in ["eq-a-x"]: verify(name, 2, 2)', "not written out"),
    (EQUATION, "# verify('eq-a-x', 2, 2)", "no check"),
    (EQUATION + "\n\n" + EQUATION.replace("1.1", "1.2"), CHECK, "name of 2 equations"),
    (EQUATION + "\n\n" + EQUATION.replace("-x", "-y"), CHECK + "\n" + CHECK.replace("-x", "-y"),
     "has the number (1.1)"),
    (EQUATION + '\n\n<a id="eq-a-z"></a>\nWords.', CHECK, "no equation right under it"),
    (EQUATION + "\nmore words", CHECK, "paragraph of its own"),
    (EQUATION + "\n\n[there](#eq-a-z)", CHECK, "links to eq-a-z"),
    (EQUATION + "\n\n\\[ x = 2 \\]", CHECK, "not written between $$"),
    (EQUATION + "\n\n\\begin{equation}x = 2\\end{equation}", CHECK, "not written between $$"),
    (EQUATION, CHECK + '\nverify("eq-a-z", 1, 1)', "verifies eq-a-z"),
    (EQUATION, CHECK + "\nx = 1  # eq-a-z", "cites eq-a-z"),
])
def test_a_gap_in_the_ledger_is_found(project: Path, markdown: str, code: str, problem: str) -> None:
    page(project, markdown, code)
    assert any(problem in text for text in ledger.problems(project)), ledger.problems(project)


def test_a_name_cited_by_the_package_that_does_not_exist_is_found(project: Path) -> None:
    (project / "slugnet/a.py").write_text("x = 1\ny = 2  # eq-a-x, eq-a-gone\n")
    assert ledger.problems(project) == ["slugnet/a.py:2: cites eq-a-gone, which does not exist"]


def test_code_and_checks_are_collected(project: Path) -> None:
    [equation] = ledger.collect(project)
    assert (equation.name, equation.tag, equation.tex) == ("eq-a-x", "1.1", "x = 2")
    assert (equation.page, equation.page_title) == ("a", "The page")
    assert equation.code == [("slugnet/a.py", 2, "return 2  # eq-a-x")] and equation.checks == [CHECK]


def test_records_are_measured_again_when_notebook_or_package_changes(project: Path) -> None:
    expected = {"eq-a-x": [{"error": 0.0, "limit": 1e-10}]}
    assert ledger.records(project, run=False) == {}
    assert ledger.records(project) == ledger.records(project, run=False) == expected
    (project / "slugnet/a.py").write_text("y = 2  # eq-a-x\n")
    assert ledger.records(project, run=False) == {}
    assert ledger.records(project) == expected
    page(project, code=CHECK + "\n" + CHECK)
    assert ledger.records(project) == {"eq-a-x": expected["eq-a-x"] * 2}


def test_a_failing_notebook_leaves_no_records(project: Path) -> None:
    page(project, code=CHECK + "\nassert 1 == 2, 'they differ'")
    with pytest.raises(RuntimeError, match="they differ"):
        ledger.records(project)
    assert ledger.records(project, run=False) == {}


def test_text_that_a_cell_does_not_give_fails(project: Path) -> None:
    def shown(text: str) -> list[dict]:
        return [{"data": {"text/plain": [text]}, "execution_count": None, "metadata": {}, "output_type": "execute_result"}]

    cells = cell("# The page\n\n> Purpose.", "markdown"), cell(VERIFY), cell(EQUATION, "markdown"), cell(CHECK)
    write(project, "a", *cells, cell("1 + 1", outputs=shown("2")))
    assert ledger.run_page("a", project).returncode == 0
    for outputs in ([], shown("3")):
        write(project, "a", *cells, cell("1 + 1", outputs=outputs))
        done = ledger.run_page("a", project)
        assert done.returncode and "It gives:\n2\n" in done.stdout


def test_a_notebook_that_does_not_end_fails(project: Path) -> None:
    page(project, code="while True: pass")
    done = ledger.run_page("a", project, timeout=3)
    assert done.returncode and "did not end within 3 seconds" in done.stderr


def test_verify_writes_what_the_ledger_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slugnet.check import CheckError, verify
    monkeypatch.setenv("SLUGNET_LEDGER", str(tmp_path / "lines"))
    verify("eq-a-x", [1.0, 2.0], [1.0, 2.0 + 1e-12])
    with pytest.raises(CheckError, match="eq-a-x"):
        verify("eq-a-x", [1.0, 2.0], [1.0, 2.1])
    [line] = [json.loads(text) for text in (tmp_path / "lines").read_text().splitlines()]
    assert line["name"] == "eq-a-x" and 0 < line["error"] < line["limit"] == 1e-10
