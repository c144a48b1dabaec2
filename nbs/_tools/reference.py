"""The API reference: one page for each module of the package, made from its signatures and NumPy docstrings.

The package is read with griffe and never imported. `entries` gives every public name, once, where it is defined, and
`pages` gives the pages as Markdown. A name that says less than its base class is completed from there. What a docstring
must hold is tested in tests/test_reference.py.
"""
import ast
import doctest
import html
import itertools
import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import griffe

FOLDER, INDEX = "reference", "reference/index"
WIDTH = 64                      # letters of a signature that stays on one line
SECTIONS = ("parameters", "attributes", "returns", "yields", "raises", "references", "examples")
logging.getLogger("griffe").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Item:
    """One line of a section of a docstring: a parameter, an attribute, what is returned or raised."""

    name: str
    type: str
    text: str


@dataclass
class Entry:
    """A public name, or a public method or property of a public class."""

    name: str                           # Dense, Dense.build
    module: griffe.Module
    object: griffe.Object
    owner: "Entry | None" = None        # the class of a method

    @property
    def kind(self) -> str:
        """What it is: class, function, method, property, attribute or constant."""
        kind, is_property = self.object.kind.value, "property" in self.object.labels
        if self.owner is None:
            return "constant" if kind == "attribute" else kind
        return "property" if is_property else {"function": "method"}.get(kind, kind)

    @property
    def short(self) -> str:
        """The name without that of its class."""
        return self.name.rpartition(".")[2]

    @property
    def address(self) -> str:
        """The page and the anchor, from the site's folder."""
        anchor = self.owner.name if self.kind == "property" else self.name     # properties stand in their class's table
        return f"{FOLDER}/{page_name(self.module)}.html#{anchor}"

    @cached_property
    def sections(self) -> dict:
        """The sections of its own docstring by kind; References and Notes come as text."""
        found = {"text": []}
        text = self.object.docstring.value if self.object.docstring else ""
        for section in griffe.Docstring(text).parse("numpy", warnings=False):   # without a parent: types stay as written
            kind = section.kind.value
            if kind == "text":
                found["text"].append(section.value)
            elif kind == "admonition":
                found[section.title.lower()] = section.value.description
            else:
                found[kind] = section.value
        return found

    def items(self, kind: str) -> list[Item]:
        """The items of a section of its own docstring."""
        values = self.sections.get(kind, [])
        found = [Item(getattr(v, "name", "") or "", str(v.annotation or ""), v.description or "") for v in values]
        return [Item(name.strip(), i.type, i.text) for i in found for name in i.name.split(",")]

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring on one line; of a constant, the comment `#:` above it."""
        if self.kind == "constant":
            above = self.module.filepath.read_text(encoding="utf-8").split("\n")[:self.object.lineno - 1]
            lines = list(itertools.takewhile(lambda line: line.startswith("#: "), reversed(above)))
            return " ".join(line[3:] for line in reversed(lines))
        text = "\n".join(self.sections["text"]).split("\n\n")[0]
        return " ".join(text.split())

    @property
    def signature(self) -> griffe.Function | None:
        """The function that is called: for a class its __init__, own or inherited."""
        if self.object.is_function:
            return self.object
        if not self.object.is_class:
            return None
        return next((c.members["__init__"] for c in [self.object, *self.object.mro()] if "__init__" in c.members
                     and c.members["__init__"].is_function), None)

    @property
    def parameters(self) -> list[griffe.Parameter]:
        """The parameters of the signature, without self."""
        found = list(self.signature.parameters) if self.signature else []
        is_bound = self.object.is_class or self.kind == "method" and "staticmethod" not in self.object.labels
        return found[1:] if is_bound else found


def page_name(module: griffe.Module) -> str:
    """The name of a module's page: its path without the package's name."""
    return module.path.partition(".")[2] or module.path


# ---------------------------------------------------------------- reading the package


def load(root: Path) -> griffe.Module:
    """The package, read but not imported."""
    return griffe.load("slugnet", search_paths=[str(root)], allow_inspection=False)


def modules(package: griffe.Module) -> list[griffe.Module]:
    """The package and its public modules, by name."""
    found = [package]
    for name, module in sorted(package.modules.items()):
        if not module.is_alias and not name.startswith("_"):
            found += modules(module)
    return found


def exports(module: griffe.Module) -> list[str]:
    """The names in a module's `__all__`."""
    return list(dict.fromkeys(str(name) for name in module.exports or []))


