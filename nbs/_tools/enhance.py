"""What happens to the text of a rendered page: formulas, equations, code, checks, figures, folds.

It reads the markup that smalldocs and Quarto share; `frame` does the rest of the page.
"""
import functools
import html
import json
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

from bs4 import BeautifulSoup, Comment, NavigableString, Tag
from lxml import etree

EQUATION = re.compile(r"eq-[A-Za-z0-9_-]*[A-Za-z0-9]")
NAME = re.compile(r"(?:slugnet\.(?:[a-z_]+\.)*)?(\w{3,})(?:\(\))?")
TAG = re.compile(r"\s*\\tag\{([^{}]*)\}\s*")
CHECK = re.compile(r"^✓\s+(eq-[\w-]+)\s*[:–-]?\s*(.*)$")
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 40


def tags(root: Tag, name: str, kind: str | None = None, attribute: str | None = None) -> list[Tag]:
    """The tags of a name, if asked for of a class or with an attribute: five times as fast as a selector finds them."""
    return [tag for tag in root.find_all(name)
            if (kind is None or kind in tag.get("class", ())) and (attribute is None or attribute in tag.attrs)]


@dataclass
class Page:
    """A page of the site while it is being worked on."""

    path: str                                       # from the site's folder: layers/dense.html
    soup: BeautifulSoup
    inserts: dict = field(default_factory=dict)     # placeholder -> HTML that goes in at the end
    notebook: Path | None = None                    # the notebook the page was made from

    def __post_init__(self):
        self.up = "../" * self.path.count("/")

    def placeholder(self, markup: str) -> str:
        """Keep finished markup out of the parser: a text that stands for it until the page is written."""
        key = f"\ue000{len(self.inserts)}\ue001"
        self.inserts[key] = markup
        return key

    def new(self, element: str, /, *children, **attributes) -> Tag:
        """Make an element; `cls` stands for class, `_` in names for `-`."""
        attributes = {("class" if k == "cls" else k.replace("_", "-")): v for k, v in attributes.items()}
        tag = self.soup.new_tag(element, attrs=attributes)
        for child in children:
            tag.append(child)
        return tag

    def link(self, target: str) -> str:
        """A relative link from this page to `target`, a path from the site's folder, with or without #anchor."""
        path, mark, anchor = target.partition("#")
        if path == self.path and mark:
            return "#" + anchor
        return posixpath.relpath(path, posixpath.dirname(self.path) or ".") + mark + anchor

    def text(self) -> str:
        """The page as HTML."""
        markup = str(self.soup)
        return re.sub("\ue000\\d+\ue001", lambda m: self.inserts[m.group()], markup)


@dataclass
class Book:
    """What pages need to know of each other."""

    settings: dict                                  # settings.ini
    exported: dict = field(default_factory=dict)    # source of an exported cell -> path of its module
    equations: dict = field(default_factory=dict)   # name -> (page, number)
    code: dict = field(default_factory=dict)        # name -> [page#anchor of a line that implements it]
    lines: dict = field(default_factory=dict)       # (name, path of the module) -> [page#anchor of its lines, in order]
    checks: dict = field(default_factory=dict)      # name -> [page#anchor of its checks]
    results: dict = field(default_factory=dict)     # name -> what the check printed
    names: dict = field(default_factory=dict)       # public name -> page#anchor of its definition
    own: set = field(default_factory=set)           # (page, public name that it defines)
    definitions: dict = field(default_factory=dict)  # (path of its module, name) -> page#anchor of its definition
    reference: dict = field(default_factory=dict)   # (path of its module, name) -> page#anchor in the API reference
    titles: dict = field(default_factory=dict)      # page path -> its title
    pictures: dict = field(default_factory=dict)    # page path -> [(alt, caption), …] of its figures, in order
    ink: str = ""                                   # the colour of lines and letters in figures


