"""The page of several studies together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import DESKTOP, PHONE, Tree
from playwright.sync_api import Browser

from study.analysis.answers.multi_study import combine
from study.analysis.answers.report import Report, build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.first_screen import LINES, joint_first_screen_lines
from study.analysis.rendering.page.html import several_as_html
from study.analysis.rendering.tables.catalogue import tables

GAPS = {"digits": 0.4, "fashion": 0.9}


def reports(make_stream: Callable[[], Any], gaps: Mapping[str, float] = GAPS) -> list[Report]:
    found = []
    for name, gap in gaps.items():
        stream = make_stream()
        stream.search("tpe", [10.0, 9.0])
        stream.confirm("tpe", {101: 9.0, 102: 9.2, 103: 9.1}, chosen_from=1)
        stream.confirm("sigma", {101: 9.0 + gap, 102: 9.3 + gap, 103: 9.2 + gap})
        found.append(replace(build_report(build_tables(stream.entries)), name=name, data=name))
    return found


def test_the_joint_page_says_all_of_the_joint_report(make_stream: Callable[[], Any]) -> None:
    studies = reports(make_stream)
    joint = combine(studies)
    page = several_as_html(joint, studies, {"digits": "report.html"})
    tree = Tree(page)
    for sentence in (*joint.verdict, *joint.notes):
        assert sentence in tree.text
    for table in tables(joint):
        assert table.title in tree.text
        for cell in (cell for row in table.rows for cell in row):
            assert " ".join(cell.replace("+-", "±").split()) in tree.text
    for study in studies:
        assert study.first_screen.outcome in tree.text
        for number in study.first_screen.numbers:
            assert number.short in tree.text
    assert [a["href"] for a in tree.all("a") if not str(a["href"]).startswith("#")] == [
        "report.html"
    ]
    assert len(page.encode()) < 2**17, "it has no charts, and no Vega"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_browser_shows_it_and_axe_finds_nothing(
    make_stream: Callable[[], Any], browser: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    studies = reports(make_stream)
    file = tmp_path / "joint.html"
    file.write_text(several_as_html(combine(studies), studies, {}), encoding="utf-8")
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(bypass_csp=True, viewport=viewport)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "tables alone scroll"
    found = Axe().run(page)
    page.close()
    assert found.violations_count == 0, found.generate_report()
    assert not said


def test_the_first_screen_of_many_studies_has_at_most_twenty_lines(
    make_stream: Callable[[], Any],
) -> None:
    studies = reports(make_stream, {f"study-{n}": 0.1 * n for n in range(30)})
    joint = combine(studies)
    links = {"page": "/a/page.html", "all else": "a command"}
    lines = joint_first_screen_lines(joint, studies, links, 80)
    assert len(lines) == LINES
    assert max(map(len, lines)) <= 80
    text = " ".join(lines)
    assert all(sentence in text for sentence in joint.verdict)
    shown = [line.split()[0] for line in lines if line.startswith("  study-")]
    assert shown == [study.name for study in studies[: len(shown)]]
    assert f"  ... and {30 - len(shown)} more" in lines
    assert lines[-2:] == ["page      /a/page.html", "all else  a command"]
