"""The tables of a report."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

import study.analysis.rendering.tables as topics
from study.analysis.answers.report import Report, build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.page.terms import named
from study.analysis.rendering.page.trials import COLUMNS
from study.analysis.rendering.tables import catalogue
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.text import WIDTH, as_text
from study.journal.events import StudyDescribed
from study.metrics import METRICS


def with_roles(stream: Any, roles: Mapping[str, str]) -> Report:
    """The report of a study that declares why arms are hand-tuned."""
    described = stream.entries[0].event
    assert isinstance(described, StudyDescribed)
    known = {arm: {"hand_tuned": bool(why), "why": why} for arm, why in roles.items()}
    stream.entries[0] = stream.entries[0]._replace(event=replace(described, roles=known))
    return build_report(build_tables(stream.entries))


def test_the_arms_table_says_what_makes_which_arms_hand_tuned(make_stream: Any, arms: Any) -> None:
    names = ("tpe", "random-beta", "weighted-optimum", "sigma")
    stream = make_stream(dict.fromkeys(names, arms["hand"]))
    report = with_roles(stream, {
        "tpe": "searches beta", "random-beta": "searches beta",
        "weighted-optimum": "searches k", "sigma": "",
    })  # fmt: skip
    first, *_ = tables(report)
    assert (
        "kind: auto, or hand-tuned (tpe, random-beta: searches beta; weighted-optimum: searches k)."
    ) in first.about
    assert [row[:2] for row in first.rows] == [
        ["tpe", "hand"], ["random-beta", "hand"], ["weighted-optimum", "hand"], ["sigma", "auto"],
    ]  # fmt: skip
    assert "weighted-optimum: searches k" in " ".join(as_text(report).split())


def test_without_hand_tuned_arms_no_reason_is_given(make_stream: Any, arms: Any) -> None:
    stream = make_stream({"sigma": arms["automatic"]})
    stream.confirm("sigma", {101: 9.0})
    first, *_ = tables(build_report(build_tables(stream.entries)))
    assert "; kind: auto. Cost to one model" in first.about


def test_the_arms_table_counts_what_the_sampler_chose(make_stream: Any) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0, 9.0, 8.5], drawn_by=["random", "tpe", "tpe"])
    stream.confirm("tpe", {101: 9.0}, chosen_from=0)
    stream.confirm("sigma", {101: 9.0})
    report = build_report(build_tables(stream.entries))
    first, *_ = tables(report)
    assert "chosen: search trials that the sampler chose by earlier results" in first.about
    column = first.columns.index("chosen")
    assert [row[column] for row in first.rows] == ["2/3", "-"]
    assert max(map(len, as_text(report).splitlines())) <= WIDTH
    assert not any("chose none" in note for note in report.notes)


@pytest.mark.parametrize("draws", [["random"] * 3, ["enqueue", "random", "random"]])
def test_a_search_that_never_searched_is_the_first_note(make_stream: Any, draws: Any) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0, 9.0, 8.5, 8.7], drawn_by=[*draws, "random"])
    for arm, chosen in (("tpe", 0), ("sigma", None)):
        stream.confirm(arm, {101: 9.0, 102: 9.1, 103: 9.2}, chosen_from=chosen)
    report = build_report(build_tables(stream.entries))
    assert report.notes[0] == (
        "tpe: tpe chose none of its 4 trials: all were drawn at random or enqueued."
    )


def test_replicates_of_qmc_in_old_journals_are_one_search(make_stream: Any, arms: Any) -> None:
    hand = {**arms["hand"], "search": {**arms["hand"]["search"], "sampler": {"name": "qmc"}}}
    hand["search"]["replicates"] = 2
    stream = make_stream({"hand": hand, "sigma": arms["automatic"]})
    for replicate in (0, 1):
        stream.search("hand", [8.0, 9.0], replicate)
    report = build_report(build_tables(stream.entries))
    assert report.notes[0].startswith("hand: its 2 searches are one search repeated.")


def test_text_fits_a_terminal(whole: Any) -> None:
    text = as_text(build_report(build_tables(whole.entries)))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_every_table_is_in_the_catalogue() -> None:
    """A public function that makes a table of a report, in a file of a topic, is a row of it."""
    rows = {*catalogue._OF_A_STUDY, *catalogue._OF_SEVERAL}
    made = {
        function
        for module in pkgutil.iter_modules(topics.__path__, f"{topics.__name__}.")
        for name, function in inspect.getmembers(import_module(module.name), inspect.isfunction)
        if function.__module__ == module.name
        and not name.startswith("_")
        and function.__annotations__.get("return") == "TextTable"
    }
    assert {function.__qualname__ for function in made - rows} == set(), "not in the catalogue"
    assert len(made) == len(rows) > 20


def test_a_metric_that_names_a_table_has_a_column_there(make_stream: Any) -> None:
    shown = {name: metric for name, metric in METRICS.items() if metric.table}
    stream = make_stream()
    values = {name: 1 + i / 2 for i, name in enumerate(shown)}
    stream.confirm("sigma", {101: 9.0}, closely=[values])
    found = tables(build_report(build_tables(stream.entries)))
    cells = {
        (column, cell)
        for table in found
        for row in table.rows
        if row[0] == "sigma"
        for column, cell in zip(table.columns, row, strict=True)
    }
    absent = [
        name
        for name, metric in shown.items()
        if (metric.column or metric.short, metric.number(values[name])) not in cells
    ]
    assert not absent
    assert len(shown) > 15


def test_no_two_columns_have_one_name_and_each_is_explained(whole: Any, make_stream: Any) -> None:
    shown = {name: metric for name, metric in METRICS.items() if metric.table}
    measured = make_stream()
    measured.confirm("sigma", {101: 9.0}, closely=[dict.fromkeys(shown, 1.0)])
    for stream in (whole, measured):
        for table in tables(build_report(build_tables(stream.entries))):
            assert len(set(table.columns)) == len(table.columns), table.title
            unexplained = [column for column in table.columns if named(column) is None]
            assert not unexplained, f"{table.title}: add to study/glossary.py"
    assert all(named(column) for column in COLUMNS)
