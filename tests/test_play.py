"""The network to play with, in a real browser: what is drawn on the page must give the numbers that slugnet computes."""
import functools
import re
import sys

import ledger
import numpy as np
import pytest
from site_browser import TOOLS
from test_site import PAGE_LIMIT, WIDE_THINGS

from slugnet.activation import Softmax, Tanh
from slugnet.contract import Tape
from slugnet.layers import Dense
from slugnet.loss import CategoricalCrossEntropy
from slugnet.model import Model
from slugnet.network import Objective

PAGE = "play.html"
DATA = "() => window.slugnetPlayData"
READ = """() => {
  const values = (nodes) => [...nodes].map((node) => Number(node.dataset.value));
  const groups = [...document.querySelectorAll(".play-cells")].map((group) => values(group.children));
  return {x: groups[0], h_1: groups[1], h_2: groups[2], gradient: groups[3], y: values(document.querySelectorAll(".play-bar")),
    asked: [...document.querySelectorAll(".play-bar")].findIndex((bar) => bar.getAttribute("aria-pressed") === "true"),
    dots: document.querySelector(".play-dots").dataset.dots, answer: document.querySelector(".play-answer").textContent,
    bars: [...document.querySelectorAll(".play-number")].map((node) => node.textContent),
    equations: [...document.querySelectorAll(".play-equation")].map((node) => ({unit: +node.dataset.unit, a: +node.dataset.a,
      terms: [...node.querySelectorAll("tr td:last-child")].map((cell) => Number(cell.textContent.replace("−", "-")))}))};
}"""


def arc(x, y, width, height, start, stop, n=16):
    """Points of an ellipse; angles in degrees, clockwise from the right."""
    t = np.radians(np.linspace(start, stop, n))
    return list(zip(x + width * np.cos(t), y + height * np.sin(t)))


# Four styles of each digit; a style is one stroke or more, each a list of points in the unit square, y downwards.
STYLES = {
    0: [
        [arc(.5, .5, .22, .35, -90, 270)],
        [arc(.5, .5, .3, .33, -60, 305)],
        [arc(.52, .5, .17, .36, -100, -465)],
        [arc(.5, .5, .27, .35, -45, -400)],
    ],
    1: [
        [[(.38, .3), (.53, .14), (.53, .86)]],
        [[(.5, .12), (.5, .88)]],
        [[(.36, .32), (.52, .15), (.52, .85)], [(.36, .86), (.68, .86)]],
        [[(.56, .13), (.46, .87)]],
    ],
    2: [
        [arc(.5, .3, .2, .17, 180, 380) + [(.6, .52), (.3, .85)] + [(.74, .85)]],
        [[(.3, .26), (.42, .15), (.58, .15), (.68, .27), (.64, .44), (.48, .62), (.29, .84), (.5, .83), (.72, .84)]],
        [arc(.5, .33, .22, .2, 190, 395) + [(.52, .64), (.36, .78), (.28, .8), (.36, .74), (.5, .8), (.74, .82)]],
        [[(.28, .2), (.6, .14), (.7, .3), (.5, .6), (.27, .86), (.76, .86)]],
    ],
    3: [
        [arc(.47, .32, .19, .17, 200, 440) + arc(.47, .66, .22, .19, -85, 160)],
        [[(.3, .16), (.68, .16), (.46, .42), (.62, .5), (.7, .66), (.58, .83), (.4, .86), (.28, .78)]],
        [[(.3, .22), (.45, .13), (.62, .18), (.65, .32), (.55, .44), (.42, .47), (.58, .5), (.69, .64), (.62, .8),
         (.44, .87), (.28, .78)]],
        [arc(.46, .31, .22, .18, 190, 430) + arc(.45, .67, .25, .2, -80, 170)],
    ],
    4: [
        [[(.6, .85), (.6, .13), (.25, .62), (.78, .62)]],
        [[(.35, .14), (.28, .55), (.72, .55)], [(.64, .2), (.62, .87)]],
        [[(.56, .14), (.24, .64), (.76, .64)], [(.58, .42), (.58, .88)]],
        [[(.3, .15), (.3, .5), (.66, .5)], [(.66, .15), (.66, .87)]],
    ],
    5: [
        [[(.68, .15), (.34, .15), (.32, .46)] + arc(.48, .64, .21, .21, -125, 150)],
        [[(.36, .15), (.33, .45), (.5, .4), (.68, .5), (.7, .68), (.58, .84), (.4, .86), (.28, .78)], [(.36, .15),
         (.7, .15)]],
        [[(.7, .14), (.36, .16), (.34, .44), (.52, .42), (.68, .54), (.68, .72), (.54, .86), (.3, .84)]],
        [[(.66, .17), (.38, .15), (.33, .43), (.5, .43), (.66, .56), (.62, .76), (.46, .86), (.3, .8)]],
    ],
    6: [
        [[(.62, .14), (.44, .28), (.32, .5)] + arc(.5, .66, .19, .2, 180, 530)],
        [[(.58, .13), (.4, .34), (.3, .6), (.36, .82), (.54, .87), (.67, .76), (.66, .6), (.52, .52), (.36, .6)]],
        [[(.5, .12), (.35, .4), (.31, .65), (.4, .84), (.58, .86), (.68, .7), (.58, .56), (.42, .58), (.33, .7)]],
        [[(.66, .2), (.5, .14), (.36, .3), (.3, .55), (.34, .78), (.5, .87), (.66, .78), (.66, .62), (.52, .53),
         (.34, .62)]],
    ],
    7: [
        [[(.28, .16), (.72, .16), (.44, .87)]],
        [[(.28, .17), (.7, .15), (.55, .45), (.46, .86)], [(.38, .5), (.66, .5)]],
        [[(.3, .2), (.5, .16), (.7, .17), (.58, .42), (.5, .87)]],
        [[(.3, .26), (.32, .15), (.72, .15), (.5, .5), (.44, .87)]],
    ],
    8: [
        [arc(.5, .32, .17, .18, 90, -270) + arc(.5, .68, .2, .18, -90, 270)],
        [[(.66, .24), (.5, .13), (.35, .26), (.44, .42), (.6, .55), (.68, .72), (.5, .87), (.33, .74), (.4, .56),
         (.58, .42), (.66, .24)]],
        [arc(.5, .32, .19, .18, 60, -300) + [(.5, .5)] + arc(.5, .67, .22, .19, -110, 250)],
        [[(.62, .2), (.46, .14), (.38, .3), (.5, .46), (.64, .6), (.62, .8), (.46, .87), (.36, .74), (.44, .56),
         (.6, .38), (.63, .22)]],
    ],
    9: [
        [arc(.5, .33, .18, .19, -10, -370) + [(.68, .45), (.66, .87)]],
        [[(.67, .28), (.52, .14), (.34, .26), (.38, .45), (.54, .48), (.67, .3), (.66, .55), (.58, .87)]],
        [arc(.49, .34, .2, .2, -20, -380) + [(.66, .6), (.54, .84), (.36, .85)]],
        [arc(.5, .33, .18, .2, -30, -385) + [(.67, .5), (.6, .87)]],
    ],
}


