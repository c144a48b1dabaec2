"""The committed package, notebooks and README are what the notebooks give now."""
import json
import shutil
import zlib
from pathlib import Path

import notebooks
import pytest

def cell(text: str, kind: str = "code", outputs: list | None = None) -> dict:
    """A cell as nbdev_clean leaves it."""
    common = {"cell_type": kind, "id": f"{zlib.crc32(text.encode()):08x}", "metadata": {}}
    more = {"execution_count": None, "outputs": outputs or []} if kind == "code" else {}
    return common | more | {"source": text.splitlines(True)}


def write(root: Path, page: str, *cells: dict) -> None:
    """Write a notebook in the form of nbdev_clean."""
    path = root / "nbs" / f"{page}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": list(cells), "metadata": notebooks.METADATA, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n")


def order(root: Path, *pages: str) -> None:
    """Write a sidebar: what is inside a folder stands in a section."""
    contents = [{"section": "S", "contents": [page]} if "/" in page else page for page in pages]
    (root / "_quarto.yml").write_text(json.dumps({"website": {"sidebar": {"contents": contents}}}))


@pytest.fixture(scope="module")
def model_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which everything is up to date: an index, and one page that exports a module."""
    tmp_path = tmp_path_factory.mktemp("project")
    shutil.copy(notebooks.ROOT / "settings.ini", tmp_path)
    order(tmp_path, "index.ipynb", "a/b.ipynb")
    links = "[b](a/b.ipynb), [(1.1)](a/b.ipynb#eq-b-x), [home](https://a.org/x.ipynb)"
    write(tmp_path, "index", cell(f"# Book\n\nSee {links}.", "markdown"))
    write(tmp_path, "a/b", cell("# B\n> Purpose.", "markdown"), cell("#| default_exp a.b"),
          cell("#| export\nimport os"), cell("#| export\ndef f():\n    return os.sep"),
          cell('<a id="eq-b-x"></a>\n$$ x \\tag{1.1} $$', "markdown"), cell("x = 1"))
    notebooks.export(tmp_path)
    (tmp_path / "README.md").write_text(notebooks.readme(tmp_path))
    assert notebooks.check(tmp_path) == []
    return tmp_path


@pytest.fixture
def project(model_project: Path, tmp_path: Path) -> Path:
    """A copy of that project, to spoil."""
    return shutil.copytree(model_project, tmp_path, dirs_exist_ok=True)


def none(problems: list[str]) -> None:
    """Fail with every problem in full."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def only(problems: list[str]) -> str:
    """The one problem there is."""
    assert len(problems) == 1, problems
    return problems[0]


# ---- this project

def test_exports_cleaning_readme_and_numbers_are_up_to_date() -> None:
    none(notebooks.outdated())


@pytest.mark.parametrize("page", notebooks.pages())
def test_notebook_is_well_formed(page: str) -> None:
    none(notebooks.content_problems(page))


def test_every_notebook_is_in_the_reading_order_and_no_address_is_written_out() -> None:
    none(notebooks.unlisted())


# ---- each test above can fail

def test_a_module_edited_by_hand_is_found(project: Path) -> None:
    with (project / "slugnet/a/b.py").open("a") as file:
        file.write("y = 2\n")
    assert "slugnet/a/b.py: differs" in only(notebooks.check(project))


def test_a_missing_module_is_found(project: Path) -> None:
    (project / "slugnet/a/b.py").unlink()
    assert "slugnet/a/b.py: is missing" in only(notebooks.check(project))


def test_a_module_without_a_notebook_is_found_and_removed_by_export(project: Path) -> None:
    (project / "slugnet/old.py").write_text("")
    assert "slugnet/old.py: no notebook" in only(notebooks.check(project))
    notebooks.export(project)
    assert notebooks.check(project) == []


def test_an_unclean_notebook_is_found(project: Path) -> None:
    path, good = project / "nbs/a/b.ipynb", (project / "nbs/a/b.ipynb").read_text()
    for old, new in (('"execution_count": null', '"execution_count": 7'), ('"kernelspec"', '"other"')):
        path.write_text(good.replace(old, new, 1))
        assert "nbs/a/b.ipynb: is not clean" in only(notebooks.check(project))
    notebooks.clean(project)
    assert path.read_text() == good


def test_an_old_readme_is_found(project: Path) -> None:
    (project / "README.md").write_text("old")
    assert "README.md" in only(notebooks.check(project))


def test_the_readme_links_to_the_site(project: Path) -> None:
    text, site = notebooks.readme(project), notebooks.settings(project)["doc_host"]
    assert f"[b]({site}/a/b.html)" in text and f"]({site}/a/b.html#eq-b-x)" in text
    assert "[home](https://a.org/x.ipynb)" in text


