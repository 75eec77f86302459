"""Device seconds by arm and purpose."""

from __future__ import annotations

from math import fsum

import altair as alt

from study.analysis.answers.costs import Paid
from study.analysis.records.engine_time import PURPOSES
from study.analysis.rendering.figures.chart import Figure, Heading, Row
from study.analysis.rendering.figures.marks import layers, movable, part
from study.analysis.rendering.purposes import purpose_name

HEADING = Heading("device_seconds", "Device seconds by arm and purpose")

#: Of purposes; arms have others.
_COLOURS = ("#4477AA", "#88CCEE", "#44AA99", "#DDCC77", "#CC6677", "#AA4499", "#999933", "#BBBBBB")
_NO_TRIAL = "(no trial)"


def draw(paid: Paid) -> Figure:
    """A bar for each arm, and one for what no trial is charged."""
    rows = _rows(paid)
    if not rows:
        return HEADING.without_chart("no device second has been charged yet")
    order = {row["purpose"]: row["order"] for row in rows}
    purposes = sorted(order, key=order.__getitem__)
    bars = part("seconds").mark_bar(clip=True)
    bars = bars.encode(
        x=alt.X("seconds:Q", title="device seconds").axis(format=",f", tickCount=6).stack("zero"),
        y=alt.Y("arm:N", title=None, sort=[*(arm.arm for arm in paid.arms), _NO_TRIAL]),
        color=alt.Color("purpose:N").scale(
            domain=purposes, range=[_COLOURS[order[purpose]] for purpose in purposes]
        ),
        order="order:Q",
        tooltip=["arm:N", "purpose:N", alt.Tooltip("seconds:Q", format=",.1f")],
    )
    chart = layers(movable(bars, "x")).properties(height=24 * len({row["arm"] for row in rows}))
    caption = (
        f"All device seconds of the engines, by arm and purpose; {_NO_TRIAL} is time that no trial "
        "is charged."
    )
    return HEADING.figure(caption, chart, rows)


def _rows(paid: Paid) -> list[Row]:
    rows: list[Row] = [
        {"part": "seconds", "arm": arm.arm, "purpose": purpose_name(purpose), "order": order,
         "seconds": arm.seconds[purpose]}
        for arm in paid.arms
        for order, purpose in enumerate(PURPOSES)
        if arm.seconds[purpose] > 0
    ]  # fmt: skip
    uncharged = fsum(paid.nobody.values())
    if uncharged > 0:
        rows.append({"part": "seconds", "arm": _NO_TRIAL, "purpose": "not charged",
                     "order": len(PURPOSES), "seconds": uncharged})  # fmt: skip
    return rows
