"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from study.analysis import Report, as_text, build_report, build_tables
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.text import WIDTH
from study.journal.events import StudyDescribed


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
    ) in first.title
    assert [row[:2] for row in first.rows] == [
        ["tpe", "hand"], ["random-beta", "hand"], ["weighted-optimum", "hand"], ["sigma", "auto"],
    ]  # fmt: skip
    assert "weighted-optimum: searches k" in " ".join(as_text(report).split())


def test_without_hand_tuned_arms_no_reason_is_given(make_stream: Any, arms: Any) -> None:
    stream = make_stream({"sigma": arms["automatic"]})
    stream.confirm("sigma", {101: 9.0})
    first, *_ = tables(build_report(build_tables(stream.entries)))
    assert "; kind: auto. Cost to one model" in first.title


def test_text_fits_a_terminal(whole: Any) -> None:
    text = as_text(build_report(build_tables(whole.entries)))
    assert max(map(len, text.splitlines())) <= WIDTH
