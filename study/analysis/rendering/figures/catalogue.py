"""The figures of a study, from its report and its tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, isfinite
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow as pa

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.cost_curves import CostCurve
from study.analysis.answers.costs import Paid
from study.analysis.answers.rate_distortion import Plane
from study.analysis.answers.report import Report
from study.analysis.records.engine_time import PURPOSES
from study.analysis.rendering.figures.calibration import quantiles, variances
from study.analysis.rendering.figures.chart import (
    Figure,
    Looks,
    Row,
    bulk,
    layers,
    movable,
    part,
    thinned,
)
from study.metrics import Metric

CURVE = 150
"""Points of a cost curve at most: more than a screen tells apart."""
REPORTS = 60
"""Points of a learning curve at most."""

#: For what device seconds were spent on; arms have others.
_PURPOSES = ("#4477AA", "#88CCEE", "#44AA99", "#DDCC77", "#CC6677", "#AA4499", "#999933", "#BBBBBB")


_SEARCHED = "datum.kind === 'hand-tuned'"
_INTERVAL = ("value", "lower", "upper")
_SAID = {"second_stage": "second stage", "startup": "start-up", "pilot": "pilots"}


def figures(report: Report, tables: Mapping[str, pa.Table], home: Path) -> list[Figure]:
    """All figures of a study, in the order they are read.

    Args:
        report: What :func:`study.analysis.build_report` made of the tables.
        tables: "records" and "trials".
        home: The study's folder, where confirm runs left their tables of calibration.
    """
    trials, looks = tables["trials"], Looks([arm.arm for arm in report.arms])
    return [
        confirm_runs(report.arms, report.objective, looks),
        cost_curves(report.curves, report.break_even, report.arms, report.objective, looks),
        search(trials, report.arms, report.objective, looks),
        plane(report.plane, looks),
        learning(tables, report.objective, looks),
        device_seconds(report.paid),
        quantiles(trials, home, looks),
        variances(trials, home, looks),
    ]


def confirm_runs(arms: Sequence[ArmResult], objective: Metric, looks: Looks) -> Figure:
    """What each arm's confirm runs score on test: a point a seed, and the mean's interval."""
    name, title = "confirm", "What the arms came to"
    rows: list[Row] = []
    for arm in arms:
        kind = _kind(automatic=arm.automatic)
        for seed, value in arm.by_seed.items():
            rows.append(
                {"part": "seed", "arm": arm.arm, "kind": kind, "seed": seed, "value": value}
            )
        if arm.test.mean is not None:
            mean = {"part": "mean", "arm": arm.arm, "kind": kind, "value": arm.test.mean}
            bounds = {"lower": arm.test.lower, "upper": arm.test.upper, "seeds": arm.test.n}
            rows.append(mean | {key: bound for key, bound in bounds.items() if bound is not None})
    if not rows:
        return Figure(name, title, "", None, [], "no confirm run is complete yet")
    names = [arm.arm for arm in arms if any(row["arm"] == arm.arm for row in rows)]
    common = {
        "y": alt.Y("arm:N", title=None, sort=names),
        "color": looks.colour(rows, symbol=""),
    }
    x = alt.X("value:Q", title=f"{objective.heading} on test").scale(zero=False)
    x = x.axis(titleAnchor="end")
    number = f".{objective.digits}f"
    seeds = part("seed").mark_point(size=45, strokeOpacity=0.6, clip=True)
    seeds = seeds.encode(
        x=x,
        tooltip=["arm:N", "kind:N", "seed:Q", alt.Tooltip("value:Q", format=number)],
        **common,
    )
    intervals = part("mean").mark_rule(strokeWidth=3, strokeOpacity=0.45, clip=True)
    intervals = intervals.encode(x=alt.X("lower:Q").title(""), x2="upper:Q", **common)
    means = part("mean").mark_tick(thickness=3, size=16, clip=True)
    means = means.encode(
        x=x,
        tooltip=[
            *("arm:N", "kind:N", alt.Tooltip("value:Q", format=number, title="mean")),
            *(alt.Tooltip(f"{key}:Q", format=number) for key in ("lower", "upper")),
            alt.Tooltip("seeds:Q"),
        ],
        **common,
    )
    chart = layers(movable(seeds, "x"), intervals, means).properties(height=26 * len(names))
    caption = (
        "Further left is better. A circle is one seed's model on test, the tick an arm's mean over "
        "seeds, the bar its 95 % interval; one seed gives no bar."
    )
    return Figure(name, title, caption, chart, rows)


def cost_curves(
    curves: Sequence[CostCurve],
    break_even: Sequence[BreakEven],
    arms: Sequence[ArmResult],
    objective: Metric,
    looks: Looks,
) -> Figure:
    """What deploying the best trial found scores on test, against the images it took."""
    name, title = "cost_curves", "What a search buys: the best trial found, against images"
    found: list[Row] = []
    for curve in curves:
        found += _curve_rows(curve)
    if not found:
        return Figure(name, title, "", None, [], "no trial with a test value has finished yet")
    searched = [row["value"] for row in found]
    levels: list[Row] = [
        _interval("level", arm.arm, arm.test.mean, arm.test.lower, arm.test.upper)
        for arm in arms
        if arm.automatic and arm.test.mean is not None
    ]
    marks: list[Row] = [
        {
            "part": "break-even", "arm": point.arm, "against": point.against,
            "value": point.level.mean, "images": float(point.images[0]),
            "trials": point.trials.value, "says": point.sentence,
        }
        for point in break_even
        if point.images[0] is not None and point.level.mean is not None
    ]  # fmt: skip
    rows = [*found, *levels, *marks]
    low, high = bulk([*searched, *(row["value"] for row in levels)])
    start, end = min(row["images"] for row in found), max(row["images"] for row in found)
    number = f".{objective.digits}f"
    x = alt.X("images:Q", title="images trained on").axis(format="~s", tickCount=6, grid=False)
    x = x.scale(type="log", nice=False, domain=[start / 1.1, end * 1.1])
    y = alt.Y("value:Q", title=f"{objective.heading} on test").scale(zero=False, domain=[low, high])
    looked: dict[str, Any] = {
        "color": looks.colour(rows, symbol="stroke"),
        "strokeDash": looks.dash(rows),
    }
    tooltip = [
        *("arm:N", "kind:N", alt.Tooltip("trials:Q"), alt.Tooltip("images:Q", format=",")),
        alt.Tooltip("value:Q", format=number, title="best found"),
        *(alt.Tooltip(f"{key}:Q", format=number) for key in ("lower", "upper")),
    ]
    step: dict[str, Any] = {"interpolate": "step-after", "clip": True}
    # Of searches only, as an automatic arm has its level's; an open one ends beyond the axis.
    far = 100 * (high - low)
    bands = part("curve").transform_filter(
        f"{_SEARCHED} && (isValid(datum.lower) || isValid(datum.upper))"
    )
    bands = bands.transform_calculate(
        bottom=f"isValid(datum.lower) ? datum.lower : {low - far}",
        top=f"isValid(datum.upper) ? datum.upper : {high + far}",
    ).mark_area(**step)
    bands = bands.encode(
        x=x,
        y=alt.Y("bottom:Q").title(""),
        y2="top:Q",
        color=looked["color"],
        fillOpacity=looks.opacity(0.13),
    )
    lines = part("curve").mark_line(point=alt.OverlayMarkDef(size=22), **step)
    lines = lines.encode(
        x=x,
        y=y,
        strokeWidth=alt.condition(_SEARCHED, alt.value(2.5), alt.value(1.3)),
        opacity=looks.opacity(),
        tooltip=tooltip,
        **looked,
    )
    rules = part("level").mark_rule(strokeWidth=1, clip=True)
    rules = rules.encode(
        y=y,
        opacity=looks.opacity(),
        tooltip=["arm:N", *(alt.Tooltip(f"{k}:Q", format=number) for k in _INTERVAL)],
        **looked,
    )
    widths = part("level").mark_rect(clip=True)
    widths = widths.encode(
        y=alt.Y("lower:Q").title(""),
        y2="upper:Q",
        color=looked["color"],
        fillOpacity=looks.opacity(0.06),
    )
    crossings = part("break-even").mark_point(
        shape="diamond", size=110, filled=True, stroke="currentColor", strokeWidth=1, clip=True
    )
    crossings = crossings.encode(
        x=x, y=y, color=looked["color"], opacity=looks.opacity(),
        tooltip=[
            *("arm:N", "against:N", "trials:Q", alt.Tooltip("images:Q", format=",")),
            alt.Tooltip("says:N", title="break-even"),
        ],
    )  # fmt: skip
    chart = layers(
        movable(lines).add_params(looks.picked),
        bands,
        widths,
        rules,
        *([crossings] if marks else []),
    )
    unbanded = [curve.arm for curve in curves if not curve.automatic and curve.why]
    banded = [curve for curve in curves if not curve.automatic and not curve.why]
    holds = "at all budgets at once" if all(c.simultaneous for c in banded) else "at each budget"
    caption = " ".join(
        filter(
            None,
            [
                "Lower is better, further left is cheaper. A step is the test score of the best "
                "trial on validation so far; an automatic arm's are runs of further seeds, and its "
                "level its mean over them.",
                f"Shaded: 95 %, for a search {holds}." if banded else "Shaded: 95 % of the levels.",
                f"No band, searched too few times: {', '.join(unbanded)}." if unbanded else "",
                "A diamond: from there on a search is at an automatic arm's level."
                if marks
                else "No search is at an automatic arm's level within its trials.",
                _beyond("arms", [row["arm"] for row in rows if not low <= row["value"] <= high]),
            ],
        )
    )
    return Figure(name, title, caption, chart.properties(height=380), rows)


def search(trials: pa.Table, arms: Sequence[ArmResult], objective: Metric, looks: Looks) -> Figure:
    """What each trial of a search scores on validation, against the first parameter searched."""
    name, title = "search", "The search"
    columns = ["trial", "arm", "phase", "replicate", "number", "state", "params", "objective"]
    searched = [
        row | {"params": json.loads(row["params"])}
        for row in trials.select(columns).to_pylist()
        if row["phase"] == "search" and row["objective"] is not None
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
    if not rows:
        return Figure(name, title, "", None, [], "no trial of a search over numbers has ended yet")
    if parameter == "beta":
        rows += [
            {
                "part": "end",
                "arm": arm.arm,
                "at": arm.effective_beta,
                "value": arm.confirm_validation,
            }
            for arm in arms
            if arm.automatic and arm.effective_beta and arm.confirm_validation is not None
        ]
    ends = any(row["part"] == "end" for row in rows)
    places = [row["at"] for row in rows]
    wide = min(places) > 0 and max(places) > 30 * min(places)
    low, high = bulk(row["value"] for row in rows)
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False, nice=False)
    number = f".{objective.digits}f"
    common = {
        "x": alt.X("at:Q", title=parameter, scale=scale).axis(
            format="~g", tickCount=6, grid=not wide
        ),
        "y": alt.Y("value:Q", title=f"{objective.heading} on validation").scale(
            zero=False, domain=[low, high]
        ),
        "color": looks.colour(rows),
        "shape": looks.shape(rows),
    }
    told = [
        alt.Tooltip("at:Q", format=".4~g", title=parameter),
        alt.Tooltip("value:Q", format=number),
    ]
    points = part("trial").mark_point(size=50, clip=True)
    points = points.encode(
        opacity=looks.opacity(), tooltip=["arm:N", "trial:N", "state:N", *told], **common
    )
    marks = part("end").mark_point(
        size=130, filled=True, stroke="currentColor", strokeWidth=1, clip=True
    )
    marks = marks.encode(opacity=looks.opacity(), tooltip=["arm:N", *told], **common)
    chart = layers(movable(points).add_params(looks.picked), *([marks] if ends else []))
    outside = sum(not low <= row["value"] <= high for row in rows)
    caption = " ".join(
        filter(
            None,
            [
                f"Lower is better. A ring is one trial, at the {parameter} it tried.",
                "A filled mark is where an automatic arm came to by itself: beta at the end of "
                "training, and the mean of its confirm runs on validation."
                if ends
                else "",
                _beyond("marks", [str(outside)] if outside else []),
            ],
        )
    )
    return Figure(name, title, caption, chart.properties(height=340), rows)


def plane(plane: Plane, looks: Looks) -> Figure:
    """Rate and distortion of the beta sweep, its frontier, and where the arms land."""
    name, title = "plane", "The rate-distortion plane"
    rows: list[Row] = [
        {"part": kind, "rate": rate, "distortion": distortion, "beta": beta}
        for kind, points in (("trial", plane.sweep), ("frontier", plane.frontier))
        for rate, distortion, beta in points
    ]
    landings: list[Row] = [
        {
            "part": "landing", "arm": end.arm, "kind": _kind(automatic=end.automatic),
            "rate": end.rate, "distortion": end.distortion,
            **{
                key: value
                for key, value in (
                    ("beta", end.beta), ("nats", end.nats), ("frontier_beta", end.frontier_beta),
                )
                if value is not None
            },
        }
        for end in plane.landings
    ]  # fmt: skip
    if not landings:
        return Figure(name, title, "", None, [], plane.why or "no confirm run is complete yet")
    rows += landings
    left, right = bulk(row["rate"] for row in rows)
    low, high = bulk(row["distortion"] for row in rows)
    outside = [
        row["arm"]
        for row in landings
        if not (left <= row["rate"] <= right and low <= row["distortion"] <= high)
    ]
    x = alt.X("rate:Q", title="rate R on test (nats per image)")
    x = x.scale(zero=False, domain=[left, right])
    y = alt.Y("distortion:Q", title="distortion S on test (squared error per image)")
    y = y.scale(zero=False, domain=[low, high])
    told = [
        alt.Tooltip("rate:Q", format=".2f"),
        alt.Tooltip("distortion:Q", format=".2f"),
        alt.Tooltip("beta:Q", format=".3~g"),
    ]
    ink: dict[str, Any] = {"color": "currentColor", "clip": True}
    marks = part("landing").mark_point(size=130, filled=True, clip=True)
    marks = marks.encode(
        x=x, y=y, color=looks.colour(landings), shape=looks.shape(landings),
        opacity=looks.opacity(),
        tooltip=[
            *("arm:N", "kind:N"), *told,
            alt.Tooltip("nats:Q", format=".2f", title="nats above the frontier"),
            alt.Tooltip("frontier_beta:Q", format=".3~g", title="the frontier's beta there"),
        ],
    )  # fmt: skip
    frontier = part("frontier").mark_line(strokeWidth=1.2, strokeOpacity=0.6, **ink)
    sweep = part("trial").mark_point(size=26, strokeOpacity=0.6, **ink)
    chart = layers(
        movable(marks).add_params(looks.picked),
        frontier.encode(x=x, y=y, order="rate:Q"),
        sweep.encode(x=x, y=y, tooltip=told),
    )
    caption = " ".join(
        filter(
            None,
            [
                "A filled mark is where an arm's confirm runs land on average.",
                "Rings are trials of the beta sweep, the line is their lower convex hull: a mark "
                "on it could as well have been had by setting beta."
                if plane.sweep
                else "",
                f"Without a frontier: {plane.why}." if plane.why else "",
                _beyond("arms", outside),
            ],
        )
    )
    return Figure(name, title, caption, chart.properties(height=340), rows)


def learning(tables: Mapping[str, pa.Table], objective: Metric, looks: Looks) -> Figure:
    """The objective on validation while the confirm runs train."""
    name, title = "learning", "Learning curves of the confirm runs"
    rows = _learning_rows(tables, f"validation_{objective.name}")
    if not rows:
        return Figure(name, title, "", None, [], "no confirm run is complete yet")
    low, high = bulk(row["mean"] for row in rows)
    number = f".{objective.digits}f"
    x = alt.X("images:Q", title="images trained on").axis(format="~s", tickCount=6)
    heading = f"{objective.heading} on validation"
    common = {"color": looks.colour(rows, symbol="stroke")}
    lines = part("report").mark_line(strokeWidth=1.8, clip=True)
    lines = lines.encode(
        x=x,
        y=alt.Y("mean:Q", title=heading).scale(zero=False, domain=[low, high]),
        strokeDash=looks.dash(rows),
        opacity=looks.opacity(),
        tooltip=[
            *("arm:N", alt.Tooltip("images:Q", format=",")),
            *(alt.Tooltip(f"{key}:Q", format=number) for key in ("mean", "lowest", "highest")),
            alt.Tooltip("runs:Q"),
        ],
        **common,
    )
    ranges = part("report").mark_area(clip=True)
    ranges = ranges.encode(
        x=x,
        y=alt.Y("lowest:Q").title(""),
        y2="highest:Q",
        fillOpacity=looks.opacity(0.12),
        **common,
    )
    # Drawn, what lies far beyond the axis would take longer than all else in the picture.
    near = alt.datum.highest <= high + 2 * (high - low)
    drawn = layers(movable(lines).add_params(looks.picked), ranges)
    chart = drawn.transform_filter(near)
    caption = (
        "Lower is better. A line is an arm's mean over its confirm runs, shaded from the lowest to "
        "the highest of them; far values at the start are in the data only."
    )
    return Figure(name, title, caption, chart.properties(height=320), rows)


def device_seconds(paid: Paid) -> Figure:
    """Device seconds by arm and purpose; those nobody is charged as a bar of their own."""
    name, title = "device_seconds", "Who paid what"
    spent = [(arm.arm, arm.seconds) for arm in paid.arms]
    nobody = "(nobody)"
    idle = max(0.0, fsum(paid.nobody.values()))
    rows: list[Row] = [
        {"part": "seconds", "arm": arm, "purpose": _SAID.get(purpose, purpose), "order": order,
         "seconds": seconds[purpose]}
        for arm, seconds in spent
        for order, purpose in enumerate(PURPOSES)
        if seconds[purpose] > 0
    ]  # fmt: skip
    if idle > 0:
        rows.append({"part": "seconds", "arm": nobody, "purpose": "not charged",
                     "order": len(PURPOSES), "seconds": idle})  # fmt: skip
    if not rows:
        return Figure(name, title, "", None, [], "no device second has been charged yet")
    known = {row["purpose"]: row["order"] for row in rows}
    purposes = sorted(known, key=known.__getitem__)
    bars = part("seconds").mark_bar(clip=True)
    bars = bars.encode(
        x=alt.X("seconds:Q", title="device seconds").axis(format=",f", tickCount=6).stack("zero"),
        y=alt.Y("arm:N", title=None, sort=[*(arm for arm, _ in spent), nobody]),
        color=alt.Color("purpose:N").scale(
            domain=purposes, range=[_PURPOSES[known[purpose]] for purpose in purposes]
        ),
        order="order:Q",
        tooltip=["arm:N", "purpose:N", alt.Tooltip("seconds:Q", format=",.1f")],
    )
    chart = layers(movable(bars, "x")).properties(height=24 * len({row["arm"] for row in rows}))
    caption = (
        "All device seconds of the engines, by who is charged and for what; (nobody) is time no "
        "trial is charged."
    )
    return Figure(name, title, caption, chart, rows)


def _curve_rows(curve: CostCurve) -> list[Row]:
    rows: list[Row] = []
    for place in thinned(len(curve.value), CURVE):
        value, images = curve.value[place], curve.images[place]
        if value is not None and images > 0:
            band = curve.lower[place], curve.upper[place]
            row = _interval("curve", curve.arm, value, *band)
            row |= {"kind": _kind(automatic=curve.automatic), "trials": place + 1, "images": images}
            seconds = curve.seconds[place]
            rows.append(row if seconds is None else row | {"seconds": seconds})
    return rows


def _interval(
    part: str, arm: str, value: float | None, lower: float | None, upper: float | None
) -> dict[str, Any]:
    row = {"part": part, "arm": arm, "value": value, "lower": lower, "upper": upper}
    return {key: item for key, item in row.items() if item is not None}


def _learning_rows(tables: Mapping[str, pa.Table], column: str) -> list[Row]:
    trials = tables["trials"].select(["trial", "arm", "phase", "chosen", "state"]).to_pylist()
    arm_of = {
        row["trial"]: row["arm"]
        for row in trials
        if row["phase"] == "confirm" and row["chosen"] and row["state"] == "complete"
    }
    if column not in tables["records"].column_names:
        return []
    seen: dict[str, dict[int, list[float]]] = {}
    for row in tables["records"].select(["trial", "images", column]).to_pylist():
        arm, value = arm_of.get(row["trial"]), row[column]
        if arm is not None and value is not None and isfinite(value):
            seen.setdefault(arm, {}).setdefault(row["images"], []).append(value)
    rows: list[Row] = []
    for arm, reports in seen.items():
        points = sorted(reports.items())
        rows += [
            {
                "part": "report", "arm": arm, "images": images, "mean": fsum(values) / len(values),
                "lowest": min(values), "highest": max(values), "runs": len(values),
            }
            for images, values in (points[place] for place in thinned(len(points), REPORTS))
        ]  # fmt: skip
    return rows


def _parameter(params: Iterable[Mapping[str, Any]]) -> str:
    """What the search is shown against: beta if it was searched, else the first number."""
    names = dict.fromkeys(name for known in params for name in known if _numeric(known[name]))
    return "beta" if "beta" in names else next(iter(names), "")


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(*, automatic: bool) -> str:
    return "automatic" if automatic else "hand-tuned"


def _beyond(what: str, names: Sequence[str]) -> str:
    """What the axes leave out at first."""
    return f"Beyond the axes at first, {what}: {', '.join(dict.fromkeys(names))}." if names else ""
