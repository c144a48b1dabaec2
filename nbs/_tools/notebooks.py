"""Keep the notebooks in order.

    python nbs/_tools/notebooks.py all                  what `make notebooks` runs
    python nbs/_tools/notebooks.py execute [page ...]   run in fresh kernels, keep the outputs, clean
    python nbs/_tools/notebooks.py number               set equation numbers and the texts of links to them
    python nbs/_tools/notebooks.py notation             gather the pages' symbols on the notation page
    python nbs/_tools/notebooks.py clean                strip what changes from run to run
    python nbs/_tools/notebooks.py export               write slugnet/*.py from the notebooks
    python nbs/_tools/notebooks.py readme               write README.md from nbs/index.ipynb
    python nbs/_tools/notebooks.py check                change nothing; exit 1 and say what is out of date

A page is named by its path inside nbs/ without the suffix, as `layers/dense`. The reading order is the
sidebar of `_quarto.yml`. nbdev exports and cleans, nbclient executes, nbconvert writes the README.
"""
from __future__ import annotations

import argparse
import ast
import asyncio
import filecmp
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300  # seconds for one cell, or for one notebook in the tests
METADATA = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
PLAIN = "introduction"  # the page whose equations are 1, 2, 3 … without a number of the page

FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$|(`+)[^`]+?\2(?!`)", re.DOTALL | re.MULTILINE)
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
ANCHOR = re.compile(r'<a id="(eq-[\w-]+)"></a>')
TAG = re.compile(r"\s*\\tag\{([^}]*)\}")
NUMBERED_LINK = re.compile(r"\[\([\d.]*\)\]\(([^()\s#]*)#(eq-[\w-]+)\)")
LINK = re.compile(r"\]\(([^()\s#]*)#(eq-[\w-]+)\)")


# ---- reading

def settings(root: Path = ROOT) -> dict[str, str]:
    """What settings.ini says."""
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def listed_pages(root: Path = ROOT) -> list[str]:
    """The pages that the sidebar lists, in reading order, whether there are such notebooks or not."""
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))

    def flat(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        if isinstance(entry, list):
            return [page for part in entry for page in flat(part)]
        own = [entry[key] for key in ("href", "file", "section") if key in entry]
        return own + flat(entry.get("contents", []))

    found = [entry for entry in flat(config["website"]["sidebar"]) if entry.endswith(".ipynb")]
    return [entry.removesuffix(".ipynb") for entry in dict.fromkeys(found)]


def pages(root: Path = ROOT) -> list[str]:
    """Every page: first those of the sidebar in reading order, then those that it does not list."""
    nbs = root / "nbs"
    present = sorted(path.relative_to(nbs).with_suffix("").as_posix() for path in nbs.rglob("*.ipynb")
                     if not any(part[0] in "_." for part in path.relative_to(nbs).parts))
    listed = [page for page in listed_pages(root) if page in present]
    return listed + [page for page in present if page not in listed]


def sections(root: Path = ROOT) -> dict[str, str]:
    """The section of the sidebar in which each page stands; "Start" for a page that stands in none."""
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    listed = {file: entry["section"] for entry in config["website"]["sidebar"]["contents"] if isinstance(entry, dict)
              for file in entry.get("contents", []) if isinstance(file, str)}
    return {page: listed.get(f"{page}.ipynb", "Start") for page in pages(root)}


def read(page: str, root: Path = ROOT) -> dict:
    """The notebook of a page, as it stands in its file; a file that is none ends the program with its name."""
    try:
        return json.loads(notebook_path(page, root).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        sys.exit(f"nbs/{page}.ipynb: is no notebook: {error}")


def save(page: str, notebook: dict, root: Path = ROOT) -> None:
    """Write a notebook in the very form that nbdev_clean gives."""
    text = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    notebook_path(page, root).write_text(text, encoding="utf-8")


def notebook_path(page: str, root: Path = ROOT) -> Path:
    """The file of a page."""
    return root / "nbs" / f"{page}.ipynb"


def source(cell: dict) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def cells(page: str, kind: str, root: Path = ROOT) -> list[str]:
    """The texts of a page's cells of one kind, "markdown" or "code"."""
    return [source(cell) for cell in read(page, root)["cells"] if cell["cell_type"] == kind]


def directives(text: str) -> dict[str, str]:
    """The `#| name: value` lines of a code cell; `#| export` has the value ""."""
    lines = re.findall(r"^#\|[ \t]*([\w-]+):?[ \t]*(.*)$", text, re.MULTILINE)
    return {name: value.strip() for name, value in lines}


def is_exported(text: str) -> bool:
    """Whether a code cell goes into the package."""
    return bool({"export", "exports", "exporti"} & directives(text).keys())


def without_code(text: str) -> str:
    """Markdown with its code blanked out, every character at its old place."""
    return FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


@dataclass
class Display:
    """A display equation of a markdown cell."""

    span: tuple[int, int]  # where it stands in the cell
    name: str | None  # from the anchor right above it
    tag: str | None
    tex: str  # without the tag
    alone: bool  # whether it and its anchor are a paragraph of their own


def displays(text: str) -> list[Display]:
    """The display equations of a markdown cell, in order."""
    text, found = without_code(text), []
    for match in DISPLAY.finditer(text):
        above = text[:match.start()].split("\n")
        anchor = ANCHOR.fullmatch(above[-2].strip()) if len(above) > 1 and not above[-1].strip() else None
        tag = TAG.search(match[1])
        begins = not "".join(above[-3:-2]).strip()
        ends = re.match(r"[ \t]*(\n[ \t]*(\n|$)|$)", text[match.end():])
        tex = TAG.sub("", match[1]).strip()
        found.append(Display(match.span(), anchor and anchor[1], tag and tag[1], tex, bool(begins and ends)))
    return found


# ---- numbers

def numbers(root: Path = ROOT) -> dict[str, dict]:
    """By name of equation: its page and its number, "p.n", counted over the pages that have equations."""
    found, p = {}, 0
    for page in pages(root):
        here = [display for text in cells(page, "markdown", root) for display in displays(text)]
        p += bool(here) and page != PLAIN
        for n, display in enumerate(here, 1):
            found.setdefault(display.name, {"page": page, "number": str(n) if page == PLAIN else f"{p}.{n}"})
    return found


def numbered(text: str, known: dict[str, dict]) -> str:
    """A markdown cell with the right tags and the right texts of links to equations."""
    edits = []
    for display in displays(text):
        if display.name in known:
            start, end = display.span
            body = TAG.sub("", text[start + 2:end - 2])
            tag, tail = f" \\tag{{{known[display.name]['number']}}}", body[len(body.rstrip()):]
            edits.append((start + 2, end - 2, body.rstrip() + tag + tail))
    for match in NUMBERED_LINK.finditer(without_code(text)):
        if match[2] in known:
            edits.append((*match.span(), f"[({known[match[2]]['number']})]({match[1]}#{match[2]})"))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def number(root: Path = ROOT, write: bool = True) -> list[str]:
    """Set every number; returns the pages that were out of date."""
    known, changed = numbers(root), []
    for page in pages(root):
        notebook, dirty = read(page, root), False
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown" and (new := numbered(source(cell), known)) != source(cell):
                cell["source"], dirty = new.splitlines(keepends=True), True
        if dirty:
            changed.append(page)
            if write:
                save(page, notebook, root)
    return changed


def link_problems(root: Path = ROOT) -> list[str]:
    """Links to equations that lead nowhere."""
    known, bad = numbers(root), []
    for page in pages(root):
        for text in cells(page, "markdown", root):
            for path, name in LINK.findall(without_code(text)):
                folder = posixpath.dirname(page)
                target = posixpath.normpath(posixpath.join(folder, path)) if path else f"{page}.ipynb"
                if name not in known:
                    bad.append(f"nbs/{page}.ipynb: links to {name}, which does not exist")
                elif target != f"{known[name]['page']}.ipynb":
                    right = posixpath.relpath(f"{known[name]['page']}.ipynb", folder or ".")
                    bad.append(f"nbs/{page}.ipynb: links to {path}#{name}, which stands in {right}")
    return bad


# ---- the notation page

NOTATION = "notation"
SYMBOLS = re.compile(r"^## Symbols[ \t]*$(.*?)(?=^#{1,2} |\Z)", re.MULTILINE | re.DOTALL)
TABLE = "| Symbol | Meaning | Code | Shape | Pages |\n|---|---|---|---|---|\n"


def symbols(page: str, root: Path = ROOT) -> list[tuple[str, ...]]:
    """The rows of a page's symbol table: symbol, meaning, code, shape."""
    section = SYMBOLS.search("\n\n".join(cells(page, "markdown", root)))
    lines = [line.strip() for line in section[1].splitlines()] if section else []
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|")]
    rows = [tuple(part.strip() for part in row) for row in rows]
    return [row for row in rows if row[0] != "Symbol" and not set(row[0]) <= set("-: ")]


def gathered(root: Path = ROOT) -> list[str]:
    """Three tables: symbols that mean the same on several pages, symbols of one page, symbols with several meanings."""
    titles, places = {}, {}
    for page in pages(root):
        if page != NOTATION:
            titles[page] = re.search(r"^# (.*)$", "\n".join(cells(page, "markdown", root)), re.MULTILINE)[1].strip()
            for row in symbols(page, root):
                places.setdefault(row[0], {}).setdefault(row[1:], []).append(page)
    tables = [TABLE] * 3
    for symbol, rows in places.items():
        several = len({page for users in rows.values() for page in users}) > 1
        kind = 2 if len(rows) > 1 else 0 if several else 1
        for row, users in rows.items():
            links = ", ".join(f"[{titles[page]}]({page}.ipynb)" for page in users)
            tables[kind] += f"| {' | '.join((symbol, *row))} | {links} |\n"
    return tables


def notation(root: Path = ROOT, write: bool = True) -> bool:
    """Set the three tables of the notation page; returns whether they were out of date."""
    if not notebook_path(NOTATION, root).exists():
        return False
    notebook, tables, changed = read(NOTATION, root), gathered(root), False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and TABLE in source(cell):
            before, after = source(cell), source(cell)[:source(cell).index(TABLE)] + tables.pop(0).rstrip("\n")
            cell["source"], changed = after.splitlines(keepends=True), changed or after != before
    if changed and write:
        save(NOTATION, notebook, root)
    return changed


# ---- executing, cleaning, exporting

def environment(root: Path = ROOT) -> dict[str, str]:
    """The environment in which notebooks run: the package comes from this checkout, and MNIST from beside it.

    Where ../shared/data/mnist is and SLUGNET_DATA names no other folder, that is where the data are. Two
    notebooks run at a time, so OpenBLAS has one thread in each: more of them wait for each other in a loop.
    """
    found = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "0"}
    beside = root.parent / "shared" / "data" / "mnist"
    if not found.get("SLUGNET_DATA") and beside.is_dir():
        found["SLUGNET_DATA"] = str(beside)
    return found