def parse(path: str, markup: str, book: Book) -> Page:
    """Read a page; pictures are taken out first, since they are XML and the rest is not."""
    page = Page(path, BeautifulSoup("", "lxml"))
    pictures = iter(book.pictures.get(path, []))

    def keep(match: re.Match) -> str:
        alt, _ = next(pictures, ("", ""))
        return page.placeholder(picture(match.group(), alt, f"f{len(page.inserts)}-", book.ink))

    markup = re.sub(r"(?:<\?xml[^>]*\?>\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg\b.*?</svg>", keep, markup, flags=re.DOTALL)
    page.soup = BeautifulSoup(markup, "lxml")
    return page


# ---------------------------------------------------------------- pictures

SVG = "{http://www.w3.org/2000/svg}"
WIDE = 500      # points: a wider figure keeps letters of a size to be read, and scrolls on a narrow screen


def picture(svg: str, alt: str, prefix: str, ink: str = "") -> str:
    """An inline SVG with ids of its own, a text for screen readers, and letters in the colour of the text around it."""
    svg = re.sub(re.escape(ink), "currentColor", svg, flags=re.IGNORECASE) if ink else svg
    svg = re.sub(r"^(?:<\?xml[^>]*\?>\s*)?(?:<!DOCTYPE[^>]*>\s*)?", "", svg)
    written = re.search(r'<svg alt="([^"]*)"', svg)
    alt = alt or html.unescape(written.group(1) if written else "")
    root = etree.fromstring(re.sub(r'<svg alt="[^"]*"', "<svg", svg).encode(), etree.XMLParser(huge_tree=True))
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, prefix + value)
            elif key.rpartition("}")[2] == "href" and value.startswith("#"):
                element.set(key, "#" + prefix + value[1:])
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    etree.strip_tags(root, etree.Comment)
    width, height = (re.match(r"[\d.]+", root.get(key, "")) for key in ("width", "height"))
    for key in ("width", "height", "alt", "class"):
        root.attrib.pop(key, None)
    root.set("class", "figure-svg")
    points = float(width.group()) if width else 0.0     # of matplotlib
    if width and height:
        least = f";min-width:{0.9 * points:.0f}px" if points > WIDE else ""
        root.set("style", f"width:{points * 4 / 3:.0f}px;aspect-ratio:{width.group()}/{height.group()}{least}")
    root.set("role", "img")
    root.set("aria-label", alt)
    etree.cleanup_namespaces(root)
    drawn = etree.tostring(root, encoding="unicode")
    return f'<div class="figure-box scroll">{drawn}</div>' if points > WIDE else drawn


def notebook_figures(notebook: Path) -> list[tuple[str, str]]:
    """Text and caption of the SVG figures of a notebook, in order."""
    found = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        alt, caption = (re.search(rf'^#\|\s*{key}:\s*(.*)$', source, re.MULTILINE) for key in ("fig-alt", "fig-cap"))
        texts = tuple(m.group(1).strip().strip("\"'") if m else "" for m in (alt, caption))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/svg+xml" in data and "text/html" not in data:
                found.append(texts)
    return found


# ---------------------------------------------------------------- formulas and equations


def math_spans(page: Page) -> list[Tag]:
    """The spans that hold TeX."""
    return [s for s in tags(page.soup, "span", "math") if s.get_text().strip().startswith(("\\(", "\\["))]


def tex_of(span: Tag) -> str:
    """The TeX of a span, without its delimiters."""
    return span.get_text().strip()[2:-2].strip()


def keep_punctuation(page: Page) -> None:
    """Keep a formula in a sentence and the marks that touch it on one line: browsers break beside a formula."""
    for span in page.soup.select("main span.math.inline"):
        before, after = span.previous_sibling, span.next_sibling
        opening = re.search(r"[(\[“‘]+$", before) if isinstance(before, NavigableString) else None
        closing = re.match(r"[.,;:!?)\]’”'-]+", after) if isinstance(after, NavigableString) else None
        if not opening and not closing:
            continue
        box = span.wrap(page.new("span", cls="unbroken"))
        if opening:
            before.replace_with(before[:opening.start()])
            box.insert(0, opening.group())
        if closing:
            after.replace_with(after[closing.end():])
            box.append(closing.group())


