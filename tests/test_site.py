"""The built site: its pages in a real browser, with every address but its own refused, and its links both ways."""
import collections
import functools
import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("nbdev", reason="the site's tests need the development dependencies: pip install -e .[dev]")
from lxml import etree, html
import ledger
import nbformat
import notebooks
import pages
import reference
from site_browser import MARKED, run_tool

RAW_MARKUP = ("$$", ":::", "@eq-", "@fig-", "{#", "\\(", "\\[", "(0.0)")
PAGE_LIMIT, FILM_PAGE_LIMIT, SHARED_LIMIT = 1_500_000, 5_000_000, 1_000_000     # bytes
ELEMENT_LIMIT, REQUEST_LIMIT = 25_000, 40       # beyond these a page would not stand within a second


def page_names() -> list[str]:
    """Every page that the site will have, known before it is built."""
    sections = notebooks.sections()
    parts = [f"{pages.ledger_name(section)}.html" for section in dict.fromkeys(sections[e.page] for e in ledger.collect())]
    names = [*notebooks.pages(), *reference.page_names(notebooks.ROOT)]
    return [f"{page}.html" for page in names] + ["ledger.html", *parts, "404.html"]


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
    elements: document.getElementsByTagName("*").length,
    blocking: [...document.querySelectorAll("script[src]")].filter(e => !e.defer && !e.async && e.type !== "module").map(e => e.src),
    film: Boolean(document.querySelector("figure.motion")),
    files: [...document.querySelectorAll("img[src], video[src], source[src]")].map(e => e.src).filter(s => !s.startsWith("data:")),
  };
}"""
WIDE_THINGS = """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
  [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest(".scroll")).map(e => e.outerHTML.slice(0, 100)).slice(0, 5).concat("the page is too wide")"""
SMALL_FIGURES = """() => [...document.querySelectorAll("main .figure-svg")]
  .filter(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width < 0.7).map(e => e.getAttribute("aria-label").slice(0, 60))"""
CUT_EQUATIONS = """() => [...document.querySelectorAll("main .equation-formula")].filter(e => e.scrollWidth > e.clientWidth + 2)
  .map(e => `${e.scrollWidth} in ${e.clientWidth}: ${e.parentElement.textContent.slice(-60)}`)"""
LONELY_MARKS = """() => [...document.querySelectorAll("main .unbroken > .math")].filter(e => e.nextSibling).filter(e => {
  const mark = document.createRange(), last = [...e.querySelectorAll(".base")].pop().getBoundingClientRect();
  mark.selectNodeContents(e.nextSibling);
  return mark.getClientRects().length && mark.getBoundingClientRect().left < last.left;
}).map(e => e.parentElement.parentElement.textContent.slice(0, 60))"""
# axe takes minutes over the many thousand parts of formulas and figures: empty boxes of the same size stand for them.
EMPTY_BOXES = """() => {
  const formulas = [...document.querySelectorAll(".katex")], sizes = formulas.map(e => e.getBoundingClientRect());
  formulas.forEach((formula, i) => {
    const box = document.createElement("span");
    box.textContent = "x";
    box.style.cssText = `display: inline-block; overflow: hidden; width: ${sizes[i].width}px; height: ${sizes[i].height}px`;
    formula.replaceWith(box);
  });
  document.querySelectorAll("main svg").forEach(figure => figure.replaceChildren());
  const seen = new Set();      // of the coloured words of code, one of each colour in each kind of box
  document.querySelectorAll("main pre").forEach(pre => [...pre.querySelectorAll("span[class]")].reverse().forEach(word => {
    const kind = `${pre.closest("div, details").className} ${word.parentElement.className} ${word.className}`;
    if (word.childElementCount === 0 && seen.has(kind)) word.replaceWith(word.textContent); else seen.add(kind);
  }));
}"""
# Rules on colours take most of the time: of visible texts that have the same elements and classes above them, here or on a page
# that was looked at before, one is looked at.
KINDS = """() => {
  window.kinds = new Map();
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim())
        || !element.checkVisibility({visibilityProperty: true})) continue;
    let kind = "";
    for (let e = element; e; e = e.parentElement) kind += `${e.localName}.${e.getAttribute("class")}.${e.style.color}.${e.style.background} `;
    if (!kinds.has(kind)) kinds.set(kind, element);
  }
  return [...kinds.keys()];
}"""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
# What else may be right on a screen and wrong on a phone, where more boxes scroll and so have a role, a name and the focus.
OF_WIDTH = ["scrollable-region-focusable", "aria-allowed-attr", "aria-prohibited-attr", "nested-interactive"]
RUN_AXE = """async ([include, rules]) => {
  const found = await axe.run(include ? {include: include.map(kind => kinds.get(kind))} : document, {resultTypes: ["violations"], ...rules});
  return found.violations.filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 140)).join(" | ")}`);
}"""


# ---- every page, in the browser

@pytest.mark.parametrize("name", PAGES)
def test_page(long_visit, axe, docs, name):
    tab, requested = long_visit.tab, long_visit.requested
    tab.emulate_media(color_scheme="dark")
    tab.set_viewport_size({"width": 390, "height": 844})
    long_visit.open(name)
    page = tab.evaluate(READ_PAGE)
    assert [m for m in RAW_MARKUP if m in page["text"]] == [], "raw markup in the text"
    assert page["unset"] == 0, "formulas that are not set"
    assert page["headings"][:1] == [1] and page["headings"].count(1) == 1, page["headings"]
    assert all(b <= a + 1 for a, b in zip(page["headings"], page["headings"][1:])), page["headings"]
    assert page["unnamed"] == [], "pictures without a text"
    assert page["lang"] == "en" and page["title"] and page["description"]
    own, shared = weights(requested | set(page["files"]), long_visit.address, docs)
    assert own <= (FILM_PAGE_LIMIT if page["film"] else PAGE_LIMIT), "heavier than a page may be"
    assert shared + (docs / "search.bin").stat().st_size <= SHARED_LIMIT, "heavier than what pages share may be"
    assert page["blocking"] == [] and page["elements"] <= ELEMENT_LIMIT and len(requested) <= REQUEST_LIMIT, "slow to load"
    tab.add_style_tag(content="* { content-visibility: visible !important }")      # all of it, not what is near the window
    tab.evaluate("dispatchEvent(new Event('resize'))")
    tab.wait_for_function(MARKED)
    assert tab.evaluate(WIDE_THINGS) == [], "wider than a phone"
    assert tab.evaluate(CUT_EQUATIONS) == [], "an equation that a phone cuts"
    assert tab.evaluate(SMALL_FIGURES) == [], "a figure whose letters, of ten points as a rule, are below seven pixels"
    assert tab.evaluate(LONELY_MARKS) == [], "a mark that stands alone in the line below its formula"
    tab.evaluate(EMPTY_BOXES)
    tab.evaluate(axe + "; 0")
    assert run_axe(tab, "dark, 390 px", {"runOnly": OF_WIDTH}) == []
    tab.emulate_media(color_scheme="light")
    long_visit.resize(1280, 900)
    assert run_axe(tab, "light, 1280 px", {"rules": {rule: {"enabled": False} for rule in OF_COLOURS}}) == []
    assert long_visit.trouble == []


SEEN = collections.defaultdict(set)      # look -> the kinds of text whose colours are right


def run_axe(tab, look: str, rules: dict) -> list[str]:
    """What axe finds on a page by some rules, and by those on colours in texts of kinds that it has not yet seen in this look."""
    fresh = [kind for kind in tab.evaluate(KINDS) if kind not in SEEN[look]]
    found = tab.evaluate(RUN_AXE, [fresh, {"runOnly": OF_COLOURS}]) if fresh else []
    if not found:
        SEEN[look].update(fresh)
    return found + tab.evaluate(RUN_AXE, [None, rules])


def weights(urls: set[str], address: str, docs: Path) -> tuple[int, int]:
    """The bytes of the files that a page asked for: those that are its own, and those that lie there for all pages."""
    own = shared = 0
    for path in {unquote(url.partition("#")[0].partition("?")[0]).removeprefix(address) for url in urls if url.startswith(address)}:
        size = (docs / path).stat().st_size
        if path.startswith(("site_libs/", "styles.css", "favicon.svg")) and "play" not in path:
            shared += size
        elif path != "search.bin":
            own += size
    return own, shared


def test_axe_over_formulas_and_figures(visit, axe):
    visit.tab.set_viewport_size({"width": 390, "height": 844})
    visit.tab.emulate_media(color_scheme="dark")
    visit.open("layers/reshaping.html")
    visit.tab.evaluate(axe + "; 0")
    visit.tab.wait_for_function(MARKED)
    assert visit.tab.locator("main svg").count() and visit.tab.locator("main .katex").count()
    assert visit.tab.evaluate(RUN_AXE, [None, {"rules": {"target-size": {"enabled": True}}}]) == []


# ---- links, both ways

@pytest.fixture(scope="session")
def trees(docs) -> dict:
    """Every page of the site, read."""
    return read_site(docs)


@functools.cache
def read_site(docs: Path) -> dict:
    """The pages of a folder as trees."""
    return {name: html.fromstring((docs / name).read_bytes(), parser=html.HTMLParser(encoding="utf-8")) for name in PAGES}


def target_page(page: str, link: str) -> str:
    """The path, from the site's folder, that a link of a page names."""
    parts = [*Path(page).parent.parts, *link.partition("#")[0].split("/")]
    found: list[str] = []
    for part in parts:
        found.pop() if part == ".." else found.append(part) if part not in ("", ".") else None
    return "/".join(found)


@functools.cache
def identified(tree) -> dict:
    """The elements of a page by their id."""
    return {element.get("id"): element for element in tree.xpath("//*[@id]")}


def target(trees: dict, page: str, link: str):
    """The element that a link of a page leads to, and its page."""
    path, _, anchor = unquote(link).partition("#")
    name = target_page(page, path) if path else page
    found = identified(trees[name]).get(anchor) if name in trees else None
    assert found is not None, f"{page}: {link} leads nowhere"
    return name, found


def line_of(element) -> str:
    """The line of code in which an element stands."""
    code, before = next(element.iterancestors("code")), ""
    for event, part in etree.iterwalk(code, events=("start", "end")):
        if part is element:
            break
        before += (part.text if event == "start" else part.tail) or ""
    text = code.text_content()
    return text[before.rfind("\n") + 1:(text + "\n").index("\n", len(before))]


def by_name(trees: dict) -> dict:
    """The boxes of the equations, by name: page and element."""
    return {box.get("id"): (page, box) for page, tree in trees.items() for box in tree.find_class("equation") if box.get("id")}


def test_no_broken_links(docs):
    done = run_tool("--check-links")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_equation_leads_to_its_code_and_its_check_and_back(trees):
    boxes, equations = by_name(trees), ledger.collect()
    assert set(boxes) == {e.name for e in equations} and len(equations) > 300
    for equation in equations:
        page, box = boxes[equation.name]
        [number] = box.find_class("equation-number")
        assert number.text_content() == f"({equation.tag})"
        links = {a.text_content(): a.get("href") for a in box.find_class("equation-proof")[0].iter("a")}
        goals = {"check": rf'verify\(\s*"{equation.name}"'}
        if equation.code:
            goals["code"] = rf"#.*\b{equation.name}\b"
            assert number.get("href") == links["code"]
        for word, pattern in goals.items():
            where, mark = target(trees, page, links[word])
            assert mark.text_content() == equation.name
            text = line_of(mark)
            if word == "check" and "verify" not in text:     # a call that takes several lines
                text = "verify(" + text.strip()
            assert re.search(pattern, text), f"{equation.name}: {word} leads to {text}"
            assert target(trees, where, mark.get("href")) == (page, box), f"{where}: {equation.name} does not lead back"
            if word == "code":
                assert any("exported" in d.get("class", "") for d in mark.iterancestors("div"))
        assert box.find_class("equation-result"), f"{equation.name}: the page does not say how well it holds"


def test_every_name_of_an_equation_in_code_is_a_link(trees):
    boxes, seen = by_name(trees), 0
    for page, tree in trees.items():
        for code in tree.iter("code"):
            if not any("cell-code" in (e.get("class") or "") for e in [code, *code.iterancestors()]):
                continue
            for comment in code.find_class("co"):
                for name in re.findall(r"\beq-[A-Za-z0-9_-]*[A-Za-z0-9]", comment.text_content()):
                    links = [a for a in comment.find_class("equation-link") if a.text_content() == name]
                    assert links and target(trees, page, links[0].get("href")) == boxes[name], f"{page}: {name}"
                    seen += 1
    assert seen >= len({e.name for e in ledger.collect() if e.code})


def test_ledger_has_every_equation_with_its_links_and_says_how_many_hold(trees):
    equations = ledger.collect()
    boxes, rows = by_name(trees), {}
    for name, tree in trees.items():
        for row in tree.xpath("//table[contains(@class, 'ledger')]//tr[starts-with(@id, 'ledger-')]"):
            rows[row.get("id").removeprefix("ledger-")] = (name, row)
    assert set(rows) == {e.name for e in equations}
    holding = 0
    for equation in equations:
        page, row = rows[equation.name]
        assert row.find_class("katex"), f"{equation.name} is not drawn"
        derivation = row.find_class("ledger-number")[0].find("a")
        assert derivation.text_content() == f"({equation.tag})"
        assert target(trees, page, derivation.get("href")) == boxes[equation.name]
        links = list(row.find_class("ledger-code")[0].iter("a"))
        assert [a.text_content() for a in links] == [f"{file.removeprefix('slugnet/')}:{line}" for file, line, _ in equation.code]
        for link, (file, line, _) in zip(links, equation.code):
            text = (notebooks.ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1]
            assert equation.name in ledger.cited_names(text), f"{file}:{line} does not name {equation.name}"
            _, mark = target(trees, page, link.get("href"))
            assert mark.text_content() == equation.name and line_of(mark).strip() == text.strip()
        cell = row.find_class("ledger-check")[0]
        mark, error = cell.find("a").text_content().split()
        assert target(trees, page, cell.find("a").get("href"))[1].text_content() == equation.name
        assert (mark, float(error) >= 0, "fails" in cell.get("class")) == ("✓", True, False), f"{equation.name} does not hold"
        holding += 1
    assert f"{holding} of {len(equations)} equations hold." in trees["ledger.html"].text_content()
    counts = trees["ledger.html"].xpath("//main//table//tr[td]")
    assert sum(int(row[1].text_content()) for row in counts) == sum(int(row[2].text_content()) for row in counts) == len(equations)
    linked = {target(trees, "ledger.html", a.get("href"))[0] for row in counts for a in row.iter("a")}
    assert linked == {page for page, _ in rows.values()}


def test_every_page_was_expected(docs):
    assert {p.relative_to(docs).as_posix() for p in docs.rglob("*.html")} == set(PAGES)


def test_sidebar_names_every_page(trees):
    for page in ("index.html", "reference/index.html"):
        sidebar = trees[page].get_element_by_id("quarto-sidebar")
        linked = {target_page(page, a.get("href")) for a in sidebar.iter("a") if a.get("href")}
        modules = {name for name in PAGES if name.startswith("reference/") and name != "reference/index.html"}
        assert set(PAGES) - {"404.html"} - (modules if page == "index.html" else set()) == linked


# ---- what a reader does

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
    visit.tab.emulate_media(color_scheme="dark")
    visit.tab.click("#theme-button")
    visit.tab.reload()
    assert visit.tab.evaluate(colour) == light, "the system's choice came before the reader's"
    assert visit.trouble == []


def test_menu_on_a_phone(visit):
    visit.tab.set_viewport_size({"width": 390, "height": 844})
    visit.open("index.html")
    assert not visit.tab.locator("#quarto-sidebar").is_visible()
    visit.tab.click("#menu-button")
    visit.tab.wait_for_selector("#quarto-sidebar a", state="visible")
    visit.tab.keyboard.press("Escape")
    visit.tab.wait_for_selector("#quarto-sidebar", state="hidden")


SEARCHES = {
    "backpropagation": "backpropagation.html", "vanishing gradient": "activation.html", "cross-entropy": "loss.html",
    "learning rate": "learning-rate.html", "momentum": "optimization.html", "overfitting": "introduction.html",
    "regularisation": "regularization.html", "regularization": "regularization.html", "batch normalization": "layers/batch-normalization.html",
    "SOFTMAX": "activation.html", "early stopping": "early-stopping.html", "confusion matrix": "metrics.html",
    "complex step": "check.html", "chain rule": "chain-rule.html", "weight decay": "optimization.html",
    "∇": "notation.html", "ε": "notation.html", "epsilon": "notation.html", "ŷ": "notation.html", "hat y": "notation.html",
    r"\hat{y}": "notation.html", "⊙": "notation.html",
    "weight_gradient": "layers/dense.html", "Dense": "layers/dense.html", "Adam": "adaptive.html", "max pool": "layers/pooling.html",
    "Glorot": "initialization.html", "Model.fit": "model.html", "L-BFGS": "second-order.html", "ModelCheckpoint": "callbacks.html",
    "eq-dense-dW": "layers/dense.html", "hess": "second-order.html",
}


def first_found(tab, text: str) -> str:
    """The page of the first result of a search."""
    tab.fill(".book-search input", "")
    tab.wait_for_selector(".search-results > *", state="detached")
    tab.fill(".book-search input", text)
    tab.wait_for_selector(".search-results > *")
    link = tab.locator(".search-results > *").first.get_attribute("href") or ""
    return link.partition("#")[0].removeprefix("./")


def test_search_finds_the_right_page_first(visit):
    visit.open("index.html")
    assert {text: first_found(visit.tab, text) for text in SEARCHES} == SEARCHES
    assert visit.trouble == []


def test_search_finds_titles_and_numbers_of_equations(visit, docs):
    rows = json.loads(gzip.decompress((docs / "search.bin").read_bytes()))
    titles = {r["title"]: r["href"] for r in rows if r.get("title") and not r["href"].startswith(("reference", "examples", "404"))}
    assert len(titles) > 50
    visit.open("index.html")
    assert {title: first_found(visit.tab, title) for title in titles} == titles
    equation = next(e for e in ledger.collect() if e.name == "eq-dense-dW")
    assert first_found(visit.tab, f"({equation.tag})") == "layers/dense.html"
    assert first_found(visit.tab, "no such wôrd") == ""
    assert visit.trouble == []


def test_search_with_the_keyboard(visit):
    visit.open("layers/dense.html")
    keys = visit.tab.keyboard
    keys.press("/")
    keys.type("adam")
    visit.tab.wait_for_selector(".search-result")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    second = visit.tab.locator(".search-result").nth(1)
    assert second.evaluate("e => e === document.activeElement")
    keys.press("ArrowUp")
    keys.press("ArrowUp")
    assert visit.tab.evaluate("document.activeElement.matches('.book-search input')")
    keys.press("Escape")
    assert visit.tab.locator(".search-results > *").count() == 0
    keys.type("adam")
    visit.tab.wait_for_selector(".search-result")
    with visit.tab.expect_navigation():
        keys.press("Enter")
    assert "/adaptive.html" in visit.tab.url
    assert visit.trouble == []


GO_THROUGH = """async () => {     // a box that scrolls is measured when it comes near the window
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
    scrollTo(0, y);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  scrollTo(0, 0);
}"""
NOTE_FOCUS = """() => {
  window.stops = [];
  document.addEventListener("focusin", event => {
    const e = event.target, style = getComputedStyle(e), box = e.getBoundingClientRect();
    const x = Math.min(Math.max(box.left + 2, 1), innerWidth - 2), y = (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2;
    const at = document.elementFromPoint(x + Math.min(4, box.width / 2), y);
    window.stops.push({
      element: e, ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
      seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight && Boolean(at) && (e.contains(at) || at.contains(e)),
    });
  });
}"""
FOCUSABLE = """() => {
  window.expected = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(e =>
    !e.disabled && e.checkVisibility({visibilityProperty: true}) && !(e.closest("details:not([open])") && !e.matches("details > summary"))
    && e.tabIndex >= 0);
  return window.expected.length;
}"""
COMPARE_STOPS = """() => {
  const say = e => e ? e.outerHTML.replace(/\\s+/g, " ").slice(0, 110) : "nothing", stops = window.stops;
  const wrong = window.expected.map((e, i) => stops[i] && stops[i].element === e ? null : `${i}: ${say(e)}, but came to ${say(stops[i]?.element)}`);
  return [wrong.filter(Boolean).slice(0, 3), stops.filter(s => !s.ring).map(s => "no ring: " + say(s.element)).slice(0, 3),
          stops.filter(s => !s.seen).map(s => "not seen: " + say(s.element)).slice(0, 3)].flat();
}"""


@pytest.mark.parametrize("name, width", [("index.html", 1280), ("layers/residual.html", 1280), ("layers/residual.html", 390),
                                         ("ledger-reference.html", 390), ("404.html", 1280)])
def test_tab_alone_reaches_everything_in_order(visit, name, width):
    visit.tab.set_viewport_size({"width": width, "height": 844})
    visit.tab.emulate_media(reduced_motion="reduce")
    visit.open(name)
    visit.tab.wait_for_function(MARKED)
    visit.tab.evaluate(GO_THROUGH)
    visit.tab.evaluate(NOTE_FOCUS)
    count = visit.tab.evaluate(FOCUSABLE)
    assert count > 10
    for _ in range(count):
        visit.tab.keyboard.press("Tab")
    assert visit.tab.evaluate(COMPARE_STOPS) == []
    visit.tab.keyboard.press("Shift+Tab")
    assert visit.tab.evaluate("document.activeElement === window.expected[window.expected.length - 2]"), "no way back"
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


def test_no_page_changes_the_order_of_the_keyboard(trees):
    assert [(name, e.get("tabindex")) for name, tree in trees.items() for e in tree.xpath("//*[@tabindex]")
            if not re.fullmatch("0|-1", e.get("tabindex"))] == []
    assert [name for name, tree in trees.items() if not tree.xpath("//a[@class='skip-link' and @href='#quarto-document-content']")
            or tree.get_element_by_id("quarto-document-content", None) is None] == []


def test_keyboard_skips_to_the_text_opens_folds_and_turns_pages(visit):
    visit.tab.emulate_media(reduced_motion="reduce")
    visit.open("layers/residual.html")
    keys = visit.tab.keyboard
    keys.press("Tab")
    assert visit.tab.evaluate("document.activeElement.className") == "skip-link"
    keys.press("Enter")
    keys.press("Tab")
    assert visit.tab.evaluate("Boolean(document.activeElement.closest('main'))")
    fold = visit.tab.locator("main details.code-fold > summary").first
    for key in ("Enter", "Space"):
        before = fold.evaluate("e => e.parentElement.open")
        fold.press(key)
        assert fold.evaluate("e => e.parentElement.open") is not before
    visit.tab.focus("#theme-button")
    keys.press("Space")
    assert visit.tab.get_attribute("html", "data-theme") == "dark"
    box = visit.tab.locator("main pre.scroll[tabindex='0']")
    visit.resize(390, 844)
    box.first.focus()
    keys.press("ArrowRight")
    visit.tab.wait_for_function("document.activeElement.scrollLeft > 0")
    visit.tab.focus("#menu-button")
    keys.press("Enter")
    visit.tab.wait_for_selector("#quarto-sidebar a", state="visible")
    keys.press("Escape")
    assert visit.tab.evaluate("document.activeElement.id") == "menu-button"
    with visit.tab.expect_navigation():
        visit.tab.locator(".nav-page-next a").press("Enter")
    assert visit.tab.url.endswith(".html") and "residual" not in visit.tab.url
    assert visit.trouble == []


@pytest.mark.parametrize("name, link", [("layers/dense.html", "a.equation-link[href]"), ("introduction.html", "p a[href*='.html#eq-']"),
                                        ("ledger-layers.html", ".ledger-number a")])
def test_equation_pops_up_on_focus_and_under_the_mouse(visit, name, link):
    visit.open(name)
    found, popup = visit.tab.locator(link).first, visit.tab.locator(".equation-popup")
    found.scroll_into_view_if_needed()
    before = visit.tab.url
    for show, hide in ((found.focus, lambda: visit.tab.keyboard.press("Escape")), (found.hover, lambda: visit.tab.mouse.move(0, 0)),
                       (lambda: (found.blur(), found.focus()), found.blur)):
        show()
        popup.wait_for()
        box = popup.bounding_box()
        assert popup.locator(".katex").count() == 1 and popup.locator("[id]").count() == 0
        assert box["x"] >= 0 and box["x"] + box["width"] <= 1280 and box["y"] >= 0 and box["y"] + box["height"] <= 900
        place = found.bounding_box()
        assert box["y"] >= place["y"] + place["height"] or box["y"] + box["height"] <= place["y"], "it covers the line"
        hide()
        popup.wait_for(state="detached")
    assert visit.tab.url == before and visit.trouble == []


@pytest.mark.parametrize("late", [False, True], ids=["fonts at once", "fonts late"])
def test_links_to_places_in_a_page_arrive(visit, late):
    waiting = []
    if late:        # the text is laid out twice, and the place moves
        visit.tab.route("**/*.woff2", lambda route: waiting.append(route))
    visit.tab.goto(visit.address + "loss.html#hinge-loss", wait_until="domcontentloaded")
    visit.tab.wait_for_timeout(1000 * late)
    for route in waiting:
        route.continue_()
    visit.tab.evaluate("document.fonts.ready.then(() => 0)")
    visit.tab.wait_for_function("""() => { const top = document.getElementById("hinge-loss").getBoundingClientRect().top;
        return top >= 0 && top < 200; }""", timeout=10_000)
    for link in (visit.tab.locator("#TOC a").last, visit.tab.locator("#TOC a").nth(2)):
        anchor = link.get_attribute("href").removeprefix("#")
        link.click()
        visit.tab.wait_for_function("""id => { const top = document.getElementById(id).getBoundingClientRect().top, last = window.lastTop;
            window.lastTop = top; return last === top && top >= 0 && (top < 200 || scrollY + innerHeight >= document.documentElement.scrollHeight - 2); }""",
                                    arg=anchor, polling=200, timeout=10_000)
    assert visit.trouble == []


# ---- the notebooks elsewhere: in Jupyter, on a code host, under Quarto

PORTABLE = {    # what smalldocs, Quarto, Jupyter and a code host's viewer do not all show
    r"\{#": "attributes on a heading, equation or figure", r"(?<![\w.])@(?:eq|fig|tbl|sec)-": "Quarto's references", r"\[@": "citations",
    r"^:::": "Quarto's blocks", r"(?<!\\)\\\|": "an escaped bar, which ends a cell of a table", r"\\[(\[]": "other delimiters of formulas",
    r"\{\{<": "Quarto's shortcodes", r"^```\{": "cells of Quarto in text", r"!\[[^\]]*\]\((?:attachment:|https?:)": "pictures from elsewhere",
    r"<(?:script|style|iframe|object|embed|link)\b": "HTML that viewers remove"}


@pytest.mark.parametrize("page", notebooks.pages())
def test_notebook_opens_everywhere(page):
    path = notebooks.notebook_path(page)
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5) and len({c.id for c in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = notebooks.without_code(cell.source)
            prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL)
            found += [f"{why}: {m[0]}" for pattern, why in PORTABLE.items() for m in re.finditer(pattern, prose, re.MULTILINE)]
            found += [f"text beside a display: {line}" for line in re.findall(r"^.*\$\$.*$", text, re.MULTILINE)
                      if not re.fullmatch(r"\s*(?:\$\$|\$\$[^$]+\$\$|\$\$[^$]+|[^$]+\$\$)\s*", line)]
            found += [f"no such picture: {name}" for name in re.findall(r"!\[[^\]]*\]\(([^)\s]+)", prose) if not (path.parent / name).exists()]
    assert found == []