def entries(package: griffe.Module) -> list[Entry]:
    """Every public name where it is defined, each class followed by its methods and properties."""
    found = []
    for module in modules(package):
        for name in exports(module):
            thing = module.members.get(name)
            if thing is None or thing.is_alias:
                continue
            entry = Entry(name, module, thing)
            found.append(entry)
            found += members(entry) if thing.is_class else []
    return found


def members(owner: Entry) -> list[Entry]:
    """The public methods and properties that a class has of its own; `fit = fit` in its body binds a function."""
    bound = bound_functions(owner)
    found = {}
    for name, thing in owner.object.members.items():
        if not name.startswith("_") and not thing.is_alias and (thing.is_function or "property" in thing.labels):
            found[name] = thing
    for name, (function, is_property) in bound.items():
        if is_property:
            function.labels.add("property")
        found[name] = function
    return [Entry(f"{owner.name}.{name}", owner.module, thing, owner) for name, thing in found.items()]


def bound_functions(owner: Entry) -> dict:
    """Functions of the module that the body of a class binds: name -> (function, whether as a property)."""
    lines = owner.module.filepath.read_text(encoding="utf-8")
    node = next(n for n in ast.parse(lines).body if isinstance(n, ast.ClassDef) and n.name == owner.name)
    found = {}
    for statement in (s for s in node.body if isinstance(s, ast.Assign)):
        for target in statement.targets:
            pairs = (zip(target.elts, statement.value.elts) if isinstance(target, ast.Tuple)
                     and isinstance(statement.value, ast.Tuple) else [(target, statement.value)])
            for name, value in pairs:
                is_property = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "property"
                value = value.args[0] if is_property else value
                if isinstance(value, ast.Name) and isinstance(name, ast.Name) and not name.id.startswith("_"):
                    function = owner.module.members.get(value.id)
                    if function is not None and function.is_function:
                        found[name.id] = (function, is_property)
    return found


class Reference:
    """All entries, and how they find each other."""

    def __init__(self, root: Path):
        self.root = root
        self.package = load(root)
        self.entries = entries(self.package)
        self.by_path = {f"{e.module.path}.{e.name}": e for e in self.entries}
        self.by_name: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self.by_name.setdefault(entry.name, []).append(entry)

    def resolve(self, name: str, near: Entry) -> Entry | None:
        """The entry that a name means in a docstring: in its class, in its module, by import, or the only one."""
        name = name.removesuffix("()")
        owner = near.owner or near
        for path in (f"{owner.module.path}.{owner.name}.{name}", f"{near.module.path}.{name}", name, f"slugnet.{name}"):
            if path in self.by_path:
                return self.by_path[path]
        head, dot, rest = name.partition(".")
        thing = near.module.members.get(head)
        if thing is not None and thing.is_alias:
            return self.by_path.get(thing.target_path + dot + rest)
        if owner.object.is_class:
            for base in self.bases(owner):
                if f"{base.module.path}.{base.name}.{name}" in self.by_path:
                    return self.by_path[f"{base.module.path}.{base.name}.{name}"]
        found = self.by_name.get(name, [])
        return found[0] if len(found) == 1 else None

    def bases(self, entry: Entry) -> list[Entry]:
        """The public classes that a class inherits from, nearest first."""
        paths = [base.path for base in entry.object.mro()] if entry.object.is_class else []
        return [self.by_path[path] for path in paths if path in self.by_path]

    def of(self, owner: Entry) -> list[Entry]:
        """The methods and properties that a class has of its own."""
        return [e for e in self.entries if e.owner is owner]

    def models(self, entry: Entry) -> list[Entry]:
        """What a method overrides, nearest first; for a class that inherits its arguments, the classes above."""
        if entry.owner is None:
            return self.bases(entry) if entry.object.is_class and "__init__" not in entry.object.members else []
        found = (self.by_path.get(f"{b.module.path}.{b.name}.{entry.short}") for b in self.bases(entry.owner))
        return [e for e in found if e is not None]

    def items(self, entry: Entry, kind: str) -> tuple[list[Item], Entry]:
        """A section of a docstring, from the nearest base class that has it if its own does not, and whose it is."""
        for source in [entry, *self.models(entry)]:
            if source.items(kind):
                return source.items(kind), source
        return [], entry

    def example(self, entry: Entry) -> Entry | None:
        """Whose example shows an entry: its own, that of its class which calls it, or that of what it overrides."""
        if entry.sections.get("examples"):
            return entry
        if entry.owner is None:
            return None
        code = "\n".join(text for _, text in entry.owner.sections.get("examples", []))
        if re.search(rf"\.{entry.short}\(", code):
            return entry.owner
        return next((e for e in self.models(entry) if e.sections.get("examples")), None)

    def summary(self, entry: Entry) -> str:
        """The summary, or that of what is overridden."""
        sources = [entry, *(self.models(entry) if entry.owner else [])]
        return next((e.summary for e in sources if e.summary), "")

    def attributes(self, owner: Entry) -> list[Item]:
        """What the section Attributes says, its own and then that of base classes; a nearer one wins."""
        found: dict[str, Item] = {}
        for source in [owner, *self.bases(owner)]:
            for item in source.items("attributes"):
                found.setdefault(item.name, item)
        return list(found.values())


# ---------------------------------------------------------------- writing


class Writer:
    """Writes the pages of a reference as Markdown with pieces of HTML."""

    def __init__(self, reference: Reference, settings: dict):
        self.reference, self.settings, self.page = reference, settings, ""

    def link(self, target: Entry, text: str) -> str:
        """A link to an entry from the page that is being written."""
        path, _, anchor = target.address.partition("#")
        address = f"#{anchor}" if path == f"{FOLDER}/{self.page}.html" else f"{path.removeprefix(FOLDER + '/')}#{anchor}"
        return f'<a href="{html.escape(address)}">{text}</a>'

    def inline(self, text: str, near: Entry) -> str:
        """One paragraph of a docstring as HTML: code, links to other entries, emphasis, addresses."""
        def code(match: re.Match) -> str:
            name = match.group(1) or match.group(2)
            target = self.reference.resolve(name, near) if re.fullmatch(r"[\w.]+(\(\))?", name) else None
            markup = f"<code>{html.escape(name)}</code>"
            is_new = target is not None and target is not near
            kept.append(self.link(target, markup) if is_new else markup)
            return f"\ue000{len(kept) - 1}\ue001"

        kept: list[str] = []
        text = html.escape(re.sub(r"``(.+?)``|`([^`]+)`", code, text, flags=re.DOTALL), quote=False)
        text = re.sub(r"(?<![\w*])\*(\w[^*]*?\w|\w)\*(?![\w*])", r"<em>\1</em>", text)
        text = re.sub(r"https?://[^\s<>)]*[\w/]", lambda m: f'<a href="{m.group()}">{m.group()}</a>', text)
        return re.sub("\ue000(\\d+)\ue001", lambda m: kept[int(m.group(1))], " ".join(text.split()))

    def paragraphs(self, text: str, near: Entry) -> list[str]:
        """Paragraphs of a docstring as HTML."""
        return [f"<p>{self.inline(part, near)}</p>" for part in re.split(r"\n\s*\n", text) if part.strip()]

    def type(self, text: str, near: Entry) -> str:
        """A type with its shape, in which names of the package are links."""
        def name(match: re.Match) -> str:
            target = self.reference.resolve(match.group(), near)
            is_class = target is not None and target.object.is_class
            return self.link(target, match.group()) if is_class else match.group()
        return re.sub(r"\b(?:slugnet\.)?(?:\w+\.)*[A-Z]\w+\b", name, html.escape(text.replace("`", ""), quote=False))

    # ------------------------------------------------------------ a signature

    def signature(self, entry: Entry) -> str:
        """The signature with its types, on one line or one parameter a line."""
        if entry.kind in ("constant", "attribute", "property"):
            note = self.type(str(entry.object.annotation or ""), entry) if entry.object.annotation else ""
            value = html.escape(str(entry.object.value)) if entry.kind == "constant" else ""
            value = value if len(value) < 200 else ""
            shown = f'<span class="fu">{entry.short}</span>' + (f": {note}" if note else "") + (f" = {value}" if value else "")
            return f'<pre class="signature"><code>{shown}</code></pre>'
        pieces, plain = self.pieces(entry)
        word = '<span class="kw">class</span> ' if entry.kind == "class" else ""
        function, returns = entry.signature, ""
        if entry.kind != "class" and function.returns is not None:
            returns = f" → {self.type(str(function.returns).strip(chr(34)), entry)}"
        length = len(entry.short) + sum(map(len, plain)) + len(re.sub("<.*?>", "", returns)) + 2 * len(plain) + 6
        is_short = length <= WIDTH or not pieces
        inner = ", ".join(pieces) if is_short else "".join(f'<span class="parameter">{p},</span>' for p in pieces)
        return (f'<pre class="signature"><code>{word}<span class="fu">{entry.short}</span>({inner}){returns}</code></pre>')

    def pieces(self, entry: Entry) -> tuple[list[str], list[str]]:
        """The parameters of a signature, as HTML and as plain text."""
        marked, plain, is_star = [], [], False
        for p in entry.parameters:
            kind = p.kind.value if p.kind else ""
            star = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
            if kind == "keyword-only" and not is_star:
                marked.append("*")
                plain.append("*")
            is_star = is_star or kind in ("keyword-only", "variadic positional")
            note = str(p.annotation).strip("\"'") if p.annotation is not None else ""
            default = "" if p.default is None or star else str(p.default)
            sign = (" = " if note else "=") if default else ""
            plain.append(f"{star}{p.name}{': ' + note if note else ''}{sign}{default}")
            marked.append(f'{star}<span class="va">{p.name}</span>'
                          + (f': <span class="quiet">{self.type(note, entry)}</span>' if note else "")
                          + (f'{sign}<span class="dv">{html.escape(default)}</span>' if default else ""))
        return marked, plain

    # ------------------------------------------------------------ sections

    def parameters(self, entry: Entry) -> list[str]:
        """The table of the parameters: name, type and shape, default, meaning."""
        documented, source = self.reference.items(entry, "parameters")
        by_name = {item.name.lstrip("*"): item for item in documented}
        rows = []
        for p in entry.parameters:
            item = by_name.get(p.name, Item(p.name, "", ""))
            kind = p.kind.value if p.kind else ""
            star = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
            note = item.type or str(p.annotation or "").strip("\"'")
            note = re.sub(r",\s*optional\s*$", "", note)
            default = "any number" if star else "required" if p.default is None else f"<code>{html.escape(str(p.default))}</code>"
            rows.append((f"<code>{star}{p.name}</code>", self.type(note, source), default, self.cell(item.text, source)))
        if not rows:
            return []
        return self.table("Parameters", ("Name", "Type and shape", "Default", "Meaning"), rows, self.taken(entry, source))

    def cell(self, text: str, near: Entry) -> str:
        """A description in a cell of a table."""
        return "<br>".join(self.inline(part, near) for part in re.split(r"\n\s*\n", text) if part.strip())

    def taken(self, entry: Entry, source: Entry) -> str:
        """A note that a section stands in the base class."""
        if source is entry:
            return ""
        return f"as in {self.link(source, f'<code>{source.name}</code>')}"

    def table(self, title: str, heads: tuple, rows: list, note: str = "") -> list[str]:
        """A titled table; on a phone each row stands as a block."""
        note = f' <span class="reference-note">{note}</span>' if note else ""
        head = "".join(f'<th scope="col">{h}</th>' for h in heads)
        if not any(row[-1] for row in rows):                # nothing in the last column
            heads, rows, head = heads[:-1], [row[:-1] for row in rows], "".join(f'<th scope="col">{h}</th>' for h in heads[:-1])
        body = "".join("<tr>" + "".join(f'<td class="reference-{h.split()[0].lower()}">{c}</td>' for h, c in zip(heads, row)) + "</tr>"
                       for row in rows)
        return [f'<p class="reference-section">{title}{note}</p>',
                f'<table class="reference"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>']

    def results(self, entry: Entry) -> list[str]:
        """What is returned or yielded, and what is raised."""
        lines = []
        for kind, title in (("returns", "Returns"), ("yields", "Yields")):
            items, source = self.reference.items(entry, kind)
            if items and entry.kind != "property":
                is_named = any(i.name for i in items)
                heads = ("Name", "Type and shape", "Meaning") if is_named else ("Type and shape", "Meaning")
                rows = [((f"<code>{i.name}</code>",) if is_named else ()) + (self.type(i.type, source), self.cell(i.text, source))
                        for i in items]
                lines += self.table(title, heads, rows, self.taken(entry, source))
        items, source = self.reference.items(entry, "raises")
        if items:
            rows = [(self.type(i.type, source), self.cell(i.text, source)) for i in items]
            lines += self.table("Raises", ("Error", "When"), rows, self.taken(entry, source))
        return lines

    def attributes(self, entry: Entry) -> list[str]:
        """The table of the attributes: documented ones, and properties."""
        own = entry.items("attributes")
        rows = [(f"<code>{i.name}</code>", self.type(i.type, entry), self.cell(i.text, entry)) for i in own]
        seen = {i.name for i in own}
        properties = [e for e in self.reference.of(entry) if e.kind == "property" and e.short not in seen]
        rows += [(f"<code>{e.short}</code>", self.type(str(e.object.annotation or e.object.returns
                  if e.object.is_function else e.object.annotation or ""), e), self.inline(self.reference.summary(e), e))
                 for e in properties]
        return self.table("Attributes", ("Name", "Type and shape", "Meaning"), rows) if rows else []

    def inherited(self, entry: Entry) -> list[str]:
        """One line for each base class: what it passes on."""
        lines, seen = [], {e.short for e in self.reference.of(entry)} | {i.name for i in entry.items("attributes")}
        for base in self.reference.bases(entry):
            fresh = [e for e in self.reference.of(base) if e.short not in seen]
            seen |= {e.short for e in fresh}
            names = [self.link(e, f"<code>{e.short}</code>") for e in fresh]
            names += [self.link(base, f"<code>{i.name}</code>") for i in base.items("attributes")
                      if i.name not in seen]
            seen |= {i.name for i in base.items("attributes")}
            if names:
                start = self.link(base, f"<code>{base.name}</code>")
                lines.append(f'<p class="reference-inherited">Inherited from {start}: {", ".join(names)}</p>')
        return lines

    def examples(self, entry: Entry) -> list[str]:
        """The examples as code with its output, without prompts, so that they can be copied; or where they stand."""
        values, source = entry.sections.get("examples", []), self.reference.example(entry)
        if not values and source is not None:
            link = self.link(source, f"<code>{source.name}</code>")
            return raw([f'<p class="reference-section">Examples <span class="reference-note">at {link}</span></p>'])
        lines = raw(['<p class="reference-section">Examples</p>']) if values else []
        for kind, text in values:
            if kind.value == "text":
                lines += raw(self.paragraphs(text, entry))
                continue
            code: list[str] = []
            for example in doctest.DocTestParser().get_examples(text):
                code.append(re.sub(r"  # doctest: .*", "", example.source).rstrip("\n"))
                if example.want or example.exc_msg:
                    lines += [*fenced(code), *raw([output(example.want)])]
                    code = []
            lines += fenced(code)
        return lines

    def links(self, entry: Entry) -> str:
        """The line under a heading: where it is derived, and its source."""
        file = entry.module.filepath.relative_to(self.reference.root).as_posix()
        start, end = entry.object.lineno, entry.object.endlineno
        source = f"{self.settings['git_url'].rstrip('/')}/blob/{self.settings['branch']}/{file}#L{start}-L{end}"
        shown = (entry.owner or entry).name if entry.owner and not self.is_module_level(entry) else entry.short
        derived = f'<span data-derived="{file}:{shown}"></span>'
        return f'<p class="reference-links">{derived}<a href="{source}">source</a></p>'

    def is_module_level(self, entry: Entry) -> bool:
        """Whether a method is a function of the module that its class binds."""
        return entry.object.parent is not None and entry.object.parent.is_module

    # ------------------------------------------------------------ pages

    def entry(self, entry: Entry) -> list[str]:
        """The lines of one entry."""
        mark = "##" if entry.owner is None else "###"
        title = entry.name.replace("_", "\\_")
        lines = [f"{mark} {title} {{#{entry.name}}}", ""]
        body = [self.signature(entry), self.links(entry)]
        text = "\n\n".join(entry.sections["text"]) or self.reference.summary(entry)
        body += self.paragraphs(text, entry)
        bases = [b for b in self.reference.bases(entry)[:1] if entry.kind == "class"]
        body += [f'<p class="reference-inherited">A kind of {self.link(b, f"<code>{b.name}</code>")}</p>'
                 for b in bases]
        body += self.parameters(entry) if entry.signature else []
        body += self.attributes(entry) if entry.kind == "class" else []
        body += self.results(entry)
        for kind in ("notes", "references"):
            if kind in entry.sections:
                body += [f'<p class="reference-section">{kind.capitalize()}</p>', *self.paragraphs(entry.sections[kind], entry)]
        body += self.inherited(entry) if entry.kind == "class" else []
        return [*lines, *raw(body), *self.examples(entry)]

    def module(self, module: griffe.Module) -> str:
        """The page of a module."""
        self.page = page_name(module)
        own = [e for e in self.reference.entries if e.module is module and e.kind != "property"]
        lines = front(module.path, purpose(module))
        for entry in own:
            lines += self.entry(entry)
        return "\n".join(lines)

    def index(self) -> str:
        """The page that lists all names, one line each, under their modules."""
        self.page = "index"
        count = sum(e.owner is None for e in self.reference.entries)
        lines = front("API reference", "Every public name and method of the package, with signature, parameters, errors and an example that is tested.")
        lines += [f"The package has {count} public names. Each stands here once, in the module that defines it; "
                  "a module's page gives signature, parameters with shapes, units and defaults, "
                  "errors, examples, the place in the book where it is derived, and its source.", ""]
        for module in modules(self.reference.package):
            own = [e for e in self.reference.entries if e.module is module and e.owner is None]
            head = f"[{page_name(module)}]({page_name(module)}.md)" if own else page_name(module)
            lines += [f"## {head} {{#{module.path}}}", "", purpose(module), ""]
            shared = [n for n in exports(module) if module.members.get(n) is not None and module.members[n].is_alias]
            lines += raw([self.shared(module, shared)] if shared else [])
            rows = [(self.link(e, f"<code>{e.name}</code>"), self.index_line(e)) for e in own]
            body = "".join(f"<tr><td>{a}</td><td>{b}</td></tr>" for a, b in rows)
            lines += raw([f'<table class="reference reference-index"><tbody>{body}</tbody></table>'] if rows else [])
        return "\n".join(lines)

    def index_line(self, entry: Entry) -> str:
        """The summary of an entry for the index, without links."""
        return re.sub(r"</?a\b[^>]*>", "", self.inline(self.reference.summary(entry), entry))

    def shared(self, module: griffe.Module, names: list[str]) -> str:
        """The names that a module offers and another defines."""
        found = ((n, self.reference.by_path.get(str(module.members[n].target_path))) for n in names)
        links = ", ".join(self.link(e, f"<code>{n}</code>") for n, e in found if e is not None)
        return f'<p class="reference-inherited">Offers from other modules: {links}</p>'

    def pages(self) -> dict[str, str]:
        """All pages by file name, the index first."""
        found = {f"{INDEX}.md": self.index()}
        for module in modules(self.reference.package):
            if any(e.module is module for e in self.reference.entries):
                found[f"{FOLDER}/{page_name(module)}.md"] = self.module(module)
        return found