def make_equations(page: Page, book: Book) -> None:
    """Put each named display with its number into a box of its own, and note where it stands."""
    for span in page.soup.select("span.math.display"):
        paragraph = span.find_parent("p")
        anchor = span.find_previous("a", id=EQUATION)
        tex = tex_of(span)
        number = TAG.search(tex)
        span.string = "\\[" + TAG.sub(" ", tex).strip() + "\\]"
        scroll = page.new("div", cls="equation-formula scroll")
        box = page.new("div", scroll, cls="equation")
        alone = paragraph is not None and not any(
            str(c).strip() for c in paragraph.contents if c is not span and c is not anchor)
        if not alone:
            continue
        paragraph.replace_with(box)
        scroll.append(span.extract())
        if number and anchor is not None and anchor["id"] not in book.equations:
            box["id"] = anchor["id"]
            book.equations[anchor["id"]] = (page.path, number.group(1))
            old = anchor.find_parent("p")
            anchor.decompose()
            if old is not None and not old.get_text(strip=True) and not old.find(True):
                old.decompose()


def finish_equations(page: Page, book: Book) -> None:
    """Add the number, linked to the line that implements it, and the line that says how well it holds."""
    for box in tags(page.soup, "div", "equation", "id"):
        name = box["id"]
        number = book.equations[name][1]
        targets = book.code.get(name) or book.checks.get(name) or [f"{page.path}#{name}"]
        title = "to the line of code" if book.code.get(name) else "to the check"
        box.append(page.new("a", f"({number})", cls="equation-number", href=page.link(targets[0]),
                            title=f"Equation {number}: {title}"))
        links = [page.new("a", "code", href=page.link(t), aria_label=f"code of equation {number}")
                 for t in book.code.get(name, [])[:1]]
        links += [page.new("a", "check", href=page.link(t), aria_label=f"check of equation {number}")
                  for t in book.checks.get(name, [])[:1]]
        if not links:
            continue
        proof = page.new("div", cls="equation-proof")
        if name in book.results:
            proof.append(page.new("span", "✓ " + book.results[name], cls="equation-result"))
        for link in links:
            proof.append(link)
        box.append(proof)


# ---------------------------------------------------------------- code


def mark_code(page: Page, book: Book) -> None:
    """Find the lines that implement or check an equation, and the definitions, and give each an anchor."""
    counts: dict[str, int] = {}

    def anchor(kind: str, store: dict, module: str | None, name: str) -> str:
        counts[kind + name] = counts.get(kind + name, 0) + 1
        ident = f"{kind}-{name}" + (f"-{counts[kind + name]}" if counts[kind + name] > 1 else "")
        found = store.setdefault(name, [])
        found.insert(0 if module else len(found), f"{page.path}#{ident}")
        if module:
            book.lines.setdefault((name, module), []).append(f"{page.path}#{ident}")
        return ident

    book.titles[page.path] = page.soup.h1.get_text(" ", strip=True) if page.soup.h1 else page.path
    for code in page.soup.select("pre.cell-code code, div.cell-code code"):
        module = book.exported.get(code.get_text().strip())
        if module:
            defined = re.findall(r"^(?:(?:def|class) (\w+)|([A-Z]\w*) = )", code.get_text(), re.MULTILINE)
            defined = [function or constant for function, constant in defined]
            label_exported(page, book, code, module, defined)
            for name in defined:
                name_definition(page, book, code, module, name)
        for span in tags(code, "span", "co"):
            link_names(page, span, functools.partial(anchor, "code", book.code, module))
        for span in tags(code, "span", "st"):
            if span.get_text().startswith('"""'):
                span["class"] = ["st", "doc"]
            if EQUATION.fullmatch(span.get_text().strip("\"'")):
                link_names(page, span, functools.partial(anchor, "check", book.checks, None))


