"""The page of a report in a real Chromium, without a network."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import DESKTOP, MLFLOW, PHONE, trials
from PIL import Image
from playwright.sync_api import Locator, Page


def colour(page: Page, selector: str, name: str) -> str:
    found: str = page.locator(selector).first.evaluate(
        "(element, name) => getComputedStyle(element)[name]", name
    )
    return found


def used(page: Page, name: str) -> Locator:
    """A chart once it has been pointed at, and moves."""
    chart = page.locator(f"#figure-{name} .chart")
    chart.scroll_into_view_if_needed()
    chart.hover()
    chart.locator(".vega-embed svg").wait_for()
    return chart


def marks(chart: Locator) -> int:
    return chart.locator(
        ".mark-symbol :is(path, use), .mark-line path, .mark-rect path, .mark-rule :is(line, use)"
    ).count()


def test_every_chart_is_there_at_once_and_again_once_it_is_used(visit: Callable[..., Page]) -> None:
    page = visit(java_script_enabled=False)
    names = ("confirm", "search", "learning", "device_seconds")
    there = {name: marks(page.locator(f"#figure-{name} .chart > svg")) for name in names}
    assert min(there.values()) > 2
    assert page.locator("#figure-calibration .chart").count() == 0
    assert "Nothing to show" in page.locator("#figure-calibration").inner_text()
    page = visit()
    assert page.locator(".vega-embed").count() == 0, "Vega waits until a chart is used"
    for name in names[:2]:
        assert marks(used(page, name)) == there[name], name


def test_the_answer_and_the_arms_are_on_the_first_screen(visit: Callable[..., Page]) -> None:
    page = visit()
    for part in ("h1", ".tile >> nth=0", ".tile >> nth=3", "#figure-confirm .chart"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= DESKTOP[1], part


def test_a_mark_tells_its_numbers(visit: Callable[..., Page]) -> None:
    page = visit()
    used(page, "search").locator(".mark-symbol path").first.hover()
    tooltip = page.locator(".vg-tooltip.visible")
    tooltip.wait_for()
    assert "tpe.search.r0.0000" in tooltip.inner_text()


def test_an_arm_picked_in_the_legend_stands_out(visit: Callable[..., Page]) -> None:
    page = visit()
    chart = used(page, "learning")
    lines = chart.locator(".mark-line.role-mark path")
    before = {line.get_attribute("opacity") for line in lines.all()}
    chart.locator(".role-legend-label text").first.click()
    page.wait_for_function(
        "() => new Set([...document.querySelectorAll("
        "'#figure-learning .mark-line.role-mark path')].map(e => e.getAttribute('opacity'))).size"
        f" > {len(before)}"
    )


def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(visit: Callable[..., Page]) -> None:
    page = visit()
    chart = used(page, "search")
    axis = chart.locator(".role-axis-label").first
    labels, top = axis.text_content(), page.evaluate("scrollY")
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


def test_trials_lead_to_the_mlflow_in_use(visit: Callable[..., Page]) -> None:
    page = visit()
    link = trials(page).first.get_by_role("link")
    assert link.get_attribute("href") == f"{MLFLOW}/#/experiments/1/runs/7"
    page.once("dialog", lambda dialog: dialog.accept("https://mlflow.example:8443/"))
    page.locator("#elsewhere").click()
    assert link.get_attribute("href") == "https://mlflow.example:8443/#/experiments/1/runs/7"
    assert page.locator("#server").inner_text() == "https://mlflow.example:8443"


def test_a_term_is_explained_where_it_stands(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator(".tile a.term", has_text="break-even").click()
    meaning = page.locator("#meaning")
    assert meaning.is_visible()
    assert "number of trials after which" in meaning.inner_text()
    page.keyboard.press("Escape")
    assert not meaning.is_visible()


def test_a_phone_s_tables_keep_their_first_column(visit: Callable[..., Page]) -> None:
    page = visit(PHONE, is_mobile=True, has_touch=True)
    assert page.get_by_text("Swipe a table sideways").is_visible()
    table = page.locator("#tables .scroll").first
    head = table.locator("tbody th").first
    table.scroll_into_view_if_needed()
    before = head.bounding_box()
    assert table.evaluate("e => { e.scrollLeft = 150; return e.scrollLeft; }") > 100
    after = head.bounding_box()
    assert before is not None
    assert after is not None
    # Only sideways: the page may still settle by a fraction of a pixel below its images.
    assert (after["x"], after["width"]) == (before["x"], before["width"])


def test_a_column_is_sorted_by_click_and_by_key(visit: Callable[..., Page]) -> None:
    page = visit()
    rows = trials(page)
    head = page.locator("#trials thead th", has_text="objective")
    place = page.locator("#trials thead th").all_text_contents().index("objective") + 1
    cells = rows.locator(f":scope > :nth-child({place})")
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


@pytest.mark.parametrize(
    "rising",
    [
        ["-20.96 ± 0.83", "9", ">12", "5,400", "416k", "2M", "-"],
        ["1 trial", "12 trials", "> 12 trials"],
        ["1x", "200x", "1,300x"],
        ["beta=3e-05", "beta=0.0165", "beta=0.02", "beta=0.25, lr=0.1", "beta=0.5", "beta=10"],
    ],
)
def test_numbers_are_sorted_as_numbers(visit: Callable[..., Page], rising: list[str]) -> None:
    page = visit()
    texts = sorted(rising)
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
    assert ordered == rising


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(visit: Callable[..., Page], size: Any) -> None:
    page = visit(size, is_mobile=size == PHONE, has_touch=size == PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        picture = chart.locator(".vega-embed svg" if size == PHONE else "svg").first
        picture.wait_for()  # a phone's are drawn at its width
        box = picture.bounding_box()
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
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))
    assert 1 < len(pages) < 10
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