def front(title: str, purpose: str) -> list[str]:
    """The head of a page in Markdown; its contents list classes and functions only."""
    return ["---", f'title: "{title}"', f"description: \"{purpose.replace(chr(34), chr(39))}\"", "toc-depth: 2", "---", ""]


def purpose(module: griffe.Module) -> str:
    """The first line of a module's docstring."""
    return module.docstring.value.strip().split("\n")[0] if module.docstring else ""


def raw(lines: list[str]) -> list[str]:
    """HTML in Markdown, which nothing may change."""
    return ["```{=html}", *lines, "```", ""] if lines else []


def fenced(code: list[str]) -> list[str]:
    """Python in Markdown."""
    return ["```python", *code, "```", ""] if code else []


def output(text: str) -> str:
    """What an example prints."""
    return f'<div class="cell-output"><pre><code>{html.escape(text.rstrip(chr(10)), quote=False)}</code></pre></div>'


def page_names(root: Path) -> list[str]:
    """The pages that the reference will have, from the site's folder, without suffix."""
    package = load(root)
    own = {e.module.path for e in entries(package)}
    return [INDEX, *(f"{FOLDER}/{page_name(m)}" for m in modules(package) if m.path in own)]


def addresses(reference: Reference) -> dict[tuple[str, str], str]:
    """Where the reference has each name that a cell defines: (file of the module, name) -> page#anchor."""
    found = {}
    for entry in reference.entries:
        file = entry.module.filepath.relative_to(reference.root).as_posix()
        if entry.owner is None:
            found[file, entry.name] = entry.address
        elif entry.object.parent is not None and entry.object.parent.is_module:
            found.setdefault((file, entry.object.name), entry.address)
    return found