def link_names(page: Page, span: Tag, ident) -> None:
    """Turn the names of equations in a piece of code into anchors; `finish_code` gives them their links."""
    text = span.get_text()
    if not EQUATION.search(text):
        return
    span.clear()
    end = 0
    for match in EQUATION.finditer(text):
        span.append(text[end:match.start()])
        span.append(page.new("a", match.group(), cls="equation-link", id=ident(match.group())))
        end = match.end()
    span.append(text[end:])


def finish_code(page: Page, book: Book) -> None:
    """Link the names of equations in code, and names of the package in the text."""
    for link in tags(page.soup, "a", "equation-link"):
        name = link.get_text()
        if name in book.equations:
            target, number = book.equations[name]
            link["href"] = page.link(f"{target}#{name}")
            link["aria-label"] = f"{name}, equation {number}"
        else:
            link.name = "span"
    if page.path.startswith("reference/"):     # its names are linked already, within the reference
        return
    for code in page.soup.select("main p > code, main li > code, main td > code"):
        name = package_name(code)
        target = book.names.get(name)
        if target and (page.path, name) not in book.own:
            code.wrap(page.new("a", href=page.link(target), cls="name-link"))


def package_name(code: Tag) -> str | None:
    """The name in a piece of code, if it can only be one of the package: no plain word such as `fit`, which others have, too."""
    match = NAME.fullmatch(code.get_text())
    if match is None or match[1].islower() and "_" not in match[1]:
        return None
    cell = code.find_parent("td")
    if cell is not None:
        heads = [head.get_text() for head in cell.find_parent("table").select("thead th")]
        head = heads[len(cell.find_previous_siblings("td"))] if heads else ""
        if head == "Code" or "slugnet" in heads and head != "slugnet":     # symbols, and other libraries
            return None
    return match[1]


def label_exported(page: Page, book: Book, code: Tag, module: str, defined: list[str]) -> None:
    """Say on an exported cell in which module it ends, and link what it defines to the API reference."""
    block = code.find_parent("div", class_="sourceCode")
    address = f"{book.settings['git_url'].rstrip('/')}/blob/{book.settings['branch']}/{module}"
    block["class"] = [*block["class"], "exported"]
    link = page.new("a", module, cls="module-name", href=address, title="this cell goes into the package")
    label = page.new("div", link, cls="module-line")
    public = [name for name in defined if (module, name) in book.reference]
    if public:
        label.append(page.new("span", "API:", cls="reference-word"))
    for name in public:
        label.append(page.new("a", name, cls="reference-name", href=page.link(book.reference[module, name]),
                              title=f"{name} in the API reference"))
    block.insert(0, label)


def name_definition(page: Page, book: Book, code: Tag, module: str, name: str) -> None:
    """Put an anchor on a definition, so that its name can be linked to from other pages."""
    if (module, name) in book.definitions:
        return
    ident = f"def-{name}" if f"{page.path}#def-{name}" not in book.definitions.values() else f"def-{module}-{name}"
    span = name_span(page, code, name)
    if span is not None:
        span["id"] = ident
        book.own.add((page.path, name))
        book.names.setdefault(name, f"{page.path}#{ident}")
        book.definitions[module, name] = f"{page.path}#{ident}"


def name_span(page: Page, code: Tag, name: str) -> Tag | None:
    """The element that holds a name where it is defined; the highlighter leaves those of constants plain."""
    for span in code.select("span.fu, span.dt, span.va, span.cn"):
        if span.get_text() == name and not span.has_attr("id"):
            return span
    for text in code.find_all(string=re.compile(rf"(?:^|\n){name} $")):
        if text.parent is code:
            start = text.index(name)
            span = page.new("span", name, cls="fu")
            text.replace_with(text[:start], span, text[start + len(name):])
            return span
    return None


def finish_reference(page: Page, book: Book) -> None:
    """Link the entries of the API reference to the place in the book where they are derived."""
    for mark in tags(page.soup, "span", attribute="data-derived"):
        module, _, name = mark.attrs.pop("data-derived").partition(":")
        target = book.definitions.get((module, name))
        if target is None:
            mark.decompose()
            continue
        title = book.titles[target.partition("#")[0]]
        mark.append("derived in ")
        mark.append(page.new("a", title, href=page.link(target)))


