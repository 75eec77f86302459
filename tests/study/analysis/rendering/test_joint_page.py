"""The page of several studies together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pages import Tree

from study.analysis import Report, build_report, build_tables, combine
from study.analysis.rendering.page.html import several_as_html
from study.analysis.rendering.tables.catalogue import tables


def reports(make_stream: Callable[[], Any]) -> list[Report]:
    found = []
    for name, gap in (("digits", 0.4), ("fashion", 0.9)):
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
