"""Find links of the built site that lead nowhere: pages, files and anchors."""
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from lxml import html

OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def broken_links(docs: Path, base: str = "/") -> list[str]:
    """Check every internal `href` and `src`, and every anchor.

    Parameters
    ----------
    docs : the folder of the built site
    base : the path under which the site is served, for links that start with a slash

    Returns
    -------
    list of str
        One line for each broken link: `page: link`.
    """
    trees = {p.relative_to(docs).as_posix(): html.fromstring(p.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))
             for p in sorted(docs.rglob("*.html"))}
    anchors = {path: set(tree.xpath("//@id")) for path, tree in trees.items()}
    found = []
    for path, tree in trees.items():
        for tag in tree.iter("a", "link", "script", "img", "source", "video", "iframe"):
            link = tag.get("href") if tag.tag in ("a", "link") else tag.get("src")
            if link is not None and not OUTSIDE.match(link) and not leads_somewhere(docs, path, link, base, anchors):
                found.append(f"{path}: {link}")
    return found


def leads_somewhere(docs: Path, page: str, link: str, base: str, anchors: dict) -> bool:
    """Whether a link of a page has a target."""
    target, _, anchor = unquote(link).partition("#")
    target = target.partition("?")[0]
    if target.startswith("/"):
        target = "/" + target.removeprefix(base)
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(page), target)).lstrip("/") if target else page
    if not (docs / path).exists() or path.startswith(".."):
        return False
    if (docs / path).is_dir():
        path = posixpath.join(path, "index.html").removeprefix("./")
    if path not in anchors:
        return (docs / path).is_file() and not anchor
    return not anchor or anchor in anchors[path]