def fold_outputs(page: Page) -> None:
    """Put the outputs of a folded cell into the fold."""
    for fold in page.soup.select("div.cell > details.code-fold"):
        for output in fold.find_next_siblings("div", class_="cell-output"):
            fold.append(output.extract())


def show_checks(page: Page, book: Book) -> None:
    """Turn the printed lines of checks into a slim list, each line with a link to its equation."""
    for output in tags(page.soup, "div", "cell-output-stdout"):
        lines = output.get_text().strip("\n").split("\n")
        matches = [CHECK.match(line) for line in lines]
        if not any(matches):
            continue
        others = "\n".join(line for line, match in zip(lines, matches) if not match).strip("\n")
        rows = page.new("ul", cls="checks")
        for name, result in (match.groups() for match in matches if match):
            book.results.setdefault(name, result)
            rows.append(page.new("li", page.new("a", name, cls="check-name", data_name=name), f" {result}"))
        output.insert_before(rows)
        if others:
            output.pre.code.string = others
        else:
            output.decompose()


def finish_checks(page: Page, book: Book) -> None:
    """Link the lines of checks to their equations, by number, and the ledger to the checks and to the lines of code."""
    for link in tags(page.soup, "a", attribute="data-code"):
        name, module, place = link.attrs.pop("data-code").split()
        targets = book.lines.get((name, module))
        if targets:     # else the line is in a cell that its page does not show, and the link leads to the source
            link["href"] = page.link(targets[min(int(place), len(targets) - 1)])
    for link in tags(page.soup, "a", attribute="data-check"):
        targets = book.checks.get(link.attrs.pop("data-check"))
        if targets:
            link["href"] = page.link(targets[0])
        else:
            link.name = "span"
    for link in tags(page.soup, "a", "check-name"):
        name = link.attrs.pop("data-name")
        if name in book.equations:
            target, number = book.equations[name]
            link.string = f"({number})"
            link["href"] = page.link(f"{target}#{name}")
        else:
            link.name = "span"


# ---------------------------------------------------------------- the rest of the text


def tidy_text(page: Page) -> None:
    """Remove what is left over, name the buttons, and let wide things scroll in boxes of their own."""
    for comment in page.soup.find_all(string=lambda s: isinstance(s, Comment)):
        comment.extract()
    for cell in tags(page.soup, "div", "cell"):
        if not cell.get_text(strip=True) and not cell.find(["img", "svg", "iframe", "video"]):
            cell.decompose()
    for button in tags(page.soup, "button", "code-copy-button"):
        button["aria-label"] = "Copy the code"
        button["type"] = "button"
    for pre in tags(page.soup.main, "pre"):
        pre["class"] = [*pre.get("class", []), "scroll"]
    for table in tags(page.soup.main, "table"):
        box = table.find_parent(class_=["sd-table", "scroll"])
        if box is None:
            box = table.wrap(page.new("div"))
        box["class"] = ["table-box", "scroll"]
        table.attrs.pop("border", None)
        for head in table.select("thead th"):
            head["scope"] = "col"
    for image in tags(page.soup.main, "img"):
        image["loading"] = "lazy"
    for figure in tags(page.soup, "figure"):
        for paragraph in figure.find_all("p", recursive=False):
            paragraph.unwrap()
    name_classes(page)


def name_classes(page: Page) -> None:
    """Mark the name of a class where it is defined, as the names of functions are."""
    for word in tags(page.soup, "span", "kw"):
        after = word.next_sibling
        name = re.match(r" (\w+)", after) if word.get_text() == "class" and isinstance(after, NavigableString) else None
        if name:
            rest = after[name.end():]
            after.replace_with(" ")
            word.next_sibling.insert_after(page.new("span", name.group(1), cls="fu"), rest)


