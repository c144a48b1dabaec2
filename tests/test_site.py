"""The built site in a real browser, with every address but its own refused.

Needs Chromium or Chrome; without one the browser's tests are skipped, or fail if SLUGNET_REQUIRE_ALL=1.
"""
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from configparser import ConfigParser
from pathlib import Path

import pytest

pytest.importorskip("nbdev", reason="the site's tests need the development dependencies: pip install -e .[dev]")
from bs4 import BeautifulSoup
import ledger
import notebooks
import pages
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
TOOLS, DOCS = ROOT / "nbs" / "_tools", ROOT / "_docs"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RAW_MARKUP = ("$$", ":::", "@eq-", "@fig-", "{#", "\\(", "\\[", "(0.0)")
PAGE_LIMIT, SHARED_LIMIT = 1_500_000, 1_000_000


def page_names() -> list[str]:
    """Every page that the site will have, known before it is built."""
    sections = dict.fromkeys(notebooks.section(e.page) for e in ledger.collect())
    parts = [f"{pages.ledger_name(section)}.html" for section in sections]
    return [f"{page}.html" for page in notebooks.pages()] + ["ledger.html", *parts, "404.html"]


PAGES = page_names()


def base_path() -> str:
    """The path under which the site is served."""
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]["doc_baseurl"].rstrip("/") + "/"


def run_tool(option: str) -> subprocess.CompletedProcess:
    """Run the site's builder."""
    return subprocess.run([sys.executable, str(TOOLS / "site.py"), option], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def docs() -> Path:
    """The folder of the site, built if a source is newer; workers wait for the one that builds."""
    (ROOT / "_vendor").mkdir(exist_ok=True)
    with FileLock(ROOT / "_vendor" / "site.lock"):
        done = run_tool("--if-stale")
    assert done.returncode == 0, done.stdout + done.stderr
    return DOCS


@pytest.fixture(scope="session")
def address(docs) -> str:
    """The site, served on loopback, for as long as the tests run."""
    base = base_path()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            return super().translate_path("/" + path.removeprefix(base))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(docs)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{base}"
    server.shutdown()


@pytest.fixture(scope="module")    # not session: Playwright runs once at a time, and other modules import this fixture
def browser():
    """Chromium without a window, for which no host but loopback exists."""
    if CHROMIUM is None:
        message = "no Chromium on this machine: the pages of the site were not looked at in a browser"
        pytest.fail(message) if os.environ.get("SLUGNET_REQUIRE_ALL") == "1" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe(docs) -> str:
    """The script of axe-core."""
    sys.path.append(str(TOOLS))
    try:
        import vendor
    finally:
        sys.path.remove(str(TOOLS))
    with FileLock(ROOT / "_vendor" / "axe.lock"):
        folder = vendor.fetch("axe-core", ROOT)
    return (folder / "axe.min.js").read_text(encoding="utf-8")


class Visit:
    """A tab that notes everything that goes wrong in it."""

    def __init__(self, browser, address: str):
        self.address, self.trouble = address, []
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        self.tab = self.context.new_page()
        self.tab.on("console", lambda m: self.trouble.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda e: self.trouble.append(f"script: {e}"))
        self.tab.on("requestfailed", lambda r: self.trouble.append(f"failed: {r.url}"))
        self.tab.on("response", lambda r: self.trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        self.tab.on("request", self.note_outside)

    def note_outside(self, request) -> None:
        """Note a request to any other address."""
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.trouble.append(f"outside: {request.url}")

    def open(self, page: str) -> None:
        """Load a page and wait until it stands."""
        self.tab.goto(self.address + page, wait_until="load")
        self.tab.evaluate("document.fonts.ready.then(() => 0)")


@pytest.fixture
def visit(browser, address):
    """A fresh tab."""
    visit = Visit(browser, address)
    yield visit
    visit.context.close()


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
    soup = BeautifulSoup((docs / "index.html").read_text(encoding="utf-8"), "lxml")
    linked = {a["href"] for a in soup.select("#quarto-sidebar a[href]")}
    assert set(PAGES) - {"404.html"} == linked


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