def ended_early(notebook: dict) -> bool:
    """Whether a notebook that ran ended before its last cell, because data were missing."""
    return any("slugnet_ended" in output.get("metadata", {})
               for cell in notebook["cells"] for output in cell.get("outputs", []))


def execute(root: Path = ROOT, only: list[str] | None = None) -> list[str]:
    """Run notebooks top to bottom, two at a time, in reading order; returns the failures as texts."""
    import nbformat
    from nbclient import NotebookClient

    failures = []

    async def run(page: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            path = notebook_path(page, root)
            notebook = nbformat.read(path, as_version=4)
            client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", coalesce_streams=True,
                                    extra_arguments=["--log-level=ERROR"],
                                    resources={"metadata": {"path": str(path.parent)}})
            try:
                await client.async_execute(env=environment(root))
            except Exception as error:  # whatever it was, the other notebooks still run
                plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # without colours
                failures.append(f"nbs/{page}.ipynb: {plain}")
                print(f"failed    {page}", flush=True)
                return
            if ended_early(notebook):  # its outputs are worth more than none
                print(f"ended     {page}, for want of data: it keeps the outputs that it had", flush=True)
                return
            nbformat.write(notebook, path)
            print(f"executed  {page}", flush=True)

    async def run_all() -> None:
        gate = asyncio.Semaphore(2)
        await asyncio.gather(*[run(page, gate) for page in only or pages(root)])

    asyncio.run(run_all())
    clean(root)
    return failures


