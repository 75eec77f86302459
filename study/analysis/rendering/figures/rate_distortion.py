"""The rate-distortion plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from study.analysis.answers.rate_distortion import Plane
from study.analysis.records.artifacts import Table, standing_tables
from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import (
    Looks,
    beyond,
    bulk,
    few,
    kind,
    known,
    layers,
    movable,
    part,
    sentences,
)

HEADING = Heading("plane", "The rate-distortion plane")


_CURVE = {"rate": "test_R", "distortion": "test_S", "beta": "beta"}
"""What is drawn of a run's table of all its betas."""


def beta_curves(trials: pa.Table, home: Path) -> dict[str, list[Table]]:
    """The tables of confirm runs whose one training made a model for every beta, by arm."""
    return standing_tables(trials, home, "beta_curve", [*_CURVE.values()])


def draw(plane: Plane, curves: Mapping[str, Sequence[Table]], looks: Looks) -> Figure:
    """Rate and distortion of the beta sweep, its frontier, the arms, and the curves of some."""
    landings = _landings(plane)
    if not landings:
        return HEADING.without_chart(plane.why or "no confirm run is complete yet")
    sweep_rows, left_out = few(_points("trial", plane.sweep))
    rows: list[Row] = [*sweep_rows, *_points("frontier", plane.frontier), *landings]
    left, right = bulk(row["rate"] for row in rows)
    low, high = bulk(row["distortion"] for row in rows)
    traced = _traced(curves, {row["arm"] for row in landings})
    rows += traced  # beyond the axes at first where others are not
    x = alt.X("rate:Q", title="rate R on test (nats per image)")
    y = alt.Y("distortion:Q", title="distortion S on test (squared error per image)")
    axes: dict[str, Any] = {
        "x": x.scale(zero=False, domain=[left, right]),
        "y": y.scale(zero=False, domain=[low, high]),
    }
    values = [
        alt.Tooltip("rate:Q", format=".2f"),
        alt.Tooltip("distortion:Q", format=".2f"),
        alt.Tooltip("beta:Q", format=".3~g"),
    ]
    marks = part("landing").mark_point(size=130, filled=True, clip=True)
    marks = marks.encode(
        color=looks.colour(landings),
        shape=looks.shape(landings),
        opacity=looks.opacity(),
        tooltip=[
            *("arm:N", "kind:N"),
            *values,
            alt.Tooltip("nats:Q", format=".2f", title="nats above the frontier"),
            alt.Tooltip("frontier_beta:Q", format=".3~g", title="the frontier's beta there"),
        ],
        **axes,
    )
    ink: dict[str, Any] = {"color": "currentColor", "clip": True}
    frontier = part("frontier").mark_line(strokeWidth=1.2, strokeOpacity=0.6, **ink)
    sweep = part("trial").mark_point(size=26, strokeOpacity=0.6, **ink)
    curve = part("curve").mark_line(strokeWidth=1.8, clip=True)
    chart = layers(
        movable(marks).add_params(looks.picked),
        curve.encode(
            color=looks.colour(landings),
            order="beta:Q",
            opacity=looks.opacity(),
            tooltip=["arm:N", *values],
            **axes,
        ),
        frontier.encode(order="rate:Q", **axes),
        sweep.encode(tooltip=values, **axes),
    )

    def outside(row: Row) -> bool:
        return not (left <= row["rate"] <= right and low <= row["distortion"] <= high)

    far, rings = [row["arm"] for row in landings if outside(row)], sum(map(outside, sweep_rows))
    caption = _caption(plane, far, rings, left_out, traced=bool(traced))
    return HEADING.figure(caption, chart.properties(height=340), rows)


def _traced(curves: Mapping[str, Sequence[Table]], arms: set[str]) -> list[Row]:
    """The means over runs of what each arm's models of all betas do."""
    rows: list[Row] = []
    for arm, runs in curves.items():
        if arm not in arms:
            continue
        whole = [run for run in runs if np.array_equal(run["beta"], runs[0]["beta"])]
        means = {key: np.mean([run[key] for run in whole], axis=0) for key in _CURVE.values()}
        for i in range(len(means["beta"])):
            point = {name: float(means[key][i]) for name, key in _CURVE.items()}
            rows.append({"part": "curve", "arm": arm, **point})
    return rows


def _points(name: str, points: Iterable[tuple[float, float, float]]) -> list[Row]:
    return [
        {"part": name, "rate": rate, "distortion": distortion, "beta": beta}
        for rate, distortion, beta in points
    ]


def _landings(plane: Plane) -> list[Row]:
    return [
        {
            "part": "landing", "arm": end.arm, "kind": kind(automatic=end.automatic),
            "rate": end.rate, "distortion": end.distortion,
            **known(beta=end.beta, nats=end.nats, frontier_beta=end.frontier_beta),
        }
        for end in plane.landings
    ]  # fmt: skip


def _caption(plane: Plane, far: list[str], rings: int, left_out: str, *, traced: bool) -> str:
    return sentences(
        "A filled mark is an arm, the mean of its confirm runs.",
        "Rings are trials of the beta sweep, the line is their lower convex hull: setting beta "
        "would have given a mark on it as well."
        if plane.sweep
        else "",
        "A line in an arm's colour is what its one training gives at all betas, on as many test "
        "images as a report measures: the mark on it is the beta that validation chose."
        if traced
        else "",
        f"Without a frontier: {plane.why}." if plane.why else "",
        beyond("arms", far),
        beyond("rings", [str(rings)] if rings else []),
        left_out,
    )