def test_a_wrong_number_and_an_old_link_text_are_found_and_set(project: Path) -> None:
    for page, text in (("a/b", "tag{1.1}"), ("index", "[(1.1)]")):
        path = project / f"nbs/{page}.ipynb"
        path.write_text(path.read_text().replace(text, text.replace("1.1", "0.0")))
    assert notebooks.number(project) == ["index", "a/b"]
    assert notebooks.number(project) == [] and notebooks.check(project) == []


def test_a_link_with_a_wrong_path_is_found(project: Path) -> None:
    write(project, "index", cell("# Book\n[(1.1)](b.ipynb#eq-b-x)", "markdown"))
    (project / "README.md").write_text(notebooks.readme(project))
    assert "which stands in a/b.ipynb" in only(notebooks.check(project))


def test_numbers_follow_the_reading_order_and_the_introduction_has_plain_ones(project: Path) -> None:
    display = '<a id="eq-{0}"></a>\n$$ x $$\n\n`$$ no $$`\n\n' \
              '<a id="eq-{0}2"></a>\n$$\n\\begin{{aligned}} y \\end{{aligned}}\n$$'
    write(project, "introduction", cell(display.format("i"), "markdown"))
    write(project, "z", cell(display.format("z") + "\n\n[(9)](introduction.ipynb#eq-i)", "markdown"))
    order(project, "index.ipynb", "z.ipynb", "introduction.ipynb", "a/b.ipynb")
    notebooks.number(project)
    tags = {name: entry["number"] for name, entry in notebooks.numbers(project).items()}
    assert tags == {"eq-z": "1.1", "eq-z2": "1.2", "eq-i": "1", "eq-i2": "2", "eq-b-x": "2.1"}
    text = notebooks.cells("z", "markdown", project)[0]
    assert "$$ x \\tag{1.1} $$" in text and "\\end{aligned} \\tag{1.2}\n$$" in text
    assert "`$$ no $$`" in text and "[(1)](introduction.ipynb#eq-i)" in text


@pytest.mark.parametrize(("last", "problem"), [
    (cell("print(1)"), "has no output"),
    (cell("x = 1\nx"), "has no output"),
    (cell("1", outputs=[{"output_type": "error", "ename": "", "evalue": "", "traceback": []}]), "an error"),
    (cell("x", outputs=[{"output_type": "stream", "name": "stderr", "text": ["w"]}]), "wrote to stderr"),
    (cell("#| export\ny = 1"), "ends in an exported cell"),
    (cell("#| exporti\nimport os\nprint(os)"), "mixes imports"),
])
def test_a_malformed_notebook_is_found(project: Path, last: dict, problem: str) -> None:
    write(project, "c", last, *([cell("z = 1")] if problem == "mixes imports" else []))
    assert problem in only(notebooks.content_problems("c", project))


def test_a_page_outside_the_sidebar_and_an_address_written_out_are_found(project: Path) -> None:
    write(project, "c", cell(notebooks.settings(project)["git_url"], "markdown"))
    problems = notebooks.unlisted(project)
    assert "not in the sidebar" in problems[0] and "writes out" in problems[1] and len(problems) == 2


def test_the_sidebar_is_compared_name_by_name(project: Path) -> None:
    write(project, "c", cell("z = 1"))
    order(project, *(f"{page}.ipynb" for page in notebooks.listed_pages(project)), "folder/c.ipynb")
    missing, too_many = notebooks.unlisted(project)
    assert "nbs/c.ipynb: is not in the sidebar" in missing and "lists folder/c.ipynb, which does not exist" in too_many


def test_a_file_that_is_no_notebook_is_named(project: Path) -> None:
    (project / "nbs/c.ipynb").write_text("<<<<<<< HEAD")
    for page in ("c", "d"):
        with pytest.raises(SystemExit, match=f"nbs/{page}.ipynb: is no notebook"):
            notebooks.read(page, project)


def test_a_module_that_cannot_be_imported_is_found(project: Path) -> None:
    write(project, "c", cell("#| default_exp layers.my-layer"))
    assert "write _ for -" in only(notebooks.content_problems("c", project))


def test_a_notebook_that_fails_is_named_and_left_as_it_was(project: Path) -> None:
    write(project, "c", cell("1 / 0"))
    before = (project / "nbs/c.ipynb").read_text()
    assert "ZeroDivisionError" in only(notebooks.execute(project, ["c"]))
    assert (project / "nbs/c.ipynb").read_text() == before


def test_executing_keeps_outputs_and_cleans(project: Path) -> None:
    write(project, "c", cell("from slugnet.a.b import f\nimport os\nprint(f() == os.sep)\n"
                             "print(os.getcwd().endswith('nbs'))"))
    assert notebooks.execute(project, ["c"]) == []
    output = notebooks.read("c", project)["cells"][0]["outputs"]
    assert output == [{"name": "stdout", "output_type": "stream", "text": ["True\n", "True\n"]}]
    assert notebooks.content_problems("c", project) == []
