"""What several studies say, in sentences: the verdict, the notes, and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from study.analysis.answers.regrets import ArmOver, CommonArm, PairOver
from study.analysis.answers.report import Report
from study.analysis.answers.verdict_sentences import Outcome, compared, so_far, subject
from study.formatting import NONE
from study.metrics import Metric
from study.statistics.aggregates import Coverage


def verdict(
    arms: Sequence[ArmOver],
    pair: PairOver | None,
    score: Metric,
    datasets: Sequence[str],
    *,
    finished: bool,
) -> list[str]:
    """At most two sentences, the answer first.

    Args:
        arms: The arms over all datasets.
        pair: What every study compares; None where that is not fixed: to take the arms that are
            best in these very runs would claim too much.
        score: What they are compared by.
        datasets: Their names.
        finished: Whether all studies are.
    """
    over = f"over {len(datasets)} datasets ({', '.join(datasets)})"
    unknown = f"Whether searching pays {over} can't be told"
    if pair is not None:
        answer = _answer(pair, score, over)
        if not finished:
            answer = so_far(answer, "not every study is finished")
        return [answer, _beside(pair, len(datasets))]
    for kind, automatic in (("hand-tuned", False), ("automatic", True)):
        if all(arm.automatic is not automatic for arm in arms):
            return [f"{unknown}: the studies have no {kind} arm in common."]
    return [
        f"{unknown}: not every study names or chooses a pair of arms, and the best of several "
        "would be chosen on the runs that compare them; name one in their specs, primary: "
        "{hand_tuned: ARM, automatic: ARM}."
    ]


def _answer(pair: PairOver, score: Metric, over: str) -> str:
    hand, automatic = pair.hand, pair.automatic
    interval, ratio = pair.difference.interval, pair.ratios
    multiple = NONE if ratio is None else times(*ratio)
    asked = subject(searched=pair.searched)
    headline = {
        Outcome.UNKNOWN: f"Whether {asked} pays {over} can't be told",
        Outcome.NOT_SHOWN: f"Inconclusive {over}",
        Outcome.DOES_NOT_PAY: f"{asked.capitalize()} does not pay {over}",
        Outcome.PAYS: f"{asked.capitalize()} pays {over}"
        + (f" where the gain is worth {multiple}x the training" if ratio and ratio[1] > 1 else ""),
    }[pair.outcome]
    finding = compared(hand, automatic, score, interval, "better models")
    if interval.lower is not None:
        as_shown = pair.outcome is Outcome.NOT_SHOWN and not any(pair.failed)
        if not (as_shown or pair.outcome in (Outcome.PAYS, Outcome.DOES_NOT_PAY)):
            finding = f"{hand} minus {automatic} is {score.difference(interval)}"
        finding += f" in the interquartile mean of {interval.n} paired runs"
        if pair.difference.coverage is not None:
            finding += f", an interval that covers {covers(pair.difference.coverage)}"
    for arm, failed in zip((hand, automatic), pair.failed, strict=True):
        if failed:
            seeds = "1 seed" if failed == 1 else f"{failed} seeds"
            finding += f"; {arm} failed on {seeds} where its rival ran: it is not said to be better"
    if pair.looked:
        finding += (
            f", which does not hold for seeds that were looked at before ({', '.join(pair.looked)})"
        )
    price = (
        "what a model costs is not known for both"
        if ratio is None
        else f"{hand} costs {multiple}x the images of {automatic}"
    )
    return f"{headline}: by {score.heading} on test, {finding}; {price}."


def _beside(pair: PairOver, datasets: int) -> str:
    chance = pair.improvement.interval
    if chance.mean is None:
        first = "Which of them is better in a single run can't be told"
    else:
        first = (
            f"A run of {pair.automatic} is better than one of {pair.hand} with probability "
            f"{share(chance.mean, chance.lower, chance.upper)}"
        )
    if not pair.margins:
        return f"{first}; no study sets a margin by which automatic may be worse."
    if pair.no_worse_on_all:
        return (
            f"{first}; {pair.automatic} is no worse by the margin of each study, on all "
            f"{datasets} datasets at once."
        )
    beyond = f", {pair.margins} of which have one" if pair.margins < datasets else ""
    return (
        f"{first}; {pair.automatic} is shown to be no worse by the study's margin on "
        f"{len(pair.no_worse)} of {datasets} datasets{beyond}."
    )


def notes(
    reports: Sequence[Report], arms: Sequence[CommonArm], over: Sequence[ArmOver], score: Metric
) -> list[str]:
    """What limits the numbers."""
    found = [f"{report.name}: {failure}." for report in reports for failure in report.failures]
    datasets = [report.data for report in reports]
    for data in sorted({data for data in datasets if datasets.count(data) > 1}):
        names = ", ".join(report.name for report in reports if report.data == data)
        found.append(
            f"{names} are on the same dataset, {data}: it weighs {datasets.count(data)} times."
        )
    common = {arm.name for arm in arms}
    for report in reports:
        if left := [arm.arm for arm in report.arms if arm.arm not in common]:
            found.append(
                f"{report.name}: {', '.join(left)} left out of the tables; not every study has an "
                "arm of that name, balancer and role."
            )
        if not report.finished:
            found.append(f"{report.name}: not finished, so this is the answer so far.")
    for arm, of_all in zip(arms, over, strict=True):
        for report, runs, result in zip(reports, of_all.runs, arm.results, strict=True):
            if not runs:
                found.append(f"{arm.name}: no finished run in {report.name}.")
            elif len(runs) < len(result.by_seed):
                found.append(
                    f"{arm.name}: distances of 0 or less in {report.name} have no logarithm and "
                    "are left out."
                )
        if failed := [
            f"{lost} in {report.name}"
            for report, lost in zip(reports, of_all.lost, strict=True)
            if lost
        ]:
            found.append(
                f"{arm.name}: runs failed, {', '.join(failed)}: they are in no regret and no "
                "difference, and the worst there is in profiles and probabilities."
            )
    own = [report.design.pair for report in reports]
    if len({*own}) > 1 and all(own):
        listed = "; ".join(
            f"{report.name}: {' against '.join(pair)}"
            for report, pair in zip(reports, own, strict=True)
            if pair is not None
        )
        found.append(f"The verdict compares the pair of each study's own design: {listed}.")
    coverages = [arm.regret.coverage for arm in over if arm.regret.coverage is not None]
    if coverages:
        at = coverages[0]
        found.append(
            "Covers: how often the interval holds the truth, from the hardest kind of runs looked "
            "at to normal runs on datasets alike. For interquartile means it was simulated at "
            f"{at.runs} runs on each of {at.datasets} datasets."
        )
    if over:
        found.append(
            "Intervals are about fresh runs on these datasets, not about other datasets; each "
            "holds on its own."
        )
    return found


def covers(coverage: Coverage | None) -> str:
    """A coverage as "94-98 %", rounded down: from the hardest kind of runs to the usual one."""
    if coverage is None:
        return NONE
    least, usual = floor(100 * coverage.least), floor(100 * coverage.usual)
    return f"{least} %" if least == usual else f"{least}-{usual} %"


def times(least: float, most: float) -> str:
    """Multiples as "9.0-13.0", or "13.0" where they are one."""
    low, high = (f"{value:.1f}" if value >= 0.95 else f"{value:.1g}" for value in (least, most))
    return low if low == high else f"{low}-{high}"


def share(value: float | None, lower: float | None, upper: float | None) -> str:
    """A share with its interval, or a dash."""
    if value is None or lower is None or upper is None:
        return NONE
    return f"{value:.2f} [{lower:.2f}, {upper:.2f}]"