def smooth(points, steps: int = 6) -> np.ndarray:
    """The Catmull-Rom curve through some points: a hand draws no corners that it does not mean."""
    p = np.asarray(points, float)
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.arange(steps)[:, None] / steps
    curves = [b + (c - a) * t / 2 + (2 * a - 5 * b + 4 * c - d) * t**2 / 2 + (3 * b - a - 3 * c + d) * t**3 / 2
              for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:])]
    return np.vstack([*curves, p[-1:]])


def drawing(digit: int, style: int) -> list[np.ndarray]:
    """The strokes of a digit; those of few points have straight sides."""
    return [smooth(stroke) if len(stroke) > 4 else np.array(stroke) for stroke in STYLES[digit][style]]


def stored_model(data: dict, dtype: str) -> Model:
    """slugnet's model with the weights that the page has."""
    phi = {"tanh": Tanh, "softmax": Softmax}
    layers = [Dense(len(layer["b"]), activation=phi[layer["activation"]]()) for layer in data["layers"]]
    model = Model(layers, loss=CategoricalCrossEntropy(), dtype="float32").build((len(data["layers"][0]["W"]),))
    for k, layer in enumerate(data["layers"]):
        model.parameters[f"{k}.W"][...], model.parameters[f"{k}.b"][...] = layer["W"], layer["b"]
    return model.astype(dtype)


def compare(page: dict, model: Model, tolerance: float) -> None:
    """Every number of the page against slugnet's: activations, probabilities, the input gradient, the equations."""
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    X = np.array([page["x"]], dtype=model.dtype)
    close(page["y"], model.transform(X)[0])
    tape, H = Tape(), [X]
    for k, layer in enumerate(model.layers):
        A = layer.affine(H[-1], Tape())
        close(page["equations"][k]["a"], A[0, page["equations"][k]["unit"]])
        terms = H[-1][0] * layer.W[:, page["equations"][k]["unit"]]
        order = np.argsort(-np.abs(terms), kind="stable")
        shown = [*terms[order[:6]], terms[order[6:]].sum(), layer.b[page["equations"][k]["unit"]], page["equations"][k]["a"]]
        np.testing.assert_allclose(page["equations"][k]["terms"], shown, atol=6e-4)
        H.append(layer.forward(H[-1], Tape()).copy())
    close(page["h_1"], H[1][0])
    close(page["h_2"], H[2][0])
    _, G = Objective(model.layers, model.loss).loss_and_gradient(X, np.array([page["asked"]]), tape)
    close(page["gradient"], -G[0])
    written = [0 if text == "<0.0001" else float(text) for text in page["bars"]]
    np.testing.assert_allclose(written, H[3][0], atol=6e-5)