def clean(root: Path = ROOT) -> None:
    """Strip what changes from run to run, and give every notebook the same metadata."""
    nbdev("nbdev_clean", root)
    for page in pages(root):
        notebook = read(page, root)
        if notebook["metadata"] != METADATA:
            save(page, notebook | {"metadata": METADATA}, root)


def nbdev(command: str, root: Path) -> None:
    """Call one of nbdev's commands in a project."""
    program = Path(sys.executable).parent / command
    done = subprocess.run([program], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode or "UserWarning" in done.stderr:
        raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")


def rebuilt(root: Path, folder: str) -> Path:
    """A copy of the project in `folder`, exported afresh and cleaned."""
    copy = Path(folder) / "project"
    copy.mkdir()
    for name in ("settings.ini", "_quarto.yml"):
        shutil.copy(root / name, copy)
    shutil.copytree(root / "nbs", copy / "nbs", ignore=shutil.ignore_patterns("_*", ".*"))
    nbdev("nbdev_export", copy)
    clean(copy)
    return copy


def modules(root: Path) -> set[str]:
    """The Python files of the package."""
    package = root / settings(root)["lib_path"]
    return {path.relative_to(root).as_posix() for path in package.rglob("*.py")}


def export(root: Path = ROOT) -> None:
    """Write the package, and remove the modules that no notebook exports any more."""
    with tempfile.TemporaryDirectory() as folder:
        copy = rebuilt(root, folder)
        for name in modules(root) - modules(copy):
            (root / name).unlink()
        for name in modules(copy):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if not (root / name).exists() or not filecmp.cmp(copy / name, root / name, shallow=False):
                shutil.copyfile(copy / name, root / name)


def printed(cell):
    """What a cell prints whose code is not shown (`#| echo: false`), as a cell of text: here, always code."""
    from nbformat.v4 import new_markdown_cell

    text = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return new_markdown_cell(f"```python\n{text.rstrip()}\n```" if text else "")


def readme(root: Path = ROOT) -> str:
    """README.md as nbs/index.ipynb gives it: no figures, still or moving, and links that lead to the website."""
    import nbformat
    from nbconvert import MarkdownExporter

    notebook = nbformat.read(notebook_path("index", root), as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}  # the fences of the code say so
    notebook.cells = [cell for cell in notebook.cells if "hide" not in directives(cell.source)]
    unseen = [directives(cell.source).get("echo") == "false" for cell in notebook.cells]
    notebook.cells = [printed(cell) if hidden else cell for cell, hidden in zip(notebook.cells, unseen)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.MULTILINE).strip()
            cell.outputs = [output for output in cell.outputs
                            if not any(kind.startswith("image/") or kind == "text/html" for kind in output.get("data", {}))]
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    config = settings(root)
    site = config["doc_host"].rstrip("/") + "/" + config["doc_baseurl"].strip("/")

    def absolute(match: re.Match) -> str:
        path = posixpath.normpath(match[1]).removesuffix(".ipynb")
        return f"]({site.rstrip('/')}/{path}{'.html' * match[1].endswith('.ipynb')}{match[2] or ''})"

    text = re.sub(r"\]\((?!\w+:|#)([^()\s#]+)(#[^()\s]*)?\)", absolute, text)
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))
    return f"<!-- Made from nbs/index.ipynb by `make notebooks`. Edit the notebook. -->\n{text.strip()}\n"


