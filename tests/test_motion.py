"""Figures that move: what a film is made of, and what it refuses."""
import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from slugnet import plot


def line_film(name="line", draw=None, **options):
    """A film of a line that grows."""
    fig, ax = plot.figure(width=4, height=2)
    line, = ax.plot([0, 9], [0, 9])
    grow = draw or (lambda t: line.set_data(range(t + 1), range(t + 1)))
    return plot.animate(fig, grow, range(10), name, alt='a "line" & more', caption="It grows.", **options)


class Reader(HTMLParser):
    """The elements of a page, each with its attributes and its text."""

    def __init__(self, markup):
        super().__init__()
        self.found = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data.rstrip("\n")

    def all(self, tag):
        return [entry for entry in self.found if entry[0] == tag]


def test_html_has_a_still_picture_a_text_and_a_player():
    page = Reader(line_film(words="It <grows>.")._repr_html_())
    (_, image, _), = page.all("img")
    assert image["alt"] == 'a "line" & more'
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")
    assert page.all("figcaption")[0][2].strip() == "It grows."
    assert page.all("p")[0][2] == "It <grows>."
    film, player = page.all("script")
    assert film[1] == {"type": "application/json"} and len(json.loads(film[2])["frames"]) == 10
    assert player[2].rstrip().endswith('("line")')
    assert not page.all("button") and not page.all("svg")     # they come with the script


def test_labels_are_told_when_there_are_no_words():
    film = line_film(draw=lambda t: f"step <{t}>")
    assert film.film["labels"][3] == "step <3>"
    assert [text for _, _, text in Reader(film._repr_html_()).all("li")] == film.film["labels"]
    assert line_film().film["labels"][:2] == ["1 of 10", "2 of 10"]


def test_every_frame_is_the_whole_drawing():
    """Put together again, a frame has the marks that matplotlib wrote for it."""
    fig, ax = plot.figure(width=4, height=2)
    bars = ax.bar(range(3), [1, 2, 3])

    def draw(t):
        bars[1].set_height(t)

    film = plot.animate(fig, draw, [1, 2, 3], "bars", alt="bars").film
    whole = ["".join(film["parts"][i] for i in frame) for frame in film["frames"]]
    draw(3)
    last = plot.to_svg(fig)
    assert len(set(whole)) == 3
    for tag in ("use", "path"):
        drawn = whole[2] + film["defs"]
        assert len(re.findall(f"<{tag} ", drawn)) == len(re.findall(f"<{tag} ", last)), tag
    for text in whole:
        ElementTree.fromstring(f"<svg>{film['defs']}{text}</svg>")


def test_what_stays_is_stored_once():
    film = line_film().film
    assert len(film["parts"]) == len(film["frames"][0]) + 9


def test_same_lines_same_text_in_another_python():
    script = "from test_motion import line_film; print(hash(line_film()._repr_html_()))"
    runs = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           cwd=__file__.rpartition("/")[0], env={"PYTHONHASHSEED": "0", "PYTHONPATH": ":".join(sys.path)}).stdout
            for _ in range(2)}
    assert len(runs) == 1


def test_no_address_of_another_host():
    page = line_film()._repr_html_()
    assert not re.search(r"https?:/|//[a-z]+\.[a-z]|@import|url\((?!#)", page.replace('"//www.w3.org/2000/svg"', ""))


def test_two_films_share_no_name():
    first, second = (set(re.findall(r' id="([^"]*)"', line_film(name).film["defs"])) for name in ("one", "two"))
    assert first and second and not first & second


def test_the_frame_does_not_jump():
    """Axes keep their place when labels grow."""
    fig, ax = plot.figure(width=4, height=2)
    places = []

    def draw(t):
        ax.set_ylim(0, 10.0**t)
        fig.draw_without_rendering()
        places.append(ax.get_position().bounds)

    plot.animate(fig, draw, range(1, 7), "jump", alt="an axis")
    assert len(set(places[1:])) == 1


def test_still_and_first_are_the_same_frame():
    film = line_film(still=2)
    assert film.film["first"] == 2 and line_film().film["first"] == 9
    assert film.still != line_film().still


def test_script_cannot_be_left_through_a_label():
    film = line_film(draw=lambda t: "</script><script>alert(1)</script>")
    page = Reader(film._repr_html_())
    assert len(page.all("script")) == 2
    assert json.loads(page.all("script")[0][2])["labels"][0].startswith("</script>")


@pytest.mark.parametrize("change, words", [
    ({"name": "Two words"}, "name"), ({"name": ""}, "name"), ({"alt": " "}, "alt"), ({"frames": [1]}, "at least two"),
    ({"still": 3}, "still"), ({"still": -4}, "still"), ({"seconds": 0}, "seconds"), ({"seconds": np.nan}, "seconds")])
def test_bad_input_is_named(change, words):
    fig, _ = plot.figure()
    with pytest.raises(ValueError, match=words):
        plot.animate(fig, lambda t: None, **({"frames": [1, 2, 3], "name": "good", "alt": "good"} | change))
