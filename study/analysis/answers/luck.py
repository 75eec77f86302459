"""Luck of the seed: a search keeps lucky trials, an automatic arm can be given the same luck.

A search's best trial was chosen on validation among trials of different seeds, and is deployed as
it is. Its configuration, trained again on fresh seeds, is another estimand: the two may disagree.
What sets the luck off is an automatic arm that trains as many seeds and deploys the best of them;
where no arm was asked to, nothing is said: its best of more seeds than were trained has no bound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.cost_curves import CostCurve
from study.analysis.answers.verdict import Comparison
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.searches import ArmSearches
from study.metrics import Metric
from study.statistics.intervals import Interval


@dataclass(frozen=True)
class EqualLuck:
    """The best of a search's trials against the best of an automatic arm's seeds.

    Attributes:
        hand: The hand-tuned arm that searches.
        automatic: The automatic arm that trains further seeds.
        images: What either takes at most; as many as both have.
        trials: How many trials of the search that is.
        seeds: How many runs of the automatic arm.
        found: What the best trial scores on test, the median search, with its 95 % interval.
        best: What the best seed does.
        sentence: All of it in words.
    """

    hand: str
    automatic: str
    images: float
    trials: int
    seeds: int
    found: Interval
    best: Interval
    sentence: str


def as_found(found: BreakEven) -> str:
    """The sentence on deploying the trial found."""
    return f"Deploying the best trial found, {found.sentence}."


def otherwise(found: BreakEven, retrained: Comparison | None, hand: ArmResult) -> str:
    """What retraining the trial found shows, if that is otherwise than deploying it; else "".

    Args:
        found: From which trial on the search of ``hand`` is at the automatic side's level.
        retrained: Its configuration on fresh seeds against the automatic arm; it says nothing
            where it is inconclusive.
        hand: The hand-tuned arm.
    """
    outcome = Outcome.UNKNOWN if retrained is None else retrained.outcome
    opposite = Outcome.PAYS if found.trials.value is None else Outcome.DOES_NOT_PAY
    if retrained is None or outcome is not opposite:
        return ""
    objective, mean = retrained.objective, retrained.differences.mean
    worse = outcome is Outcome.DOES_NOT_PAY
    by = f"{objective.number(abs(mean))} {objective.unit}".strip()
    amount = f"{by} {'worse' if worse else 'better'}"
    why = ""
    if worse and hand.optimism is not None and hand.optimism > 0:
        why = f": the search keeps lucky seeds (optimism {objective.number(hand.optimism, '+')})"
    return (
        f"Retrained, {hand.arm} is {amount} than {retrained.automatic}, otherwise than the trial "
        f"found{why}."
    )


def equal_luck(
    searches: Mapping[str, ArmSearches], curves: Mapping[str, CostCurve], objective: Metric
) -> list[EqualLuck]:
    """Every hand-tuned arm that searches against every automatic one that was given seeds.

    At the images of one whole search, or of all seeds there are if those are fewer.
    """
    hands = [arm for arm in searches.values() if arm.searched and not arm.automatic]
    lucky = [arm for arm in searches.values() if arm.searched and arm.automatic and arm.of_seeds]
    found = [
        _equal(hand.budget, curves[hand.arm], curves[arm.arm], objective)
        for hand in hands
        for arm in lucky
        if hand.arm in curves and arm.arm in curves
    ]
    return [one for one in found if one is not None]


def _equal(budget: int, search: CostCurve, seeds: CostCurve, objective: Metric) -> EqualLuck | None:
    """None where, of what both cost, one has nothing yet: a pilot or a warm start took it all."""
    whole = min(budget, len(search.value))
    images = min(search.images[whole - 1], seeds.images[-1])
    n, k = (bisect_right(curve.images, images) for curve in (search, seeds))
    if not (n and k):
        return None
    n = min(n, whole)
    found, best = _at(search, n), _at(seeds, k)
    texts = [objective.difference(one, unit=False) for one in (best, found)]
    said = (
        f"With the same luck for the same {images:,.0f} images, the best of {k} seeds of "
        f"{seeds.arm} is at {texts[0]}, the best of {n} trials of {search.arm} at {texts[1]}: "
        f"{_better(search, n, seeds, k)}."
    )
    return EqualLuck(search.arm, seeds.arm, images, n, k, found, best, said)


def _at(curve: CostCurve, n: int) -> Interval:
    value, lower, upper = (ends[n - 1] for ends in (curve.value, curve.lower, curve.upper))
    if lower is None or upper is None:
        return Interval(value, None, None, n, curve.why)
    return Interval(value, lower, upper, n)


def _better(search: CostCurve, whole: int, seeds: CostCurve, most: int) -> str:
    """Which is better, up to so many trials and seeds.

    The best of all there are has no lower bound, so fewer are looked at too, where the bands hold
    at all numbers at once: what is then said is wrong more seldom than either.
    """
    at = range(1, most + 1) if search.simultaneous and seeds.simultaneous else [most]
    for k in reversed(at):
        n = min(whole, bisect_right(search.images, seeds.images[k - 1]))
        if n == 0:
            break
        where = "" if k == most else f" at {seeds.images[k - 1]:,.0f} images"
        for one, i, other, j in ((seeds, k, search, n), (search, n, seeds, k)):
            upper, lower = one.upper[i - 1], other.lower[j - 1]
            if upper is not None and lower is not None and upper < lower:
                return f"{one.arm} is better{where}"
    return "no difference can be shown"
