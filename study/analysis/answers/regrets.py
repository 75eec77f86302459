"""Runs of several datasets on one scale: scores, regrets, and pairs of arms over all of them.

Scores have to mean the same on every dataset. A likelihood is taken in bits per dimension, a
distance as its natural logarithm, so that a difference of 0.1 is a tenth whatever the
dataset's distances are. A run's **regret** is its score on test minus the level of its
dataset: the mean there of the arm that is best on validation. The level is the same for all arms
and taken as given: it only aligns the datasets, and cancels in every difference of arms.
Dividing by the range of scores as well would let the worst arm of a study set its scale.

Arms are the same if they have one name and one balancer. A run is a seed, replicates of a search
averaged. Hand-tuned and automatic arms are compared by the interquartile mean of their
differences, paired over seeds within a dataset. What is spoken of is the pair that each study
compares by its own design, whose runs did not choose it; the pairs may be different ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, inf, log
from statistics import fmean

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.report import Report
from study.analysis.answers.verdict_sentences import Outcome
from study.metrics import BITS_PER_DIM, CALIBRATED_NEGATIVE_ELBO, Metric
from study.statistics.aggregates import Aggregate, aggregate, improvement


@dataclass(frozen=True)
class ArmOver:
    """One arm over several datasets.

    Attributes:
        arm: Its name.
        automatic: Whether it is an automatic arm.
        why: What makes it hand-tuned, "" of an automatic arm.
        regret: Interquartile mean of its runs' regrets.
        by_dataset: Mean regret on test for each study, None without a finished run.
        validation: Mean over studies of its regret on validation, by which arms are chosen; None
            where a study lacks it.
        runs: The regrets, a list for each study.
        lost: For each study, how many of its runs failed: they have no regret.
    """

    arm: str
    automatic: bool
    why: str
    regret: Aggregate
    by_dataset: Sequence[float | None]
    validation: float | None
    runs: Sequence[Sequence[float]]
    lost: Sequence[int]


@dataclass(frozen=True)
class PairOver:
    """One hand-tuned arm against one automatic arm over several datasets.

    Attributes:
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        difference: Interquartile mean of hand-tuned minus automatic, paired over seeds.
        improvement: The probability that a run of the automatic arm is the better one.
        ratios: What each study charges in images, hand-tuned over automatic: least and most of the
            studies; None where a study lacks it.
        failed: Over all studies, seeds that only the hand-tuned arm lost, and only the automatic.
        looked: The studies whose seeds were looked at before the last of them or the pair was
            chosen: an interval of fixed runs does not hold for them.
        outcome: What the difference says: nothing with studies ``looked`` at, and nothing in favour
            of an arm that failed where its rival ran, as these runs have no difference.
        no_worse: The studies that show the automatic arm no worse by their margin.
        margins: How many studies set a margin.
        no_worse_on_all: Whether every study shows it, and so all at once at the level of each: an
            intersection-union test. None where a study does not decide it.
        searched: Whether the hand-tuned arm searched in any study; else its balance was given.
    """

    hand: str
    automatic: str
    difference: Aggregate
    improvement: Aggregate
    ratios: tuple[float, float] | None
    failed: tuple[int, int]
    looked: Sequence[str]
    outcome: Outcome
    no_worse: Sequence[str]
    margins: int
    no_worse_on_all: bool | None
    searched: bool


@dataclass
class Scores:
    """An arm's scores in one study: seed -> score on test, and the mean on validation.

    ``lost`` is how many other seeds it failed on.
    """

    test: Mapping[int, float]
    validation: float | None
    lost: int

    @property
    def ended(self) -> list[float]:
        """Every run's score; one that failed is the worst there is, as in a single study."""
        return [*self.test.values(), *[inf] * self.lost]


@dataclass
class CommonArm:
    """An arm as every study has it, or each study's own, in the order of the studies."""

    results: Sequence[ArmResult]
    scores: list[Scores] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name, or all of them; with the balancer where one name has several."""
        known = {(result.arm, result.balancer): None for result in self.results}
        names = {arm for arm, _ in known}
        return " or ".join(
            arm if len(names) == len(known) else f"{arm} ({balancer})" for arm, balancer in known
        )

    @property
    def automatic(self) -> bool:
        return self.results[0].automatic

    @property
    def compared(self) -> bool:
        """Whether its runs compare it with others in every study."""
        return all(result.compared for result in self.results)


def _likelihood(objective: Metric) -> bool:
    return objective in (CALIBRATED_NEGATIVE_ELBO, BITS_PER_DIM)


def score_of(objective: Metric) -> Metric:
    """What runs are compared by over datasets, where each study compares by ``objective``."""
    if _likelihood(objective):
        return BITS_PER_DIM
    return Metric(
        f"log_{objective.name}",
        label=f"logarithm of {objective.label}",
        short=f"ln {objective.short}",
        better=objective.better,
    )


def common_arms(reports: Sequence[Report]) -> list[CommonArm]:
    """The arms that every study has, of the same balancer and role, in the first one's order."""
    found = []
    for first in reports[0].arms:
        results = [arm for report in reports for arm in report.arms if arm.arm == first.arm]
        if (
            len(results) == len(reports)
            and len({(arm.balancer, arm.automatic) for arm in results}) == 1
        ):
            found.append(CommonArm(results))
    return found


