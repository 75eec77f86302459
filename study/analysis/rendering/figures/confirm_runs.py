"""Test results of the confirm runs, an arm a line."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from study.analysis.answers.arms import ArmResult
from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import (
    Looks,
    axis_title,
    digits,
    kind,
    known,
    layers,
    movable,
    numbers,
    part,
)
from study.metrics import Metric

HEADING = Heading("confirm", "Test results of the arms")


def draw(arms: Sequence[ArmResult], objective: Metric, looks: Looks) -> Figure:
    """What each arm's confirm runs score on test: a point a seed, and the mean's interval."""
    rows = [row for arm in arms for row in _rows(arm)]
    if not rows:
        return HEADING.without_chart("no confirm run is complete yet")
    present = {row["arm"] for row in rows}
    names = [arm.arm for arm in arms if arm.arm in present]
    common = {
        "y": alt.Y("arm:N", title=None, sort=names),
        "color": looks.colour(rows, symbol=""),
    }
    seen = [row["value"] for row in rows]
    room = 0.05 * (max(seen) - min(seen)) or 1.0
    x = alt.X("value:Q").title(axis_title(objective, "test")).axis(titleAnchor="end", tickCount=6)
    x = x.scale(zero=False, nice=False, domain=[min(seen) - room, max(seen) + room])
    seeds = part("seed").mark_point(size=45, strokeOpacity=0.6, clip=True)
    seeds = seeds.encode(
        x=x, tooltip=["arm:N", "kind:N", "seed:Q", *numbers(["value"], objective)], **common
    )
    intervals = part("mean").mark_rule(strokeWidth=3, strokeOpacity=0.45, clip=True)
    intervals = intervals.encode(x=alt.X("lower:Q").title(""), x2="upper:Q", **common)
    means = part("mean").mark_tick(thickness=3, size=16, clip=True)
    means = means.encode(
        x=x,
        tooltip=[
            *("arm:N", "kind:N"),
            alt.Tooltip("value:Q", format=digits(objective), title="mean"),
            *numbers(["lower", "upper"], objective),
            alt.Tooltip("seeds:Q"),
        ],
        **common,
    )
    chart = layers(movable(seeds, "x"), intervals, means).properties(height=26 * len(names))
    caption = (
        "Further left is better. A circle is one seed's model on test, the tick an arm's mean over "
        "seeds, the bar its 95 % interval, cut where it is beyond the axis; one seed gives no bar."
    )
    return HEADING.figure(caption, chart, rows)


def _rows(arm: ArmResult) -> list[Row]:
    common = {"arm": arm.arm, "kind": kind(automatic=arm.automatic)}
    rows: list[Row] = [
        {"part": "seed", **common, "seed": seed, "value": value}
        for seed, value in arm.by_seed.items()
    ]
    if arm.test.mean is not None:
        bounds = known(lower=arm.test.lower, upper=arm.test.upper, seeds=arm.test.n)
        rows.append({"part": "mean", **common, "value": arm.test.mean, **bounds})
    return rows
