"""Change the exported formulas one token at a time, and see whether their own notebook notices.

    python nbs/_tools/mutants.py [notebook ...] [--sample N] [--seed S] [--jobs 2] [--minimum 95] [--list]

A mutant is a notebook with one token of one exported cell changed, in a private copy of the project whose
exported module is changed alike. Its code cells are run from top to bottom: an exception, a crash, or more
than max(20 s, 5 times the clean time) kills the mutant; if all cells pass, it survives: a check is missing.

Mutated are the bodies of functions and the module-level assignments of exported cells (`Formulas`). Not so:

- strings, imports, annotations, decorators, defaults in signatures: no formulas;
- `raise`, `assert`, conditions of an `if` that ends in `raise`, calls of `require_...`, `print`, `tqdm` and
  so on, `__repr__` and its like: bad input and texts are proved by the tests, not by the checks of formulas;
- operators on literal strings, tuples, lists, dicts: these only die of a TypeError, which flatters the score;
- the keywords of `QUIET_KEYWORDS` (`copy=`, `strict=`, ...): they change speed or looks, not a number;
- transposing or exchanging operands of `@` in lower case: vectors, for which it changes nothing;
- the notebooks of `DRAWING`, unless named: figures and scripts, whose numbers are a matter of taste.

A mutant that is the same function in other words is excluded by a comment on its line, `# no-mutant: reason`,
or `# no-mutant [>=]: reason` for the mutants of that token alone. Use it sparingly.

Mutation libraries (cosmic-ray was tried) rewrite whole modules and start a command for each mutant; they know
no notebooks, transposes, axes or reductions, and bring some twenty packages. `ast` and `tokenize` need fewer
lines than an adapter. Needs `os.fork`: Linux or macOS.
"""

import argparse
import ast
import configparser
import contextlib
import importlib
import io
import itertools
import json
import linecache
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tokenize
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

DRAWING = ("plot", "examples/", "tutorials/")
TEXT_METHODS = {"__repr__", "__str__", "_repr_html_", "_repr_svg_", "summary"}
QUIET_CALLS = {"print", "warn", "tqdm", "set_description", "isinstance", "getattr"}
QUIET_KEYWORDS = {"copy", "strict", "stacklevel", "exist_ok", "indent", "ncols", "leave", "refresh"}
OPERATORS = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "&": "|", "|": "&",
             "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "**=": "*=", "and": "or", "or": "and",
             "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
EXCHANGED = ("sum mean", "max min", "maximum minimum", "argmax argmin", "any all", "std var", "floor ceil",
             "add subtract", "multiply divide", "negative positive", "less less_equal",
             "greater greater_equal", "equal not_equal", "zeros ones", "zeros_like ones_like",
             "cumsum cumprod")
METHODS = {"prod": "sum", "sqrt": "square", "log1p": "log", "expm1": "exp"}
METHODS |= {a: b for pair in EXCHANGED for a, b in (pair.split(), pair.split()[::-1])}
MATH = {"math.prod": "sum", "math.sqrt": "math.cbrt"}
BUILTINS = {"max": "min", "min": "max", "any": "all", "all": "any", "sum": "max"}
EXPORT = re.compile(r"^#\|\s*exports?i?\s*$", re.MULTILINE)
EXCLUDED = re.compile(r"#\s*no-mutant\s*(?:\[(.+?)\])?\s*:\s*\S")
SURVIVED, MEMORY = "survived", 8 << 30


