"""The frame around the text: head, header, list of pages, contents, footer, and what the search looks through.

Only for pages that smalldocs made: other builders keep the frame they write.
"""
import functools
import posixpath
import re
import unicodedata
from pathlib import Path

from bs4 import BeautifulSoup
from enhance import Book, Page, tags

THEME_SCRIPT = ("(function(){var t=null;try{t=localStorage.getItem('slugnet-theme')}catch(e){}"
                "if(t==='light'||t==='dark')document.documentElement.dataset.theme=t})();")

FONTS = {"fonts/fonts.css": [f"files/source-{face}-latin-wght-normal.woff2" for face in ("serif-4", "sans-3", "code-pro")],
         "katex/katex.min.css": ["fonts/KaTeX_Main-Regular.woff2", "fonts/KaTeX_Math-Italic.woff2"]}   # that every page needs
SECTION = re.compile(r"\n\n *(?:Parameters|Attributes|Returns|Yields|Raises|References|Examples)\n *-+\n")


def is_smalldocs(page: Page) -> bool:
    """Whether smalldocs made the page."""
    generator = page.soup.find("meta", attrs={"name": "generator"})
    return generator is not None and generator.get("content", "").startswith("smalldocs")


def rebuild_head(page: Page, book: Book) -> None:
    """A short head: everything the page loads lies in the site itself."""
    soup, libs = page.soup, page.up + "site_libs/"
    head = soup.head
    for tag in head.find_all(["link", "script", "style"]):
        tag.decompose()
    if head.find("meta", attrs={"name": "description"}) is None:
        first = soup.select_one("main p:not(.page-facts)")
        text = " ".join(first.get_text(" ").split())[:155] if first else book.settings["description"]
        head.append(page.new("meta", name="description", content=text or book.settings["description"]))
    head.append(page.new("meta", name="color-scheme", content="light dark"))
    head.append(page.new("link", rel="icon", type="image/svg+xml", href=page.up + "favicon.svg"))
    sheets = ["fonts/fonts.css", *(["katex/katex.min.css"] if soup.select_one("span.math") else [])]
    for sheet in [*(libs + s for s in sheets), page.up + "styles.css"]:
        head.append(page.new("link", rel="stylesheet", href=sheet))
    for sheet, fonts in FONTS.items():      # else they are asked for when the text has been laid out, which is then done again
        for font in fonts if sheet in sheets else []:
            head.append(page.new("link", rel="preload", href=f"{libs}{posixpath.dirname(sheet)}/{font}", type="font/woff2",
                                 crossorigin="", **{"as": "font"}))
    script = page.new("script")
    script.string = THEME_SCRIPT
    head.append(script)
    head.append(page.new("script", src=libs + "site.js", defer=""))
    for meta in head.find_all("meta", attrs={"name": "smalldocs:offset"}):
        meta.decompose()
    soup.html["data-root"] = page.up or "./"
    soup.html["class"] = "slugnet-site front" if page.path == "index.html" else "slugnet-site"
    soup.html["lang"] = soup.html.get("lang", "en")


@functools.cache
def logo() -> str:
    """The drawing of nbs/favicon.svg without its colours, which the style sheet gives to the theme that is chosen."""
    svg = (Path(__file__).resolve().parents[1] / "favicon.svg").read_text(encoding="utf-8")
    plain_svg = re.sub(r"\s*<style>.*?</style>", "", svg, flags=re.DOTALL)
    return plain_svg.replace("<svg ", '<svg class="logo" aria-hidden="true" ', 1)


def rebuild_header(page: Page, book: Book) -> None:
    """The bar at the top: menu button, name, search, light and dark."""
    soup = page.soup
    old = soup.find(id="quarto-header")
    markup = f"""<header id="quarto-header">
<a class="skip-link" href="#quarto-document-content">Skip to the text</a>
<button id="menu-button" type="button" aria-controls="quarto-sidebar" aria-expanded="false" aria-label="Pages"><span></span></button>
<a class="brand" href="{page.up}index.html">{page.placeholder(logo())}{book.settings['lib_name']}</a>
<div class="book-search" role="search"><input type="search" placeholder="Search" aria-label="Search" autocomplete="off">
<div class="search-results" aria-live="polite"></div></div>
<button id="theme-button" type="button" aria-label="Dark colours" aria-pressed="false" title="Light or dark"><span></span></button>
</header>"""
    header = BeautifulSoup(markup, "lxml").header
    old.replace_with(header) if old else soup.body.insert(0, header)


