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
from enum import StrEnum
from math import isfinite

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult, pairs
from study.analysis.answers.design import TWO_STAGES, Design
from study.analysis.answers.sides import PairCost
from study.metrics import Metric
from study.statistics.choice import ERROR, best_against_best, fewest_seeds
from study.statistics.intervals import Interval
from study.statistics.paired import Differences, bounds, fewest, mean_bounds, paired
from study.statistics.paired import Floats as Images


class Outcome(StrEnum):
    """What a comparison says."""

    PAYS = "pays"
    DOES_NOT_PAY = "does not pay"
    NOT_SHOWN = "inconclusive"
    UNKNOWN = "can't be told"


@dataclass(frozen=True)
class Comparison:
    """One hand-tuned arm against one automatic arm, or the best of several.

    Attributes:
        hand: The hand-tuned arm; of several, that of the pair with the best means.
        automatic: Likewise.
        among: How many hand-tuned and automatic arms it is the best of: (1, 1) of a pair.
        objective: What they are compared by.
        differences: Hand-tuned minus automatic on test, one a seed, in the objective's unit.
        difference: Their mean and its interval, over seeds and, if there are scores of them, test
            images; the t interval alone where so few seeds cannot decide.
        over_seeds: Over fresh seeds on this very test set.
        lost: Seeds on which either failed, or both did.
        no_worse: Whether inconclusive, and automatic is no worse by the study's margin.
        ratio_images: Cost to one model, hand-tuned over automatic; ``ratio_standard`` likewise.
        over: What the interval is over: so many seeds, and images if it covers those.
        opening: What a sentence on it begins with, as "Searching does not pay".
        finding: The difference in words; ``sentence``: all of it.
    """

    hand: str
    automatic: str
    among: tuple[int, int]
    objective: Metric
    differences: Differences
    difference: Interval
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
    looks: bool = False,
    seeds: str = "paired seeds",
    lost: int = 0,
) -> Comparison:
    """The verdict of ``hand`` against ``automatic``, with its sentence.

    Args:
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        objective: What they are compared by.
        differences: Hand-tuned minus automatic on test.
        ratio_images: Cost to one model in images, hand-tuned over automatic; None: not known.
        ratio_standard: Likewise in standard device seconds.
        margin: By how much more automatic may be worse and still be "no worse"; None: not set.
        cost: What the models of the study's pair take, with its choice, if this is the pair: its
            price is charged, not that of two arms named in advance.
        looks: Whether seeds are added until it is decided.
        seeds: What its seeds are called.
        lost: On how many more seeds either failed, or both did.
    """
    needed = fewest(looks=looks)
    ends = bounds(differences, looks=looks)
    outcome = _outcome(differences, ends, needed)
    ran = replace(differences, failed=(0, 0))
    interval = _interval(ran, bounds(ran, looks=looks) or mean_bounds(ran, looks=looks))
    words = _finding(hand, automatic, objective, differences, interval, outcome, seeds)
    finding = f"by {objective.heading} on test, {words}"
    no_worse = _is_no_worse(outcome, ends, margin)
    first = (
        _too_few(differences.n, lost, needed)
        if outcome is Outcome.UNKNOWN
        else _headline(outcome, _charged(ratio_images, cost), no_worse)
    )
    return Comparison(
        hand,
        automatic,
        (1, 1),
        objective,
        differences,
        interval,
        _over_seeds(ran, looks=looks),
        lost,
        no_worse is not None,
        ratio_images,
        ratio_standard,
        outcome,
        _over(differences.n, differences, seeds),
        first,
        finding,
        f"{first}: {finding}; {_price(hand, automatic, ratio_images, cost)}.",
    )


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

    def compared(hand: ArmResult, automatic: ArmResult) -> Comparison:
        of_two = (hand, automatic)
        one, other = (a.second_by_seed if second else a.by_seed for a in of_two)
        lost = [a.second_lost_seeds if second else a.lost_seeds for a in of_two]
        found = paired(one, other, images.get(hand.arm), images.get(automatic.arm))
        failed = len(other.keys() & lost[0]), len(one.keys() & lost[1])
        return compare(
            hand.arm,
            automatic.arm,
            objective,
            replace(found, failed=failed),
            ratio_images=costs.ratio(hand.cost, automatic.cost),
            ratio_standard=costs.ratio(hand.cost, automatic.cost, "standard"),
            margin=margin,
            cost=cost if design.pair == (hand.arm, automatic.arm) else None,
            looks=design.until_decided,
            seeds="fresh seeds" if design.kind == TWO_STAGES else "paired seeds",
            lost=len({*lost[0], *lost[1]}),
        )

    return [compared(hand, automatic) for hand, automatic in pairs(arms)]


