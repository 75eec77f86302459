"""The joint report of several studies."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.multi_study_sentences import covers, share, times
from study.analysis.rendering.tables.comparisons import PAYS
from study.analysis.rendering.tables.table import TextTable, kind, kinds
from study.formatting import NONE
from study.statistics.aggregates import Aggregate


def arms(report: SeveralReport) -> TextTable:
    """Each arm's regret over all datasets."""
    return TextTable(
        "Regret over all datasets",
        f"{report.score.heading} on test above the level of the "
        "dataset, interquartile mean of n runs with an interval of nominally 95 %, and its "
        f"simulated coverage; kind: {kinds(report.arms)}",
        ["arm", "kind", f"{report.score.short} [95 %]", "covers", "n"],
        [
            [
                arm.arm,
                kind(arm),
                report.score.difference(arm.regret.interval, unit=False),
                covers(arm.regret.coverage),
                str(arm.regret.interval.n),
            ]
            for arm in report.arms
        ],
        left=2,
    )


def by_dataset(report: SeveralReport) -> TextTable:
    """Each arm's regret on each dataset."""
    return TextTable(
        "Mean regret by dataset",
        f"on test, and over all of them on validation: {report.score.heading}",
        ["arm", *_names(report), "validation"],
        [
            [
                arm.arm,
                *(report.score.number(value) for value in arm.by_dataset),
                report.score.number(arm.validation),
            ]
            for arm in report.arms
        ],
    )


def pairs(report: SeveralReport) -> TextTable:
    """Each hand-tuned arm minus each automatic one."""
    return TextTable(
        "Hand-tuned minus automatic",
        "on test: interquartile mean over n runs paired by seed; x: "
        "images to one model as a multiple of the automatic arm's; pays: whether searching pays",
        ["hand", "automatic", f"{report.score.short} [95 %]", "covers", "n", "x", "pays"],
        [
            [
                pair.hand,
                pair.automatic,
                report.score.difference(pair.difference.interval, unit=False),
                covers(pair.difference.coverage),
                str(pair.difference.interval.n),
                NONE if pair.ratios is None else times(*pair.ratios),
                PAYS[pair.outcome],
            ]
            for pair in report.pairs
        ],
        left=2,
    )


def improvements(report: SeveralReport) -> TextTable:
    """How probable it is that an automatic arm's run is the better one."""
    return TextTable(
        "Probability of improvement",
        "that a run of the automatic arm is the better one, mean over datasets; no "
        "worse: datasets on which it is shown to be no worse by the study's margin",
        ["hand", "automatic", "probability [95 %]", "covers", "no worse"],
        [
            [
                pair.hand,
                pair.automatic,
                _share(pair.improvement),
                covers(pair.improvement.coverage),
                f"{len(pair.no_worse)}/{len(report.studies)}" if pair.margins else NONE,
            ]
            for pair in report.pairs
        ],
        left=2,
    )


def profiles(report: SeveralReport) -> TextTable:
    """Performance profiles at the quarters of all regrets."""
    if not report.profiles:
        return TextTable("", "", [], [])
    tau = report.profiles[0].tau
    quarters = (len(tau) // 4, len(tau) // 2, 3 * len(tau) // 4)
    places = list({report.score.number(tau[i]): i for i in quarters}.values())
    return TextTable(
        "Performance profiles",
        "share of an arm's runs, over all datasets, with a regret of at most tau; the band holds "
        "at each tau separately",
        ["arm", *(f"{report.score.number(tau[i])} [95 %]" for i in places), "covers"],
        [
            [
                one.arm,
                *(share(one.share[i], one.lower[i], one.upper[i]) for i in places),
                covers(one.coverage),
            ]
            for one in report.profiles
        ],
    )


def _names(report: SeveralReport) -> Sequence[str]:
    """Of datasets, or of studies where several have the same."""
    distinct = len(set(report.datasets)) == len(report.datasets)
    return report.datasets if distinct else report.studies


def _share(found: Aggregate) -> str:
    interval = found.interval
    return share(interval.mean, interval.lower, interval.upper)
