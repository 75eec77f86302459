"""The page of a report in a real Chromium, without a network."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from study.analysis import build_report, build_tables
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.page.html import as_html

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture
def file(whole: Any, tmp_path: Path) -> Path:
    """The page of the made-up study that `whole` is."""
    tables = build_tables(whole.entries)
    report = build_report(tables)
    drawn = figures(report, tables, tmp_path)
    path = tmp_path / "report.html"
    path.write_text(as_html(report, drawn, tables["trials"], tmp_path), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end, nothing was asked of a network and nothing went wrong."""
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def open_page(size: tuple[int, int] = DESKTOP, **options: Any) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(offline=True, viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        for chart in page.locator(".chart").all():
            chart.locator("svg").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not said


def colour(page: Page, selector: str, name: str) -> str:
    found: str = page.locator(selector).first.evaluate(
        "(element, name) => getComputedStyle(element)[name]", name
    )
    return found


def column(page: Page, table: int, place: int) -> list[str]:
    cells = page.locator("#tables table").nth(table).locator(f"tbody tr :nth-child({place})")
    return cells.all_text_contents()


def test_every_chart_is_drawn(visit: Callable[..., Page]) -> None:
    page = visit()
    for name in ("confirm", "search", "learning", "device_seconds"):
        marks = page.locator(f"#figure-{name} .chart svg .mark-symbol path, "
                             f"#figure-{name} .chart svg .mark-line path, "
                             f"#figure-{name} .chart svg .mark-rect path")  # fmt: skip
        assert marks.count() > 2, name
    assert page.locator("#figure-calibration .chart").count() == 0
    assert "Nothing to show" in page.locator("#figure-calibration").inner_text()


def test_a_mark_tells_its_numbers(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator("#figure-search .mark-symbol path").first.hover()
    tooltip = page.locator(".vg-tooltip.visible")
    tooltip.wait_for()
    assert "tpe.search.r0.0000" in tooltip.inner_text()


def test_an_arm_picked_in_the_legend_stands_out(visit: Callable[..., Page]) -> None:
    page = visit()
    lines = page.locator("#figure-learning .chart svg .mark-line.role-mark path")
    before = {line.get_attribute("opacity") for line in lines.all()}
    page.locator("#figure-learning .role-legend-label text").first.click()
    page.wait_for_function(
        "() => new Set([...document.querySelectorAll("
        "'#figure-learning .mark-line.role-mark path')].map(e => e.getAttribute('opacity'))).size"
        f" > {len(before)}"
    )


def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(visit: Callable[..., Page]) -> None:
    page = visit()
    chart = page.locator("#figure-search .chart svg")
    chart.scroll_into_view_if_needed()
    axis = page.locator("#figure-search .role-axis-label").first
    labels, top = axis.text_content(), page.evaluate("scrollY")
    chart.hover()
    page.mouse.wheel(0, 60)
    page.wait_for_function("top => scrollY > top", arg=top)
    assert axis.text_content() == labels
    chart.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_function(
        "old => document.querySelector('#figure-search .role-axis-label').textContent !== old",
        arg=labels,
    )


def test_a_column_is_sorted_by_click_and_by_key(visit: Callable[..., Page]) -> None:
    page = visit()
    head = page.locator("#trials thead th", has_text="objective")
    place = page.locator("#trials thead th").all_text_contents().index("objective") + 1
    cells = page.locator(f"#trials tbody tr :nth-child({place})")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    known = [float(text) for text in cells.all_text_contents() if text != "-"]
    assert known == sorted(known)
    assert len(known) > 4
    assert cells.all_text_contents()[-1] == "-", "what is not known stays below"
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    falling = [float(text) for text in cells.all_text_contents() if text != "-"]
    assert falling == sorted(known, reverse=True)
    assert cells.all_text_contents()[-1] == "-"


def test_numbers_are_sorted_as_numbers(visit: Callable[..., Page]) -> None:
    page = visit()
    texts = ["416k", "2M", "5,400", "-20.96 ± 0.83", "9", "-", ">12"]
    ordered = page.evaluate(
        """texts => {
          const body = document.createElement("tbody");
          for (const text of texts) body.insertRow().insertCell().textContent = text;
          const table = document.createElement("table");
          const head = table.createTHead().insertRow().appendChild(document.createElement("th"));
          table.append(body);
          sort(head);
          return [...body.rows].map(row => row.textContent);
        }""",
        texts,
    )
    assert ordered == ["-20.96 ± 0.83", "9", ">12", "5,400", "416k", "2M", "-"]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(visit: Callable[..., Page], size: Any) -> None:
    page = visit(size, is_mobile=size == PHONE, has_touch=size == PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for chart in page.locator(".chart svg").all():
        box = chart.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
    boxes = page.locator(".scroll").evaluate_all(
        "all => all.map(e => e.scrollWidth > e.clientWidth)"
    )
    assert any(boxes) == (size == PHONE), "wide tables scroll by themselves"


def test_dark_mode_changes_page_and_charts(visit: Callable[..., Page]) -> None:
    found = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        label = "#figure-search .role-axis-label text"
        found.append((colour(page, "body", "backgroundColor"), colour(page, label, "fill")))
    (paper, ink), (dark_paper, dark_ink) = found
    assert brightness(paper) > 200 > brightness(ink)
    assert brightness(dark_paper) < 60 < brightness(dark_ink)


def test_print_is_light_and_has_no_controls(visit: Callable[..., Page]) -> None:
    page = visit(color_scheme="dark")
    assert page.locator("[data-save]").first.is_visible()
    page.emulate_media(media="print")
    assert brightness(colour(page, "body", "backgroundColor")) > 200
    assert not page.locator("[data-save]").first.is_visible()
    assert not page.locator("nav").is_visible()
    cut = page.locator(".scroll").evaluate_all("all => all.map(e => getComputedStyle(e).overflowX)")
    assert set(cut) == {"visible"}


def test_picture_and_data_of_a_figure_are_saved(visit: Callable[..., Page]) -> None:
    page = visit(accept_downloads=True, color_scheme="dark")
    with page.expect_download() as saved:
        page.locator("[data-save=csv][data-of=confirm]").click()
    assert saved.value.suggested_filename == "confirm.csv"
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [(row["seed"], row["value"]) for row in rows[:2]] == [("101", "9"), ("102", "9.2")]
    with page.expect_download() as saved:
        page.locator("[data-save=png][data-of=confirm]").click()
    assert saved.value.suggested_filename == "confirm.png"
    with Image.open(saved.value.path()) as picture:
        assert picture.width > 400
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def brightness(colour: str) -> float:
    """Of "rgb(r, g, b)", 0 to 255."""
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue
