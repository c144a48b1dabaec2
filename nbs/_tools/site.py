"""Build the website of the book into `_docs`: `python nbs/_tools/site.py`.

nbdev prepares the notebooks in `_proc`, smalldocs renders them from the same `_quarto.yml` that Quarto reads, and the
steps in `enhance` and `frame` set the formulas, link equations, code and checks, and make the frame of the pages.
With `--check-links` nothing is built: the links of the built site are checked. Never put this folder on PYTHONPATH:
its name would hide the standard library's `site`.
"""
import argparse
import gzip
import json
import os
import re
import shutil
import sys
import time
from configparser import ConfigParser
from pathlib import Path

import enhance
import frame
import playground
import reference
import vendor
import yaml
from links import broken_links

TOOLS = Path(__file__).resolve().parent
NOT_FOUND, STAMP, SEARCH = "404.md", ".complete", "search.bin"
BREAK = ("</span>", '<span class="base">')     # between these a formula in a sentence may go on in the next line
STRUT = re.compile(r'class="strut" style="height:([\d.]+)em;(?:vertical-align:-([\d.]+)em)?')


def read_settings(root: Path) -> dict:
    """settings.ini as a dict."""
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def sources(root: Path) -> list[Path]:
    """The files that the site is made of."""
    found = [root / "settings.ini", root / "_quarto.yml"]
    for folder in (root / "nbs", root / "slugnet"):
        found += [p for p in folder.rglob("*") if p.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(p.parts)
                  and p.name != "nbdev.yml"]
    return found


def is_fresh(root: Path) -> bool:
    """Whether the built site is newer than everything it is made of."""
    stamp = root / "_docs" / STAMP
    return stamp.exists() and all(p.stat().st_mtime <= stamp.stat().st_mtime for p in sources(root))


# ---------------------------------------------------------------- before rendering


def exists_in(root: Path, entry) -> bool:
    """Whether an entry of the sidebar is there: a page that is written, or a section with one."""
    if isinstance(entry, str):
        return (root / "nbs" / entry).exists()
    if "contents" in entry:
        entry["contents"] = [e for e in entry["contents"] if exists_in(root, e)]
        return bool(entry["contents"])
    return exists_in(root, entry["href"])