# ---- checking

def should_show(text: str) -> bool:
    """Whether a code cell must have an output: it prints, verifies or draws, or ends in a value."""
    given = directives(text)
    if is_exported(text) or {"hide", "default_exp"} & given.keys() or given.get("eval") == "false":
        return False
    try:
        body = ast.parse(text).body
    except SyntaxError:  # a magic or a shell line
        return False
    speaks = {"print", "verify", "display", "show"}
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            function = statement.value.func
            if getattr(function, "id", getattr(function, "attr", None)) in speaks:
                return True
    last = body[-1] if body else None
    silent = ast.Call, ast.Constant, ast.Await  # a call may well return None
    value = isinstance(last, ast.Expr) and not isinstance(last.value, silent)
    return value and not text.rstrip().endswith(";")


def content_problems(page: str, root: Path = ROOT) -> list[str]:
    """What is wrong inside one notebook."""
    notebook, bad = read(page, root), []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for place, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        text, outputs = source(cell), cell.get("outputs", [])
        first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#|")), "")
        where = f"cell {place} ({first.strip()[:60]})"
        if any(output["output_type"] == "error" for output in outputs):
            bad.append(f"{where} ended in an error")
        if any(output.get("name") == "stderr" for output in outputs):
            bad.append(f"{where} wrote to stderr")
        if should_show(text) and not outputs:
            bad.append(f"{where} has no output: execute the notebook")
        module = directives(text).get("default_exp", "x")
        if not all(map(str.isidentifier, module.split("."))):
            bad.append(f"{where} names the module {module}, which no import statement can: write _ for -")
        if is_exported(text):
            imports = [isinstance(s, (ast.Import, ast.ImportFrom)) for s in ast.parse(text).body]
            if any(imports) and not all(imports):
                bad.append(f"{where} is exported and mixes imports with other code")
    if code and notebook["cells"][-1] is code[-1] and is_exported(source(code[-1])):
        bad.append("ends in an exported cell")
    return [f"nbs/{page}.ipynb: {text}" for text in bad]


