"""The answer over several studies, each on a dataset of its own.

Scores have to mean the same on every dataset. A likelihood is taken in bits per dimension, a
distance as its natural logarithm, so that a difference of 0.1 is a tenth whatever the
dataset's distances are. A run's **regret** is its score on test minus the level of its
dataset: the mean there of the arm that is best on validation. The level is the same for all arms
and taken as given: it only lines the datasets up, and cancels in every difference of arms.
Dividing by the range of scores as well would let the worst arm of a study set its scale.

Arms are the same if they have one name and one balancer. A run is a seed, replicates of a search
averaged. Hand-tuned and automatic arms are compared by the interquartile mean of their
differences, paired over seeds within a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import floor, fsum, log
from statistics import fmean
from typing import Any

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.report import Report
from study.analysis.answers.verdict import Outcome
from study.analysis.statistics.aggregates import (
    Aggregate,
    Coverage,
    Profile,
    aggregate,
    improvement,
    profile,
)
from study.formatting import NONE
from study.metrics import BITS_PER_DIM, CALIBRATED_ELBO, Metric
from vae_core.errors import UserError


@dataclass(frozen=True)
class ArmOver:
    """One arm over several datasets.

    Attributes:
        arm: Its name.
        automatic: Whether it is an automatic arm.
        regret: Interquartile mean of its runs' regrets.
        by_dataset: Mean regret on test for each study, None without a finished run.
        validation: Mean over studies of its regret on validation, by which arms are chosen; None
            where a study lacks it.
        runs: The regrets, a list for each study.
    """

    arm: str
    automatic: bool
    regret: Aggregate
    by_dataset: Sequence[float | None]
    validation: float | None
    runs: Sequence[Sequence[float]]


@dataclass(frozen=True)
class PairOver:
    """One hand-tuned arm against one automatic arm over several datasets.

    Attributes:
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        difference: Interquartile mean of hand-tuned minus automatic, paired over seeds.
        improvement: The probability that a run of the automatic arm is the better one.
        ratios: Cost to one model in images, hand-tuned over automatic: least and most of the
            studies; None where a study lacks it.
        outcome: What the difference says.
        no_worse: The studies that show the automatic arm no worse by their margin.
        margins: How many studies set a margin.
        no_worse_on_all: Whether every study shows it, hence all at once at the level of each: an
            intersection-union test. None where a study can't tell.
    """

    hand: str
    automatic: str
    difference: Aggregate
    improvement: Aggregate
    ratios: tuple[float, float] | None
    outcome: Outcome
    no_worse: Sequence[str]
    margins: int
    no_worse_on_all: bool | None


@dataclass(frozen=True)
class SeveralReport:
    """What several studies say together.

    ``score`` is what runs are compared by over datasets; ``verdict`` is at most two sentences, the
    answer first.
    """

    studies: Sequence[str]
    datasets: Sequence[str]
    score: Metric
    verdict: Sequence[str]
    arms: Sequence[ArmOver]
    pairs: Sequence[PairOver]
    profiles: Sequence[Profile]
    notes: Sequence[str]


@dataclass
class _Scores:
    """An arm's scores in one study: seed -> score on test, and the mean on validation."""

    test: Mapping[int, float]
    validation: float | None


@dataclass
class _Arm:
    """An arm as every study has it, in the order of the studies."""

    results: Sequence[ArmResult]
    scores: list[_Scores] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.results[0].arm

    @property
    def automatic(self) -> bool:
        return self.results[0].automatic


def combine(reports: Sequence[Report]) -> SeveralReport:
    """What studies of one objective, each on its own dataset, say together.

    Raises:
        UserError: a study is given twice, or their objectives differ.
    """
    _check(reports)
    score = _score(reports[0].objective)
    arms = _common(reports)
    for arm in arms:
        arm.scores = [_scores(result, reports[0].objective) for result in arm.results]
    levels = [_level([arm.scores[i] for arm in arms]) for i in range(len(reports))]
    over = [_over(arm, levels) for arm in arms]
    pairs = [
        _pair(hand, automatic, reports)
        for hand in arms
        if not hand.automatic
        for automatic in arms
        if automatic.automatic
    ]
    datasets = [report.data for report in reports]
    return SeveralReport(
        studies=[report.name for report in reports],
        datasets=datasets,
        score=score,
        verdict=_verdict(over, pairs, score, datasets),
        arms=over,
        pairs=pairs,
        profiles=_profiles(over),
        notes=_notes(reports, arms, over, score),
    )