def write_config(root: Path, proc: Path, made: dict[str, list]) -> None:
    """Join nbdev's addresses and the project's `_quarto.yml` into one file, with the pages made here as the last sections."""
    addresses = yaml.safe_load((root / "nbs" / "nbdev.yml").read_text(encoding="utf-8"))
    config = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
    config.pop("metadata-files", None)
    config["project"] = {"type": "website", **config.get("project", {}), "output-dir": "_docs"}
    config["website"] = {**addresses["website"], **config["website"]}
    sidebar = config["website"]["sidebar"]
    sidebar["contents"] = [e for e in sidebar["contents"] if exists_in(root, e)]
    sidebar["contents"] += [{"section": title, "contents": contents} for title, contents in made.items()]
    (proc / "_quarto.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def notebooks(root: Path) -> list[Path]:
    """The notebooks of the book."""
    return [p for p in sorted((root / "nbs").rglob("*.ipynb"))
            if not any(part.startswith(("_", ".")) for part in p.relative_to(root / "nbs").parts)]


def check_first_cells(root: Path) -> None:
    """nbdev keeps of a first cell its title and its `>` line and drops the rest: refuse to lose text."""
    for notebook in notebooks(root):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        lines = "".join(cells[0]["source"]).strip().split("\n") if cells else []
        if not lines or not lines[0].startswith("# ") or any(x.strip() and not x.startswith(">") for x in lines[1:]):
            raise vendor.BuildError(f"{notebook.relative_to(root)}: the first cell must hold its `# Title`, a `>` line "
                                    "and nothing else; what else it holds would be lost")


def prepare(root: Path, settings: dict, draft: bool, names: reference.Reference) -> Path:
    """Let nbdev prepare the notebooks, and write the pages that are made here."""
    import contextlib
    import io

    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs

    os.chdir(root)
    with contextlib.redirect_stdout(io.StringIO()):     # it advises to change settings.ini
        refresh_quarto_yml()
    shutil.rmtree(root / "_proc", ignore_errors=True)
    proc = proc_nbs(n_workers=min(2, os.cpu_count() or 1))
    import pages  # it needs the ledger
    ledger = pages.ledger_pages(root, settings, run=not draft)
    api = reference.Writer(names, settings).pages()
    write_config(root, proc, {"API reference": [{"text": "All names", "href": f"{reference.INDEX}.md"}, *list(api)[1:]],
                              "The ledger": list(ledger)})
    (proc / reference.FOLDER).mkdir(exist_ok=True)
    for name, text in {**api, **ledger}.items():
        (proc / name).write_text(text, encoding="utf-8")
    (proc / NOT_FOUND).write_text(pages.NOT_FOUND, encoding="utf-8")
    return proc


def render(proc: Path) -> Path:
    """Render the pages with smalldocs; its warnings are shown."""
    from smalldocs.site import build

    site = build(proc, quiet=True)
    known = ("output-file is not read", "broken link")   # nbdev writes the first; links are checked at the end
    for warning in site.warnings:
        if not any(text in warning for text in known):
            print(f"smalldocs: {warning}", file=sys.stderr)
    return site.out


# ---------------------------------------------------------------- after rendering


def exported_cells(root: Path) -> dict[str, str]:
    """The source of every exported cell, without its directives, and the module it goes to."""
    cells = {}
    for notebook in notebooks(root):
        module = None
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            lines = "".join(cell["source"]).split("\n")
            directives = [line[2:].strip() for line in lines if line.startswith("#|")]
            for directive in directives:
                if directive.startswith("default_exp "):
                    module = "slugnet/" + directive.split()[1].replace(".", "/") + ".py"
            if cell["cell_type"] == "code" and module and {"export", "exports"} & set(directives):
                cells["\n".join(line for line in lines if not line.startswith("#|")).strip()] = module
    return cells


def figure_ink(root: Path) -> str:
    """The colour that figures use for lines and letters, as slugnet.plot names it."""
    module = root / "slugnet" / "plot.py"
    found = re.search(r'^INK = "(#\w+)"', module.read_text(encoding="utf-8"), re.MULTILINE) if module.exists() else None
    return found.group(1) if found else ""


def read_pages(root: Path, out: Path, book: enhance.Book) -> list[enhance.Page]:
    """Read every rendered page, in a stable order."""
    pages = []
    for file in sorted(out.rglob("*.html")):
        path = file.relative_to(out).as_posix()
        notebook = root / "nbs" / Path(path).with_suffix(".ipynb")
        if notebook.exists():
            book.pictures[path] = enhance.notebook_figures(root / "_proc" / Path(path).with_suffix(".ipynb"))
        page = enhance.parse(path, file.read_text(encoding="utf-8"), book)
        page.notebook = notebook if notebook.exists() else None
        pages.append(page)
    return pages


def height(formula: str) -> float:
    """The height of a formula that KaTeX has set, in em."""
    struts = [(float(height), float(depth or 0)) for height, depth in STRUT.findall(formula)]
    return max(height - depth for height, depth in struts) + max(depth for _, depth in struts)


def set_formulas(root: Path, pages: list[enhance.Page]) -> int:
    """Set the formulas of all pages with KaTeX; one that cannot be set stops the build."""
    spans = [(page, span) for page in pages for span in enhance.math_spans(page)]
    formulas = [(enhance.tex_of(span), span.get_text().strip().startswith("\\["),
                 "html" if span.has_attr("aria-label") else "htmlAndMathml") for _, span in spans]
    errors = []
    for (page, span), (tex, *_), result in zip(spans, formulas, vendor.set_formulas(root, formulas)):
        if "error" in result:
            errors.append(f"{page.path}: {tex}\n    {result['error']}")
        else:
            if "scroll" in span.parent.get("class", []):
                span.parent["style"] = f"--height:{height(result['html']):.4g}em"
            formula = result["html"]
            if "inline" in span["class"]:
                formula = formula.replace("".join(BREAK), "<wbr>".join(BREAK))
            span.string = page.placeholder(formula)
    if errors:
        raise vendor.BuildError("KaTeX cannot set:\n" + "\n".join(errors))
    return len(formulas)


def enhance_pages(root: Path, out: Path, settings: dict, names: reference.Reference) -> dict:
    """Work on all pages: first gather what they hold, then link it."""
    book = enhance.Book(settings, exported=exported_cells(root), ink=figure_ink(root), reference=reference.addresses(names))
    pages = read_pages(root, out, book)
    for page in pages:
        enhance.tidy_text(page)
        enhance.make_equations(page, book)
        enhance.mark_code(page, book)
        enhance.show_checks(page, book)
        enhance.fold_outputs(page)
    rows = []
    for page in pages:
        enhance.finish_equations(page, book)
        enhance.finish_code(page, book)
        enhance.finish_checks(page, book)
        enhance.finish_reference(page, book)
        enhance.add_facts(page, book)
        if frame.is_smalldocs(page):
            frame.rebuild(page, book)
            playground.attach(page)
        if page.path != "404.html":
            rows += frame.search_entries(page)
    for page in pages:
        enhance.keep_punctuation(page)
    count = set_formulas(root, pages)
    for page in pages:
        if page.path == "404.html":
            frame.absolute_links(page, settings["doc_baseurl"])
        (out / page.path).write_text(page.text(), encoding="utf-8")
        if page.notebook:
            shutil.copy(page.notebook, out / Path(page.path).with_suffix(".ipynb"))
    found = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    (out / SEARCH).write_bytes(gzip.compress(found.encode(), mtime=0))     # a browser unpacks it, whatever the server does
    return {"pages": len(pages), "formulas": count, "equations": len(book.equations)}


def copy_files(root: Path, out: Path) -> None:
    """Put scripts, style and fonts beside the pages, and remove what smalldocs brought and no page loads."""
    libs = out / "site_libs"
    for unused in ("bootstrap", "bootstrap-icons", "themes", "fuse", "smalldocs.css", "smalldocs.js"):
        path = libs / unused
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    (out / "search.json").unlink(missing_ok=True)
    vendor.copy_katex(root, libs)
    vendor.copy_fonts(root, libs)
    shutil.copy(TOOLS / "site.js", libs)
    for name in ("styles.css", "favicon.svg"):
        shutil.copy(root / "nbs" / name, out)
    playground.copy_files(root, out)
    (out / ".nojekyll").touch()


def build(root: Path, draft: bool = False) -> None:
    """Build the site; the old one stays until the new one is complete. A draft runs no notebook for the ledger."""
    settings, start, names = read_settings(root), time.time(), reference.Reference(root)
    for name in ("katex", *vendor.FONTS):
        vendor.fetch(name, root)
    check_first_cells(root)
    out = render(prepare(root, settings, draft, names))
    copy_files(root, out)
    counts = enhance_pages(root, out, settings, names)
    if not draft:
        (out / STAMP).touch()
        os.utime(out / STAMP, (start, start))
    docs = root / "_docs"
    shutil.rmtree(docs, ignore_errors=True)
    out.rename(docs)
    print("site: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + f", in {docs.name}/")


def check_links(root: Path) -> int:
    """Print the broken links of the built site; the exit status says whether there are any."""
    found = broken_links(root / "_docs", read_settings(root)["doc_baseurl"])
    for line in found:
        print(f"broken link: {line}", file=sys.stderr)
    if not (root / "_docs" / "index.html").exists():
        print("there is no built site; run make docs", file=sys.stderr)
        return 1
    print(f"links of the site: {len(found)} broken")
    return 1 if found else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check-links", action="store_true", help="check the links of the built site, build nothing")
    parser.add_argument("--if-stale", action="store_true", help="build only when a source is newer than the site")
    parser.add_argument("--draft", action="store_true", help="run no notebook: the ledger shows what was measured before")
    root = TOOLS.parents[1]
    options = parser.parse_args()
    if options.check_links:
        return check_links(root)
    if options.if_stale and is_fresh(root):
        return 0
    try:
        build(root, options.draft)
    except (vendor.BuildError, RuntimeError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
