"""After how many trials a search is as good as an automatic arm, or as a given value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.analysis.answers.break_even import BreakEven, Count
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable, money, money_columns
from study.formatting import NONE, images, multiple, seconds, short
from study.metrics import Metric


def break_even(report: Report) -> TextTable:
    """Break-even by the study's objective."""
    return _break_even(report, report.break_even, report.objective)


def second_break_even(report: Report) -> TextTable:
    """Break-even by the second objective."""
    return _break_even(report, report.second_break_even, report.second)


def targets(report: Report) -> TextTable:
    """What it costs each arm to reach the value that the user asked for."""
    target = report.targets[0].level.mean if report.targets else None
    asked = NONE if target is None else report.objective.given(target)
    return TextTable(
        f"Cost to reach {asked}",
        f"a {report.objective.label} of {asked} on test: the number of "
        "trials after which the best trial found reaches it; trials of an automatic arm "
        "are runs of other seeds",
        ["arm", "trials [95 %]", "images [95 %]", "std s [95 %]", *money_columns(report)],
        [
            [one.arm, trials, n, taken, *money(report, one.seconds[0])]
            for one in report.targets
            for trials, n, _, taken in [_amounts(report, one)]
        ],
    )


def narrowed(report: Report) -> TextTable:
    """Break-even if the prior of beta were narrower."""
    against = report.narrowed[0].against if report.narrowed else ""
    centre = short(report.narrowed[0].centre) if report.narrowed else ""
    return TextTable(
        "Break-even under narrower priors",
        f"against {against}, with priors of beta around {centre}, the final beta of that arm: the "
        "value of knowing the region in advance",
        ["arm", "decades", "trials inside", "trials [95 %]"],
        [
            [n.arm, f"{n.decades:.2f} of {n.whole:.2f}", str(n.trials.within), _count(n.trials)]
            for n in report.narrowed
        ],
    )


def _break_even(report: Report, found: Sequence[BreakEven], objective: Metric) -> TextTable:
    return TextTable(
        f"Break-even by {objective.label}",
        f"{objective.heading}: the number of trials after which the best trial found "
        "(chosen on validation, deployed unchanged, scored on test) reaches the automatic arm's "
        "mean, and their cost in images and in standard device seconds; x: these images as a "
        "multiple of that arm's, its choice included where it was chosen here; best of m: of one "
        "run of each of m automatic arms; >: not within the recorded trials; seeds: the number of "
        "trials after which it reaches the best of as many seeds of that arm",
        ["arm", "against", "trials [95 %]", "images [95 %]", "x", "std s [95 %]", "seeds"],
        [[one.arm, one.against, *_amounts(report, one), _against_seeds(one)] for one in found],
        left=2,
    )


def _against_seeds(one: BreakEven) -> str:
    runs = min(one.trials.within, one.seeds)  # that both have
    return str(one.against_best or f">{runs}") if runs else NONE


def _amounts(report: Report, one: BreakEven) -> list[str]:
    """Trials, images with their multiple, and standard seconds of a break-even."""
    curve = next(curve for curve in (*report.curves, *report.second_curves) if curve.arm == one.arm)
    count = one.trials
    return [
        _count(count),
        _censored(count, one.images, curve.images[-1], images),
        multiple(one.multiple[0]),
        _censored(count, one.seconds, curve.seconds[-1], seconds),
    ]


def _count(count: Count) -> str:
    values = (count.value, count.lower, count.upper)
    return _censored(count, values, count.within, lambda n: str(int(n or 0)))


def _censored(
    count: Count,
    values: Sequence[float | None],
    end: float | None,
    text: Callable[[float | None], str],
) -> str:
    """A value with its interval; what is not within the recorded trials, "> all of them"."""
    if end is None:
        return NONE
    lowest = count.lower is None or count.lower <= count.within
    value, lower, upper = (
        text(one) if one is not None and known else f">{text(end)}"
        for one, known in zip(values, (True, lowest, True), strict=True)
    )
    return value if count.lower is None else f"{value} [{lower}, {upper}]"
