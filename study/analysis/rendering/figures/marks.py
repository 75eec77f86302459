"""What the charts of a study share: the looks of its arms, layers, axes and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np

from study.analysis.rendering.figures.chart import TITLE_Y, Row
from study.metrics import Metric

#: Okabe & Ito's colours, distinct for all kinds of colour vision; without yellow, which is faint on
#: white, and with the page's own ink for their black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "currentColor")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
FAINT = 0.12
_LINE = 13
"""Pixels from one line of an axis's title to the next."""
TRIALS = 600
"""Marks of trials in a chart at most: more hide each other, and weigh."""


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
        """The arms of ``rows`` by shape."""
        arms = self._present(rows)
        return alt.Shape("arm:N").scale(
            domain=arms, range=[self._once(arm, SHAPES) for arm in arms]
        )

    def dash(self, rows: Iterable[Row]) -> alt.StrokeDash:
        """The arms of ``rows`` by dash."""
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
        """The next style each time that the colours repeat."""
        return styles[self._arms.index(arm) // len(COLOURS) % len(styles)]


def part(name: str) -> alt.Chart:
    """A layer of the rows whose "part" is ``name``."""
    return alt.Chart().transform_filter(f"datum.part === '{name}'")


def reference() -> alt.Chart:
    """A layer with a rule at fixed places, drawn once and not once a row."""
    one_row = alt.Chart().transform_aggregate(rows="count()")
    rule: alt.Chart = one_row.mark_rule(
        strokeWidth=1, color="currentColor", strokeOpacity=0.5, clip=True
    )
    return rule


def layers(*charts: alt.Chart) -> alt.LayerChart:
    """``charts`` on top of each other, over a figure's rows."""
    return alt.LayerChart(layer=list(charts), data=alt.NamedData("rows"))


def movable(layer: alt.Chart, *encodings: Literal["x", "y"]) -> alt.Chart:
    """``layer`` with axes to drag, and to zoom with the wheel while Ctrl is held (or by a pinch).

    The wheel alone scrolls the page.
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


def few(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """At most ``TRIALS`` of ``rows``, evenly spread, and a sentence where others are left out."""
    places = thinned(len(rows), TRIALS)
    left_out = f"Drawn: {len(places):,} of {len(rows):,} trials, evenly spread in their order."
    return [rows[place] for place in places], left_out if len(places) < len(rows) else ""


def axis_title(metric: Metric, split: str) -> list[str]:
    """The name of ``metric``, its unit on a line of its own: a phone is too narrow for one line."""
    name, _, how = metric.heading.partition(" (")
    return [f"{name} on {split}", *([f"({how}"] if how else [])]


def measured(field: str, metric: Metric, split: str) -> alt.Y:
    """The vertical axis of ``metric``."""
    lines = axis_title(metric, split)
    return alt.Y(field).title(lines).axis(titleY=TITLE_Y - _LINE * (len(lines) - 1))


def digits(metric: Metric) -> str:
    """The format of a metric's values."""
    return f".{metric.digits}f"


def numbers(columns: Iterable[str], metric: Metric) -> list[alt.Tooltip]:
    """Lines of a tooltip: values of ``metric`` under the names of their columns."""
    return [alt.Tooltip(f"{column}:Q", format=digits(metric)) for column in columns]


def kind(*, automatic: bool) -> str:
    """The kind of an arm, as tooltips name it."""
    return "automatic" if automatic else "hand-tuned"


def known(**values: float | None) -> dict[str, float]:
    """The values that are known: a row has no column for the others."""
    return {name: value for name, value in values.items() if value is not None}


def sentences(*parts: str) -> str:
    """A caption of the parts that say anything."""
    return " ".join(filter(None, parts))


def beyond(what: str, names: Sequence[str]) -> str:
    """What the axes leave out until they are zoomed or moved."""
    return f"Beyond the axes at first, {what}: {', '.join(dict.fromkeys(names))}." if names else ""
