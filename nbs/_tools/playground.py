"""The network to play with: its weights, from the page `play`, and what the built page needs besides.

    python nbs/_tools/playground.py FILE      train the network as nbs/play.ipynb does, and write what it exports

The cells of the page run up to the one that makes `exported`, so that the browser gets what the reader reads. It is
written as a script that sets a constant: a page that is opened from a folder may load scripts, but not fetch data.
"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PAGE, RESULT = "play", "exported"
FILES = ("play.css", "data.js", "play.js")    # in the folder play/ of the site, beside the page
TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parents[1]
HEAD = "// Weights and held-out images of the network of nbs/play.ipynb, which trained it when the site was built.\n"


def run_cells(name: str, root: Path = ROOT) -> dict:
    """The names that the page's code cells define, run in order up to the cell that defines `name`."""
    defined: dict = {"__name__": PAGE}
    for cell in json.loads((root / "nbs" / f"{PAGE}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and name not in defined:
            exec("".join(cell["source"]), defined)
    return defined


def write_data(target: Path, root: Path = ROOT) -> None:
    """Train in a process of its own, and write the script with the weights."""
    environment = {key: value for key, value in os.environ.items() if key != "SLUGNET_LEDGER"}
    environment["PYTHONPATH"] = str(root)
    done = subprocess.run([sys.executable, str(TOOLS / "playground.py"), str(target)], cwd=root, env=environment,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the network of nbs/{PAGE}.ipynb could not be trained:\n{done.stderr}")


def copy_files(root: Path, out: Path) -> None:
    """Put the weights, the script and the style of the page into the site, if it has the page."""
    if (out / f"{PAGE}.html").exists():
        folder = out / PAGE
        folder.mkdir(exist_ok=True)
        style, data, script = FILES
        write_data(folder / data, root)
        for name in (style, script):
            shutil.copy(TOOLS / name, folder)


def attach(page) -> None:
    """Let the page load what it needs, and put its still picture where the drawing field will be."""
    if page.path != f"{PAGE}.html":
        return
    style, *scripts = (f"{page.up}{PAGE}/{name}" for name in FILES)
    page.soup.head.append(page.new("link", rel="stylesheet", href=style))
    for script in scripts:
        page.soup.head.append(page.new("script", src=script, defer=""))
    place, still = page.soup.find(id="slugnet-play"), page.soup.find(id="play-still")
    if place is None or still is None:
        raise RuntimeError(f"nbs/{PAGE}.ipynb must have the elements slugnet-play and play-still")
    figure = still.find_next("figure")
    place.append((figure.find_parent(class_="cell") or figure).extract())
    still.decompose()


if __name__ == "__main__":
    text = json.dumps(run_cells(RESULT)[RESULT], separators=(",", ":"))
    Path(sys.argv[1]).write_text(f"{HEAD}window.slugnetPlayData = {text};\n", encoding="utf-8")
