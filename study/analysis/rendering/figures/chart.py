"""One figure: what the page, the picture and the table of its data are all made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np

Row = Mapping[str, Any]

#: Okabe & Ito's colours, that tell apart for all kinds of colour vision, without yellow, which is
#: faint on white; their black is the page's own ink.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "currentColor")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
FAINT = 0.12
WIDTH = 720
"""Pixels a picture's axes are wide; a page's are as wide as there is room."""

_CONFIG = {
    "background": None,
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
    },
    "axisX": {"titlePadding": 8},
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": -36,
              "titleY": -10, "titleBaseline": "bottom"},
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
        assert self.chart is not None, self.why
        spec: dict[str, Any] = self.chart.to_dict(validate=False)  # a test does
        return {
            **spec,
            "width": width,
            "config": _CONFIG,
            "datasets": {"rows": list(self.rows)},
        }

    def picture(self) -> dict[str, Any]:
        """The chart as Vega-Lite to draw a picture of: at a width, on white."""
        return {**self.spec(WIDTH), "background": "white", "padding": 12}

    def csv(self) -> str:
        """The data as comma-separated values, with a column for whatever any row has."""
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


class Looks:
    """One colour, shape and dash for each arm, the same in all figures of a study."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._arms = list(arms)
        #: Fades all arms but those picked in the legend.
        self.picked = alt.selection_point(name="picked", fields=["arm"], bind="legend")

    def colour(self, rows: Iterable[Row], symbol: str = "circle") -> alt.Color:
        """The arms of ``rows`` by colour, in the study's order; no ``symbol``, no legend."""
        arms = self._present(rows)
        shown = alt.Legend(symbolOpacity=1, symbolType=symbol) if symbol else None
        return alt.Color("arm:N", legend=shown).scale(
            domain=arms, range=[COLOURS[self._arms.index(arm) % len(COLOURS)] for arm in arms]
        )

    def shape(self, rows: Iterable[Row]) -> alt.Shape:
        """Likewise by shape."""
        arms = self._present(rows)
        return alt.Shape("arm:N").scale(
            domain=arms, range=[self._once(arm, SHAPES) for arm in arms]
        )

    def dash(self, rows: Iterable[Row]) -> alt.StrokeDash:
        """Likewise by dash."""
        arms = self._present(rows)
        return alt.StrokeDash("arm:N").scale(
            domain=arms, range=[list(self._once(arm, DASHES)) for arm in arms]
        )

    def opacity(self, shown: float = 1.0) -> Any:
        """``shown`` for the arms picked, or all where none is.

        As an encoding of the whole mark's opacity it makes pictures slow, if it is not 1.
        """
        return alt.condition(self.picked, alt.value(shown), alt.value(shown * FAINT))

    def _present(self, rows: Iterable[Row]) -> list[str]:
        there = {row["arm"] for row in rows}
        return [arm for arm in self._arms if arm in there]

    def _once(self, arm: str, styles: Sequence[Any]) -> Any:
        """Another style each time the colours have been gone through."""
        return styles[self._arms.index(arm) // len(COLOURS) % len(styles)]


def part(name: str) -> alt.Chart:
    """A layer of the rows whose "part" is ``name``."""
    return alt.Chart().transform_filter(f"datum.part === '{name}'")


def layers(*charts: alt.Chart) -> alt.LayerChart:
    """``charts`` on top of each other, over a figure's rows."""
    return alt.LayerChart(layer=list(charts), data=alt.NamedData("rows"))


def movable(layer: alt.Chart, *encodings: Literal["x", "y"]) -> alt.Chart:
    """``layer`` with axes to drag, and to zoom with the wheel while Ctrl is held (or by a pinch).

    The bare wheel stays the page's.
    """
    zoom = alt.selection_interval(
        name="zoom", bind="scales", zoom="wheel![event.ctrlKey]", encodings=encodings or ("x", "y")
    )
    return layer.add_params(zoom)


def bulk(values: Iterable[float]) -> tuple[float, float]:
    """The range of ``values``, without those beyond Tukey's fences, a little widened."""
    known = np.asarray(list(values), float)
    low, high = np.quantile(known, [0.25, 0.75])
    reach = 1.5 * (high - low)
    inside = known[(known >= low - reach) & (known <= high + reach)]
    room = 0.05 * (inside.max() - inside.min()) or 0.05 * abs(inside.max()) or 1.0
    return float(inside.min() - room), float(inside.max() + room)


def thinned(count: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 to ``count`` - 1, evenly spread, the last among them."""
    return sorted({round(place) for place in np.linspace(count - 1, 0, min(count, most))})