def scores_of(arm: ArmResult, objective: Metric) -> Scores:
    """An arm's scores in one study, on the scale of :func:`score_of`."""
    if _likelihood(objective):
        return Scores(arm.bits_by_seed, arm.validation_bits, len(arm.lost_seeds))
    validation = arm.confirm_validation
    return Scores(
        {seed: log(value) for seed, value in arm.by_seed.items() if value > 0},
        None if validation is None or validation <= 0 else log(validation),
        len(arm.lost_seeds),
    )


def level_of(scores: Sequence[Scores]) -> tuple[float, float] | None:
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


def arm_over(arm: CommonArm, levels: Sequence[tuple[float, float] | None]) -> ArmOver:
    """``arm`` over all datasets, given the level of each (:func:`level_of`)."""
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
        why="; ".join(dict.fromkeys(result.why for result in arm.results)),
        regret=aggregate(runs),
        by_dataset=[fmean(of_one) if of_one else None for of_one in runs],
        validation=fsum(known_all) / len(runs) if len(known_all) == len(runs) else None,
        runs=runs,
        lost=[scores.lost for scores in arm.scores],
    )


def own_pair(reports: Sequence[Report]) -> PairOver | None:
    """The pair that each study compares by its own design; None where one has no such pair."""
    sides: tuple[list[ArmResult], list[ArmResult]] = [], []
    for report in reports:
        arms = {arm.arm: arm for arm in report.arms}
        if report.design.pair is None or not arms.keys() >= {*report.design.pair}:
            return None
        for side, name in zip(sides, report.design.pair, strict=True):
            side.append(arms[name])
    objective = reports[0].objective
    hand, automatic = (
        CommonArm(side, [scores_of(result, objective) for result in side]) for side in sides
    )
    return pair_over(hand, automatic, reports)


def pair_over(hand: CommonArm, automatic: CommonArm, reports: Sequence[Report]) -> PairOver:
    """``hand`` against ``automatic``, paired by seed within each of the ``reports``."""
    arms = list(zip(hand.results, automatic.results, strict=True))
    both = list(zip(hand.scores, automatic.scores, strict=True))
    differences = [
        [a.test[seed] - b.test[seed] for seed in sorted(a.test.keys() & b.test.keys())]
        for a, b in both
    ]
    difference = aggregate(differences)
    ratios = [_charged(report, a, b) for report, (a, b) in zip(reports, arms, strict=True)]
    known = [ratio for ratio in ratios if ratio is not None]
    ratio = (min(known), max(known)) if len(known) == len(ratios) else None
    tests = [
        next((t for t in report.non_inferiority if (t.hand, t.automatic) == (a.arm, b.arm)), None)
        for report, (a, b) in zip(reports, arms, strict=True)
    ]
    looked = [r.name for r in reports if r.design.looked or r.design.earlier]
    failed = (
        sum(len(b.by_seed.keys() & a.lost_seeds) for a, b in arms),
        sum(len(a.by_seed.keys() & b.lost_seeds) for a, b in arms),
    )
    shown = [None if test is None else test.shown for test in tests]
    return PairOver(
        hand=hand.name,
        automatic=automatic.name,
        difference=difference,
        improvement=improvement([b.ended for _, b in both], [a.ended for a, _ in both]),
        ratios=ratio,
        failed=failed,
        looked=looked,
        outcome=Outcome.UNKNOWN if looked else _outcome(difference, ratio, failed),
        no_worse=[report.name for report, there in zip(reports, shown, strict=True) if there],
        margins=sum(test is not None and test.margin is not None for test in tests),
        no_worse_on_all=None if None in shown else all(shown),
        searched=any(result.searches for result in hand.results),
    )


def _charged(report: Report, hand: ArmResult, automatic: ArmResult) -> float | None:
    """What a study charges for a hand-tuned arm's model, as a multiple of an automatic arm's."""
    pair = report.pair_cost
    if pair is not None and (pair.hand, pair.automatic) == (hand.arm, automatic.arm):
        return pair.charged.ratio_images
    return costs.ratio(hand.cost, automatic.cost)


def _outcome(
    difference: Aggregate, ratio: tuple[float, float] | None, failed: tuple[int, int]
) -> Outcome:
    lower, upper = difference.interval.lower, difference.interval.upper
    if lower is None or upper is None or ratio is None:
        return Outcome.UNKNOWN
    hand, automatic = failed
    if upper < 0 and not hand:
        return Outcome.PAYS
    return Outcome.DOES_NOT_PAY if lower > 0 and not automatic else Outcome.NOT_SHOWN
