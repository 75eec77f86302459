"""Did searching pay? One hand-tuned arm against one automatic arm, or the best of each.

The rule: d = hand-tuned - automatic on the test objective, paired over confirm seeds, lower is
better. Its interval (:func:`study.statistics.paired.bounds`) holds for the mean and for the typical
seed, over fresh seeds and, where the scores of single images are recorded, fresh test images. Below
0: searching found the better model; above 0: the balancer is better; else it is inconclusive, and
so is anything over so few seeds that they could decide nothing. The ratio of the costs to one model
then says what the search cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult, pairs
from study.analysis.answers.design import TWO_STAGES, Design
from study.analysis.answers.sides import PairCost
from study.analysis.answers.verdict_sentences import (
    DECIDED,
    Outcome,
    best_finding,
    first_words,
    one_sided,
    over,
    pair_finding,
    price,
)
from study.metrics import Metric
from study.statistics.choice import ERROR, best_against_best, fewest_seeds
from study.statistics.intervals import Interval
from study.statistics.paired import Differences, bounds, fewest, mean_bounds, over_seeds, paired
from study.statistics.paired import Floats as Images


@dataclass(frozen=True)
class Comparison:
    """One hand-tuned arm against one automatic arm, or the best of several.

    Attributes:
        hand: The hand-tuned arm; of several, that of the pair with the best means.
        automatic: Likewise.
        among: How many hand-tuned and automatic arms it is the best of: (1, 1) of a pair.
        objective: What they are compared by.
        differences: Hand-tuned minus automatic on test, one a seed, in the objective's unit.
        difference: Their mean and the interval that the outcome is read off, over seeds and, if
            there are scores of them, test images: a failed seed is as bad as can be, so an end may
            be infinite, and then there is none. Where so few seeds cannot decide, the t interval.
        ends: The bounds that the outcome is read off; infinite where nothing is bounded, None where
            so few seeds, or equal differences, bound nothing.
        over_seeds: Over fresh seeds on this very test set.
        lost: Seeds on which either failed, or both did.
        no_worse: Whether inconclusive, and automatic is no worse by the study's margin.
        ratio_images: Cost to one model, hand-tuned over automatic; ``ratio_standard`` likewise.
        over: What the interval is over: so many seeds, and images if it covers those.
        opening: What a sentence on it begins with, as "Searching does not pay".
        finding: The difference in words; ``sentence``: all of it.
        needed: From how many paired seeds on it can decide, in one direction at least.
        searched: Whether a hand-tuned arm of it searched; else its balance was given.
    """

    hand: str
    automatic: str
    among: tuple[int, int]
    objective: Metric
    differences: Differences
    difference: Interval
    ends: tuple[float, float] | None
    over_seeds: Interval
    lost: int
    no_worse: bool
    ratio_images: float | None
    ratio_standard: float | None
    outcome: Outcome
    over: str
    opening: str
    finding: str
    sentence: str
    needed: int
    searched: bool


def compare(
    hand: str,
    automatic: str,
    objective: Metric,
    differences: Differences,
    *,
    ratio_images: float | None,
    ratio_standard: float | None,
    margin: float | None = None,
    cost: PairCost | None = None,
    error: float = ERROR,
    looks: bool = False,
    seeds: str = "paired seeds",
    lost: int = 0,
    searched: bool = True,
) -> Comparison:
    """The verdict of the arm ``hand`` against the arm ``automatic``, with its sentence.

    Args:
        objective: What they are compared by.
        differences: Hand-tuned minus automatic on test.
        ratio_images: Cost to one model in images, hand-tuned over automatic; None: not known.
        ratio_standard: Likewise in standard device seconds.
        margin: By how much more automatic may be worse and still be "no worse"; None: not set.
        cost: What the models of the study's pair take, with its choice, if this is the pair: its
            price is charged, not that of two arms named in advance.
        error: Of each end of the interval.
        looks: Whether seeds are added until it is decided.
        seeds: What its seeds are called.
        lost: On how many more seeds either failed, or both did.
        searched: Whether ``hand`` searched for its setting.
    """
    ends, outcome = _judged(differences, error, looks=looks)
    judged = ends or mean_bounds(differences, error, looks=looks)
    interval = _interval(differences, judged)
    words = pair_finding(hand, automatic, objective, differences, interval, judged, outcome, seeds)
    words += _by_failures_alone(differences, outcome, error, looks=looks)
    finding = f"by {objective.heading} on test, {words}"
    no_worse = _is_no_worse(outcome, ends, margin)
    needed = fewest(error, looks=looks)
    few, charged = (differences.n, lost, needed), _charged(ratio_images, cost)
    first = first_words(outcome, few, charged, no_worse, searched=searched)
    return Comparison(
        hand, automatic, (1, 1), objective, differences, interval, ends,
        _interval(differences, over_seeds(differences, error, looks=looks)),
        lost, no_worse is not None, ratio_images, ratio_standard, outcome,
        over(differences.n, differences, seeds), first, finding,
        f"{first}: {finding}; {price(hand, automatic, ratio_images, cost)}.", needed, searched,
    )  # fmt: skip


def compare_arms(
    arms: Sequence[ArmResult],
    objective: Metric,
    design: Design,
    images: Mapping[str, Mapping[int, Images]],
    *,
    margin: float | None = None,
    cost: PairCost | None = None,
    second: bool = False,
) -> list[Comparison]:
    """Every hand-tuned arm against every automatic one, each on its own, of those compared.

    Args:
        arms: The arms' results.
        objective: What they are compared by.
        design: How the compared pair came about.
        images: By arm, seed -> the scores of the test images, as far as there are any.
        margin: The study's, in the objective's unit.
        cost: What the models of the study's pair take; None while there is none.
        second: Whether that is the second objective, not the one that settings were chosen by.
    """

    def of_pair(hand: ArmResult, automatic: ArmResult) -> Comparison:
        of_two = (hand, automatic)
        one, other = (a.second_by_seed if second else a.by_seed for a in of_two)
        lost = [a.second_lost_seeds if second else a.lost_seeds for a in of_two]
        found = paired(one, other, images.get(hand.arm), images.get(automatic.arm))
        failed = len(other.keys() & lost[0]), len(one.keys() & lost[1])
        ours = design.pair == (hand.arm, automatic.arm)
        return compare(
            hand.arm,
            automatic.arm,
            objective,
            replace(found, failed=failed),
            ratio_images=costs.ratio(hand.cost, automatic.cost),
            ratio_standard=costs.ratio(hand.cost, automatic.cost, "standard"),
            margin=margin,
            cost=cost if ours else None,
            error=design.error if ours else ERROR,
            looks=design.looked,
            seeds="fresh seeds" if design.kind == TWO_STAGES else "paired seeds",
            lost=len({*lost[0], *lost[1]}),
            searched=hand.searches,
        )

    return [of_pair(hand, automatic) for hand, automatic in pairs(arms)]


def together(comparisons: Sequence[Comparison], error: float, *, looks: bool) -> list[Comparison]:
    """Those pairs with outcomes that all hold at once: ``error`` is divided among them."""
    each = error / max(1, len(comparisons))
    return [
        replace(one, outcome=_judged(one.differences, each, looks=looks)[1]) for one in comparisons
    ]


def headline(
    comparisons: Sequence[Comparison],
    design: Design,
    margin: float | None = None,
    cost: PairCost | None = None,
) -> Comparison | None:
    """What the study's verdict speaks of: its pair, or the best arms where it has none.

    None while there is none to speak of. ``margin`` is the study's, ``cost`` what the models of
    the two sides take.
    """
    if design.pair is not None:
        return next((c for c in comparisons if (c.hand, c.automatic) == design.pair), None)
    ran = {arm for c in comparisons if c.differences.n for arm in (c.hand, c.automatic)}
    known = [c for c in comparisons if ran >= {c.hand, c.automatic}]
    apart = next((c for c in known if not c.differences.n), None)  # of a study that still runs
    if apart or not known:
        return apart
    found = _best(known, margin, cost, looks=design.looked)
    without = {arm: None for c in comparisons for arm in (c.hand, c.automatic) if arm not in ran}
    return _without(found, [*without])


def _best(
    comparisons: Sequence[Comparison], margin: float | None, cost: PairCost | None, *, looks: bool
) -> Comparison:
    """The best hand-tuned arm against the best automatic one (best against best), a weaker claim.

    No pair that was chosen by these very runs is spoken of, so that nothing is left out.
    """
    among = len({c.hand for c in comparisons}), len({c.automatic for c in comparisons})
    if among == (1, 1):  # of arms without a result none was left to choose from, but they cost
        (one,) = comparisons
        return compare(
            one.hand, one.automatic, one.objective, one.differences,
            ratio_images=one.ratio_images, ratio_standard=one.ratio_standard,
            margin=margin, cost=cost, looks=looks, lost=one.lost, searched=one.searched,
        )  # fmt: skip
    by_pair = {(c.hand, c.automatic): c.differences for c in comparisons}
    found = best_against_best(by_pair, looks=looks)
    alone = best_against_best(
        {pair: replace(one, image_variance=None) for pair, one in by_pair.items()}, looks=looks
    )
    if found is None or alone is None:
        raise ValueError("a pair of arms has no seed in common: best against best takes one")
    pair, ends = (found.hand, found.automatic), (found.lower, found.upper)
    of_pair = next(c for c in comparisons if (c.hand, c.automatic) == pair)
    least = min(comparisons, key=lambda c: c.differences.n)
    needed = fewest_seeds(*among, looks=looks)
    outcome = Outcome.NOT_SHOWN
    if least.differences.n < min(needed) and not any(map(isfinite, ends)):
        outcome = Outcome.UNKNOWN
    elif found.upper < 0 or found.lower > 0:
        outcome = Outcome.PAYS if found.upper < 0 else Outcome.DOES_NOT_PAY
    no_worse = _is_no_worse(outcome, ends, margin)
    interval = _interval(of_pair.differences, ends)
    words = best_finding(by_pair, pair, of_pair.objective, among, interval, ends, outcome)
    finding = f"by {of_pair.objective.heading} on test, {words}"
    searched = any(one.searched for one in comparisons)
    few = least.differences.n, least.lost, min(needed)
    charged = _charged(of_pair.ratio_images, cost)
    first = first_words(outcome, few, charged, no_worse, searched=searched)
    if outcome is Outcome.NOT_SHOWN:
        first += one_sided(least.differences.n + least.lost, needed, searched=searched)
    return replace(
        of_pair,
        among=among,
        difference=interval,
        ends=ends,
        over_seeds=_interval(of_pair.differences, (alone.lower, alone.upper)),
        no_worse=no_worse is not None,
        outcome=outcome,
        opening=first,
        finding=finding,
        sentence=f"{first}: {finding}; {price(*pair, of_pair.ratio_images, cost)}.",
        needed=min(needed),
        searched=searched,
    )


def _without(found: Comparison, arms: Sequence[str]) -> Comparison:
    """``found``, with ``arms`` that it says nothing of: their choice and price count them."""
    if not arms:
        return found
    said = f"{found.finding}; {', '.join(arms)} {'has' if len(arms) == 1 else 'have'} no result"
    return replace(found, finding=said, sentence=found.sentence.replace(found.finding, said))


def _interval(differences: Differences, ends: tuple[float, float] | None) -> Interval:
    n = differences.n
    if n == 0:
        return Interval(None, None, None, 0, "they have no finished seed in common")
    if ends is not None and all(map(isfinite, ends)):
        return Interval(differences.mean, *ends, n)
    if n == 1:
        why = "one seed gives no interval"
    elif differences.spread == 0:
        why = f"all {n} differences are equal, which says nothing of their spread"
    else:
        why = "so few seeds give no interval"
        if any(differences.failed):
            why = "with seeds that failed there is no interval"
    return Interval(differences.mean, None, None, n, why)


def _judged(
    differences: Differences, error: float, *, looks: bool
) -> tuple[tuple[float, float] | None, Outcome]:
    """The bounds of the difference, and what they say."""
    ends = bounds(differences, error, looks=looks)
    if ends is None:
        equal = differences.n >= fewest(error, looks=looks) and differences.mean == 0
        return None, Outcome.NOT_SHOWN if equal else Outcome.UNKNOWN
    if ends[1] < 0:
        return ends, Outcome.PAYS
    return ends, Outcome.DOES_NOT_PAY if ends[0] > 0 else Outcome.NOT_SHOWN


def _by_failures_alone(
    differences: Differences, outcome: Outcome, error: float, *, looks: bool
) -> str:
    """Says so where without the seeds that failed nothing would be decided."""
    ran = replace(differences, failed=(0, 0))
    decided = outcome in DECIDED and outcome is not _judged(ran, error, looks=looks)[1]
    return ", without which nothing is decided" if decided else ""


def _is_no_worse(
    outcome: Outcome, ends: tuple[float, float] | None, margin: float | None
) -> float | None:
    """The margin by which automatic is shown to be no worse, where nothing stronger is shown."""
    if outcome is not Outcome.NOT_SHOWN or ends is None or margin is None:
        return None
    return margin if ends[0] > -margin else None


def _charged(ratio: float | None, cost: PairCost | None) -> float | None:
    return ratio if cost is None else cost.charged.ratio_images
