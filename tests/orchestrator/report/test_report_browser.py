"""The report in a real browser: no requests, nothing cut off, readable on a phone and on a desk."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report import make, write_report
from tests.support.browser import CHROMIUM, DRIVER, Browser, started
from tests.support.reported import write_sweep

pytestmark = [
    pytest.mark.slow(reason="starts a browser"),
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="no chromium with its chromedriver is installed"
    ),
]
#: Of a figure's texts: the smallest height in pixels, and those outside their figure.
_TEXTS = """
const found = {smallest: 1e9, outside: [], count: 0};
for (const svg of document.querySelectorAll('figure svg')) {
  const frame = svg.getBoundingClientRect();
  if (!frame.width) continue;  // of the other width
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBoundingClientRect();
    found.count += 1;
    found.smallest = Math.min(found.smallest, Math.min(box.height, box.width * 9));
    if (box.left < frame.left - 2 || box.right > frame.right + 2 ||
        box.top < frame.top - 2 || box.bottom > frame.bottom + 2) {
      found.outside.push(svg.closest('figure').id + ': ' + text.textContent);
    }
  }
}
return found;
"""
_OVERFLOW = """
const wide = document.documentElement;
const inside = e => e.closest('.table, pre');
return {page: [wide.scrollWidth, innerWidth],
        parts: [...document.querySelectorAll('body *')].filter(
            e => !inside(e) && e.getBoundingClientRect().right > wide.clientWidth + 1
        ).map(e => e.tagName + ' ' + e.id)};
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every part, names longer than any figure included."""
    folder = tmp_path_factory.mktemp("report")
    ledger = write_sweep(folder / "s", seeds=(1, 2), epochs=2)
    path = folder / "report.html"
    write_report(make(ledger), path)
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_asks_for_nothing(browser: Browser, page: Path, width: int) -> None:
    browser.requests(), browser.logged("browser")
    browser.open(page, width)
    assert browser.run("return document.title") == "s: report"
    folded = browser.run("return document.querySelectorAll('details:not([open])').length")
    assert folded > 5
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    found = browser.run(_OVERFLOW)
    assert found["page"][1] == width and found["page"][0] <= width
    assert found["parts"] == []
    if width == 390:  # every table is whole without scrolling, too
        tables = "[...document.querySelectorAll('.table')]"
        wide = f"return {tables}.filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert browser.run(wide) == 0
    texts = browser.run(_TEXTS)
    assert texts["count"] > 300 and texts["outside"] == []
    assert texts["smallest"] > 8.5
    asked = browser.requests()
    assert asked and all(each.startswith((page.as_uri(), "data:")) for each in asked)
    assert browser.logged("browser") == []
    shot = browser.devtools("Page.captureScreenshot", format="png")["data"]
    assert base64.b64decode(shot)[:4] == b"\x89PNG"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_question_verdict_and_picture_stand_on_the_first_screen(
    browser: Browser, page: Path, width: int, height: int
) -> None:
    browser.open(page, width)
    parts = "['h1', '.answer', '#figure-contest svg']"
    ends = f"return {parts}.map(e => document.querySelector(e).getBoundingClientRect().bottom)"
    found = browser.run(ends)
    assert found == sorted(found) and 0 < found[-1] < height


def test_dark_readers_get_light_text_on_dark_paper(browser: Browser, page: Path) -> None:
    script = """
    const ink = e => getComputedStyle(e), svg = document.querySelector('figure svg');
    return [ink(document.body).backgroundColor, ink(document.body).color,
            ink(svg.querySelector('text')).fill];
    """

    def light(colour: str) -> float:
        return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 765

    browser.open(page, 1280, scheme="dark")
    paper, *inks = map(light, browser.run(script))
    assert paper < 0.2 and min(inks) > 0.8
    browser.open(page, 1280)
    paper, *inks = map(light, browser.run(script))
    assert paper > 0.9 and max(inks) < 0.3


def test_on_paper_nothing_is_wider_than_a_page(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    browser.devtools("Emulation.setEmulatedMedia", media="print")
    browser.devtools(
        "Emulation.setDeviceMetricsOverride", width=695, height=980, deviceScaleFactor=1,
        mobile=False,
    )  # fmt: skip  # A4 less its margins, 96 dots an inch
    folded = "return [...document.querySelectorAll('.section table')].map(e => e.checkVisibility())"
    assert all(browser.run(folded))  # what is folded on the screen is printed
    files = "return [...document.querySelectorAll('details.file')].map(e => e.offsetHeight)"
    assert max(browser.run(files)) == 0
    tables = "return [...document.querySelectorAll('table')].map(e => e.offsetWidth)"
    assert max(browser.run(tables)) <= 695
    assert browser.run("return document.documentElement.scrollWidth") <= 695
    printed = browser.devtools("Page.printToPDF", printBackground=True, paperWidth=8.27)["data"]
    assert base64.b64decode(printed)[:5] == b"%PDF-"