def unlisted(root: Path = ROOT) -> list[str]:
    """Notebooks and sidebar that do not agree, and addresses written anywhere but in settings.ini."""
    listed, present, config = listed_pages(root), pages(root), settings(root)
    bad = [f"nbs/{page}.ipynb: is not in the sidebar of _quarto.yml" for page in present if page not in listed]
    bad += [f"_quarto.yml: lists {page}.ipynb, which does not exist" for page in listed if page not in present]
    for page in pages(root):
        text = "".join(map(source, read(page, root)["cells"]))
        bad += [f"nbs/{page}.ipynb: writes out {config[key]}, which only settings.ini may"
                for key in ("git_url", "doc_host") if config[key] in text]
    return bad


def outdated(root: Path = ROOT) -> list[str]:
    """Exports, cleanings, numbers and README that differ from what the notebooks give now."""
    bad = [f"nbs/{page}.ipynb: numbers of equations are out of date" for page in number(root, write=False)]
    bad += [f"nbs/{NOTATION}.ipynb: its tables are not those of the pages"] * notation(root, write=False)
    with tempfile.TemporaryDirectory() as folder:
        copy = rebuilt(root, folder)
        for name in sorted(modules(root) | modules(copy)):
            if not (copy / name).exists():
                bad.append(f"{name}: no notebook exports it")
            elif not (root / name).exists():
                bad.append(f"{name}: is missing; export the notebooks")
            elif not filecmp.cmp(copy / name, root / name, shallow=False):
                bad.append(f"{name}: differs from what its notebook exports")
        bad += [f"nbs/{page}.ipynb: is not clean" for page in pages(root)
                if not filecmp.cmp(notebook_path(page, copy), notebook_path(page, root), shallow=False)]
    path = root / "README.md"
    if not path.exists() or path.read_text(encoding="utf-8") != readme(root):
        bad.append("README.md: differs from nbs/index.ipynb")
    return bad


def check(root: Path = ROOT) -> list[str]:
    """Everything that is wrong, each with the file it is wrong in."""
    inside = [problem for page in pages(root) for problem in content_problems(page, root)]
    return inside + unlisted(root) + link_problems(root) + outdated(root)


def main() -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("command", choices=["all", "execute", "number", "notation", "clean", "export", "readme", "check"])
    parser.add_argument("page", nargs="*", help="for execute: only these pages")
    arguments = parser.parse_args()
    command, problems = arguments.command, []
    if command in ("all", "number"):
        for page in number():
            print(f"numbered  {page}")
        problems += link_problems()
    if command in ("all", "notation"):
        notation()
    if command in ("all", "clean"):
        clean()
    if command in ("all", "export"):  # before the notebooks run: they import what the others export
        export()
    if command in ("all", "execute"):
        only = [page.removeprefix("nbs/").removesuffix(".ipynb") for page in arguments.page]
        problems += execute(ROOT, only)
    if command in ("all", "readme"):
        (ROOT / "README.md").write_text(readme(), encoding="utf-8")
    if command == "check":
        problems += check()
    print(*problems, sep="\n", file=sys.stderr, end="\n" if problems else "")
    if command == "check":
        print(f"{len(pages())} notebooks, {len(problems)} problem{'s' * (len(problems) != 1)}")
        if problems:
            print("What is out of date or not clean, `make notebooks` makes anew; one page, the command execute.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
