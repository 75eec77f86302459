"""Calibration of predicted uncertainty, from tables of the confirm runs."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import pyarrow as pa

from study.analysis.records.artifacts import standing_tables
from study.analysis.rendering.figures.chart import Figure, Heading
from study.analysis.rendering.figures.marks import (
    Looks,
    layers,
    movable,
    part,
    reference,
    sentences,
)

QUANTILES = Heading("calibration", "Calibration: observed against predicted quantiles")
VARIANCES = Heading("variances", "Predicted variance and squared error")


def quantiles(trials: pa.Table, home: Path, looks: Looks) -> Figure:
    """Shares of test pixels below their own predictive quantile, less the quantile's level."""
    tables = standing_tables(trials, home, "calibration_quantiles", ("expected", "observed"))
    rows = []
    for arm, runs in tables.items():
        expected = max((run["expected"] for run in runs), key=len)
        whole = [run["observed"] for run in runs if np.array_equal(run["expected"], expected)]
        observed = np.mean(whole, axis=0)  # not of a table that was cut short
        for level, share in zip(expected.tolist(), observed.tolist(), strict=True):
            row = {"part": "gap", "arm": arm, "level": level, "share": share, "gap": share - level}
            rows.append(row | {"runs": len(whole)})
    if not rows:
        return QUANTILES.without_chart("no confirm run has a table of calibration")
    line = part("gap").mark_line(strokeWidth=1.8, clip=True)
    gaps = line.encode(
        x=alt.X("level:Q", title="level of the predictive quantile").axis(format="~%"),
        y=alt.Y("gap:Q", title="share of test pixels below it, less the level").axis(format="+~%"),
        color=looks.colour(rows, symbol="stroke"),
        strokeDash=looks.dash(rows),
        opacity=looks.opacity(),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("level:Q", format=".1%"),
            alt.Tooltip("share:Q", format=".1%", title="share below it"),
        ],
    )
    zero = reference().encode(y=alt.datum(0))
    chart = layers(movable(gaps).add_params(looks.picked), zero)
    caption = (
        "A calibrated prediction is at 0 everywhere: the share of test pixels below their "
        "predictive quantile is its level. A line is an arm's mean over its confirm runs. "
        "High on the left and low on the right: the predicted spread is too small."
    )
    return QUANTILES.figure(caption, chart.properties(height=260), rows)


def variances(trials: pa.Table, home: Path, looks: Looks) -> Figure:
    """Predicted variance against the squared error that was observed."""
    keys = ("predicted", "observed")
    groups = [
        {"part": "group", "arm": arm, "run": number, "predicted": predicted, "observed": observed}
        for arm, runs in standing_tables(trials, home, "calibration_variances", keys).items()
        for number, run in enumerate(runs)
        for predicted, observed in zip(*(run[key].tolist() for key in keys), strict=True)
    ]
    rows = [row for row in groups if row["predicted"] > 0 and row["observed"] > 0]
    if not rows:
        return VARIANCES.without_chart("no confirm run has a table of variances")
    zero = len(groups) - len(rows)
    ends = [row[key] for row in rows for key in keys]
    scale = alt.Scale(type="log", nice=False, domain=[min(ends) / 1.5, max(ends) * 1.5])
    axis = alt.Axis(format=".0e", tickCount=4, grid=False)
    points = part("group").mark_point(size=30, filled=True, clip=True)
    points = points.encode(
        x=alt.X("predicted:Q", title="predicted variance", scale=scale, axis=axis),
        y=alt.Y("observed:Q", title="squared error observed", scale=scale, axis=axis),
        color=looks.colour(rows),
        shape=looks.shape(rows),
        opacity=looks.opacity(),
        tooltip=[
            "arm:N",
            alt.Tooltip("run:Q"),
            *(alt.Tooltip(f"{k}:Q", format=".3~e") for k in keys),
        ],
    )
    low, high = alt.datum(min(ends) / 1.5), alt.datum(max(ends) * 1.5)
    diagonal = reference().encode(x=low, y=low, x2=high, y2=high)
    chart = layers(movable(points).add_params(looks.picked), diagonal)
    caption = sentences(
        "A calibrated prediction is on the diagonal, an over-confident one above it. A point is a "
        "group of test pixels of one confirm run, by their predicted variance; arms with one "
        "variance for all pixels have one point a run.",
        f"Groups with a value of 0, which have no place on these axes: {zero}." if zero else "",
    )
    return VARIANCES.figure(caption, chart.properties(height=300), rows)
