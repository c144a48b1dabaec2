"""What is shipped: the wheel, the source archive, and what an import costs."""
import ast
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import notebooks
import pytest
from filelock import FileLock

ROOT, SETTINGS = notebooks.ROOT, notebooks.settings()
MODULES = sorted(notebooks.modules(ROOT))
IMPORT_LIMIT = 0.06  # seconds of processor time that `import slugnet` may cost beyond numpy's


def run(*command, **options) -> str:
    """What a command prints; it must succeed."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(code: str) -> str:
    """What some code prints in a fresh interpreter outside the checkout."""
    return run(sys.executable, "-c", code, cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive; the wheel is built from the archive.

    Building writes into the checkout, so that two workers must not do it at the same time.
    """
    folder = tmp_path_factory.mktemp("dist")
    with FileLock(tmp_path_factory.getbasetemp().parent / "build.lock"):
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    [path] = built.glob("*.whl")
    return path


# ---- the archives

def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"slugnet-{SETTINGS['version']}.dist-info"
    package = {name for name in names if not name.startswith(info)}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "slugnet").rglob("*.npz")}
    assert data, "the package has lost its data"
    assert package == {*MODULES, *data, "slugnet/py.typed"}
    assert [name for name in names if name.startswith(info) and name.endswith("/LICENSE")]


def test_wheel_says_what_settings_ini_says(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    metadata = message_from_string(archive.read(name).decode())
    assert metadata["Name"] == SETTINGS["lib_name"] and metadata["Version"] == SETTINGS["version"]
    assert metadata["Requires-Python"] == f">={SETTINGS['min_python']}"
    required = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert required == set(SETTINGS["requirements"].split())
    assert metadata["Author"] == SETTINGS["author"] and "Apache-2.0" in str(metadata)
    assert "# " in metadata.get_payload(), "the README is missing"


def test_source_archive_holds_what_a_build_needs(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"settings.ini", "setup.py", "LICENSE", "README.md", "slugnet/py.typed", *MODULES} <= names
    assert not [name for name in names if name.endswith(".ipynb")]


def test_wheel_alone_runs_the_main_job(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    clean = tmp_path / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run(clean, "-m", "pip", "install", "--quiet", "--no-compile", wheel, cwd=tmp_path, env=environment)
    where = run(clean, "-c", "import slugnet; print(slugnet.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")
    out = run(clean, "-m", "slugnet.examples.digits", "--epochs", "2", cwd=tmp_path, env=environment)
    assert "accuracy" in out


# ---- an import

def test_import_brings_nothing_but_numpy_and_the_standard_library() -> None:
    code = """
import sys, numpy, numpy.random
before = set(sys.modules)
import slugnet
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names) - {"slugnet", "numpy"}))"""
    assert python(code).strip() == "[]"


def test_import_costs_little_beside_numpy() -> None:
    code = "import time, numpy; t = time.process_time(); import slugnet; print(time.process_time() - t)"
    python(code)  # compiles
    assert min(float(python(code)) for _ in range(5)) < IMPORT_LIMIT


def test_version_and_docstring() -> None:
    version, doc = python("import slugnet; print(slugnet.__version__); print(slugnet.__doc__)").split("\n", 1)
    assert version == SETTINGS["version"]
    assert doc.strip() != "None"


# ---- nothing global

@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_numpys_global_generator(module: str) -> None:
    allowed = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64"}
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    used = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute) and node.value.attr == "random"]
    used += [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             and node.module == "numpy.random" for alias in node.names]
    assert set(used) <= allowed


def test_importing_every_module_leaves_the_global_generator_alone() -> None:
    names = [module.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for module in MODULES]
    code = f"""
import importlib, numpy as np
np.random.seed(1)
for name in {names}:
    importlib.import_module(name)
print(np.random.random())"""
    assert python(code) == python("import numpy as np; np.random.seed(1); print(np.random.random())")
