"""Pages that are made when the site is built: the ledger and the page for addresses that do not exist."""
import html
import re
from collections import Counter, defaultdict
from pathlib import Path

import ledger
import notebooks


def ledger_pages(root: Path, settings: dict, run: bool = True) -> dict[str, str]:
    """The ledger as Markdown, by file name: an overview, and for each section of the book a page with its
    equations, each with its code, its check and its measured error.

    Parameters
    ----------
    root : the folder of the project
    settings : settings.ini, for the address of the source
    run : whether to run notebooks whose measurements are missing or stale
    """
    equations, records = ledger.collect(root), ledger.records(root, run)
    by_page, parts, sections = defaultdict(list), defaultdict(list), notebooks.sections(root)
    for equation in equations:
        by_page[(equation.page, equation.page_title)].append(equation)
    for (page, title), rows in by_page.items():
        parts[sections[page]].append((page, title, rows))
    holding = sum(holds(records.get(e.name, [])) for e in equations)
    overview = front("The ledger", "Every equation of the book, the line that implements it, and how far the two are apart.")
    overview += [f"**{holding} of {len(equations)} equations hold.** The pages below give each equation, with a link to "
                 "its derivation, the line of code that implements it, and the largest error that its checks measured "
                 "when this page was built, with the limit that it must not pass.", ""]
    found = {}
    for section, pages in parts.items():
        name = ledger_name(section)
        overview += [f"## {section}", "", "| Page | Equations | Hold |", "|---|---|---|",
                     *(f"| [{title}]({name}.md#{slug(title)}) | {len(rows)} | "
                       f"{sum(holds(records.get(e.name, [])) for e in rows)} |" for _, title, rows in pages), ""]
        found[f"{name}.md"] = "\n".join(ledger_part(section, pages, records, settings))
    return {"ledger.md": "\n".join(overview), **found}


def ledger_part(section: str, pages: list, records: dict, settings: dict) -> list[str]:
    """The lines of one page of the ledger: a table for each page of the section."""
    head = "<tr><th>Number</th><th>Equation</th><th>Code</th><th>Error</th></tr>"
    lines = front(f"The ledger: {section.lower()}", "The equations of a part of the book, their code, and the errors measured.")
    for _, title, rows in pages:
        lines += [f'<a id="{slug(title)}"></a>', "", f"## {title}", "", "```{=html}",
                  f'<table class="ledger"><thead>{head}</thead><tbody>',
                  *(ledger_row(e, records.get(e.name, []), settings) for e in rows), "</tbody></table>", "```", ""]
    return lines


def front(title: str, purpose: str) -> list[str]:
    """The head of a page in Markdown."""
    return ["---", f'title: "{title}"', f"description: {purpose}", "---", ""]


def ledger_name(section: str) -> str:
    """The name of the ledger's page for a section of the book."""
    return f"ledger-{slug(section)}"


def slug(text: str) -> str:
    """A text as the last part of an address."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def holds(records: list[dict]) -> bool:
    """Whether an equation was checked and every error is within its limit."""
    return bool(records) and all(r["error"] <= r["limit"] for r in records)


def number(error: float) -> str:
    """An error with two digits; an exact agreement is 0."""
    return f"{error:.1e}" if error else "0"


def ledger_row(equation, records: list[dict], settings: dict) -> str:
    """One row of the ledger."""
    page = f"{equation.page}.html"
    source = f"{settings['git_url'].rstrip('/')}/blob/{settings['branch']}/"
    places = Counter()
    lines = []
    for file, line, _ in equation.code:
        lines.append(f'<a data-code="{equation.name} {file} {places[file]}" href="{html.escape(source + file)}#L{line}" '
                     f'title="{html.escape(file)}, line {line}">{html.escape(file.removeprefix("slugnet/"))}:{line}</a>')
        places[file] += 1
    worst = max(records, key=lambda r: r["error"] / r["limit"] if r["limit"] else r["error"], default=None)
    result = (f'<a data-check="{equation.name}">{"✓" if holds(records) else "✗"} {number(worst["error"])}</a>'
              f' <span class="ledger-limit">limit {worst["limit"]:.0e}</span>' if worst else "✗ not checked")
    tex = " ".join(equation.tex.split())
    return (f'<tr id="ledger-{equation.name}">'
            f'<td class="ledger-number"><a href="{page}#{equation.name}">({equation.tag})</a></td>'
            f'<td class="ledger-equation"><div class="scroll"><span class="math inline" role="math" aria-label="{html.escape(tex)}">'
            f'\\(\\displaystyle {html.escape(tex)}\\)</span></div>'
            f'<span class="ledger-name">{equation.name}</span></td>'
            f'<td class="ledger-code">{"<br>".join(lines) or "—"}</td>'
            f'<td class="ledger-check{"" if holds(records) else " fails"}">{result}</td></tr>')


NOT_FOUND = """---
title: There is no such page
description: The address does not exist on this site.
toc: false
---

It may have moved, or the address is mistyped. The search at the top finds words, names and symbols; from here, one can
go on to

- the [front page](index.ipynb), which says what slugnet is,
- the [introduction](introduction.ipynb), where reading begins,
- the [notation](notation.ipynb), where every symbol is,
- the [package](package.ipynb), where every name is.
"""
