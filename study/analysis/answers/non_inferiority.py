"""Is automatic no worse? Non-inferiority with a margin the study sets before it runs.

H0: on test, the automatic arm is worse than the hand-tuned one by the margin or more. It is
rejected where the 95 % interval of their difference, paired over seeds, ends below the margin: a
one-sided test at 2.5 % (Weerts, Mueller, Vanschoren 2020 use it for defaults against tuning).
"""

from __future__ import annotations

from dataclasses import dataclass

from study.analysis.answers.arms import ArmResult
from study.metrics import Metric
from study.statistics.intervals import Interval, paired_difference, win_interval


@dataclass(frozen=True)
class NonInferiority:
    """Whether the automatic arm is worse than the hand-tuned one by less than a margin.

    ``difference`` is automatic minus hand-tuned on test, paired over seeds. ``shown`` is None where
    nothing can be said. ``improvement`` is the probability that on a fresh seed the automatic
    arm's model is the better one, with its exact interval.
    """

    hand: str
    automatic: str
    margin: float | None
    difference: Interval
    shown: bool | None
    improvement: Interval
    sentence: str


def non_inferiority(
    hand: ArmResult, automatic: ArmResult, margin: float | None, objective: Metric
) -> NonInferiority:
    """Whether ``automatic`` is no worse than ``hand``, by less than ``margin`` of ``objective``."""
    difference = paired_difference(automatic.by_seed, hand.by_seed)
    shown = None if margin is None or difference.upper is None else difference.upper < margin
    return NonInferiority(
        hand.arm,
        automatic.arm,
        margin,
        difference,
        shown,
        win_interval(automatic.by_seed, hand.by_seed),
        _sentence(hand.arm, automatic.arm, margin, difference, objective, shown=shown),
    )


def _sentence(
    hand: str,
    automatic: str,
    margin: float | None,
    difference: Interval,
    objective: Metric,
    *,
    shown: bool | None,
) -> str:
    if margin is None:
        return "The study sets no margin: whether automatic is no worse can't be said."
    if difference.mean is None or difference.upper is None:
        return f"Whether {automatic} is no worse than {hand} can't be said: {difference.why}."
    verdict = "is no worse than" if shown else "is not shown to be no worse than"
    return (
        f"{automatic} {verdict} {hand} by the margin of {margin:g}: "
        f"{automatic} minus {hand} is {objective.difference(difference)}."
    )
