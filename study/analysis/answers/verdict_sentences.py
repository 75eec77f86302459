"""A comparison's outcome, and all of it in words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite

from study.analysis.answers.sides import PairCost
from study.metrics import Metric
from study.statistics.intervals import Interval
from study.statistics.paired import Differences


class Outcome(StrEnum):
    """What a comparison says."""

    PAYS = "pays"
    DOES_NOT_PAY = "does not pay"
    NOT_SHOWN = "inconclusive"
    UNKNOWN = "can't be told"


DECIDED = Outcome.PAYS, Outcome.DOES_NOT_PAY


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


def pair_finding(
    hand: str,
    automatic: str,
    objective: Metric,
    differences: Differences,
    interval: Interval,
    ends: tuple[float, float] | None,
    outcome: Outcome,
    seeds: str,
) -> str:
    """The difference of a pair, by the ``interval`` of its finite ``ends``."""
    n = differences.n
    if n and len(set(differences.values)) == 1 and differences.mean == 0:
        failures = _failures({(hand, automatic): differences})
        return f"{hand} and {automatic} are equal on all {n} {seeds}{failures}"
    if n == 0 or ends is None:
        return compared(hand, automatic, objective, interval)
    by = _by(objective, interval, ends, outcome)
    match outcome:
        case Outcome.PAYS:
            said = f"hand-tuned {hand} found a better model than {automatic}, by {by}"
        case Outcome.DOES_NOT_PAY:
            said = f"automatic {automatic} is better than hand-tuned {hand}, by {by}"
        case Outcome.NOT_SHOWN:
            said = f"no difference between {hand} and {automatic} could be shown: {by}"
        case _:
            said = f"{hand} minus {automatic} is {by}"
    failures = _failures({(hand, automatic): differences})
    return f"{said} over {over(n, differences, seeds)}{failures}"


def best_finding(
    by_pair: Mapping[tuple[str, str], Differences],
    pair: tuple[str, str],
    objective: Metric,
    among: tuple[int, int],
    interval: Interval,
    ends: tuple[float, float],
    outcome: Outcome,
) -> str:
    """That of the best arms, whose best means are those of ``pair``."""
    by = _by(objective, interval, ends, outcome)
    match outcome:
        case Outcome.PAYS:
            said = f"the best hand-tuned arm found a better model than every automatic one, by {by}"
        case Outcome.DOES_NOT_PAY:
            said = f"the best automatic arm is better than every hand-tuned one, by {by}"
        case Outcome.NOT_SHOWN:
            said = f"no difference between the best hand-tuned and automatic arms is shown: {by}"
        case _:
            said = f"the best hand-tuned arm minus the best automatic one is {by}"
    hands, automatics = among
    seeds = over(interval.n, by_pair[pair], "paired seeds")
    return (
        f"{said} over {seeds} (the best of {hands} hand-tuned and {automatics} automatic arms, no "
        f"pair being named in advance){_failures(by_pair)}"
    )


def _by(objective: Metric, interval: Interval, ends: tuple[float, float], outcome: Outcome) -> str:
    """The size of a difference: where searching pays, by how much hand-tuned is better."""
    shown = -interval if outcome is Outcome.PAYS else interval
    return f"{objective.difference(shown)}{one_end(objective, ends, size=outcome in DECIDED)}"


def one_end(objective: Metric, ends: tuple[float, float], *, size: bool = False) -> str:
    """The end that is finite, where the other one is infinite; "" where none is, or both are.

    With ``size`` it is how much a difference that was decided is at least.
    """
    finite = [end for end in ends if isfinite(end)]
    if len(finite) != 1:
        return ""
    if size:
        return f" (at least {objective.number(abs(finite[0]))})"
    side = "not below" if isfinite(ends[0]) else "not above"
    return f" ({side} {objective.number(finite[0])})"


def over(n: int, differences: Differences, seeds: str) -> str:
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


def price(hand: str, automatic: str, ratio: float | None, cost: PairCost | None) -> str:
    """What a model costs: of the study's pair with its choice, else as ``ratio``."""
    if cost is not None:
        return cost.sentence
    if ratio is None:
        return "what a model costs is not known for both"
    return f"{hand} costs {ratio:.1f}x the images of {automatic} to one model"


def so_far(sentence: str, why: str) -> str:
    """``sentence`` as the preliminary answer that it is, with the reason."""
    return f"So far ({why}): {sentence[0].lower()}{sentence[1:]}"


def subject(*, searched: bool) -> str:
    """What is asked about: whether this pays."""
    return "searching" if searched else "setting the balance by hand"


def first_words(
    outcome: Outcome,
    few: tuple[int, int, int],
    ratio: float | None,
    no_worse: float | None,
    *,
    searched: bool,
) -> str:
    """The answer itself, without its numbers.

    ``few`` is how many paired seeds there are, how many more were lost, and how many can decide.
    """
    asked = subject(searched=searched)
    if outcome is Outcome.UNKNOWN:
        return _too_few(*few, asked)
    if no_worse is not None:
        return f"Inconclusive, and automatic is no worse by the margin of {no_worse:g}"
    if outcome is Outcome.NOT_SHOWN:
        return "Inconclusive"
    if outcome is Outcome.PAYS and ratio is not None and ratio > 1:
        return f"{asked.capitalize()} pays where the gain is worth {ratio:.1f} times the training"
    return f"{asked.capitalize()} {outcome}"


def _too_few(n: int, lost: int, needed: int, asked: str) -> str:
    """Why ``n`` paired seeds and ``lost`` further ones, which failed, say nothing."""
    ended = n + lost
    if ended == 0 or n >= needed:
        return f"Whether {asked} pays can't be told"
    if ended >= needed:
        return (
            f"Inconclusive ({lost} of {ended} seeds failed, and the {n} others cannot decide, "
            f"{needed} can)"
        )
    count = "1 seed" if ended == 1 else f"{ended} seeds"
    return f"Inconclusive by design ({count} cannot decide, {needed} can)"


def one_sided(seeds: int, needed: tuple[int, int], *, searched: bool) -> str:
    """What inconclusive ``seeds`` could not have shown: it takes more of them; "" if nothing."""
    pays, does_not = needed
    if seeds >= max(needed):
        return ""
    could, other = "pays", f"does not takes {does_not}"
    if pays > does_not:
        could, other = "does not pay", f"pays takes {pays}"
    asked = subject(searched=searched)
    return f" ({seeds} seeds can only show that {asked} {could}: that it {other})"
