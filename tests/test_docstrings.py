"""The examples in the docstrings run, and every public name has a docstring."""
import doctest
import importlib
import inspect

import notebooks
import pytest

MODULES = sorted(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in notebooks.modules(notebooks.ROOT)
                 if not name.endswith("_modidx.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": importlib.import_module("numpy")})
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    public = [getattr(module, item) for item in module.__all__]
    bare = [thing.__name__ for thing in public if callable(thing) and not inspect.getdoc(thing)]
    assert not bare