@pytest.fixture
def play(long_visit):
    """The page, loaded anew."""
    long_visit.open(PAGE)
    long_visit.tab.locator(".play-canvas").scroll_into_view_if_needed()
    yield long_visit
    assert long_visit.trouble == []


def draw(tab, strokes) -> None:
    """Draw with the mouse."""
    box = tab.locator(".play-canvas").bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if i == 0:
                tab.mouse.down()
        tab.mouse.up()


@functools.cache
def cells() -> dict:
    """What the notebook defines, up to its first drawing."""
    sys.path.append(str(TOOLS))
    try:
        import playground
    finally:
        sys.path.remove(str(TOOLS))
    return playground.run_cells("five")


@pytest.mark.parametrize("digit", range(10))
def test_numbers_of_a_drawing(play, digit):
    play.tab.click("text=Clear")
    draw(play.tab, STYLES[digit][1])        # with corners: the mouse takes its time at every point
    page, data = play.tab.evaluate(READ), play.tab.evaluate(DATA)
    assert sum(page["x"]) > 10
    compare(page, stored_model(data, "float64"), 1e-10)
    compare(page, stored_model(data, "float32"), 1e-5)
    assert page["asked"] == int(np.argmax(page["y"])) and f"Read as {page['asked']}" in page["answer"]


def test_every_question_and_every_unit(play):
    draw(play.tab, STYLES[8][1])
    model = stored_model(play.tab.evaluate(DATA), "float64")
    for digit in range(10):
        play.tab.locator(".play-bar").nth(digit).click()
        page = play.tab.evaluate(READ)
        if page["asked"] != digit:      # it was chosen already, and is now set free: choose it again
            play.tab.locator(".play-bar").nth(digit).click()
            page = play.tab.evaluate(READ)
        compare(page, model, 1e-10)
    for group, n in ((1, 32), (2, 16)):
        for unit in range(0, n, 5):
            play.tab.locator(".play-cells").nth(group).locator("button").nth(unit).click()
            page = play.tab.evaluate(READ)
            assert page["equations"][group - 1]["unit"] in range(n)
            compare(page, model, 1e-10)


READ_STROKES = """(strokes) => {
  const passes = slugnetPlay.forward(slugnetPlay.counts(slugnetPlay.dots(strokes)));
  return passes[passes.length - 1].h;
}"""


def test_reads_what_is_drawn(play):
    read = {}
    for digit in STYLES:        # without the mouse, which takes its time and draws in the tests above
        for style in range(4):
            strokes = [stroke.tolist() for stroke in drawing(digit, style)]
            read[digit, style] = int(np.argmax(play.tab.evaluate(READ_STROKES, strokes)))
    wrong = {key: value for key, value in read.items() if value != key[0]}
    assert sum(style == 0 for _, style in wrong) <= 1, wrong
    assert len(wrong) <= 6, wrong


@pytest.mark.parametrize("digit", range(10))
def test_drawing_becomes_the_notebooks_dots(play, digit):
    strokes = [[(round(224 * x) / 256, round(224 * y) / 256) for x, y in stroke] for stroke in drawing(digit, digit % 4)]
    got = play.tab.evaluate("strokes => { const Z = slugnetPlay.dots(strokes); return [Z, slugnetPlay.counts(Z)]; }", strokes)
    expected = cells()["dots"](strokes)
    assert np.abs(np.array(got[0]) - expected.ravel()).sum() <= 1       # a dot on the very edge of the pen
    np.testing.assert_array_equal(got[1], cells()["counts"](np.array(got[0]).reshape(32, 32)))


def test_one_dot_and_lines_are_drawn(play):
    for strokes in ([[[.5, .5]]], [[[.1, .5], [.9, .5]]], [[[.5, .1], [.5, .9]]], [[[.5, .5], [.5, .5]]]):
        got = np.array(play.tab.evaluate("strokes => slugnetPlay.dots(strokes)", strokes)).reshape(32, 32)
        assert np.array_equal(got, cells()["dots"](strokes)) and 16 <= got.sum() < 300


def test_examples_are_held_out_images(play):
    data = play.tab.evaluate(DATA)
    X_train, X_test = cells()["X_train"], cells()["X_test"]
    model = stored_model(data, "float64")
    assert sorted(example["digit"] for example in data["examples"]) == list(range(10))
    for i, example in enumerate(data["examples"]):
        x = np.array(example["pixels"], np.float32) / 16
        assert (X_test == x).all(axis=1).any() and not (X_train == x).all(axis=1).any()
        play.tab.locator(".play-examples button").nth(i).click()
        page = play.tab.evaluate(READ)
        np.testing.assert_array_equal(page["x"], x)
        compare(page, model, 1e-10)


