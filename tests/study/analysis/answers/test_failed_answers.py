"""An answer that raises: the report says so in its place, and its other answers are unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from study.analysis.answers import assembly
from study.analysis.answers.multi_study import combine
from study.analysis.answers.report import Report, build_report, summary
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text

ANSWERS = {
    "arm_results": "The arms' results",
    "arm_searches": "What searches found by calibrated negative ELBO",
    "cost_curves": "The cost curves by calibrated negative ELBO",
    "compare_arms": "The comparison of the arms by calibrated negative ELBO",
    "break_evens": "The break-even by calibrated negative ELBO",
    "narrowed_priors": "The break-even of narrower priors",
    "tunability": "The tunability",
    "non_inferiority": "Whether automatic is no worse",
    "plane": "The rate-distortion plane",
    "notes": "The notes on the numbers",
}


def broken(*args: Any, **options: Any) -> None:
    raise ValueError("math domain error")


def said(report: Report, title: str) -> None:
    """The failure in the text and in the JSON; other parts are there."""
    sentence = f"{title} could not be computed: ValueError: math domain error"
    assert sentence in [str(failure) for failure in report.failures]
    section = f"{title}: could not be computed: ValueError: math domain error"
    assert section in " ".join(as_text(report).split())
    values = json.loads(json.dumps(summary(report), allow_nan=False))
    assert {"title": title, "error": "ValueError: math domain error"} in values["failures"]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_broken_answer_is_named_and_the_others_stay(
    whole: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tables = build_tables(whole.entries)
    intact = summary(build_report(tables))
    monkeypatch.setattr(assembly, name, broken)
    report = build_report(tables)
    said(report, ANSWERS[name])
    assert {f.error for f in report.failures} == {"ValueError: math domain error"}
    if name != "arm_results":
        values = summary(report)
        assert values["arms"] == intact["arms"]
        assert values["paid"] == intact["paid"]
    if name not in ("arm_results", "compare_arms", "arm_searches", "cost_curves", "break_evens"):
        assert report.verdict == intact["verdict"]
    if name in ("arm_results", "compare_arms"):
        (sentence,) = report.verdict
        assert sentence.startswith("Whether searching pays can't be told: ")
        assert sentence.endswith("could not be computed.")


def test_a_broken_account_leaves_the_answer(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = build_tables(whole.entries)
    intact = build_report(tables)
    monkeypatch.setattr(assembly.costs, "paid", broken)
    report = build_report(tables)
    said(report, "The account of device time")
    assert (report.verdict, report.arms) == (intact.verdict, intact.arms)


def test_a_broken_verdict_leaves_the_numbers(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly.conclusion, "verdict", broken)
    report = build_report(build_tables(whole.entries))
    said(report, "The verdict")
    assert report.verdict == ["The verdict could not be computed."]
    assert report.comparisons[0].ratio_images == 3.5


def test_a_pathological_value_costs_one_answer(
    make_stream: Callable[..., Any],
) -> None:
    """A trial whose settings are no JSON any more, as after a disk's fault."""
    stream = make_stream()
    stream.search("tpe", [8.0, 7.0], tests=[8.0, 7.0])
    stream.confirm("tpe", {101: 7.0, 102: 7.1}, chosen_from=1)
    stream.confirm("sigma", {101: 7.2, 102: 7.4})
    tables = build_tables(stream.entries)
    trials = tables["trials"]
    column = trials.column_names.index("settings")
    torn = pa.array(["{", *trials["settings"].to_pylist()[1:]])
    damaged = {**tables, "trials": trials.set_column(column, trials.schema.field(column), torn)}
    report = build_report(damaged)
    titles = {failure.title for failure in report.failures}
    assert "What searches found by calibrated negative ELBO" in titles
    assert all(failure.error.startswith("JSONDecodeError: ") for failure in report.failures)
    assert report.curves == []
    intact = build_report(tables)
    assert report.arms == intact.arms
    assert report.verdict == intact.verdict[:1]
    both = combine([report])
    assert any(note.startswith("toy: What searches found") for note in both.notes)
    assert "JSONDecodeError" in as_text(report)
