"""The built site and a real browser, as fixtures for the tests that look at pages; no address but the site's own is reached.

Needs Chromium or Chrome; without one the browser's tests are skipped, or fail if SLUGNET_REQUIRE_ALL=1.
"""
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from configparser import ConfigParser
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
TOOLS, DOCS = ROOT / "nbs" / "_tools", ROOT / "_docs"
MARKED = "document.documentElement.dataset.boxes === 'marked'"      # boxes that scroll are measured when all else is done
WINDOW = {"width": 1280, "height": 900}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def base_path() -> str:
    """The path under which the site is served."""
    parser = ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]["doc_baseurl"].rstrip("/") + "/"


def run_tool(option: str) -> subprocess.CompletedProcess:
    """Run the site's builder."""
    return subprocess.run([sys.executable, str(TOOLS / "site.py"), option], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def docs() -> Path:
    """The folder of the site, built if a source is newer; workers wait for the one that builds."""
    (ROOT / "_vendor").mkdir(exist_ok=True)
    with FileLock(ROOT / "_vendor" / "site.lock"):
        done = run_tool("--if-stale")
    assert done.returncode == 0, done.stdout + done.stderr
    return DOCS


@pytest.fixture(scope="session")
def address(docs) -> str:
    """The site, served on loopback, for as long as the tests run."""
    base = base_path()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            return super().translate_path("/" + path.removeprefix(base))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(docs)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{base}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, for which no host but loopback exists."""
    if CHROMIUM is None:
        message = "no Chromium on this machine: the pages of the site were not looked at in a browser"
        pytest.fail(message) if os.environ.get("SLUGNET_REQUIRE_ALL") == "1" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe(docs) -> str:
    """The script of axe-core."""
    sys.path.append(str(TOOLS))
    try:
        import vendor
    finally:
        sys.path.remove(str(TOOLS))
    with FileLock(ROOT / "_vendor" / "axe.lock"):
        folder = vendor.fetch("axe-core", ROOT)
    return (folder / "axe.min.js").read_text(encoding="utf-8")


class Visit:
    """A tab that notes everything that goes wrong in it."""

    def __init__(self, browser, address: str):
        self.address, self.trouble, self.requested, self.leaving, self.arrived = address, [], set(), False, 0
        self.context = browser.new_context(viewport=WINDOW, color_scheme="light")
        self.tab = self.context.new_page()
        self.tab.on("console", self.note_message)
        self.tab.on("pageerror", lambda e: self.trouble.append(f"script: {e}"))
        self.tab.on("requestfailed", self.note_failed)
        self.tab.on("response", lambda r: self.trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        self.tab.on("request", self.note_request)
        self.tab.on("domcontentloaded", self.note_arrival)

    def note_message(self, message) -> None:
        """Note an error or a warning. Fonts that a later page finds in memory count as not used some seconds after: no matter."""
        found = self.arrived > 1 and "was preloaded using link preload but not used" in message.text
        if message.type in ("error", "warning") and not found:
            self.trouble.append(f"console: {message.text}")

    def note_failed(self, request) -> None:
        """Note a request that got no answer, unless it ended because the reader is leaving its page."""
        if not (self.leaving and request.failure == "net::ERR_ABORTED"):
            self.trouble.append(f"failed: {request.url}: {request.failure}")

    def note_request(self, request) -> None:
        """Note what is asked for; to ask another address is trouble."""
        self.requested.add(request.url)
        self.leaving |= request.is_navigation_request()
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.trouble.append(f"outside: {request.url}")

    def note_arrival(self, page) -> None:
        """Note that the page left is gone."""
        self.leaving, self.arrived = False, self.arrived + 1

    def open(self, page: str) -> None:
        """Load a page and wait until it stands."""
        self.tab.goto(self.address + page, wait_until="load")
        self.tab.evaluate("document.fonts.ready.then(() => 0)")

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, and wait until the boxes that scroll are measured in it."""
        self.tab.wait_for_function(MARKED)
        self.tab.evaluate("delete document.documentElement.dataset.boxes")
        self.tab.set_viewport_size({"width": width, "height": height})
        self.tab.wait_for_function(MARKED)


@pytest.fixture
def visit(browser, address):
    """A fresh tab."""
    visit = Visit(browser, address)
    yield visit
    visit.context.close()


@pytest.fixture(scope="session")
def open_tab(browser, address):
    """A tab that stays open."""
    visit = Visit(browser, address)
    yield visit
    visit.context.close()


@pytest.fixture
def long_visit(open_tab):
    """A tab that other tests have used, which saves a third of the time; for tests that leave nothing behind."""
    open_tab.tab.emulate_media(color_scheme="light", media="screen")
    open_tab.tab.set_viewport_size(WINDOW)
    open_tab.trouble.clear()
    open_tab.requested.clear()
    return open_tab
