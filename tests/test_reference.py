"""Every public name says what it does, what it takes, gives and raises, and shows it in an example that runs."""
import ast
import doctest
import importlib
import inspect
import operator
import sys
import textwrap
from pathlib import Path

import notebooks
import pytest
import reference

BOOK = reference.Reference(notebooks.ROOT)
SUBJECTS = [e for e in BOOK.entries if e.kind != "constant"]
CALLED = [e for e in SUBJECTS if e.kind in ("class", "function", "method")]
CONSTANTS = [e for e in BOOK.entries if e.kind == "constant"]


def name_of(entry) -> str:
    """The name of a test."""
    return f"{entry.module.path}.{entry.name}"


def tree(function) -> ast.AST:
    """A function of the package as a syntax tree; an empty one where a dataclass made it."""
    return ast.parse(textwrap.dedent(function.source) or "def made(): pass").body[0]


def own_nodes(function) -> list[ast.AST]:
    """What happens in a function itself, not in functions defined in it."""
    found, waiting = [], list(tree(function).body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return found


def gives(function) -> bool:
    """Whether a function returns or yields something."""
    if function.returns is not None:
        return str(function.returns) not in ("None", "'None'")
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) or isinstance(n, ast.Return) and n.value is not None
               for n in own_nodes(function))


def helpers(function, module) -> list:
    """The private functions of its module, and private methods of any class there, that a function calls."""
    places = [module, *(c for c in module.classes.values() if not c.is_alias)]
    names = {getattr(n.func, "id", getattr(n.func, "attr", "")) for n in own_nodes(function) if isinstance(n, ast.Call)}
    return [p.members[n] for p in places for n in names
            if n.startswith("_") and not n.startswith("__") and n in p.members and p.members[n].is_function]


def refuses(function, module, seen: frozenset = frozenset()) -> bool:
    """Whether a function refuses bad input: it raises, calls `require_…`, or a private helper that does."""
    for node in own_nodes(function):
        if isinstance(node, ast.Raise):
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if getattr(kind, "id", None) != "NotImplementedError":      # that one says that a subclass must define it
                return True
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name.lstrip("_").startswith(("require_", "refuse_")):
                return True
    return any(refuses(f, module, seen | {f.path}) for f in helpers(function, module) if f.path not in seen)


@pytest.mark.parametrize("entry", SUBJECTS, ids=name_of)
def test_has_a_summary(entry):
    assert BOOK.summary(entry)


@pytest.mark.parametrize("entry", CONSTANTS, ids=name_of)
def test_constant_is_explained(entry):
    assert entry.summary


@pytest.mark.parametrize("entry", CALLED, ids=name_of)
def test_parameters_are_explained(entry):
    items, source = BOOK.items(entry, "parameters")
    explained = {item.name.lstrip("*") for item in items if item.text}
    taken = [p.name for p in entry.parameters]
    assert [name for name in taken if name not in explained] == []
    assert source is not entry or [i.name for i in items if i.name.lstrip("*") not in taken] == [], "no such parameter"


@pytest.mark.parametrize("entry", [e for e in CALLED if e.kind != "class" and gives(e.object)], ids=name_of)
def test_result_is_explained(entry):
    assert BOOK.items(entry, "returns")[0] or BOOK.items(entry, "yields")[0]


@pytest.mark.parametrize("entry", [e for e in CALLED if e.signature and refuses(e.signature, e.module)], ids=name_of)
def test_errors_are_explained(entry):
    assert BOOK.items(entry, "raises")[0]


@pytest.mark.parametrize("entry", [e for e in CALLED if e.kind == "class"], ids=name_of)
def test_attributes_are_explained(entry):
    explained = {i.name for i in BOOK.attributes(entry)} | {p.name for p in entry.parameters}
    explained |= {e.short for c in [entry, *BOOK.bases(entry)] for e in BOOK.of(c)}
    found = [name for name, thing in entry.object.members.items() if thing.kind.value == "attribute" and not name.startswith("_")]
    assert [name for name in found if name not in explained] == []


@pytest.mark.parametrize("entry", [e for e in CALLED if e.owner is None], ids=name_of)
def test_has_an_example_that_is_run(entry):
    module = importlib.import_module(entry.module.path)
    thing = getattr(module, entry.name)
    assert any(test.examples for test in doctest.DocTestFinder(recurse=False).find(thing, entry.name, module=module))


@pytest.mark.parametrize("entry", [e for e in CALLED if e.kind == "method"], ids=name_of)
def test_method_has_an_example_that_is_run(entry):
    source = BOOK.example(entry)
    assert source is not None, "neither it, nor what it overrides, nor the example of its class shows how it is used"
    module = importlib.import_module(source.module.path)
    thing = operator.attrgetter(source.name)(module)
    assert any(test.examples for test in doctest.DocTestFinder(recurse=False).find(thing, source.name, module=module))


def test_every_name_stands_once():
    paths = [name_of(e) for e in BOOK.entries]
    assert len(paths) == len(set(paths))
    shown = {e.module.path + "." + e.name for e in BOOK.entries}
    for module in reference.modules(BOOK.package):
        for name in reference.exports(module):
            assert str(module.members[name].target_path if module.members[name].is_alias else f"{module.path}.{name}") in shown


# ---- defaults: what users rely on without writing it

DEFAULTS = Path(__file__).with_name("defaults.txt")


def defaults() -> str:
    """A line for each public class or function with default values: its name and those values."""
    lines = []
    for entry in CALLED:
        found = operator.attrgetter(entry.name)(importlib.import_module(entry.module.path))
        if isinstance(found, type) and issubclass(found, BaseException):
            continue
        values = [f"{name}={parameter.default!r}" for name, parameter in inspect.signature(found).parameters.items()
                  if parameter.default is not inspect.Parameter.empty and len(repr(parameter.default)) < 60]
        lines += [f"{name_of(entry)}({', '.join(values)})"] * bool(values)
    return "\n".join(dict.fromkeys(lines)) + "\n"


def test_defaults_are_those_written_down():
    """A change that is meant: `PYTHONPATH=nbs/_tools python tests/test_reference.py` writes them down, CHANGELOG.md says it."""
    assert defaults() == DEFAULTS.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(not DEFAULTS.write_text(defaults(), encoding="utf-8"))
