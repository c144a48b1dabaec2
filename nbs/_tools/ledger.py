"""The ledger: every display equation, its code, its check, and the error that the check measured.

    python nbs/_tools/ledger.py      count equations and checks; exit 1 and name every problem

An equation is written in a paragraph of its own, under its anchor, and is checked on the same page:

    <a id="eq-dense-dW"></a>
    $$ \\nabla_{\\mathbf W} J = \\mathbf X^\\top \\mathbf G_A \\tag{6.3} $$

    verify("eq-dense-dW", got, expected)

Exported lines that implement it end in `# eq-dense-dW`. When `SLUGNET_LEDGER` names a file,
`slugnet.check.verify` appends a line to it for every call; `_ledger/<page>.jsonl` keeps those lines, after
one that says from which notebook and which package they come.
"""
from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import notebooks
from notebooks import ANCHOR, ROOT, TIMEOUT, displays, pages, without_code

OTHER_DISPLAY = re.compile(r"^[ \t]*(\\\[.*|\\begin\{(?:equation|align|gather|multline)\*?\}.*)$", re.MULTILINE)
CITED = re.compile(r"#[^\n\"']*?\b(eq-[\w-]+(?:[ ,]+eq-[\w-]+)*)")

RUN = """
import re
import sys
from pathlib import Path
from execnb.shell import CaptureShell
from nbdev.test import test_nb

def text(outputs):      # without addresses, which are cleaned away, and however it is spaced
    shown = [output for output in outputs if output.get("name") != "stderr"]
    found = "".join("".join(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in shown)
    return re.sub(" at 0x[0-9a-f]+", "", found).split()

def cell(self, cell, **options):
    stored = cell.get("outputs", [])
    cell.outputs = []
    run(self, cell, **options)
    ended.extend(output for output in cell.outputs if "slugnet_ended" in output.get("metadata", {}))
    if cell.cell_type == "code" and not self.exc and not ended and text(stored) != text(cell.outputs):
        differ.append(cell.source)
        print("The text below this cell is not what it gives: execute the notebook.", cell.source, "It stands there:",
              " ".join(text(stored)), "It gives:", " ".join(text(cell.outputs)), "", sep="\\n")

run, CaptureShell.cell, differ, ended = CaptureShell.cell, cell, [], []      # ended: for want of data
notebook, root, flags = sys.argv[1:]
sys.exit(not test_nb(Path(notebook), skip_flags=flags.split(), basepath=root)[0] or len(differ))
"""


@dataclass
class Equation:
    """A display equation of the book."""

    name: str
    tag: str | None
    tex: str
    page: str
    page_title: str
    code: list[tuple[str, int, str]] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


# ---- reading

def collect(root: Path = ROOT) -> list[Equation]:
    """Every named display equation in reading order, with the exported lines and the checks that name it."""
    equations, cited = [], citations(root)
    for page in pages(root):
        markdown, checks = notebooks.cells(page, "markdown", root), verified(page, root)
        title = re.search(r"^# (.*)$", "\n".join(markdown), re.MULTILINE)
        equations += [Equation(found.name, found.tag, found.tex, page, title[1].strip() if title else page,
                               cited[found.name], checks[found.name])
                      for text in markdown for found in displays(text) if found.name]
    return equations


def citations(root: Path = ROOT) -> dict[str, list[tuple[str, int, str]]]:
    """By name of equation: the lines of the package whose comment cites it, as (file, line number, text)."""
    found = defaultdict(list)
    for module in sorted(notebooks.modules(root)):
        for number, line in enumerate((root / module).read_text(encoding="utf-8").splitlines(), 1):
            for name in cited_names(line):
                found[name].append((module, number, line.strip()))
    return found


def cited_names(text: str) -> list[str]:
    """The equations that the comments of some code cite."""
    return [name for names in CITED.findall(text) for name in re.findall(r"eq-[\w-]+", names)]


def verify_calls(text: str) -> list[str | None]:
    """The first argument of every call of `verify` in a cell; None where it is no plain string."""
    text = re.sub(r"^[ \t]*[%!].*$", "", text, flags=re.MULTILINE)
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
             and getattr(node.func, "id", getattr(node.func, "attr", None)) == "verify"]
    first = [call.args[0] if call.args else None for call in calls]
    return [argument.value if isinstance(argument, ast.Constant) else None for argument in first]


def verified(page: str, root: Path = ROOT) -> dict[str | None, list[str]]:
    """By name of equation: the cells of a page that call `verify` with it."""
    found = defaultdict(list)
    for text in notebooks.cells(page, "code", root):
        if not notebooks.is_exported(text):
            for name in dict.fromkeys(verify_calls(text)):
                found[name].append(text)
    return found


# ---- judging