def together(comparisons: Sequence[Comparison], *, looks: bool) -> list[Comparison]:
    """Those pairs with outcomes that all hold at once: the error is divided among them."""
    error = ERROR / max(1, len(comparisons))
    needed = fewest(error, looks=looks)
    return [
        replace(
            one,
            outcome=_outcome(one.differences, bounds(one.differences, error, looks=looks), needed),
        )
        for one in comparisons
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
    return _best(known, margin, cost, looks=design.until_decided)


def _best(
    comparisons: Sequence[Comparison], margin: float | None, cost: PairCost | None, *, looks: bool
) -> Comparison:
    """The best hand-tuned arm against the best automatic one (best against best), a weaker claim.

    No pair that was chosen by these very runs is spoken of, so that nothing is left out.
    """
    among = len({c.hand for c in comparisons}), len({c.automatic for c in comparisons})
    if among == (1, 1):
        return comparisons[0]
    by_pair = {(c.hand, c.automatic): c.differences for c in comparisons}
    found = best_against_best(by_pair, looks=looks)
    alone = best_against_best(
        {pair: replace(one, image_variance=None) for pair, one in by_pair.items()}, looks=looks
    )
    if found is None or alone is None:
        raise ValueError("a pair of arms has no seed in common: best against best takes one")
    pair, ends = (found.hand, found.automatic), (found.lower, found.upper)
    of_pair = next(c for c in comparisons if (c.hand, c.automatic) == pair)
    least, needed = (
        min(comparisons, key=lambda c: c.differences.n),
        fewest_seeds(*among, looks=looks),
    )
    outcome = Outcome.NOT_SHOWN
    if least.differences.n < min(needed) and not any(map(isfinite, ends)):
        outcome = Outcome.UNKNOWN
    elif found.upper < 0 or found.lower > 0:
        outcome = Outcome.PAYS if found.upper < 0 else Outcome.DOES_NOT_PAY
    no_worse = _is_no_worse(outcome, ends, margin)
    interval = _interval(of_pair.differences, ends)
    words = _best_finding(by_pair, of_pair, among, interval, ends, outcome)
    finding = f"by {of_pair.objective.heading} on test, {words}"
    if outcome is Outcome.UNKNOWN:
        first = _too_few(least.differences.n, least.lost, min(needed))
    else:
        first = _headline(outcome, _charged(of_pair.ratio_images, cost), no_worse)
    if outcome is Outcome.NOT_SHOWN:
        first += _one_sided(least.differences.n + least.lost, needed)
    return replace(
        of_pair,
        among=among,
        difference=interval,
        over_seeds=_interval(of_pair.differences, (alone.lower, alone.upper)),
        no_worse=no_worse is not None,
        outcome=outcome,
        opening=first,
        finding=finding,
        sentence=f"{first}: {finding}; {_price(*pair, of_pair.ratio_images, cost)}.",
    )


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
        why = "so few seeds, or seeds that failed, give no interval"
    return Interval(differences.mean, None, None, n, why)


def _over_seeds(differences: Differences, *, looks: bool) -> Interval:
    """Without the test images."""
    alone = replace(differences, image_variance=None)
    return _interval(alone, mean_bounds(alone, looks=looks))


def _outcome(differences: Differences, ends: tuple[float, float] | None, needed: int) -> Outcome:
    if differences.n < needed:
        return Outcome.UNKNOWN
    if ends is None:  # all are equal
        return Outcome.NOT_SHOWN if differences.mean == 0 else Outcome.UNKNOWN
    if ends[1] < 0:
        return Outcome.PAYS
    return Outcome.DOES_NOT_PAY if ends[0] > 0 else Outcome.NOT_SHOWN


def _is_no_worse(
    outcome: Outcome, ends: tuple[float, float] | None, margin: float | None
) -> float | None:
    """The margin by which automatic is shown to be no worse, where nothing stronger is shown."""
    if outcome is not Outcome.NOT_SHOWN or ends is None or margin is None:
        return None
    return margin if ends[0] > -margin else None


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


def _finding(
    hand: str,
    automatic: str,
    objective: Metric,
    differences: Differences,
    interval: Interval,
    outcome: Outcome,
    seeds: str,
) -> str:
    n = differences.n
    if n and len(set(differences.values)) == 1 and differences.mean == 0:
        return f"{hand} and {automatic} are equal on all {n} {seeds}"
    if interval.lower is None:
        return compared(hand, automatic, objective, interval)
    by = objective.difference(interval)
    match outcome:
        case Outcome.UNKNOWN:
            said = f"{hand} minus {automatic} is {by}"
        case Outcome.NOT_SHOWN:
            said = f"no difference between {hand} and {automatic} could be shown: {by}"
        case _:
            said = compared(hand, automatic, objective, interval)
    failures = _failures({(hand, automatic): differences})
    return f"{said} over {_over(n, differences, seeds)}{failures}"


def _best_finding(
    by_pair: Mapping[tuple[str, str], Differences],
    pair: Comparison,
    among: tuple[int, int],
    interval: Interval,
    ends: tuple[float, float],
    outcome: Outcome,
) -> str:
    by, number = pair.objective.difference(interval), pair.objective.number
    match outcome:
        case Outcome.PAYS:
            by = pair.objective.difference(-interval)
            said = f"the best hand-tuned arm found a better model than every automatic one, by {by}"
        case Outcome.DOES_NOT_PAY:
            said = f"the best automatic arm is better than every hand-tuned one, by {by}"
        case Outcome.NOT_SHOWN:
            said = f"no difference between the best hand-tuned and automatic arms is shown: {by}"
        case _:
            said = f"the best hand-tuned arm minus the best automatic one is {by}"
    if outcome in (Outcome.PAYS, Outcome.DOES_NOT_PAY) and interval.lower is None:
        said += f" (at least {number(min(map(abs, ends)))})"
    hands, automatics = among
    over = _over(interval.n, pair.differences, "paired seeds")
    return (
        f"{said} over {over} (the best of {hands} hand-tuned and {automatics} automatic arms, no "
        f"pair being named in advance){_failures(by_pair)}"
    )


def _over(n: int, differences: Differences, seeds: str) -> str:
    """What the interval is over."""
    if differences.image_variance is None:
        return f"{n} {seeds} on this test set"
    return f"{n} {seeds} and {differences.images:,} images"


def _failures(by_pair: Mapping[tuple[str, str], Differences]) -> str:
    """Which arms failed on seeds that a rival did not fail on; by the rival with most of them."""
    lost: dict[str, tuple[int, int]] = {}
    for pair, one in by_pair.items():
        for arm, count in zip(pair, one.failed, strict=True):
            lost[arm] = max(lost.get(arm, (0, 0)), (count, one.n + count))
    return "".join(
        f"; {count} of {arm}'s {seeds} seeds failed, which "
        f"{'counts' if count == 1 else 'count'} against it"
        for arm, (count, seeds) in lost.items()
        if count
    )


def _charged(ratio: float | None, cost: PairCost | None) -> float | None:
    return ratio if cost is None else cost.charged.ratio_images


def _price(hand: str, automatic: str, ratio: float | None, cost: PairCost | None) -> str:
    if cost is not None:
        return cost.sentence
    if ratio is None:
        return "what a model costs is not known yet for both"
    return f"{hand} costs {ratio:.1f}x the images of {automatic} to one model"


def _headline(outcome: Outcome, ratio: float | None, no_worse: float | None) -> str:
    if no_worse is not None:
        return f"Inconclusive, and automatic is no worse by the margin of {no_worse:g}"
    if outcome is Outcome.NOT_SHOWN:
        return "Inconclusive"
    if outcome is Outcome.PAYS and ratio is not None and ratio > 1:
        return f"Searching pays where the gain is worth {ratio:.1f} times the training"
    return f"Searching {outcome}"


def _too_few(n: int, lost: int, needed: int) -> str:
    """Why ``n`` paired seeds and ``lost`` further ones, which failed, say nothing."""
    ended = n + lost
    if ended == 0 or n >= needed:
        return "Whether searching pays can't be told yet"
    if ended >= needed:
        return (
            f"Inconclusive ({lost} of {ended} seeds failed, and the {n} others cannot decide, "
            f"{needed} can)"
        )
    count = "1 seed" if ended == 1 else f"{ended} seeds"
    return f"Inconclusive by design ({count} cannot decide, {needed} can)"


def _one_sided(seeds: int, needed: tuple[int, int]) -> str:
    """What inconclusive ``seeds`` could not have shown: it takes more of them; "" if nothing."""
    pays, does_not = needed
    if seeds >= max(needed):
        return ""
    could, other = "pays", f"does not takes {does_not}"
    if pays > does_not:
        could, other = "does not pay", f"pays takes {pays}"
    return f" ({seeds} seeds can only show that searching {could}: that it {other})"
