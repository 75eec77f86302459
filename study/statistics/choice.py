"""The best hand-tuned arm against the best automatic one, where these seeds must also find them.

A pair chosen on the runs that it is compared on looks better than it is. The bounds here hold for
the difference of the truly best arms, whatever made one look at a pair: nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from study.statistics.paired import Differences, bounds, fewest

ERROR = 0.025


def error_of(pair: int) -> float:
    """The error of each end for the first, second, ... ``pair`` that is compared on one study's
    seeds.

    What these seeds showed of an earlier pair may have led to the later one. That it was looked
    for and its end is wrong has no greater chance than that its end is wrong: so dividing by how
    many pairs there were pays for them (Bonferroni).
    """
    return ERROR / pair


@dataclass(frozen=True)
class BestAgainstBest:
    """What the best hand-tuned arm's mean exceeds the best automatic one's by, with its bounds.

    Attributes:
        mean: The estimate: that of the pair with the best means, of the arms that could be shown
            to be the better ones: an arm that failed too often for that gives no estimate, unless
            all of a side did.
        lower: Wrong with a chance of 2.5 % at most, whatever the arms have in common; infinite
            where so few seeds, failures, or values without a spread bound nothing on this side.
        upper: Likewise.
        hand: The hand-tuned arm of the estimate's pair.
        automatic: Its automatic arm.
    """

    mean: float
    lower: float
    upper: float
    hand: str
    automatic: str


def best_against_best(
    differences: Mapping[tuple[str, str], Differences], *, looks: bool = False
) -> BestAgainstBest | None:
    """Bounds of theta = min_h mu_h - min_a mu_a (Hsu 1984, by Berger's intersection-union, 1982).

    For each automatic arm the least of its lower bounds holds for the difference to the truly best
    hand-tuned arm, one fixed pair; one of A automatic arms is the best one: so each bound has an
    error of .025 / A, and the largest of them counts. Upper bounds likewise, at .025 / H.

    Args:
        differences: (hand-tuned arm, automatic arm) -> differences, of every pair.
        looks: as in :func:`study.statistics.paired.bounds`.

    Returns:
        None where there is no pair, or one without a seed.
    """
    hands = list(dict.fromkeys(hand for hand, _ in differences))
    automatics = list(dict.fromkeys(automatic for _, automatic in differences))
    if not differences or any(one.n == 0 for one in differences.values()):
        return None
    lower = {
        a: min(_end(differences[h, a], ERROR / len(automatics), 0, looks) for h in hands)
        for a in automatics
    }
    upper = {
        h: max(_end(differences[h, a], ERROR / len(hands), 1, looks) for a in automatics)
        for h in hands
    }
    shown_hands = [h for h in hands if upper[h] < inf] or hands
    shown_automatics = [a for a in automatics if lower[a] > -inf] or automatics
    best = {a: min(shown_hands, key=lambda h: differences[h, a].mean) for a in shown_automatics}
    automatic = max(shown_automatics, key=lambda a: differences[best[a], a].mean)
    pair = best[automatic], automatic
    ends = max(lower.values()), min(upper.values())
    return BestAgainstBest(differences[pair].mean, *ends, *pair)


def fewest_seeds(hands: int, automatics: int, *, looks: bool = False) -> tuple[int, int]:
    """From how many seeds on so many arms can show that searching pays, and that it does not."""
    return fewest(ERROR / hands, looks=looks), fewest(ERROR / automatics, looks=looks)


def _end(differences: Differences, error: float, side: int, looks: bool) -> float:
    found = bounds(differences, error, looks=looks)
    return (-inf, inf)[side] if found is None else found[side]