def several_summary(report: SeveralReport) -> dict[str, Any]:
    """The report as JSON-able values."""
    return asdict(report)


def _check(reports: Sequence[Report]) -> None:
    names = [report.name for report in reports]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"study '{twice[0]}' is given twice",
            where=" ".join(names),
            remedy="name each study once: its runs would count twice",
        )
    if len({report.objective for report in reports}) > 1:
        raise UserError(
            "the studies have different objectives",
            where="; ".join(f"{report.name}: {report.objective.name}" for report in reports),
            remedy="report those of one objective together",
        )


def _likelihood(objective: Metric) -> bool:
    return objective in (CALIBRATED_ELBO, BITS_PER_DIM)


def _score(objective: Metric) -> Metric:
    if _likelihood(objective):
        return BITS_PER_DIM
    return Metric(
        f"log_{objective.name}",
        label=f"logarithm of {objective.label}",
        short=f"ln {objective.short}",
        better=objective.better,
    )


def _common(reports: Sequence[Report]) -> list[_Arm]:
    """The arms that every study has, with the same balancer, in the first one's order."""
    found = []
    for first in reports[0].arms:
        results = [arm for report in reports for arm in report.arms if arm.arm == first.arm]
        if len(results) == len(reports) and len({arm.balancer for arm in results}) == 1:
            found.append(_Arm(results))
    return found


def _scores(arm: ArmResult, objective: Metric) -> _Scores:
    if _likelihood(objective):
        return _Scores(arm.bits_by_seed, arm.validation_bits)
    validation = arm.confirm_validation
    return _Scores(
        {seed: log(value) for seed, value in arm.by_seed.items() if value > 0},
        None if validation is None or validation <= 0 else log(validation),
    )


def _level(scores: Sequence[_Scores]) -> tuple[float, float] | None:
    """Of one dataset: the best validation score, and that arm's mean on test."""
    known = [
        (one.validation, i)
        for i, one in enumerate(scores)
        if one.validation is not None and one.test
    ]
    if not known:
        return None
    validation, best = min(known)
    return validation, fmean(scores[best].test.values())


def _over(arm: _Arm, levels: Sequence[tuple[float, float] | None]) -> ArmOver:
    runs: list[list[float]] = []
    validations: list[float | None] = []
    for scores, level in zip(arm.scores, levels, strict=True):
        if level is None:
            runs.append([])
            validations.append(None)
            continue
        validation, test = level
        runs.append([value - test for value in scores.test.values()])
        seen = scores.validation
        validations.append(None if seen is None else seen - validation)
    known_all = [value for value in validations if value is not None]
    return ArmOver(
        arm=arm.name,
        automatic=arm.automatic,
        regret=aggregate(runs),
        by_dataset=[fmean(of_one) if of_one else None for of_one in runs],
        validation=fsum(known_all) / len(runs) if len(known_all) == len(runs) else None,
        runs=runs,
    )


def _pair(hand: _Arm, automatic: _Arm, reports: Sequence[Report]) -> PairOver:
    both = list(zip(hand.scores, automatic.scores, strict=True))
    differences = [
        [a.test[seed] - b.test[seed] for seed in sorted(a.test.keys() & b.test.keys())]
        for a, b in both
    ]
    difference = aggregate(differences)
    ratios = [
        costs.ratio(a.cost, b.cost) for a, b in zip(hand.results, automatic.results, strict=True)
    ]
    known = [ratio for ratio in ratios if ratio is not None]
    ratio = (min(known), max(known)) if len(known) == len(ratios) else None
    tests = [
        next(
            t
            for t in report.non_inferiority
            if (t.hand, t.automatic) == (hand.name, automatic.name)
        )
        for report in reports
    ]
    shown = [test.shown for test in tests]
    return PairOver(
        hand=hand.name,
        automatic=automatic.name,
        difference=difference,
        improvement=improvement(
            [list(b.test.values()) for _, b in both], [list(a.test.values()) for a, _ in both]
        ),
        ratios=ratio,
        outcome=_outcome(difference, ratio),
        no_worse=[report.name for report, test in zip(reports, tests, strict=True) if test.shown],
        margins=sum(test.margin is not None for test in tests),
        no_worse_on_all=None if None in shown else all(shown),
    )