class Formulas:
    """The edits (start, stop, new text, name of the token) of one cell.

    Operators of arithmetic, comparison, masks and logic (`OPERATORS`), signs dropped, numbers (n to n + 1,
    1 to 0), axes (0 to 1, others to 0), flags flipped, reductions and ufuncs exchanged (`METHODS`), operands
    of `@` and `matmul` transposed and exchanged, `einsum` transposed, `[:, None]` exchanged with `[None, :]`.
    """

    def __init__(self, source: str):
        self.source, self.edits = source, []
        self.lines = [line + "\n" for line in source.split("\n")]
        self.starts = [0, *itertools.accumulate(map(len, self.lines))]
        self.tokens = [(self.starts[token.start[0] - 1] + token.start[1], token.string)
                       for token in tokenize.generate_tokens(io.StringIO(source).readline)]
        self.visit(*(node for node in ast.parse(source).body
                     if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assign))))

    def span(self, node) -> tuple[int, int]:
        """Where the node begins and ends; `ast` counts columns in bytes."""
        ends = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        return tuple(self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())
                     for line, column in ends)

    def text(self, node) -> str:
        """How the node is written."""
        return self.source[slice(*self.span(node))]

    def edit(self, span: tuple[int, int], new: str, token: str | None = None) -> None:
        """Note an edit, unless it changes nothing or the number of lines."""
        old = self.source[slice(*span)]
        if old != new and old.count("\n") == new.count("\n"):
            self.edits.append((*span, new, token or old))

    def operator(self, *operands) -> None:
        """Change the operators between operands, unless one is a literal that is no number."""
        for left, right in itertools.pairwise(operands):
            if not (_literal(left) or _literal(right)):
                for start, token in self.tokens:
                    if self.span(left)[1] <= start < self.span(right)[0] and token in OPERATORS:
                        self.edit((start, start + len(token)), OPERATORS[token])

    def product(self, left, right) -> None:
        """Transpose each operand of a product of matrices, and exchange the two."""
        for node in (left, right):
            if not _vector(node) and getattr(node, "attr", "") != "T":
                atom = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
                self.edit(self.span(node), f"{self.text(node)}.T" if atom else f"({self.text(node)}).T", ".T")
        (start, end), (begin, stop) = self.span(left), self.span(right)
        if not (_vector(left) and _vector(right)) and not re.search("[()]", self.source[end:begin]):
            self.edit((start, stop), self.text(right) + self.source[end:begin] + self.text(left), "@")

    def call(self, node: ast.Call) -> None:
        """Exchange a reduction or ufunc; transpose what is multiplied."""
        stop, table = self.span(node.func)[1], METHODS if isinstance(node.func, ast.Attribute) else BUILTINS
        match _name(node.func), node.args:
            case _ if (whole := self.text(node.func)) in MATH:
                self.edit(self.span(node.func), MATH[whole])
            case "add", [_]:
                """A set grows."""
            case name, _ if name in table:
                self.edit((stop - len(name), stop), table[name])
            case "matmul" | "dot", [left, right, *_]:
                self.product(left, right)
            case "einsum", [ast.Constant() as subscripts, *_]:
                inputs, arrow, result = self.text(subscripts)[:-1].partition("->")
                self.edit(self.span(subscripts), inputs + arrow + result[::-1] + '"')

    def index(self, node: ast.Subscript) -> list:
        """Exchange a new axis with the one beside it, and -1 with 0; give back the other indices."""
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if sorted(map(self.text, parts)) == [":", "None"]:
            self.edit(self.span(node.slice), ", ".join(map(self.text, parts[::-1])))
        for last in (part for part in parts if self.text(part) == "-1"):
            self.edit(self.span(last), "0")
        return [part for part in parts if self.text(part) != "-1"]

    def visit(self, *nodes) -> None:
        """Collect the edits of syntax trees."""
        for node in nodes:
            inner = ast.iter_child_nodes(node)
            match node:
                case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
                    inner = []
                case ast.FunctionDef(name=name):
                    inner = [] if name in TEXT_METHODS else node.body
                case ast.ClassDef():
                    inner = [item for item in node.body if isinstance(item, ast.FunctionDef)]
                case ast.Lambda():
                    inner = [node.body]
                case ast.AnnAssign():
                    inner = [node.value] if node.value else []
                case ast.If(body=[*_, ast.Raise()]):
                    inner = node.orelse
                case ast.Call():
                    name, owner = _name(node.func), getattr(node.func, "value", None)
                    if name in QUIET_CALLS or name.startswith("require_") or _literal(owner):
                        inner = []
                    else:
                        self.call(node)
                case ast.keyword(arg=name) if name in QUIET_KEYWORDS:
                    inner = []
                case ast.keyword(arg="axis", value=value) if self.text(value) in ("0", "1", "-1"):
                    inner = []
                    self.edit(self.span(value), "1" if self.text(value) == "0" else "0", "axis")
                case ast.keyword(value=ast.Constant(value=bool() as flag) as value):
                    self.edit(self.span(value), str(not flag))
                case ast.Subscript():
                    inner = [node.value, *self.index(node)]
                case ast.Attribute(attr="T" | "mT"):
                    stop = self.span(node)[1]
                    dot = max(at for at, token in self.tokens if token == "." and at < stop)
                    self.edit((dot, stop), "", ".T")
                case ast.UnaryOp(op=ast.USub() | ast.Invert()):
                    start = self.span(node)[0]
                    self.edit((start, start + 1), "")
                    inner = [] if isinstance(node.operand, ast.Constant) else inner
                case ast.BinOp(op=ast.MatMult()):
                    self.product(node.left, node.right)
                case ast.BinOp(op=ast.Pow(), right=ast.Constant()):
                    """The exponent changes."""
                case ast.BinOp():
                    self.operator(node.left, node.right)
                case ast.AugAssign():
                    self.operator(node.target, node.value)
                case ast.Compare():
                    self.operator(node.left, *node.comparators)
                case ast.BoolOp() if any(_compares(part) for part in ast.walk(node)):
                    self.operator(*node.values)
                case ast.Constant(value=complex() as value):
                    self.edit(self.span(node), f"{value.imag + 1}j")
                case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                    new = 0 if self.text(node) == "1" else value + 1 if value < 10 else value * 2
                    self.edit(self.span(node), repr(new))
            self.visit(*inner)