def rebuild_sidebar(page: Page) -> None:
    """The list of pages: sections as plain titles, always open, so that it needs no script."""
    sidebar = page.soup.find(id="quarto-sidebar")
    if sidebar is None:
        return
    sidebar["class"] = "sidebar-navigation"
    sidebar["aria-label"] = "Pages"
    glass = page.soup.find(id="quarto-sidebar-glass")
    if glass is not None:
        glass.decompose()
    for section in tags(sidebar, "li", "sidebar-item-section"):
        title = section.find("div", class_="sidebar-item-container")
        title.replace_with(page.new("p", title.get_text(strip=True), cls="sidebar-title"))
        section.ul["class"] = "sidebar-section"
        del section.ul["id"]
    for link in tags(sidebar, "a", "sidebar-link", "href"):     # the modules only where the reader is among them
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.path), link["href"]))
        if target.startswith("reference/") and target != "reference/index.html":
            text = link.find(class_="menu-text")
            text.string = text.get_text().removeprefix("slugnet.")
            if not page.path.startswith("reference/"):
                link.find_parent("li").decompose()


def rebuild_contents(page: Page) -> None:
    """The contents of the page: beside the text on a wide screen, folded under the title on a narrow one."""
    for crumbs in page.soup.select(".quarto-page-breadcrumbs, .quarto-title-meta"):
        crumbs.decompose()
    contents = page.soup.find(id="TOC")
    if contents is None:
        return
    title = contents.find(id="toc-title")
    title.name = "p"
    contents.attrs.pop("role", None)
    contents["aria-label"] = "On this page"
    header = page.soup.find(id="title-block-header")
    if header is None:
        return
    fold = page.new("details", page.new("summary", "On this page"), cls="contents-fold")
    links = BeautifulSoup(str(contents.ul), "lxml").ul
    for link in links.find_all("a"):
        link.attrs = {"href": link["href"]}
    fold.append(links)
    header.insert_after(fold)


def rebuild_footer(page: Page, book: Book) -> None:
    """Previous and next with their words, and one line at the end of the page."""
    for side, word in (("previous", "Previous"), ("next", "Next")):
        for link in page.soup.select(f".nav-page-{side} a"):
            text = link.get_text(strip=True)
            link.clear()
            link.append(page.new("span", word, cls="nav-page-word"))
            link.append(page.new("span", text, cls="nav-page-title"))
    for nav in tags(page.soup, "nav", "page-navigation"):
        nav["aria-label"] = "Previous and next page"
    settings = book.settings
    footer = page.new("footer", cls="site-footer")
    footer.append(page.new("p", f"{settings['lib_name']} {settings['version']} · © {settings['copyright']} · Apache-2.0 · ",
                           page.new("a", "source", href=settings["git_url"])))
    page.soup.body.append(footer)


def lost(page: Page) -> None:
    """The page for addresses that do not exist: the slug turns back."""
    header = page.soup.find(id="title-block-header")
    if header is not None:
        header.insert_before(page.new("p", page.placeholder(logo()), cls="lost"))


def absolute_links(page: Page, base: str) -> None:
    """Make every link start at the site's root: for the page that is shown at unknown addresses."""
    page.soup.html["data-root"] = base
    for tag in page.soup.find_all(True):
        for key in ("href", "src"):
            value = tag.get(key, "")
            if value and not re.match(r"[a-z]+:|/|#", value):
                tag[key] = base.rstrip("/") + "/" + posixpath.normpath(value)


def fold_docstrings(page: Page) -> None:
    """Show of a docstring its summary, and at a click the rest, which the API reference shows as tables."""
    for docstring in [span for code in tags(page.soup, "div", "exported") for span in tags(code, "span", "doc")]:
        text = docstring.get_text()
        section = SECTION.search(text)
        if section is None or docstring.find(True):
            continue
        start, end = section.start(), text.rindex('"""')
        button = page.new("button", cls="docstring-button", type="button", aria_expanded="false", aria_label="The rest of the docstring")
        docstring.clear()
        docstring.extend([text[:start], button, page.new("span", text[start:end], cls="docstring-rest", hidden=""), text[end:]])


def say_heights(page: Page) -> None:
    """Say how high listings will be: a browser lays them out when they come near the window."""
    for pre in tags(page.soup.main, "pre", "scroll"):
        hidden = sum(rest.get_text().count("\n") for rest in tags(pre, "span", "docstring-rest"))
        pre["style"] = f"--lines:{pre.get_text().rstrip().count(chr(10)) + 1 - hidden}"


SIGNS = {"odot": "⊙", "nabla": "∇", "partial": "∂", "sum": "∑", "prod": "∏", "sqrt": "√", "times": "×", "infty": "∞", "ell": "ℓ"}
SEARCHED = ["h2", "h3", "p", "li", "td", "pre", "figcaption", "div"]