def page_facts(page: Page, minutes: int, equations: int) -> Tag:
    """The line under the title: how long the page takes to read, and its equations."""
    facts = page.new("p", cls="page-facts")
    facts.append(page.new("span", f"{minutes} minute{'s' * (minutes > 1)} to read"))
    if equations:
        words = ("1 equation", ", checked") if equations == 1 else (f"{equations} equations", ", each checked")
        facts.append(page.new("span", page.new("a", words[0], href=page.link("ledger.html")), words[1]))
    return facts


def page_needs(page: Page, book: Book) -> Tag:
    """What the page needs and what it gives, in the words of its notebook, and how to run it."""
    rows = page.new("dl", cls="page-needs")
    for paragraph in page.soup.main.find_all("p"):
        word = paragraph.find("strong")
        if word is None or word.get_text() not in ("Needs:", "Gives:") or len(rows) == 4:
            continue
        name = word.extract().get_text().rstrip(":")
        rows.append(page.new("dt", name))
        rows.append(page.new("dd", *[child.extract() for child in list(paragraph.contents)]))
        paragraph.decompose()
    for code in rows.find_all("code"):
        if (page.path, code.get_text()) in book.own:
            code.wrap(page.new("a", href=f"#def-{code.get_text()}", cls="name-link"))
    return rows


def page_run(page: Page) -> Tag:
    """The command that opens the notebook of the page, and the notebook itself."""
    name = posixpath.splitext(page.path)[0]
    file = posixpath.basename(name) + ".ipynb"
    copy = page.new("button", page.new("i"), cls="code-copy-button", type="button", aria_label="Copy the command")
    command = page.new("span", page.new("code", f"make lab PAGE={name}"), copy, cls="command")
    clone = page.new("a", "a\N{NO-BREAK SPACE}clone", href=page.link("index.html#run"))
    row = page.new("dd", command, " in ", clone, " opens it in Jupyter; ")
    row.append(page.new("a", f"download {file}", href=file, download=file))
    return row


def add_facts(page: Page, book: Book) -> None:
    """Put reading time, needs, gives and how to run it under the title of a page that comes from a notebook."""
    header = page.soup.find(id="title-block-header")
    if header is None or page.notebook is None:
        return
    main = page.soup.main
    words = len(main.get_text(" ").split()) - sum(len(code.get_text(" ").split()) for code in tags(main, "pre"))
    lines = sum(len(code.get_text().split("\n")) for code in tags(main, "pre", "cell-code"))
    equations = len(tags(main, "div", "equation", "id"))
    minutes = max(1, round(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE))
    rows = page_needs(page, book)
    rows.append(page.new("dt", "Run"))
    rows.append(page_run(page))
    if page.path == "index.html":
        arrange_front(page, rows)
        link_repository(page, book)
    else:
        header.append(page_facts(page, minutes, equations))
        header.append(rows)


# ---------------------------------------------------------------- the front page


def link_repository(page: Page, book: Book) -> None:
    """Let the words "clone of the repository" lead to it; its address stands in settings.ini only."""
    for text in page.soup.main.find_all(string=re.compile("clone of the repository")):
        before, words, after = text.partition("clone of the repository")
        text.replace_with(before, page.new("a", words, href=book.settings["git_url"]), after)


def arrange_front(page: Page, rows: Tag) -> None:
    """The front page: what slugnet is beside a picture, and sections of three parts in three columns."""
    main = page.soup.main
    header, picture = main.find(id="title-block-header"), main.find("figure")
    hero = header.wrap(page.new("div")).wrap(page.new("div", cls="front-hero"))
    words = hero.div
    while not (hero.next_sibling is None or getattr(hero.next_sibling, "name", "") == "section"):
        words.append(hero.next_sibling.extract())
    if picture is not None:
        cell = picture.find_parent("div", class_="cell") or picture
        hero.append(cell.extract())
    for section in tags(main, "section", "level2"):
        parts = section.find_all("section", class_="level3", recursive=False)
        if len(parts) == 3:
            columns = page.new("div", cls="front-columns")
            parts[0].insert_before(columns)
            for part in parts:
                columns.append(part.extract())
    rows["class"] = "page-needs front-run"
    last = main.find("nav", class_="page-navigation")
    last.insert_before(rows) if last else main.append(rows)
