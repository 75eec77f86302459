"""Hand-tuned arms against automatic ones: differences and non-inferiority."""

from __future__ import annotations

from study.analysis.answers.report import Report
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.rendering.tables.table import TextTable, difference
from study.formatting import NONE, multiple
from study.statistics.intervals import Interval

PAYS = {
    Outcome.PAYS: "yes",
    Outcome.DOES_NOT_PAY: "no",
    Outcome.NOT_SHOWN: "not shown",
    Outcome.UNKNOWN: "unknown",
}
"""Whether searching pays, in a cell."""

_NO_WORSE = {None: NONE, True: "shown", False: "not shown"}


def comparisons(report: Report) -> TextTable:
    """Each hand-tuned arm minus each automatic one, and the ratio of their costs."""
    alone = (
        ", each on its own, not corrected for their number" if len(report.comparisons) > 1 else ""
    )
    return TextTable(
        "Hand-tuned minus automatic",
        f"each hand-tuned arm minus each automatic arm, on test over n paired seeds{alone}; x, "
        "std x: its cost as a multiple of the automatic arm's, both named in advance, in images "
        "and in standard device seconds; pays: whether searching pays",
        ["arm", "against", f"{report.objective.short} [95 %]", "n", "x", "std x", "pays"],
        [
            [
                pair.hand,
                pair.automatic,
                difference(report.objective, pair.difference),
                str(pair.difference.n),
                multiple(pair.ratio_images),
                multiple(pair.ratio_standard),
                PAYS[pair.outcome],
            ]
            for pair in report.comparisons
        ],
        left=2,
    )


def non_inferiority(report: Report) -> TextTable:
    """Whether each automatic arm is no worse than each hand-tuned one."""
    margin = report.non_inferiority[0].margin if report.non_inferiority else None
    test = (
        "the study sets no margin"
        if margin is None
        else f"the margin is {margin:g}; the mean and the typical seed, one-sided at 2.5 %"
    )
    return TextTable(
        "Non-inferiority",
        f"whether an automatic arm is shown to be worse by less than a margin "
        f"({test}); wins: probability that it is the better one on a new seed, with the exact "
        "interval",
        ["automatic", "than", "wins [95 %]", "no worse"],
        [
            [one.automatic, one.hand, _share(one.improvement), _NO_WORSE[one.shown]]
            for one in report.non_inferiority
        ],
        left=2,
    )


def _share(interval: Interval) -> str:
    if interval.mean is None:
        return NONE
    mean = f"{interval.mean:.2f}"
    if interval.lower is None or interval.upper is None:
        return mean
    return f"{mean} [{interval.lower:.2f}, {interval.upper:.2f}]"