def _name(function) -> str:
    """The last part of a function's name."""
    return getattr(function, "attr", getattr(function, "id", ""))


def _literal(node) -> bool:
    """A string or a collection written out."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, bytes))
    return isinstance(node, (ast.JoinedStr, ast.Tuple, ast.List, ast.ListComp, ast.Dict, ast.DictComp))


def _compares(node) -> bool:
    """A comparison by size."""
    return isinstance(node, ast.Compare) and isinstance(
        node.ops[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq))


def _vector(node) -> bool:
    """By the rule of the notation: a name in lower case is no matrix."""
    return _name(node)[:1].islower()


@dataclass(frozen=True)
class Mutant:
    """One changed cell of a notebook, and the module changed alike."""

    notebook: "Notebook"
    cell: int
    cell_source: str
    module_source: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.notebook.module}:{self.line}\n  - {self.before}\n  + {self.after}"


class Notebook:
    """A notebook's code cells, the module that they export, and their mutants."""

    def __init__(self, project: Path, name: str, lib: str, nbs: str, flags: list[str]):
        self.name, self.flags = name, flags
        cells = json.loads((project / nbs / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        self.cells = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        exports = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(self.cells), re.MULTILINE)
        self.exported = [i for i, source in enumerate(self.cells) if exports and EXPORT.search(source)]
        self.module = f"{lib}/{exports[1].replace('.', '/')}.py" if exports else ""
        self.text = (project / self.module).read_text(encoding="utf-8") if self.exported else ""

    def runs(self, source: str) -> bool:
        """Whether the tests of nbdev would run the cell."""
        directives = re.findall(r"^#\|\s*(.+?)\s*$", source.lower(), re.MULTILINE)
        return not any(line in self.flags or re.fullmatch(r"eval:\s*false", line) for line in directives)

    def mutants(self) -> list[Mutant]:
        """All mutants, in the order of the cells. The export must be up to date."""
        marks = [*re.finditer(r"^# %% .*\n", self.text, re.MULTILINE)]
        ends = [mark.start() for mark in marks[1:]] + [len(self.text)]
        blocks = [(mark.end(), end) for mark, end in zip(marks, ends) if " auto " not in mark[0]]
        if len(blocks) != len(self.exported):
            raise SystemExit(f"{self.module} differs from its notebook {self.name}: run nbdev_export")
        return [found for cell, block in zip(self.exported, blocks) for found in self.of_cell(cell, *block)]

    def of_cell(self, cell: int, begin: int, end: int) -> list[Mutant]:
        """The mutants of one cell, whose export stands between two offsets of the module."""
        source, found = self.cells[cell], []
        (old, first), (out, kept) = _code(source), _code(self.text[begin:end])
        same = [a == b or "import" in a for a, b in zip(old[first:], out[kept:])]
        if len(old) - first != len(out) - kept or not all(same):
            raise SystemExit(f"{self.module} differs from its notebook {self.name}: run nbdev_export")
        for start, stop, text, token in Formulas(source).edits:
            low, high = source.count("\n", 0, start), source.count("\n", 0, stop) + 1
            marks = [mark[1] for line in old[low:high] for mark in EXCLUDED.finditer(line)]
            if None in marks or token in marks:
                continue
            new = (source[:start] + text + source[stop:]).rstrip().split("\n")
            body = [c if a == b else b for a, b, c in zip(old[first:], new[first:], out[kept:])]
            module = self.text[:begin] + "\n".join(out[:kept] + body) + "\n\n" + self.text[end:]
            line = self.text.count("\n", 0, begin) + kept + low - first + 1
            before, after = (" ".join(part[i].strip() for i in range(low, high)) for part in (old, new))
            found.append(Mutant(self, cell, "\n".join(new), module, line, before, after))
        return found


def _code(source: str) -> tuple[list[str], int]:
    """The lines of a cell, and which is the first that is neither empty nor a directive."""
    lines = source.rstrip().split("\n")
    return lines, next((i for i, line in enumerate(lines) if line and not line.startswith("#|")), 0)


class Laboratory:
    """A copy of the project, from which every mutant gets a copy of its own and a process to run in."""

    def __init__(self, project: Path, lib: str, nbs: str, place: Path):
        self.lib, self.nbs, self.place, self.original = lib, nbs, place, place / "original"
        self.original.mkdir()
        for name in (lib, nbs):
            shutil.copytree(project / name, self.original / name)
        for path in filter(Path.is_file, project.iterdir()):
            shutil.copy2(path, self.original)

    def prepare(self, mutant: Mutant | None) -> Path:
        """A fresh copy of the project, with the mutant in it."""
        place = Path(tempfile.mkdtemp(dir=self.place))
        shutil.copytree(self.original, place, dirs_exist_ok=True)
        if mutant:
            (place / mutant.notebook.module).write_text(mutant.module_source, encoding="utf-8")
        return place

    def child(self, place: Path, notebook: Notebook, mutant: Mutant | None) -> None:
        """In the new process: run the cells, stop at the first exception, write down how it ended, leave."""
        at, main = -1, types.ModuleType("__main__")
        try:
            self.isolate(place, notebook)
            sys.modules["__main__"], main.display = main, lambda *args, **kwargs: None
            for at, clean in enumerate(notebook.cells):
                source, name = mutant.cell_source if mutant and mutant.cell == at else clean, f"<cell {at}>"
                linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
                if notebook.runs(source):
                    exec(compile(source, name, "exec"), main.__dict__)  # noqa: S102, what the tool is for
            stray = [name for name, module in sys.modules.items() if name.split(".")[0] == self.lib
                     and not (getattr(module, "__file__", None) or "/").startswith(str(place))]
            outcome = f"{stray} came from elsewhere" if stray else SURVIVED
        except BaseException as error:  # noqa: BLE001, whatever it is, it kills
            outcome = f"{type(error).__name__} in code cell {at}: {str(error)[:200]}"
        try:
            (place / "outcome").write_text(outcome, encoding="utf-8")
        finally:
            os._exit(0)

    def isolate(self, place: Path, notebook: Notebook) -> None:
        """A process group, a limit of memory, no output, the private copy first, figures not drawn."""
        os.setsid()
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.environ.update(PYTHONPATH=str(place), IN_TEST="1", SLUGNET_LEDGER="")
        os.chdir((place / self.nbs / notebook.name).parent)
        sys.path.insert(0, str(place))
        if (place / self.lib / "plot.py").exists() and not notebook.name.startswith(DRAWING):
            importlib.import_module(f"{self.lib}.plot").show = lambda figure, *args, **kwargs: figure.clear()

    def run(self, tasks: list, jobs: int):
        """Run (notebook, mutant or None, limit in seconds), `jobs` at a time; yield task, end, seconds."""
        waiting, running = tasks[::-1], {}
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    task = waiting.pop()
                    place = self.prepare(task[1])
                    if (pid := os.fork()) == 0:
                        self.child(place, *task[:2])
                    running[pid] = task, place, time.monotonic()
                time.sleep(0.005)
                for pid, (task, place, start) in list(running.items()):
                    seconds, note = time.monotonic() - start, place / "outcome"
                    if late := seconds > task[2]:
                        os.killpg(pid, signal.SIGKILL)
                    if os.waitpid(pid, 0 if late else os.WNOHANG)[0]:
                        del running[pid]
                        ended = note.read_text(encoding="utf-8") if note.exists() else "crash"
                        shutil.rmtree(place, ignore_errors=True)
                        yield task, "timeout" if late else ended, seconds
        finally:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


def preload(notebooks: list[Notebook], lib: str) -> None:
    """Import once, for every process, what the notebooks import, the package itself excepted."""
    os.environ.update(MPLBACKEND="agg", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    names = {name for notebook in notebooks for cell in notebook.cells
             for name in re.findall(r"^(?:import|from)\s+([\w.]+)", cell, re.MULTILINE)}
    for name in sorted(names | {"matplotlib.pyplot", "IPython.display"}):
        if name.split(".")[0] != lib:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def sample(mutants: list[Mutant], number: int, seed: int) -> list[Mutant]:
    """Take mutants in turn from every notebook; each notebook's choice depends on nothing else."""
    parts = {mutant.notebook.name: [] for mutant in mutants}
    for mutant in mutants:
        parts[mutant.notebook.name].append(mutant)
    shuffled = [random.Random(f"{seed} {name}").sample(part, len(part)) for name, part in parts.items()]
    turns = [mutant for turn in itertools.zip_longest(*shuffled) for mutant in turn if mutant]
    chosen = set(map(id, turns[:number]))
    return [mutant for mutant in mutants if id(mutant) in chosen]


def report(options: argparse.Namespace, place: Path) -> int:
    """Collect the mutants, run them and print what became of them; 0 if enough of them died."""
    config = configparser.ConfigParser()
    config.read(options.project / "settings.ini")
    lib, nbs, flags = (config["DEFAULT"][key] for key in ("lib_path", "nbs_path", "tst_flags"))
    laboratory = Laboratory(options.project, lib, nbs, place)
    root = laboratory.original / nbs
    found = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.ipynb"))
    names = [re.sub(rf"^(.*/)?{nbs}/|\.ipynb$", "", name) for name in options.notebooks] or [
        name for name in found if not name.startswith((*DRAWING, "_")) and "/." not in name]
    notebooks = [Notebook(laboratory.original, name, lib, nbs, flags.split()) for name in names]
    mutants = [mutant for notebook in notebooks for mutant in notebook.mutants()]
    if options.sample is not None:
        mutants = sample(mutants, options.sample, options.seed)
    total = Counter(mutant.notebook for mutant in mutants)
    if options.list:
        print(*mutants, f"{len(mutants)} mutants", sep="\n")
        return 0
    preload(notebooks, lib)
    limits = {}
    tasks = [(notebook, None, 600) for notebook in total]
    for (notebook, *_), outcome, seconds in laboratory.run(tasks, options.jobs):
        limits[notebook] = max(20, 5 * seconds)
        if outcome != SURVIVED:
            print(f"{notebook.name} fails as it is: {outcome}")
            return 1
    done, dead, spent = Counter(), Counter(), Counter()
    tasks = [(mutant.notebook, mutant, limits[mutant.notebook]) for mutant in mutants]
    for (notebook, mutant, _), outcome, seconds in laboratory.run(tasks, options.jobs):
        done[notebook] += 1
        dead[notebook] += outcome != SURVIVED
        spent[notebook] += seconds / total[notebook]
        if outcome == SURVIVED or options.verbose:
            print(mutant, f"  {outcome}", sep="\n")
        if done[notebook] == total[notebook]:
            print(f"{notebook.name}: killed {dead[notebook]} of {total[notebook]}, "
                  f"{spent[notebook]:.1f} s each", flush=True)
    percent = 100 * dead.total() / max(len(mutants), 1)
    print(f"killed {dead.total()} of {len(mutants)} mutants ({percent:.1f} %)")
    return int(percent < options.minimum)


def main() -> int:
    """Read the command line, and work in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", help="for example layers/dense; by default all that export")
    parser.add_argument("--sample", type=int, help="run only so many, spread over the notebooks")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--minimum", type=float, default=95, help="per cent that must die")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    parser.add_argument("--verbose", action="store_true", help="say how each mutant died")
    parser.add_argument("--project", type=Path, default=Path(__file__).resolve().parents[2])
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as place:
        return report(parser.parse_args(), Path(place).resolve())


if __name__ == "__main__":
    sys.exit(main())
