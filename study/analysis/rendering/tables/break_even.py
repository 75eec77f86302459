"""After how many trials a search is as good as an automatic arm, or as a given value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.analysis.answers.break_even import BreakEven, Count
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable, money, money_columns
from study.formatting import NONE, images, seconds, short
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
    return TextTable(
        f"Cost to a {report.objective.label} of {report.objective.number(target)} on test: the "
        "number of trials after which the best trial found reaches it; trials of an automatic arm "
        "are runs of other seeds",
        ["arm", "trials [95 %]", "images [95 %]", "std s [95 %]", *money_columns(report)],
        [
            [one.arm, *_amounts(report, one), *money(report, one.seconds[0])]
            for one in report.targets
        ],
    )


def narrowed(report: Report) -> TextTable:
    """Break-even if the prior of beta were narrower."""
    against = report.narrowed[0].against if report.narrowed else ""
    centre = short(report.narrowed[0].centre) if report.narrowed else ""
    return TextTable(
        f"Break-even against {against} under narrower priors of beta around {centre}, the final "
        "beta of that arm: the value of knowing the region in advance",
        ["arm", "decades", "trials inside", "trials [95 %]"],
        [
            [n.arm, f"{n.decades:.2f} of {n.whole:.2f}", str(n.trials.within), _count(n.trials)]
            for n in report.narrowed
        ],
    )


def _break_even(report: Report, found: Sequence[BreakEven], objective: Metric) -> TextTable:
    return TextTable(
        f"Break-even by {objective.heading}: the number of trials after which the best trial found "
        "(chosen on validation, deployed unchanged, scored on test) reaches the automatic arm's "
        "mean, and their cost in images and in standard device seconds; >: not within the recorded "
        "trials; best of n: the number of trials after which it reaches the best of as many seeds "
        "of that arm",
        ["arm", "against", "trials [95 %]", "images [95 %]", "std s [95 %]", "best of n"],
        [
            [
                one.arm,
                one.against,
                *_amounts(report, one),
                # Runs that both have.
                str(one.against_best or f">{min(one.trials.within, one.seeds)}"),
            ]
            for one in found
        ],
        left=2,
    )


def _amounts(report: Report, one: BreakEven) -> list[str]:
    """Trials, images and standard seconds of a break-even, each with its interval."""
    curve = next(curve for curve in (*report.curves, *report.second_curves) if curve.arm == one.arm)
    count = one.trials
    return [
        _count(count),
        _censored(count, one.images, curve.images[-1], images),
        _censored(count, one.seconds, curve.seconds[-1], seconds),
    ]


def _count(count: Count) -> str:
    whole = (float(count.within), count.value, count.lower, count.upper)
    return _censored(count, whole[1:], whole[0], lambda n: str(int(n or 0)))


def _censored(
    count: Count,
    values: Sequence[float | None],
    end: float | None,
    text: Callable[[float | None], str],
) -> str:
    """A value with its interval; beyond the recorded trials, "> all of them"."""
    if end is None:
        return NONE
    value, lower, upper = (
        f">{text(end)}" if known is None or n is None or n > count.within else text(known)
        for known, n in zip(values, (count.value, count.lower, count.upper), strict=True)
    )
    return value if count.lower is None else f"{value} [{lower}, {upper}]"
