"""The front page, the path through the book, the head of each page, running it, and printing it."""
import ast
import json
import posixpath
import re
import subprocess
from itertools import pairwise
from pathlib import PurePosixPath

import pytest

pytest.importorskip("nbdev", reason="the site's tests need the development dependencies: pip install -e .[dev]")
import notebooks
from bs4 import BeautifulSoup, SoupStrainer
from site_browser import ROOT

BOOK = notebooks.pages()
PAGES = [page for page in BOOK if page != "index"]
PATH = ["introduction", "activation", "loss", "layers/dense", "backpropagation", "optimization", "model", "regularization",
        "layers/convolution", "tutorials/xor", "tutorials/mnist-convolution", "notation"]


def soup_of(docs, page: str, *args, **only) -> BeautifulSoup:
    """A built page, or what a strainer leaves of it, which is read much sooner."""
    strainer = SoupStrainer(*args, **only) if args or only else None
    return BeautifulSoup((docs / f"{page}.html").read_text(encoding="utf-8"), "lxml", parse_only=strainer)


def exported(page: str) -> set[str]:
    """The public names that a page exports, methods included."""
    names = set()
    for text in notebooks.cells(page, "code"):
        if notebooks.is_exported(text):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    names.add(node.name)
    return names


# ---- the path

def test_pages_stand_on_the_path():
    places = [BOOK.index(page) for page in PATH]
    assert BOOK[0] == "index" and places == sorted(places)


@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_it_needs_and_gives(page):
    """The second cell of a notebook; what it needs comes earlier, and what it gives it has."""
    cell = notebooks.read(page)["cells"][1]
    text = notebooks.source(cell)
    found = re.fullmatch(r"\*\*Needs:\*\* (\S.*\.)\n\n\*\*Gives:\*\* (\S.*\.)", text)
    form = "the second cell must be '**Needs:** ….', a blank line, '**Gives:** ….'"
    assert cell["cell_type"] == "markdown" and found, form
    needs, gives = found.groups()
    for target in re.findall(r"\]\(([^)#]+)\.ipynb", needs):
        needed = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        assert BOOK.index(needed) < BOOK.index(page), f"{page} needs {needed}, which comes later"
    assert len(text) < 520, "a sentence, no more"
    names, own = set(re.findall(r"`(\w+)`", gives)), exported(page)
    assert names <= own, "names that the page does not export"
    assert names or not own, f"names none of {sorted(own)}"


def test_previous_and_next_follow_the_sidebar(docs):
    listed = soup_of(docs, "reference/index", id="quarto-sidebar").select("a[href]")      # here the sidebar has all pages
    order = [posixpath.normpath(posixpath.join("reference", a["href"])) for a in listed]
    for before, here, after in zip([None, *order], order, [*order[1:], None]):
        soup, folder = soup_of(docs, here.removesuffix(".html"), class_="page-navigation"), posixpath.dirname(here)
        for side, expected in (("previous", before), ("next", after)):
            link = soup.select_one(f".nav-page-{side} a")
            assert (link and posixpath.normpath(posixpath.join(folder, link["href"]))) == expected, (here, side)


@pytest.mark.parametrize("page", PAGES)
def test_head_of_a_page(docs, page):
    head = soup_of(docs, page, id="title-block-header")
    assert re.match(r"\d+ minutes? to read", head.select_one(".page-facts").get_text())
    assert [dt.get_text() for dt in head.select("dl.page-needs > dt")] == ["Needs", "Gives", "Run"]
    assert all(len(dd.get_text(strip=True)) > 5 for dd in head.select("dl.page-needs > dd"))
    assert not [p for p in soup_of(docs, page, "p").find_all("p") if p.get_text().startswith(("Needs:", "Gives:"))]


# ---- run it yourself

@pytest.mark.parametrize("page", BOOK)
def test_every_page_can_be_run(docs, page):
    run = soup_of(docs, page, "dl").select("dl.page-needs > dd")[-1]
    assert run.code.get_text() == f"make lab PAGE={page}"
    link = run.select_one("a[download]")
    assert link["href"] == PurePosixPath(page).name + ".ipynb"
    served = json.loads((docs / f"{page}.ipynb").read_text(encoding="utf-8"))
    assert served == notebooks.read(page)


