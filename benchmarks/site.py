"""How soon each page of the built site can be used, and what it weighs: `python -m benchmarks.site`.

Each page is opened several times on loopback, every time with an empty cache. It can be used when its text and its
fonts stand and the search box has taken a letter; the goal is a second. `make docs` builds the site, and Chromium must be
installed. The time of the first answer of the search is that of loading its index, on the first page only.
"""
from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import statistics
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS = ROOT / "_docs", ROOT / "benchmarks" / "results"
SHARED = ("site_libs/", "styles.css", "favicon.svg")
GOAL = 1.0


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *args) -> None:
        """Say nothing."""


def serve(folder: Path) -> str:
    """Serve a folder on loopback, in a thread of its own; the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def visit(browser, address: str, page: str) -> dict:
    """Open a page with an empty cache: seconds until it can be used, elements, bytes of its own and shared ones."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab, files = context.new_page(), set()
    tab.on("request", lambda request: files.add(request.url.removeprefix(address).partition("?")[0]))
    start = time.perf_counter()
    tab.goto(address + page, wait_until="domcontentloaded")
    tab.evaluate("document.fonts.ready.then(() => 0)")
    asked = set(files)
    tab.locator(".book-search input").press("x")
    seconds = time.perf_counter() - start
    tab.wait_for_selector(".search-results > *")
    found = {"page": page, "seconds": seconds, "search": time.perf_counter() - start - seconds,
             "elements": tab.evaluate("document.getElementsByTagName('*').length")}
    context.close()
    size = {name: (DOCS / name).stat().st_size for name in asked if (DOCS / name).is_file()}
    shared = sum(bytes_ for name, bytes_ in size.items() if name.startswith(SHARED))
    return found | {"own_kB": (sum(size.values()) - shared) / 1e3, "shared_kB": shared / 1e3}


def measure(rounds: int) -> list[dict]:
    """The median of each page's visits, slowest first."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None or not (DOCS / "index.html").exists():
        raise SystemExit("the benchmark of the site needs Chromium and a built site: make docs")
    pages = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.html"))
    address = serve(DOCS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[
            "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
        visit(browser, address, pages[0])
        visits = [[visit(browser, address, page) for page in pages] for _ in range(rounds)]
        browser.close()
    rows = [{**own[0], **{key: statistics.median(v[key] for v in own) for key in ("seconds", "search")}} for own in zip(*visits)]
    return sorted(rows, key=lambda row: -row["seconds"])


def main() -> None:
    """Print the slowest pages, and write all as JSON."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.site")
    options.add_argument("--rounds", type=int, default=3, help="visits of each page, of which the median counts")
    options.add_argument("--show", type=int, default=12, help="how many of the slowest pages are printed")
    options = options.parse_args()
    rows = measure(options.rounds)
    late = sum(row["seconds"] > GOAL for row in rows)
    print(f"site: {len(rows)} pages, median {statistics.median(r['seconds'] for r in rows):.2f} s until one can be used; "
          f"{late} take longer than {GOAL:g} s; search.bin {(DOCS / 'search.bin').stat().st_size / 1e3:.0f} kB")
    print(f"{'seconds':>8} {'search':>7} {'elements':>9} {'own kB':>7} {'shared kB':>9}  page")
    for row in rows[:options.show]:
        print(f"{row['seconds']:>8.2f} {row['search']:>7.2f} {row['elements']:>9} {row['own_kB']:>7.0f} {row['shared_kB']:>9.0f}  {row['page']}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "site.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