def _outcome(difference: Aggregate, ratio: tuple[float, float] | None) -> Outcome:
    lower, upper = difference.interval.lower, difference.interval.upper
    if lower is None or upper is None or ratio is None:
        return Outcome.UNKNOWN
    if upper < 0:
        return Outcome.PAYS
    return Outcome.DOES_NOT_PAY if lower > 0 else Outcome.NOT_SHOWN


def _profiles(arms: Sequence[ArmOver]) -> list[Profile]:
    """Of the arms with runs on every dataset, at every regret that one of their runs has."""
    whole = [arm for arm in arms if all(arm.runs)]
    tau = sorted({value for arm in whole for runs in arm.runs for value in runs})
    return [profile(arm.arm, arm.runs, tau) for arm in whole]


def _verdict(
    arms: Sequence[ArmOver],
    pairs: Sequence[PairOver],
    score: Metric,
    datasets: Sequence[str],
) -> list[str]:
    over = f"over {len(datasets)} datasets ({', '.join(datasets)})"
    chosen = {}
    for kind, automatic in (("hand-tuned", False), ("automatic", True)):
        known = [
            (arm.validation, i)
            for i, arm in enumerate(arms)
            if arm.automatic is automatic and arm.validation is not None
        ]
        if not known:
            there = any(arm.automatic is automatic for arm in arms)
            why = (
                f"no {kind} arm has a complete confirm run in each study yet"
                if there
                else f"the studies have no {kind} arm in common"
            )
            return [f"Whether searching pays {over} can't be told: {why}."]
        chosen[kind] = arms[min(known)[1]].arm
    pair = next(
        p for p in pairs if (p.hand, p.automatic) == (chosen["hand-tuned"], chosen["automatic"])
    )
    return [_answer(pair, score, over), _beside(pair, len(datasets))]


def _answer(pair: PairOver, score: Metric, over: str) -> str:
    hand, automatic = pair.hand, pair.automatic
    interval, ratio = pair.difference.interval, pair.ratios
    multiple = NONE if ratio is None else times(*ratio)
    headline = {
        Outcome.UNKNOWN: f"Whether searching pays {over} can't be told yet",
        Outcome.NOT_SHOWN: f"Searching is not shown to pay {over}",
        Outcome.DOES_NOT_PAY: f"Searching does not pay {over}",
        Outcome.PAYS: f"Searching pays {over}"
        + (f" where the gain is worth {multiple}x the training" if ratio and ratio[1] > 1 else ""),
    }[pair.outcome]
    signed = interval if interval.lower is None or interval.lower > 0 else -interval
    if interval.mean is None:
        finding = f"{hand} against {automatic} can't be compared: {interval.why}"
    elif interval.lower is None or interval.upper is None:
        found = score.difference(interval)
        finding = f"{hand} minus {automatic} is {found}; {interval.why}"
    elif interval.upper < 0:
        by = score.difference(signed)
        finding = f"hand-tuned {hand} found better models than {automatic}, by {by}"
    elif interval.lower > 0:
        by = score.difference(signed)
        finding = f"automatic {automatic} is better than hand-tuned {hand}, by {by}"
    else:
        by = score.difference(interval)
        finding = f"no difference between {hand} and {automatic} could be shown: {by}"
    if interval.lower is not None:
        finding += f" in the interquartile mean of {interval.n} paired runs"
        if pair.difference.coverage is not None:
            finding += f", an interval that covers {covers(pair.difference.coverage)}"
    price = (
        "what a model costs is not known yet for both"
        if ratio is None
        else f"{hand} costs {multiple}x the images of {automatic} to one model"
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


def _notes(
    reports: Sequence[Report], arms: Sequence[_Arm], over: Sequence[ArmOver], score: Metric
) -> list[str]:
    found = []
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
                f"{report.name}: {', '.join(left)} left out; not every study has an arm of that "
                "name and balancer."
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
    low, high = f"{least:.1f}", f"{most:.1f}"
    return low if low == high else f"{low}-{high}"


def share(value: float | None, lower: float | None, upper: float | None) -> str:
    """A share with its interval, or a dash."""
    if value is None or lower is None or upper is None:
        return NONE
    return f"{value:.2f} [{lower:.2f}, {upper:.2f}]"
