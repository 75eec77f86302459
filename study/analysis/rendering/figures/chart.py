"""A figure: chart, caption and data, from which page, picture and CSV file are made."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt

Row = Mapping[str, Any]

WIDTH = 720
"""Pixels a picture's axes are wide."""
INLINE = 564
"""Pixels a chart of a page is wide, labels included, until it is drawn as wide as there is room."""
TITLE_Y = -10
"""Where the title of a vertical axis ends: pixels from the top of the axis, downwards."""

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "titleFontWeight": "normal",
        "gridColor": "rgba(128, 128, 128, 0.25)",
        "domainColor": "rgb(128, 128, 128)",
        "tickColor": "rgb(128, 128, 128)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "labelLimit": 160,
        "labelOverlap": "greedy",
        "labelSeparation": 4,
    },
    "axisX": {"titlePadding": 8},
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": -36,
              "titleY": TITLE_Y, "titleBaseline": "bottom"},
    "legend": {
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "labelLimit": 200,
        "title": None,
        "orient": "bottom",
        "columns": 4,
        "symbolStrokeWidth": 2,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A chart, how it is read, and its data.

    Attributes:
        name: Its files' name.
        title: What it shows.
        caption: How to read it, in sentences.
        chart: The chart over data called "rows"; None where there is nothing to show.
        rows: The data, a mapping from column to value each; values are finite.
        why: Why there is no chart, or "".
    """

    name: str
    title: str
    caption: str
    chart: alt.LayerChart | None
    rows: Sequence[Row]
    why: str = ""

    def spec(self, width: int | str = "container") -> dict[str, Any]:
        """The chart as Vega-Lite, data and all, ``width`` pixels or as wide as its container."""
        return {
            **self._vega_lite,
            "width": width,
            "config": _CONFIG,
            "datasets": {"rows": list(self.rows)},
        }

    def picture(self) -> dict[str, Any]:
        """The chart as Vega-Lite to draw a picture of: at a width, on white."""
        return {**self.spec(WIDTH), "background": "white", "padding": 12}

    def inline(self) -> dict[str, Any]:
        """The chart as Vega-Lite to draw what a page shows until the chart is used."""
        legend = {**_CONFIG["legend"], "columns": INLINE // 150}
        return {
            **self.spec(INLINE),
            "autosize": {"type": "fit-x", "contains": "padding"},
            "padding": {"left": 16, "top": 5, "right": 5, "bottom": 5},  # a reader's font is wider
            "config": {**_CONFIG, "legend": legend, "aria": False},
        }

    def csv(self) -> str:
        """The data as comma-separated values, with a column for each key of any row."""
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @cached_property
    def _vega_lite(self) -> dict[str, Any]:
        assert self.chart is not None, self.why
        spec: dict[str, Any] = self.chart.to_dict(validate=False)  # a test does
        return spec


@dataclass(frozen=True)
class Heading:
    """A figure's name and title, known before it is made."""

    name: str
    title: str

    def figure(self, caption: str, chart: alt.LayerChart, rows: Sequence[Row]) -> Figure:
        """The figure."""
        return Figure(self.name, self.title, caption, chart, rows)

    def without_chart(self, why: str) -> Figure:
        """The figure where there is nothing to show, and why."""
        return Figure(self.name, self.title, "", None, [], why)
