"""What the best trial found scores, against the images it took to find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.cost_curves import CostCurve
from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import (
    Looks,
    beyond,
    bulk,
    digits,
    kind,
    known,
    layers,
    measured,
    movable,
    numbers,
    part,
    sentences,
    thinned,
)
from study.metrics import Metric

HEADING = Heading("cost_curves", "Best trial found, against images trained on")
POINTS = 150
"""Points of a curve at most: a screen cannot resolve more."""

_SEARCHED = "datum.kind === 'hand-tuned'"


def draw(
    curves: Sequence[CostCurve],
    break_even: Sequence[BreakEven],
    arms: Sequence[ArmResult],
    objective: Metric,
    looks: Looks,
) -> Figure:
    """Curves of searches with their bands, the automatic arms' levels, and where they cross."""
    found = [row for curve in curves for row in _curve(curve)]
    if not found:
        return HEADING.without_chart("no trial with a test value has finished yet")
    levels = _levels(arms)
    crossings = _crossings(break_even)
    rows = [*found, *levels, *crossings]
    low, high = bulk(row["value"] for row in [*found, *levels])
    layout = _Layout(looks, rows, objective, (low, high))
    chart = layers(
        movable(layout.lines()).add_params(looks.picked),
        layout.bands(),
        layout.level_bands(),
        layout.levels(),
        *([layout.crossings()] if crossings else []),
    )
    outside = [row["arm"] for row in rows if not low <= row["value"] <= high]
    caption = sentences(
        _steps_and_bands(curves), _crossed(break_even, crossings), beyond("arms", outside)
    )
    return HEADING.figure(caption, chart.properties(height=380), rows)


@dataclass(frozen=True)
class _Layout:
    """The chart's layers, over common axes; ``span`` is the y axis's at first."""

    looks: Looks
    rows: Sequence[Row]
    objective: Metric
    span: tuple[float, float]

    @property
    def x(self) -> alt.X:
        images = [row["images"] for row in self.rows if row["part"] == "curve"]
        x = alt.X("images:Q", title="images trained on")
        x = x.axis(format="~s", tickCount=6, grid=False)
        return x.scale(type="log", nice=False, domain=[min(images) / 1.1, max(images) * 1.1])

    @property
    def y(self) -> alt.Y:
        y = measured("value:Q", self.objective, "test")
        return y.scale(zero=False, domain=list(self.span))

    @property
    def colour(self) -> alt.Color:
        return self.looks.colour(self.rows, symbol="stroke")

    def bands(self) -> alt.Chart:
        """Of searches only: automatic arms have level bands. An open end is beyond the axis."""
        low, high = self.span
        far = 100 * (high - low)
        bands = part("curve").transform_filter(
            f"{_SEARCHED} && (isValid(datum.lower) || isValid(datum.upper))"
        )
        bands = bands.transform_calculate(
            bottom=f"isValid(datum.lower) ? datum.lower : {low - far}",
            top=f"isValid(datum.upper) ? datum.upper : {high + far}",
        )
        bands = bands.mark_area(interpolate="step-after", clip=True)
        return _layer(
            bands,
            x=self.x,
            y=alt.Y("bottom:Q").title(""),
            y2="top:Q",
            color=self.colour,
            fillOpacity=self.looks.opacity(0.13),
        )

    def lines(self) -> alt.Chart:
        lines = part("curve").mark_line(
            point=alt.OverlayMarkDef(size=22), interpolate="step-after", clip=True
        )
        return _layer(
            lines,
            x=self.x,
            y=self.y,
            color=self.colour,
            strokeDash=self.looks.dash(self.rows),
            strokeWidth=alt.condition(_SEARCHED, alt.value(2.5), alt.value(1.3)),
            opacity=self.looks.opacity(),
            tooltip=[
                *("arm:N", "kind:N", alt.Tooltip("trials:Q"), alt.Tooltip("images:Q", format=",")),
                alt.Tooltip("value:Q", format=digits(self.objective), title="best found"),
                *numbers(["lower", "upper"], self.objective),
            ],
        )

    def levels(self) -> alt.Chart:
        rules = part("level").mark_rule(strokeWidth=1, clip=True)
        return _layer(
            rules,
            y=self.y,
            color=self.colour,
            strokeDash=self.looks.dash(self.rows),
            opacity=self.looks.opacity(),
            tooltip=["arm:N", *numbers(["value", "lower", "upper"], self.objective)],
        )

    def level_bands(self) -> alt.Chart:
        return _layer(
            part("level").mark_rect(clip=True),
            y=alt.Y("lower:Q").title(""),
            y2="upper:Q",
            color=self.colour,
            fillOpacity=self.looks.opacity(0.06),
        )

    def crossings(self) -> alt.Chart:
        diamonds = part("break-even").mark_point(
            shape="diamond", size=110, filled=True, stroke="currentColor", strokeWidth=1, clip=True
        )
        return _layer(
            diamonds,
            x=self.x,
            y=self.y,
            color=self.colour,
            opacity=self.looks.opacity(),
            tooltip=[
                *("arm:N", "against:N", "trials:Q", alt.Tooltip("images:Q", format=",")),
                alt.Tooltip("says:N", title="break-even"),
            ],
        )


def _layer(marks: alt.Chart, **channels: Any) -> alt.Chart:
    layer: alt.Chart = marks.encode(**channels)
    return layer


def _curve(curve: CostCurve) -> list[Row]:
    rows: list[Row] = []
    for place in thinned(len(curve.value), POINTS):
        value, images = curve.value[place], curve.images[place]
        if value is not None and images > 0:
            rows.append({
                "part": "curve", "arm": curve.arm, "value": value,
                **known(lower=curve.lower[place], upper=curve.upper[place]),
                "kind": kind(automatic=curve.automatic), "trials": place + 1, "images": images,
                **known(seconds=curve.seconds[place]),
            })  # fmt: skip
    return rows


def _levels(arms: Sequence[ArmResult]) -> list[Row]:
    return [
        {"part": "level", "arm": arm.arm, "value": arm.test.mean,
         **known(lower=arm.test.lower, upper=arm.test.upper)}
        for arm in arms
        if arm.automatic and arm.test.mean is not None
    ]  # fmt: skip


def _crossings(break_even: Sequence[BreakEven]) -> list[Row]:
    return [
        {
            "part": "break-even", "arm": point.arm, "against": point.against,
            "value": point.level.mean, "images": float(point.images[0]),
            "trials": point.trials.value, "says": point.sentence,
        }
        for point in break_even
        if point.images[0] is not None and point.level.mean is not None
    ]  # fmt: skip


def _crossed(break_even: Sequence[BreakEven], crossings: Sequence[Row]) -> str:
    if crossings:
        return "A diamond: the search reaches an automatic arm's level."
    # Without a break-even, none was looked for, or it could not be computed.
    return "No search reaches an automatic arm's level within its trials." if break_even else ""


def _steps_and_bands(curves: Sequence[CostCurve]) -> str:
    searched = [curve for curve in curves if not curve.automatic and curve.estimand == "median"]
    unbanded = [curve.arm for curve in searched if curve.why]
    banded = [curve for curve in searched if not curve.why]
    holds = "at all budgets at once" if all(c.simultaneous for c in banded) else "at each budget"
    return sentences(
        "Lower is better, further left is cheaper. A step is the test score of the best trial on "
        "validation so far; of an arm without a search, steps are runs of further seeds, and the "
        "level of an automatic one is their mean.",
        f"Shaded: 95 %, for a search {holds}." if banded else "Shaded: 95 % of the levels.",
        f"No band, searched too few times: {', '.join(unbanded)}." if unbanded else "",
    )
