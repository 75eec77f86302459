"""Did searching pay? One hand-tuned arm against one automatic arm.

The rule: d = hand-tuned - automatic on the test objective, paired over the confirm seeds, lower
is better. An interval of d below 0: searching found the better model; above 0: the balancer is
better; otherwise no difference could be shown. The ratio of the costs to one model then says
what the search cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult, pairs
from study.analysis.answers.sides import PairCost
from study.metrics import Metric
from study.statistics.intervals import Interval, paired_difference


class Outcome(StrEnum):
    """What a comparison says."""

    PAYS = "pays"
    DOES_NOT_PAY = "does not pay"
    NOT_SHOWN = "not shown to pay"
    UNKNOWN = "can't be told"


@dataclass(frozen=True)
class Comparison:
    """One hand-tuned arm against one automatic arm.

    ``difference`` is hand-tuned minus automatic on test, in the objective's unit; the ratios are
    costs to one model, hand-tuned over automatic. ``finding`` says the difference in words, and
    ``sentence`` all of it.
    """

    hand: str
    automatic: str
    objective: Metric
    difference: Interval
    ratio_images: float | None
    ratio_standard: float | None
    outcome: Outcome
    finding: str
    sentence: str


def compare(
    hand: str,
    automatic: str,
    objective: Metric,
    *,
    difference: Interval,
    ratio_images: float | None,
    ratio_standard: float | None,
    cost: PairCost | None = None,
) -> Comparison:
    """The verdict of ``hand`` against ``automatic``, with its sentence.

    ``cost`` is what the models of the study's pair take, its choice included; without it the
    ratios, of the two arms as if named in advance, are the price.
    """
    outcome = _outcome(difference, ratio_images)
    finding = f"by {objective.heading} on test, {_finding(hand, automatic, objective, difference)}"
    charged = ratio_images if cost is None else cost.charged.ratio_images
    if cost is not None:
        price = cost.sentence
    elif ratio_images is None:
        price = "what a model costs is not known yet for both"
    else:
        price = f"{hand} costs {ratio_images:.1f}x the images of {automatic} to one model"
    return Comparison(
        hand,
        automatic,
        objective,
        difference,
        ratio_images,
        ratio_standard,
        outcome,
        finding,
        f"{_headline(outcome, charged)}: {finding}; {price}.",
    )


def compare_arms(
    arms: Sequence[ArmResult],
    objective: Metric,
    *,
    cost: PairCost | None = None,
    second: bool = False,
) -> list[Comparison]:
    """Every hand-tuned arm against every automatic one.

    Args:
        arms: The arms' results.
        objective: What they are compared by.
        cost: What the models of the study's pair take; None while there is none.
        second: Whether that is the second objective, not the one that settings were chosen by.
    """

    def compared(hand: ArmResult, automatic: ArmResult) -> Comparison:
        one, other = (a.second_by_seed if second else a.by_seed for a in (hand, automatic))
        return compare(
            hand.arm,
            automatic.arm,
            objective,
            difference=paired_difference(one, other),
            ratio_images=costs.ratio(hand.cost, automatic.cost),
            ratio_standard=costs.ratio(hand.cost, automatic.cost, "standard"),
            cost=cost
            if cost and (cost.hand, cost.automatic) == (hand.arm, automatic.arm)
            else None,
        )

    return [compared(hand, automatic) for hand, automatic in pairs(arms)]


def _outcome(difference: Interval, ratio: float | None) -> Outcome:
    if difference.lower is None or difference.upper is None or ratio is None:
        return Outcome.UNKNOWN
    if difference.upper < 0:
        return Outcome.PAYS
    if difference.lower > 0:
        return Outcome.DOES_NOT_PAY
    return Outcome.NOT_SHOWN


def compared(
    hand: str, automatic: str, score: Metric, difference: Interval, found: str = "a better model"
) -> str:
    """Which of two arms is better, by the interval of ``hand`` minus ``automatic``."""
    if difference.mean is None:
        return f"{hand} against {automatic} can't be compared: {difference.why}"
    if difference.lower is None or difference.upper is None:
        return f"{hand} minus {automatic} is {score.difference(difference)}; {difference.why}"
    if difference.upper < 0:
        by = score.difference(-difference)
        return f"hand-tuned {hand} found {found} than {automatic}, by {by}"
    by = score.difference(difference)
    if difference.lower > 0:
        return f"automatic {automatic} is better than hand-tuned {hand}, by {by}"
    return f"no difference between {hand} and {automatic} could be shown: {by}"


def _finding(hand: str, automatic: str, objective: Metric, difference: Interval) -> str:
    if difference.lower == difference.upper == 0:
        return f"{hand} and {automatic} are equal on all {difference.n} paired seeds"
    finding = compared(hand, automatic, objective, difference)
    if difference.lower is None or difference.upper is None:
        return finding
    finding += f" over {difference.n} paired seeds"
    return f"{finding} ({difference.why})" if difference.why else finding


def _headline(outcome: Outcome, ratio: float | None) -> str:
    if outcome is Outcome.UNKNOWN:
        return "Whether searching pays can't be told yet"
    if outcome is Outcome.NOT_SHOWN:
        return "Searching is not shown to pay"
    if outcome is Outcome.PAYS and ratio is not None and ratio > 1:
        return f"Searching pays where the gain is worth {ratio:.1f} times the training"
    return f"Searching {outcome}"
