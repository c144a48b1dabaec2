"""The built site in a real browser, with every address but its own refused."""
import json
import posixpath

import pytest

pytest.importorskip("nbdev", reason="the site's tests need the development dependencies: pip install -e .[dev]")
from bs4 import BeautifulSoup
import ledger
import notebooks
import pages
import reference
from site_browser import ROOT, run_tool

RAW_MARKUP = ("$$", ":::", "@eq-", "@fig-", "{#", "\\(", "\\[", "(0.0)")
PAGE_LIMIT, SHARED_LIMIT = 1_500_000, 1_000_000


def page_names() -> list[str]:
    """Every page that the site will have, known before it is built."""
    sections = dict.fromkeys(notebooks.section(e.page) for e in ledger.collect())
    parts = [f"{pages.ledger_name(section)}.html" for section in sections]
    return [*(f"{page}.html" for page in (*notebooks.pages(), *reference.page_names(ROOT))), "ledger.html", *parts, "404.html"]


PAGES = page_names()


READ_PAGE = """() => {
  const visible = document.body.cloneNode(true);
  visible.querySelectorAll("code, pre, script, style, .katex, .equation-link").forEach(e => e.remove());
  return {
    text: visible.textContent,
    unset: document.querySelectorAll(".katex-error").length
      + [...document.querySelectorAll("span.math")].filter(e => !e.querySelector(".katex")).length,
    headings: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(e => +e.tagName[1]),
    unnamed: [...document.querySelectorAll("img, svg, [role=img]")].filter(e => !e.closest(".katex, [aria-hidden=true]"))
      .filter(e => e.tagName === "IMG" ? !e.hasAttribute("alt") || (e.closest("main") && !e.alt) : !e.getAttribute("aria-label"))
      .map(e => e.outerHTML.slice(0, 80)),
    lang: document.documentElement.lang, title: document.title,
    description: (document.querySelector("meta[name=description]") || {content: ""}).content,
  };
}"""
WIDE_THINGS = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
  [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest(".scroll")).map(e => e.outerHTML.slice(0, 100)).slice(0, 5).concat("the page is too wide")"""
# axe takes minutes over the many thousand parts of formulas and figures: empty boxes of the same size stand for them.
EMPTY_BOXES = """() => {
  document.querySelectorAll(".katex").forEach(formula => {
    const size = formula.getBoundingClientRect(), box = document.createElement("span");
    box.textContent = "x";
    box.style.cssText = `display: inline-block; overflow: hidden; width: ${size.width}px; height: ${size.height}px`;
    formula.replaceWith(box);
  });
  document.querySelectorAll("main svg").forEach(figure => figure.replaceChildren());
}"""
RUN_AXE = """() => axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations
  .filter(v => ["serious", "critical"].includes(v.impact))
  .map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 140)).join(" | ")}`))"""


@pytest.mark.parametrize("name", PAGES)
def test_page(visit, axe, name):
    visit.open(name)
    tab = visit.tab
    page = tab.evaluate(READ_PAGE)
    assert [m for m in RAW_MARKUP if m in page["text"]] == [], "raw markup in the text"
    assert page["unset"] == 0, "formulas that are not set"
    assert page["headings"][:1] == [1] and page["headings"].count(1) == 1, page["headings"]
    assert all(b <= a + 1 for a, b in zip(page["headings"], page["headings"][1:])), page["headings"]
    assert page["unnamed"] == [], "pictures without a text"
    assert page["lang"] == "en" and page["title"] and page["description"]
    tab.emulate_media(color_scheme="dark")
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate(WIDE_THINGS) == [], "wider than a phone"
    tab.evaluate(EMPTY_BOXES)
    tab.evaluate(axe + "; 0")
    assert tab.evaluate(RUN_AXE) == [], "axe, dark, 390 px"
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert tab.evaluate(RUN_AXE) == [], "axe, light, 1280 px"
    assert visit.trouble == []


def test_no_broken_links(docs):
    done = run_tool("--check-links")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_was_expected(docs):
    assert {p.relative_to(docs).as_posix() for p in docs.rglob("*.html")} == set(PAGES)


def test_sidebar_names_every_page(docs):
    modules = {f"{page}.html" for page in reference.page_names(ROOT)} - {f"{reference.INDEX}.html"}
    for page, left_out in (("index.html", modules), (f"{reference.INDEX}.html", set())):
        soup = BeautifulSoup((docs / page).read_text(encoding="utf-8"), "lxml")
        linked = {posixpath.normpath(posixpath.join(posixpath.dirname(page), a["href"])) for a in soup.select("#quarto-sidebar a[href]")}
        assert set(PAGES) - {"404.html"} - left_out == linked


def test_weight(docs):
    shared = sum(p.stat().st_size for p in (docs / "site_libs").rglob("*") if p.suffix in (".js", ".css"))
    fonts = sum(p.stat().st_size for p in (docs / "site_libs").rglob("*latin-wght*.woff2"))
    assert shared + fonts + 150_000 <= SHARED_LIMIT        # 150 kB: KaTeX's fonts that a page needs
    heavy = [name for name in PAGES if (docs / name).stat().st_size > PAGE_LIMIT]
    assert heavy == []


def test_formulas_need_no_script(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address + next(name for name in PAGES if name.startswith("ledger-")))
    rows = tab.locator("table.ledger tbody tr").count()
    assert rows > 0 and tab.locator("table.ledger .katex").count() == rows
    context.close()


def test_choice_of_theme_stays(visit):
    visit.open("index.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = visit.tab.evaluate(colour)
    visit.tab.click("#theme-button")
    dark = visit.tab.evaluate(colour)
    assert dark != light
    visit.open("ledger.html")
    assert visit.tab.evaluate(colour) == dark
    assert visit.tab.get_attribute("#theme-button", "aria-pressed") == "true"
    assert visit.trouble == []


def test_menu_on_a_phone(visit):
    visit.tab.set_viewport_size({"width": 390, "height": 844})
    visit.open("index.html")
    assert not visit.tab.locator("#quarto-sidebar").is_visible()
    visit.tab.click("#menu-button")
    visit.tab.wait_for_selector("#quarto-sidebar a", state="visible")
    visit.tab.keyboard.press("Escape")
    visit.tab.wait_for_selector("#quarto-sidebar", state="hidden")


def test_search_finds_titles(visit, docs):
    rows = json.loads((docs / "search.json").read_text(encoding="utf-8"))
    titles = {r["title"]: r["href"] for r in rows if "#" not in r["href"] and len(r["title"]) > 3}
    visit.open("index.html")
    for title, href in list(titles.items())[:10]:
        visit.tab.fill(".book-search input", title)
        visit.tab.wait_for_function("n => document.querySelector('.search-result')?.textContent.includes(n)", arg=title)
        first = visit.tab.get_attribute(".search-result", "href")
        assert first.partition("#")[0].removeprefix("./") == href, title
    assert visit.trouble == []


def test_equation_pops_up(visit, docs):
    soups = {name: BeautifulSoup((docs / name).read_text(encoding="utf-8"), "lxml") for name in PAGES}
    name = next((name for name, soup in soups.items() if soup.select_one("a.equation-link[href]")), None)
    assert name is not None, "no code that names an equation"
    visit.open(name)
    visit.tab.focus("a.equation-link[href] >> nth=0")
    visit.tab.wait_for_selector(".equation-popup .katex")
    visit.tab.keyboard.press("Escape")
    assert visit.tab.locator(".equation-popup").count() == 0
    assert visit.trouble == []


def test_docstring_unfolds(visit):
    visit.open("activation.html")
    code = visit.tab.locator("div.exported code:has(.docstring-button) >> nth=0")
    rest = code.locator(".docstring-rest >> nth=0")
    assert not rest.is_visible() and "\n    Examples\n    --------\n" in code.text_content()
    code.locator(".docstring-button >> nth=0").click()
    assert rest.is_visible()
    assert visit.trouble == []


def test_definitions_and_reference_lead_to_each_other(visit):
    visit.open("layers/dense.html")
    visit.tab.click("a.reference-name:text-is('Dense')")
    assert visit.tab.url.endswith("reference/layers.dense.html#Dense")
    visit.tab.click("section#Dense > .reference-links a:text-is('The dense layer')")
    assert visit.tab.url.endswith("layers/dense.html#def-Dense")
    assert visit.trouble == []