def problems(root: Path = ROOT) -> list[str]:
    """What keeps the ledger from being complete, each with the file it stands in."""
    bad, equations = [], collect(root)
    names = Counter(equation.name for equation in equations)
    tags = Counter(equation.tag for equation in equations if equation.tag)
    for equation in equations:
        where = f"nbs/{equation.page}.ipynb: {equation.name}"
        bad += [f"{where} has no number"] * (not equation.tag)
        bad += [f"{where} has no check on its page"] * (not equation.checks)
        bad += [f"{where} is the name of {names[equation.name]} equations"] * (names[equation.name] > 1)
        bad += [f"{where} has the number ({equation.tag}), as others have"] * (tags[equation.tag] > 1)
    for page in pages(root):
        bad += [f"nbs/{page}.ipynb: {text}" for text in page_problems(page, names, root)]
    bad += [f"{file}:{line}: cites {name}, which does not exist"
            for name, lines in citations(root).items() if name not in names for file, line, _ in lines]
    return bad + notebooks.link_problems(root)


def page_problems(page: str, names: Counter, root: Path) -> list[str]:
    """Equations without an anchor, anchors without an equation, and names that do not exist, on one page."""
    bad = []
    for text in notebooks.cells(page, "markdown", root):
        bad += [f"an equation is not written between $$: {other}" for other in OTHER_DISPLAY.findall(without_code(text))]
        for display in displays(text):
            if not display.name:
                bad.append(f"an equation has no anchor right above it: {display.tex[:60]}")
            elif not display.alone:
                bad.append(f"{display.name} is not in a paragraph of its own")
        own = {display.name for display in displays(text)}
        bad += [f"the anchor {name} has no equation right under it"
                for name in ANCHOR.findall(without_code(text)) if name not in own]
    for text in notebooks.cells(page, "code", root):
        if not notebooks.is_exported(text):  # the package's lines are read in the package
            bad += [f"cites {name}, which does not exist" for name in cited_names(text) if name not in names]
    for name in verified(page, root):
        bad += ["calls verify with a name that is not written out"] * (name is None)
        bad += [f"verifies {name}, which does not exist"] * (name is not None and name not in names)
    return bad


# ---- measuring

def fingerprint(page: str, root: Path = ROOT) -> dict[str, str]:
    """What the measurements of a page depend on: the SHA-256 of its notebook and of the package."""
    package = hashlib.sha256()
    for path in sorted((root / "slugnet").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            package.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    notebook = hashlib.sha256(notebooks.notebook_path(page, root).read_bytes())
    return {"notebook": notebook.hexdigest(), "package": package.hexdigest()}


def run_page(page: str, root: Path = ROOT, timeout: float = TIMEOUT) -> subprocess.CompletedProcess:
    """Run a notebook top to bottom in a process of its own; if it passes, keep what its checks measured.

    It passes if no cell ends in an error, and the text below each is what stands in the notebook.
    """
    path = root / "_ledger" / f"{page}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(fingerprint(page, root)) + "\n", encoding="utf-8")
    flags = notebooks.settings(root).get("tst_flags", "")
    notebook = notebooks.notebook_path(page, root)
    environment = notebooks.environment(root) | {"SLUGNET_LEDGER": str(part)}
    command = [sys.executable, "-c", RUN, str(notebook), str(root), flags]
    try:
        done = subprocess.run(command, cwd=notebook.parent, capture_output=True, text=True, check=False,
                              timeout=timeout, env=environment)
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, 1, "", f"did not end within {timeout} seconds\n")
    if done.returncode == 0:
        part.replace(path)
    part.unlink(missing_ok=True)
    return done


def measured(page: str, root: Path = ROOT) -> list[dict] | None:
    """What the checks of a page measured, or None if that is missing or stale."""
    path = root / "_ledger" / f"{page}.jsonl"
    if not path.exists():
        return None
    head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return lines if head == fingerprint(page, root) else None


def records(root: Path = ROOT, run: bool = True) -> dict[str, list[dict]]:
    """By name of equation: `{"error", "limit"}` of every check.

    Pages whose figures are missing or stale are run first, two at a time, or left out if `run` is false. A
    page that fails raises RuntimeError with its traceback.
    """
    checked = [page for page in pages(root) if verified(page, root)]
    if run:
        stale = [page for page in checked if measured(page, root) is None]
        with ThreadPoolExecutor(2) as pool:
            for page, done in zip(stale, pool.map(lambda page: run_page(page, root), stale), strict=True):
                if done.returncode:
                    raise RuntimeError(f"nbs/{page}.ipynb failed:\n{done.stdout}{done.stderr}")
                print(f"checked nbs/{page}.ipynb", flush=True)
    found = defaultdict(list)
    for page in checked:
        for line in measured(page, root) or []:
            found[line["name"]].append({"error": line["error"], "limit": line["limit"]})
    return dict(found)


def main() -> int:
    """Print the counts and the problems; returns the exit code."""
    equations, bad = collect(), problems()
    checks = sum(len(equation.checks) for equation in equations)
    lines = sum(len(equation.code) for equation in equations)
    print(f"{len(equations)} equations, {checks} checks, {lines} lines of code that cite them")
    print(f"{len(bad)} problem{'s' * (len(bad) != 1)}")
    print(*bad, sep="\n", file=sys.stderr, end="\n" if bad else "")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
