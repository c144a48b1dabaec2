"""The figures that move, in a real browser, on every page that has one."""
import re

import pytest

pytest.importorskip("nbdev", reason="the site's tests need the development dependencies: pip install -e .[dev]")
import notebooks
from test_site import FILM_PAGE_LIMIT

FILM_LIMIT = 1_500_000     # bytes


def films() -> list[tuple[str, str, int]]:
    """Page, name and length of each film in the notebooks' outputs."""
    found = []
    for page in notebooks.pages():
        for cell in notebooks.read(page)["cells"]:
            for output in cell.get("outputs", []):
                text = "".join(output.get("data", {}).get("text/html", ""))
                found += [(page, name, len(text)) for name in re.findall(r'<figure class="motion" data-motion="([^"]+)"', text)]
    return found


FILMS = films()


def test_films_are_small_and_named_apart():
    assert FILMS and max(size for *_, size in FILMS) <= FILM_LIMIT
    assert len({(page, name) for page, name, _ in FILMS}) == len(FILMS)


def test_no_page_is_heavy(docs):
    assert [path.name for path in docs.rglob("*.html") if path.stat().st_size > FILM_PAGE_LIMIT] == []


@pytest.mark.parametrize("page, name", [film[:2] for film in FILMS])
def test_film_plays_steps_and_slides(long_visit, page, name):
    long_visit.open(f"{page}.html")
    tab, film = long_visit.tab, long_visit.tab.locator(f'figure[data-motion="{name}"]')
    drawing = lambda: film.locator("svg.motion-picture > g").inner_html()  # noqa: E731
    place = lambda: int(film.locator("input").input_value())  # noqa: E731
    last = int(film.locator("input").get_attribute("max"))
    first, still = place(), drawing()
    tab.wait_for_timeout(700)
    assert place() == first and drawing() == still, "it moves by itself"

    film.locator("input").focus()
    tab.keyboard.press("Home")
    assert place() == 0
    start = drawing()
    tab.keyboard.press("ArrowRight")
    assert place() == 1 and drawing() != start
    film.locator("input").evaluate("slider => slider.blur()")
    film.get_by_role("button", name="One step on").focus()
    tab.keyboard.press("Enter")
    assert place() == min(2, last)
    film.get_by_role("button", name="One step back").press("Space")
    assert place() == min(2, last) - 1

    film.locator("select").select_option("2")
    film.get_by_role("button", name="Play").press("Enter")
    tab.wait_for_function("([film, at]) => +film.querySelector('input').value !== at", arg=[film.element_handle(), place()])
    film.get_by_role("button", name="Pause").press("Enter")
    stopped = place()
    tab.wait_for_timeout(300)
    assert place() == stopped and film.get_by_role("button", name="Play").count() == 1

    small = film.locator(".motion-controls :is(button, select, input)").evaluate_all(
        "all => all.filter(e => Math.min(e.offsetWidth, e.offsetHeight) < 24).length")
    assert small == 0, "targets smaller than 24 pixels"
    assert film.locator(".motion-label").inner_text().strip()
    assert long_visit.trouble == []


@pytest.mark.parametrize("page, name", [film[:2] for film in FILMS])
def test_film_without_scripts(browser, address, page, name):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}{page}.html")
    film = tab.locator(f'figure[data-motion="{name}"]')
    still = film.locator("img")
    still.scroll_into_view_if_needed()
    assert still.is_visible() and still.bounding_box()["width"] > 100 and still.get_attribute("alt")
    assert film.locator("button, input").count() == 0
    film.locator("summary").click()
    assert film.locator("details p, details li").first.is_visible()
    context.close()


@pytest.mark.parametrize("page, name", [film[:2] for film in FILMS])
def test_film_on_paper(long_visit, page, name):
    long_visit.open(f"{page}.html")
    tab = long_visit.tab
    tab.emulate_media(media="print")
    film = tab.locator(f'figure[data-motion="{name}"]')
    assert film.locator("svg.motion-picture").is_visible() and not film.locator(".motion-controls").is_visible()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert film.locator("details p, details li").first.is_visible()
