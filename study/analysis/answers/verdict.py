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

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult, pairs
from study.analysis.answers.design import TWO_STAGES, Design
from study.analysis.answers.sides import PairCost
from study.metrics import Metric
from study.statistics.choice import best_against_best, fewest_seeds
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
        no_worse: Whether inconclusive, and automatic is no worse by the study's margin.
        ratio_images: Cost to one model, hand-tuned over automatic; ``ratio_standard`` likewise.
        finding: The difference in words; ``sentence``: all of it.
    """

    hand: str
    automatic: str
    among: tuple[int, int]
    objective: Metric
    differences: Differences
    difference: Interval
    over_seeds: Interval
    no_worse: bool
    ratio_images: float | None
    ratio_standard: float | None
    outcome: Outcome
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
    """
    needed = fewest(looks=looks)
    ends = bounds(differences, looks=looks)
    outcome = _outcome(differences, ends, needed)
    ran = replace(differences, failed=(0, 0))
    interval = _interval(ran, bounds(ran, looks=looks) or mean_bounds(ran, looks=looks))
    alone = replace(ran, image_variance=None)
    words = _finding(hand, automatic, objective, differences, interval, outcome, seeds)
    finding = f"by {objective.heading} on test, {words}"
    no_worse = _is_no_worse(outcome, ends, margin)
    first = _headline(outcome, _charged(ratio_images, cost), differences.n, needed, no_worse)
    return Comparison(
        hand,
        automatic,
        (1, 1),
        objective,
        differences,
        interval,
        _interval(alone, mean_bounds(alone, looks=looks)),
        no_worse is not None,
        ratio_images,
        ratio_standard,
        outcome,
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
        )

    return [compared(hand, automatic) for hand, automatic in pairs(arms)]


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
    ran = {pair: replace(one, failed=(0, 0)) for pair, one in by_pair.items()}
    shown = best_against_best(ran, looks=looks)
    judged = best_against_best(by_pair, looks=looks)
    needed, n = fewest_seeds(*among, looks=looks), min(one.n for one in ran.values())
    pair = (shown.hand, shown.automatic) if shown else _best_means(ran)
    of_pair = next(c for c in comparisons if (c.hand, c.automatic) == pair)
    if n < needed:
        outcome = Outcome.UNKNOWN
    elif judged is None:
        outcome = Outcome.NOT_SHOWN
    else:
        outcome = _outcome(of_pair.differences, (judged.lower, judged.upper), needed)
    ends = (judged.lower, judged.upper) if judged else None
    no_worse = _is_no_worse(outcome, ends, margin)
    interval = _interval(ran[pair], (shown.lower, shown.upper) if shown else None, n=n)
    seeds_alone = best_against_best(
        {p: replace(one, image_variance=None) for p, one in ran.items()}, looks=looks
    )
    words = _best_finding(of_pair, among, interval, outcome)
    finding = f"by {of_pair.objective.heading} on test, {words}"
    first = _headline(outcome, _charged(of_pair.ratio_images, cost), n, needed, no_worse)
    return replace(
        of_pair,
        among=among,
        difference=interval,
        over_seeds=_interval(
            ran[pair], (seeds_alone.lower, seeds_alone.upper) if seeds_alone else None, n=n
        ),
        no_worse=no_worse is not None,
        outcome=outcome,
        finding=finding,
        sentence=f"{first}: {finding}; {_price(*pair, of_pair.ratio_images, cost)}.",
    )


def _best_means(by_pair: Mapping[tuple[str, str], Differences]) -> tuple[str, str]:
    """The pair of the lowest means: min over hand-tuned arms, for the automatic one at its best."""
    hands, automatics = (list(dict.fromkeys(arms)) for arms in zip(*by_pair, strict=True))
    best = {a: min(hands, key=lambda h: by_pair[h, a].mean) for a in automatics}
    automatic = max(automatics, key=lambda a: by_pair[best[a], a].mean)
    return best[automatic], automatic


def _interval(
    differences: Differences, ends: tuple[float, float] | None, n: int | None = None
) -> Interval:
    n = differences.n if n is None else n
    if n == 0:
        return Interval(None, None, None, 0, "they have no finished seed in common")
    if ends is not None:
        return Interval(differences.mean, *ends, n)
    if n == 1:
        why = "one seed gives no interval"
    elif differences.spread == 0:
        why = f"all {n} differences are equal, which says nothing of their spread"
    else:
        why = "so few seeds give no interval"
    return Interval(differences.mean, None, None, n, why)


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
    return f"{said} over {_over(n, differences, seeds)}{_failures(hand, automatic, differences)}"


def _best_finding(
    pair: Comparison, among: tuple[int, int], interval: Interval, outcome: Outcome
) -> str:
    by = pair.objective.difference(interval)
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
    hands, automatics = among
    over = _over(interval.n, pair.differences, "paired seeds")
    return (
        f"{said} over {over} (the best of {hands} hand-tuned and {automatics} automatic arms, no "
        "pair being named in advance)"
    )


def _over(n: int, differences: Differences, seeds: str) -> str:
    """What the interval is over."""
    if differences.image_variance is None:
        return f"{n} {seeds} on this test set"
    return f"{n} {seeds} and {differences.images:,} images"


def _failures(hand: str, automatic: str, differences: Differences) -> str:
    lost = [
        f"; {count} of {arm}'s {differences.n + count} seeds failed, which "
        f"{'counts' if count == 1 else 'count'} against it"
        for arm, count in zip((hand, automatic), differences.failed, strict=True)
        if count
    ]
    return "".join(lost)


def _charged(ratio: float | None, cost: PairCost | None) -> float | None:
    return ratio if cost is None else cost.charged.ratio_images


def _price(hand: str, automatic: str, ratio: float | None, cost: PairCost | None) -> str:
    if cost is not None:
        return cost.sentence
    if ratio is None:
        return "what a model costs is not known yet for both"
    return f"{hand} costs {ratio:.1f}x the images of {automatic} to one model"


def _headline(
    outcome: Outcome, ratio: float | None, n: int, needed: int, no_worse: float | None
) -> str:
    if outcome is Outcome.UNKNOWN and 0 < n < needed:
        count = "1 seed" if n == 1 else f"{n} seeds"
        return f"Inconclusive by design ({count} cannot decide, {needed} can)"
    if outcome is Outcome.UNKNOWN:
        return "Whether searching pays can't be told yet"
    if no_worse is not None:
        return (
            "Searching is not shown to pay, and automatic is no worse by the margin of "
            f"{no_worse:g}"
        )
    if outcome is Outcome.NOT_SHOWN:
        return "Inconclusive"
    if outcome is Outcome.PAYS and ratio is not None and ratio > 1:
        return f"Searching pays where the gain is worth {ratio:.1f} times the training"
    return f"Searching {outcome}"