def test_command_opens_the_notebook():
    command = ["make", "-n", "lab", "PAGE=layers/dense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(r"jupyter lab .*--notebook-dir=nbs nbs/layers/dense\.ipynb", done.stdout)


def test_download_and_copy(visit):
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.open("layers/dense.html")
    with visit.tab.expect_download() as download:
        visit.tab.click(".page-needs a[download]")
    assert download.value.suggested_filename == "dense.ipynb"
    with open(download.value.path(), encoding="utf-8") as file:
        assert json.load(file) == notebooks.read("layers/dense")
    visit.tab.click(".command .code-copy-button")
    visit.tab.wait_for_selector(".command .code-copy-button.done")
    assert visit.tab.evaluate("navigator.clipboard.readText()") == "make lab PAGE=layers/dense"


# ---- the front page

BOXES = """names => names.map(n => [...document.querySelectorAll(n)].map(e => { const b = e.getBoundingClientRect();
  return {top: b.top + scrollY, bottom: b.bottom + scrollY, left: b.left, right: b.right}; }))"""
PARTS = ["h1", ".front-hero .motion", "#three-doors section.level3", "#an-equation-its-code-its-check section.level3"]


@pytest.mark.parametrize("script", [True, False])
def test_front_page_in_one_screen(browser, address, script):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, java_script_enabled=script)
    tab = context.new_page()
    tab.goto(address + "index.html")
    boxes = tab.evaluate(BOXES, PARTS)
    (title,), (film,), doors, columns = boxes
    assert max(box["bottom"] for box in [title, film, *doors]) <= 800
    for row in (doors, columns):
        assert len(row) == 3 and len({round(box["top"]) for box in row}) == 1
        assert all(a["right"] < b["left"] for a, b in pairwise(row))
    assert tab.locator(".front-hero button").count() == (3 if script else 0)
    if not script:
        assert tab.locator(".front-hero img").bounding_box()["width"] > 300
    tab.set_viewport_size({"width": 390, "height": 844})
    order = [box for part in tab.evaluate(BOXES, PARTS) for box in part]
    assert all(a["bottom"] <= b["top"] for a, b in pairwise(order)), "not below each other on a phone"
    context.close()


def test_equation_code_and_check(docs):
    equation, code, check = soup_of(docs, "index").select("#an-equation-its-code-its-check section.level3")
    assert equation.select_one("div.equation .katex")
    line = code.select_one(".cell-output").get_text().strip().split("\n")[0]
    assert line in (ROOT / "slugnet" / "layers" / "dense.py").read_text(encoding="utf-8") and "X.T" in line
    assert "complex_step" in check.get_text() and check.select_one("ul.checks li")
    doors = soup_of(docs, "index").select("#three-doors section.level3 h3")
    assert [door.get_text() for door in doors] == ["Read", "Run", "Import"]


def test_readme_stays_plain():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<(\w+)", notebooks.without_code(text))) <= {"a"}
    assert "animate(" not in text and "inspect" not in text and "return np.matmul(X.T, G_A" in text


# ---- the drawing, and pages that do not exist

def test_logo_follows_the_choice_of_theme(visit):
    fill = "getComputedStyle(document.querySelector('.brand .slug')).fill"
    visit.open("index.html")
    light = visit.tab.evaluate(fill)
    visit.tab.click("#theme-button")
    assert visit.tab.evaluate(fill) != light
    assert visit.trouble == []


def test_lost_page(visit):
    visit.open("404.html")
    assert visit.tab.locator(".lost svg").is_visible()
    links = visit.tab.locator("main li a").evaluate_all("all => all.map(a => a.href)")
    assert len(links) >= 3
    for link in links:
        assert visit.tab.request.get(link).ok, link


# ---- on paper

CUT = """() => [...document.querySelectorAll("main .equation-formula, main pre, main table, main svg, main img")]
  .filter(e => e.getClientRects().length)
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 2)
  .map(e => e.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("page", ["index", "loss", "layers/convolution", "notation"])
def test_page_on_paper(visit, page):
    tab = visit.tab
    visit.open("index.html")
    tab.click("#theme-button")      # dark, to be printed in black on white all the same
    tab.set_viewport_size({"width": 672, "height": 1000})     # A4 without its margins
    visit.open(f"{page}.html")
    tab.emulate_media(media="print")
    for frame in ("#quarto-header", "#quarto-sidebar", ".page-navigation", ".site-footer", ".code-copy-button",
                  "main details:not([open])"):
        assert not tab.locator(frame).first.is_visible(), frame
    colours = tab.evaluate("[...document.querySelectorAll('body, main p, pre, .katex')].slice(0, 40)"
                           ".map(e => getComputedStyle(e)).map(s => [s.color, s.backgroundColor])")
    assert {ink for ink, _ in colours} <= {"rgb(0, 0, 0)", "rgb(51, 51, 51)"}
    assert {paper for _, paper in colours} <= {"rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"}
    assert tab.evaluate(CUT) == []
    assert visit.trouble == []