def test_weights_come_from_slugnet(play):
    stored, made = play.tab.evaluate(DATA), cells()["exported"]
    assert stored["examples"] == made["examples"]
    for ours, theirs in zip(stored["layers"], made["layers"]):
        np.testing.assert_allclose(ours["W"], theirs["W"], atol=0.05)   # machines differ in the last bits of a sum
    model, X, y = stored_model(stored, "float32"), cells()["X_test"], cells()["y_test"]
    assert np.mean(model.transform(X).argmax(axis=1) == y) >= 0.96


def test_clear(play):
    draw(play.tab, STYLES[3][1])
    assert sum(play.tab.evaluate(READ)["x"]) > 0
    play.tab.click("text=Clear")
    page = play.tab.evaluate(READ)
    assert page["x"] == [0] * 64 and "1" not in page["dots"] and "Nothing is drawn" in page["answer"]
    compare(page, stored_model(play.tab.evaluate(DATA), "float64"), 1e-10)


def test_keyboard(play):
    tab = play.tab
    tab.focus(".play-canvas")
    for key in ["ArrowUp"] * 6 + [" "] + ["ArrowDown"] * 12 + ["Shift+ArrowRight", " "] + ["ArrowRight"] * 3:
        tab.keyboard.press(key)
    page = tab.evaluate(READ)
    column = np.array(page["x"]).reshape(8, 8)
    assert (column[:, 3:5] > 0).all() and not column[:, :2].any() and not column[:, 6:].any()
    assert "Read as" in page["answer"]
    assert tab.evaluate("slugnetPlay.state.strokes.map(s => s.length)") == [14]
    compare(page, stored_model(tab.evaluate(DATA), "float64"), 1e-10)
    tab.keyboard.press("Delete")
    assert tab.evaluate(READ)["x"] == [0] * 64
    tab.locator(".play-cells").nth(1).locator("button").first.focus()
    for key, place in (("ArrowRight", 1), ("ArrowDown", 9), ("ArrowLeft", 8), ("ArrowUp", 0)):
        tab.keyboard.press(key)
        label = tab.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label.startswith(f"layer 1, unit {place + 1}:")
        reading = tab.evaluate("document.activeElement.closest('.play-panel').querySelector('.play-reading').textContent")
        value = float(tab.evaluate("document.activeElement.dataset.value"))
        assert abs(float(reading.split("=")[1].replace("−", "-")) - value) < 6e-4
    tab.keyboard.press("Enter")
    assert tab.evaluate(READ)["equations"][0]["unit"] == 0


def test_touch_on_a_phone(browser, address):  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(address + PAGE, wait_until="load")
    tab.locator(".play-canvas").scroll_into_view_if_needed()
    before = tab.evaluate("scrollY")
    box = tab.locator(".play-canvas").bounding_box()
    client = context.new_cdp_session(tab)
    for stroke in drawing(2, 1):
        for i, (x, y) in enumerate(stroke):
            point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            client.send("Input.dispatchTouchEvent", {"type": "touchMove" if i else "touchStart", "touchPoints": [point]})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page = tab.evaluate(READ)
    assert int(np.argmax(page["y"])) == 2 and "Read as 2" in page["answer"]
    compare(page, stored_model(tab.evaluate(DATA), "float64"), 1e-10)
    assert tab.evaluate("scrollY") == before and tab.evaluate(WIDE_THINGS) == []
    context.close()


def test_without_scripts_a_picture_stands_there(browser, address):  # noqa: F811
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address + PAGE)
    assert tab.locator("#slugnet-play figure svg").is_visible() and tab.locator("#slugnet-play figcaption").is_visible()
    assert "What stands here instead" in tab.locator("#slugnet-play").text_content()
    assert tab.locator("#slugnet-play canvas").count() == 0
    context.close()


def test_works_from_a_folder(browser, docs):  # noqa: F811
    context = browser.new_context()
    tab = context.new_page()
    tab.goto((docs / PAGE).as_uri())
    assert tab.locator(".play-canvas").is_visible() and tab.evaluate(READ)["asked"] == 3
    context.close()


def test_equations_named_in_the_script_exist():
    named = set(re.findall(r"eq-play-[a-z-]+", (TOOLS / "play.js").read_text(encoding="utf-8")))
    assert len(named) == 5 and named <= {equation.name for equation in ledger.collect()}


def test_weight_and_place(docs):  # noqa: F811
    own = [docs / PAGE, *(docs / "play").iterdir()]
    assert len(own) == 4 and sum(path.stat().st_size for path in own) <= PAGE_LIMIT
    users = [path.name for path in docs.rglob("*.html") if "play/play.js" in path.read_text(encoding="utf-8")]
    assert users == [PAGE]
