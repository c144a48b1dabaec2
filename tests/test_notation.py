"""The symbol tables of the pages and the notation page say the same."""
import re
from collections import Counter

import notebooks
import pytest

NOTATION = "notation"
HEAD = ("Symbol", "Meaning", "Code", "Shape")


def tables(text: str) -> list[list[tuple[str, ...]]]:
    """The pipe tables of some markdown: rows of cells, the head first."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("|"):
            parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append(tuple(part.strip() for part in parts))
        elif rows:
            assert all(set(part) <= set("-: ") for part in rows[1]), f"the second row is no rule: {rows[1]}"
            assert all(len(row) == len(rows[0]) for row in rows), f"rows of different lengths: {rows}"
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def symbols(cells: list[str]) -> list[tuple[str, ...]]:
    """The rows of the tables under the heading `## Symbols`."""
    text = "\n\n".join(cells)
    section = re.search(r"^## Symbols[ \t]*$(.*?)(?=^#{1,2} |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = []
    for table in tables(section[1]) if section else []:
        assert table[0] == HEAD, f"the head of a symbol table is {table[0]}"
        rows += table[1:]
    assert rows or not section, "the section Symbols has no table"
    return rows


def notation(cells: list[str]) -> list[tuple[str, ...]]:
    """The rows of the notation page: those of every table that begins with a symbol."""
    found = [table for table in tables("\n\n".join(cells)) if table[0][0] == HEAD[0]]
    assert all(table[0][:4] == HEAD and table[0][4:] in ((), ("Pages",)) for table in found)
    return [row for table in found for row in table[1:]]


def twice(things) -> list:
    """What stands in a list more than once."""
    return [thing for thing, n in Counter(things).items() if n > 1]


def disagreements(pages: dict[str, list[tuple[str, ...]]], rows: list[tuple[str, ...]]) -> list[str]:
    """Where the pages' rows and those of the notation page differ."""
    bad, gathered = [], {row[:4]: row[4:] for row in rows}
    bad += [f"{NOTATION}: stands twice: {row}" for row in twice(row[:4] for row in rows)]
    for page, own in pages.items():
        bad += [f"{page}: {symbol} stands twice" for symbol in twice(row[0] for row in own)]
        missing = [row for row in own if row not in gathered]
        bad += [f"{NOTATION}: lacks a row of {page}: | {' | '.join(row)} |" for row in missing]
    for row, places in gathered.items():
        users = [page for page, own in pages.items() if row in own]
        if not users:
            bad.append(f"{NOTATION}: no page uses | {' | '.join(row)} |")
        if places and (named := re.findall(r"\]\(([^)#]*)\.ipynb", places[0])) != users:
            bad.append(f"{NOTATION}: {row[0]} names the pages {named}; it is used by {users}")
    return bad


def test_the_notation_page_gathers_every_symbol() -> None:
    pages = {page: rows for page in notebooks.pages() if page != NOTATION
             and (rows := symbols(notebooks.cells(page, "markdown")))}
    bad = disagreements(pages, notation(notebooks.cells(NOTATION, "markdown")))
    assert pages, "no page has a symbol table"
    if bad:
        pytest.fail("\n".join(bad), pytrace=False)


def test_pages_with_equations_have_a_symbol_table() -> None:
    with_equations = {entry["page"] for entry in notebooks.numbers().values()} - {NOTATION, "index"}
    bare = [page for page in sorted(with_equations) if not symbols(notebooks.cells(page, "markdown"))]
    assert not bare


# ---- each test above can fail

TABLE = "## Symbols\n\n| Symbol | Meaning | Code | Shape |\n|---|:-:|---|---|\n"
ROW = "| $x$ | input, $\\lvert x \\rvert$ \\| y | `x` | $(m, n)$ |\n"
X = ("$x$", "input, $\\lvert x \\rvert$ \\| y", "`x`", "$(m, n)$")


def test_a_symbol_table_is_read() -> None:
    assert symbols(["# T", TABLE + ROW, "more\n\n## Next", "| a |\n|---|\n"]) == [X]
    assert symbols(["# T", "## Other\n" + ROW]) == []
    assert notation([(TABLE + ROW).replace("## Symbols", "## Anything")]) == [X]


@pytest.mark.parametrize("table", [TABLE, TABLE.replace("Code", "In code") + ROW, TABLE + "| $x$ |\n"])
def test_a_malformed_symbol_table_is_found(table: str) -> None:
    with pytest.raises(AssertionError):
        symbols([table])


@pytest.mark.parametrize(("pages", "rows", "problem"), [
    ({"a": [X, X]}, [X], "a: $x$ stands twice"),
    ({"a": [X]}, [X, X], "notation: stands twice"),
    ({"a": [X, ("$y$", "", "", "")]}, [X], "lacks a row of a"),
    ({"a": [(X[0], "output", *X[2:])]}, [X, (X[0], "output", *X[2:])], "no page uses"),
    ({"a": [X], "b/c": [X]}, [(*X, "[a](a.ipynb)")], "names the pages ['a']"),
])
def test_a_disagreement_is_found(pages: dict, rows: list, problem: str) -> None:
    [found] = disagreements(pages, rows)
    assert problem in found


def test_agreement_is_no_problem() -> None:
    assert disagreements({"a": [X], "b/c": [X]}, [(*X, "[a](a.ipynb#symbols), [c](b/c.ipynb)")]) == []
