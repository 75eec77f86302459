"""What a search finds by its number of trials."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.answers.cost_curves import CostCurve
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable, difference
from study.metrics import Metric
from study.statistics.intervals import Interval

_BLOCKS = "▁▂▃▄▅▆▇█"


def cost_curves(report: Report) -> TextTable:
    """The score of the best trial after the first, a quarter of and all trials."""
    number = report.objective.number
    values = [value for curve in report.curves for value in curve.value if value is not None]
    scale = (min(values), max(values)) if values else (0.0, 0.0)
    return TextTable(
        "Best trial found, by number of trials",
        f"{report.objective.heading} on test of the best trial found after n of N trials (low is "
        "good). Searches: the median, with an exact band where trials are independent (for all n "
        "at once; at each n of a search until bounded), else with exact intervals from 6 "
        "replicates on. Arms without a search: the mean best of n seeds, or the median where seeds "
        "were asked for as a search",
        ["arm", "N", "1 .. N", "n = 1", "n = N/4 [95 %]", "n = N"],
        [
            [
                curve.arm,
                str(len(curve.value)),
                sparkline(curve.value, scale),
                number(curve.value[0]),
                _at(report.objective, curve, max(1, len(curve.value) // 4)),
                number(curve.value[-1]),
            ]
            for curve in report.curves
        ],
    )


def expected(report: Report) -> TextTable:
    """The expected best of n trials, where its interval keeps its level."""
    return TextTable(
        "Expected best of n trials",
        "of independent trials, for n up to a quarter of them: beyond, no interval "
        "keeps its level; these cover 94 % or more, measured on known distributions",
        ["arm", "N", "n", f"{report.objective.short} [95 %]"],
        [
            [
                curve.arm,
                str(len(curve.value)),
                str(n),
                difference(report.objective, curve.expected[n - 1]),
            ]
            for curve in report.curves
            for n in sorted({2, len(curve.expected) // 2, len(curve.expected)})
            if 2 <= n <= len(curve.expected) and curve.expected[n - 1].half_width is not None
        ],
    )


def tunability(report: Report) -> TextTable:
    """How a search's expected score depends on its budget."""
    number = report.objective.number
    return TextTable(
        "Tunability",
        "the expected score on test by budget (Sivaprasad et al. 2020): after one "
        "trial; averaged over budgets with most weight on early ones, equal weights, or most "
        "weight on late ones; and after all trials",
        ["arm", "trials", "one shot", "early", "uniform", "late", "peak"],
        [
            [
                one.arm,
                str(one.within),
                *map(number, (one.one_shot, one.early, one.uniform, one.late, one.peak)),
            ]
            for one in report.tunability
        ],
    )


def sparkline(values: Sequence[float | None], scale: tuple[float, float]) -> str:
    """``values`` as blocks of a height between the ends of ``scale``, at most 12 of them."""
    low, high = scale
    step = max(1, -(-len(values) // 12))
    return "".join(
        " "
        if value is None
        else _BLOCKS[round((len(_BLOCKS) - 1) * (value - low) / (high - low))]
        if high > low
        else _BLOCKS[0]
        for value in values[::step]
    )


def _at(objective: Metric, curve: CostCurve, n: int) -> str:
    lower, upper = curve.lower[n - 1], curve.upper[n - 1]
    if lower is None or upper is None:  # one end alone would read like an interval
        lower = upper = None
    return difference(objective, Interval(curve.value[n - 1], lower, upper, n))
