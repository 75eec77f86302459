"""Learning curves of the confirm runs."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, isfinite

import altair as alt
import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import (
    Looks,
    beyond,
    bulk,
    layers,
    measured,
    movable,
    numbers,
    part,
    thinned,
)
from study.metrics import Metric

HEADING = Heading("learning", "Learning curves of the confirm runs")
POINTS = 60
"""Points of a curve at most."""


def draw(tables: Mapping[str, pa.Table], objective: Metric, looks: Looks) -> Figure:
    """The objective on validation while the confirm runs train."""
    rows = _rows(tables, f"validation_{objective.name}")
    if not rows:
        return HEADING.without_chart("no confirm run is complete yet")
    low, high = bulk(row["mean"] for row in rows)
    y = measured("mean:Q", objective, "validation")
    common = {
        "x": alt.X("images:Q", title="images trained on").axis(format="~s", tickCount=6),
        "color": looks.colour(rows, symbol="stroke"),
    }
    lines = part("report").mark_line(strokeWidth=1.8, clip=True)
    lines = lines.encode(
        y=y.scale(zero=False, domain=[low, high]),
        strokeDash=looks.dash(rows),
        opacity=looks.opacity(),
        tooltip=[
            *("arm:N", alt.Tooltip("images:Q", format=",")),
            *numbers(["mean", "lowest", "highest"], objective),
            alt.Tooltip("runs:Q"),
        ],
        **common,
    )
    ranges = part("report").mark_area(clip=True)
    ranges = ranges.encode(
        y=alt.Y("lowest:Q").title(""),
        y2="highest:Q",
        fillOpacity=looks.opacity(0.12),
        **common,
    )
    # Drawing points far beyond the axis would take longer than the rest of the picture.
    top = high + 2 * (high - low)
    chart = layers(movable(lines).add_params(looks.picked), ranges)
    chart = chart.transform_filter(alt.datum.highest <= top)
    near = {row["arm"] for row in rows if row["highest"] <= top}
    far = beyond("arms, in the data only", [row["arm"] for row in rows if row["arm"] not in near])
    caption = (
        "Lower is better. A line is an arm's mean over its confirm runs, shaded from the lowest to "
        f"the highest of them; values above {objective.number(top)} are in the data only. {far}"
    ).rstrip()
    return HEADING.figure(caption, chart.properties(height=320), rows)


def _rows(tables: Mapping[str, pa.Table], column: str) -> list[Row]:
    trials = tables["trials"].select(["trial", "arm", "phase", "chosen", "state"]).to_pylist()
    arm_of = {
        row["trial"]: row["arm"]
        for row in trials
        if row["phase"] == "confirm" and row["chosen"] and row["state"] == "complete"
    }
    if column not in tables["records"].column_names:
        return []
    records = tables["records"].select(["trial", "images", column])
    reports = records.filter(pc.is_in(records["trial"], pa.array(arm_of, pa.string()))).to_pylist()
    seen: dict[str, dict[int, list[float]]] = {}
    for row in reports:
        value = row[column]
        if value is not None and isfinite(value):
            seen.setdefault(arm_of[row["trial"]], {}).setdefault(row["images"], []).append(value)
    rows: list[Row] = []
    for arm, reports in seen.items():
        points = sorted(reports.items())
        rows += [
            {
                "part": "report", "arm": arm, "images": images, "mean": fsum(values) / len(values),
                "lowest": min(values), "highest": max(values), "runs": len(values),
            }
            for images, values in (points[place] for place in thinned(len(points), POINTS))
        ]  # fmt: skip
    return rows