def plain(tex: str) -> str:
    """TeX as one would type it into a search: Greek letters as letters, no commands, no braces."""
    def symbol(match: re.Match) -> str:
        name = match.group(1).removeprefix("var")
        try:
            return unicodedata.lookup(f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name.upper()}")
        except KeyError:
            return SIGNS.get(name, " ")
    tex = re.sub(r"\\(?:mathbf|boldsymbol|mathrm|mathcal)\s*", "", tex)
    tex = re.sub(r"\^\{?\\top\}?", "ᵀ", tex)
    tex = re.sub(r"\\(hat|tilde|bar)\s*\{?\s*(\\[A-Za-z]+|\w)\s*\}?",
                 lambda m: m[2] + {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304"}[m[1]], tex)
    tex = re.sub(r"\\(?:begin|end)\{\w+\}", " ", tex)
    text = " ".join(re.sub(r"[{}&$]|\\.", "", re.sub(r"\\([A-Za-z]+)", symbol, tex)).split())
    return unicodedata.normalize("NFC", text)


def plain_text(element) -> str:
    """The text of an element whose formulas are not yet set, in one line."""
    return re.sub(r"\\\((.*?)\\\)", lambda m: plain(m.group(1)), " ".join(element.get_text().split()))


def is_symbol(cell) -> bool:
    """Whether a cell of a table is one of its symbols: the first of a row, under the head `Symbol`."""
    head = cell.find_parent("table").find("th")
    return cell.find_previous_sibling("td") is None and head is not None and head.get_text(strip=True) == "Symbol"


def search_row(page: Page, title: str, section: str = "", anchor: str = "") -> dict:
    """An entry of the search, still empty."""
    href = f"{page.path}#{anchor}" if anchor else page.path
    return {"href": href, "title": title, "section": section, "names": [], "symbols": [], "text": [], "code": []}


def add_to_search(page: Page, row: dict, element) -> None:
    """Put what an element holds into an entry: names, symbols, prose, and the words of code."""
    classes = element.get("class", [])
    if element.name == "pre":
        code = element.get_text()
        row["code"] += re.findall(r"[^\W\d]\w+", code)
        if element.find_parent(class_="exported"):
            row["names"] += re.findall(r"^(?:(?:def|class) )?(\w+)(?=\(|:| = )", code, re.MULTILINE)
    elif element.name == "div":
        if "equation" in classes and element.get("id"):
            number = element.find(class_="equation-number")
            row["names"] += [element["id"], *([number.get_text().strip("()")] if number else [])]
    elif element.name == "td" and is_symbol(element):
        row["symbols"].append(plain_text(element))
    elif page.path.startswith(("ledger", "notation")) and element.name == "td":
        return      # equations and symbols are found where they are defined
    elif not page.path.startswith("reference/") or (element.name == "p" and not classes and not row["text"]):
        row["text"].append(plain_text(element))


def search_entries(page: Page) -> list[dict]:
    """What the search looks through: an entry for the page and one for each of its sections.

    It is loaded with the first search, so it is kept small: a page's address and title stand in its first entry only,
    and a word of its code in the first entry that has it, where no prose has it.
    """
    title = page.soup.h1.get_text(" ", strip=True) if page.soup.h1 else page.path
    rows = [search_row(page, title)]
    for element in page.soup.main.find_all(SEARCHED):
        if element.find_parent(class_=["contents-fold", "page-navigation", "page-facts"]) or element.find_parent("li"):
            continue
        if element.name in ("h2", "h3"):
            rows.append(search_row(page, title, plain(element.get_text()), element.get("data-anchor-id") or element.get("id") or ""))
            if page.path.startswith("reference/"):
                rows[-1]["names"].append(rows[-1]["section"].rpartition(".")[2])
        elif not {"page-facts", "checks"} & set(element.get("class", [])) and not element.find_parent(class_="checks"):
            add_to_search(page, rows[-1], element)
    known = set()
    for row in rows:
        row["text"], row["names"] = " ".join(row["text"]), list(dict.fromkeys(row["names"]))
        known |= {word.lower() for word in re.findall(r"\w+", row["text"])} | {name.lower() for name in row["names"]}
        fresh = [] if page.path.startswith("reference/") else [w for w in dict.fromkeys(row["code"]) if w.lower() not in known]
        row["code"] = " ".join(fresh)
        known |= {word.lower() for word in fresh}
    for row in rows[1:]:
        del row["title"]
        row["href"] = row["href"].removeprefix(page.path)
    return [{key: value for key, value in row.items() if value or key == "title"} for row in rows]


def rebuild(page: Page, book: Book) -> None:
    """Make the whole frame of a page."""
    if page.path == "404.html":
        lost(page)
    rebuild_contents(page)
    rebuild_sidebar(page)
    rebuild_header(page, book)
    rebuild_footer(page, book)
    rebuild_head(page, book)
    fold_docstrings(page)
    say_heights(page)
