"""What the trials of the searches score, against the parameter searched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import pyarrow as pa

from study.analysis.answers.arms import ArmResult
from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import (
    Looks,
    beyond,
    bulk,
    few,
    layers,
    measured,
    movable,
    numbers,
    part,
    sentences,
)
from study.journal.course import Course
from study.metrics import Metric

HEADING = Heading("search", "Trials of the searches")


def draw(trials: pa.Table, arms: Sequence[ArmResult], objective: Metric, looks: Looks) -> Figure:
    """What each trial of a search scores on validation, against the first parameter searched."""
    parameter, rows, others = _searched(trials)
    if not rows:
        return HEADING.without_chart("no trial of a search over numbers has ended yet")
    rows, left_out = few(rows)
    ends = _ends(arms) if parameter == "beta" else []
    rows += ends
    low, high = bulk(row["value"] for row in rows)
    common = {
        "x": _x(parameter, [row["at"] for row in rows]),
        "y": measured("value:Q", objective, "validation").scale(zero=False, domain=[low, high]),
        "color": looks.colour(rows),
        "shape": looks.shape(rows),
        "opacity": looks.opacity(),
    }
    values = [
        alt.Tooltip("at:Q", format=".4~g", title=parameter),
        *numbers(["value"], objective),
    ]
    points = part("trial").mark_point(size=50, clip=True)
    points = points.encode(tooltip=["arm:N", "trial:N", "state:N", *values], **common)
    marks = part("end").mark_point(
        size=130, filled=True, stroke="currentColor", strokeWidth=1, clip=True
    )
    marks = marks.encode(tooltip=["arm:N", *values], **common)
    chart = layers(movable(points).add_params(looks.picked), *([marks] if ends else []))
    outside = sum(not low <= row["value"] <= high for row in rows)
    caption = sentences(
        f"Lower is better. A ring is one trial, at its value of {parameter}.",
        "A filled mark is an automatic arm: its beta at the end of training, and the mean of its "
        "confirm runs on validation."
        if ends
        else "",
        beyond("marks", [str(outside)] if outside else []),
        f"Not here, as they searched no {parameter}: {', '.join(others)}." if others else "",
        left_out,
    )
    return HEADING.figure(caption, chart.properties(height=340), rows)


def _searched(trials: pa.Table) -> tuple[str, list[Row], list[str]]:
    """The parameter shown, the trials that have a number for it, and the arms that have none.

    Beta is k sigma^2.
    """
    columns = ["trial", "arm", "phase", "replicate", "number", "state", "params", "course",
               "settings", "objective"]  # fmt: skip
    searched = [
        row | {"params": _comparable(json.loads(row["params"]), json.loads(row["settings"]))}
        for row in trials.select(columns).to_pylist()
        if row["phase"] == "search" and row["objective"] is not None and _whole(row["course"])
    ]
    parameter = _parameter(row["params"] for row in searched)
    rows: list[Row] = [
        {
            "part": "trial", "arm": row["arm"], "trial": row["trial"], "state": row["state"],
            "at": row["params"][parameter], "value": row["objective"],
        }
        for row in searched
        if _numeric(row["params"].get(parameter))
    ]  # fmt: skip
    there = {row["arm"] for row in rows}
    others = dict.fromkeys(row["arm"] for row in searched if row["arm"] not in there)
    return parameter, rows, [*others]


def _whole(course: str | None) -> bool:
    """Whether a trial is a whole training, or ends one: others are not comparable."""
    found = None if course is None else Course.of(json.loads(course))
    return found is None or len(found.earlier) + 1 == found.generations


def _comparable(params: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with beta as k sigma^2: arms may give it for different losses."""
    return params | {"beta": settings["balancer"]["beta"]} if "beta" in params else params


def _parameter(params: Iterable[Mapping[str, Any]]) -> str:
    """What the search is shown against: beta if it was searched, else the first number."""
    names = dict.fromkeys(name for known in params for name in known if _numeric(known[name]))
    return "beta" if "beta" in names else next(iter(names), "")


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ends(arms: Sequence[ArmResult]) -> list[Row]:
    """Where the automatic arms' beta ended."""
    return [
        {
            "part": "end",
            "arm": arm.arm,
            "at": arm.effective_beta,
            "value": arm.confirm_validation,
        }
        for arm in arms
        if arm.automatic and arm.effective_beta and arm.confirm_validation is not None
    ]


def _x(parameter: str, places: Sequence[float]) -> alt.X:
    wide = min(places) > 0 and max(places) > 30 * min(places)
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False, nice=False)
    x = alt.X("at:Q", title=parameter, scale=scale)
    return x.axis(format="~g", tickCount=6, grid=not wide)
