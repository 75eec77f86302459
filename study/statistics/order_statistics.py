"""Estimators for "the best of n": order statistics of independent trials, and exact proportions.

Trials are in ascending order of the objective they are chosen by (validation); what a chosen trial
scores (test) need not be in the same order. Lower is better. A trial that failed or was pruned
scores infinity: its cost counts like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, comb, inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from study.statistics.band_ranks import Ranks, band_ranks
from study.statistics.intervals import CONFIDENCE, Interval, proportion_bounds

Floats = NDArray[np.float64]

_ERROR = (1 - CONFIDENCE) / 2

#: Nominal level of the expected best's interval.
_EXPECTED = 0.985

#: Chances below exp(-this) change no digit.
_NEGLIGIBLE = 45.0

#: How many trials the expected best's interval takes.
_ENOUGH = 20


def chosen_weights(count: int, n: int) -> Floats:
    """The chance of each of ``count`` ordered trials to be the best of ``n`` of them.

    ``n`` are drawn without replacement: C(count - i, n - 1) / C(count, n) for the i-th. Weighing
    what the trials score by it gives the unbiased estimate of the best of n.

    Returns:
        (m,), m <= count, of the first m in the order of the trials; they sum to 1. The chance that
        the best is none of these is below exp(-:data:`_NEGLIGIBLE`), less than rounding makes.
    """
    m = min(count, ceil(_NEGLIGIBLE * count / n))  # (1 - m / count)^n <= exp(-m n / count)
    i = np.arange(1, m, dtype=np.float64)
    falling = np.clip((count - i - n + 1) / (count - i), 0.0, None)
    return n / count * np.append(1.0, np.cumprod(falling))


def expected_best(scores: Floats, n: int) -> float:
    """What the best of ``n`` independent trials scores on average; unbiased.

    Args:
        scores: (N,), in the order they are chosen by.
        n: 1 to N.
    """
    weights = chosen_weights(len(scores), n)
    weights = weights[weights > 0]  # they fall
    return float(weights @ scores[: len(weights)])


def expected_best_interval(scores: Floats, n: int) -> Interval:
    """:func:`expected_best` with its interval, by the jackknife and Student's t.

    With N trials there are floor(N/n) independent draws of n in them, so floor(N/n) - 1 degrees
    of freedom. The nominal level is above 95 % because scores with heavy tails need it: what it
    really covers is in docs/statistics.md. There is no interval at n > N/4, where nothing covers
    (a bootstrap at n = N: 55 %), nor at n = 1, a mean that one diverged trial decides, nor for
    fewer than 20 trials.
    """
    count = len(scores)
    if not np.isfinite(scores).all():
        return Interval(None, None, None, count, "a trial failed or was pruned")
    mean = expected_best(scores, n)
    if n == 1 or n > count // 4 or count < _ENOUGH:
        return Interval(mean, None, None, count, f"none covers 95 % at {n} of {count} trials")
    weights = chosen_weights(count - 1, n)
    m = len(weights)
    before = np.append(0.0, np.cumsum(weights * scores[:m]))
    after = np.append(np.cumsum((weights * scores[1 : m + 1])[::-1])[::-1], 0.0)
    without = before + after  # the estimate with each trial left out, the last for all beyond
    times = np.append(np.ones(m), count - m)
    middle = float(np.average(without, weights=times))
    spread = (count - 1) * float(np.average((without - middle) ** 2, weights=times))
    half = float(stdtrit(count // n - 1, (1 + _EXPECTED) / 2)) * spread**0.5
    return Interval(mean, mean - half, mean + half, count)


def median_best(scores: Floats, n: int) -> float:
    """The median of what the best of ``n`` independent trials scores.

    Arguments as for :func:`expected_best`.
    """
    weights = chosen_weights(len(scores), n)
    scores = scores[: len(weights)]
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    return float(scores[order][np.searchsorted(below, 0.5 - 1e-12)])


def median_best_band(scores: Floats, *, looks: bool = False) -> tuple[Floats, Floats]:
    """A 95 % band for the median of the best of n, at all n = 1..N at once.

    The exact distribution-free bands of Lourie et al. 2023 (package opda) for the distribution of
    one trial's score. With ``looks`` N was decided by the scores: then at each n on its own, by the
    sequence of the chance that one trial is at the median or below, at all N together. The chosen
    trial is not always the one that scores best: it scores no better than the best of n, which
    bounds it from below; and no worse than the best would if every trial scored as badly as the
    worst of those preferred to it, which bounds it from above.

    Args:
        scores: (N,), in the order they are chosen by.

    Returns:
        Lower and upper bounds, each (N,); infinite where there is none.
    """
    low, high = (_looked_ranks if looks else band_ranks)(len(scores))
    best = np.concatenate([[-inf], np.sort(scores), [inf]])
    worst = np.concatenate([[-inf], np.maximum.accumulate(scores), [inf]])
    return best[low], worst[high]


@lru_cache(maxsize=16)
def _looked_ranks(count: int) -> Ranks:
    """As :func:`band_ranks`, of a number of trials that their scores have decided."""
    chance = -np.expm1(np.log(0.5) / np.arange(1, count + 1))  # one trial is at or below it
    bounds = [proportion_bounds(k, count, _ERROR, looks=True) for k in range(count + 1)]
    lowest, highest = np.array(bounds).T  # of the chance, at k trials at or below it; both rise
    return (
        np.searchsorted(highest, chance, side="left"),
        np.searchsorted(lowest, chance, side="right"),
    )


def trials_to_level(scores: Floats, level: float) -> int | None:
    """The fewest n for which the best of n is at or below ``level`` with probability 1/2 or more.

    Arguments as for :func:`expected_best`; None: for no n up to N.
    """
    reached = scores <= level
    if not reached.any():
        return None
    count = len(scores)
    for n in range(1, count + 1):
        weights = chosen_weights(count, n)
        if weights[reached[: len(weights)]].sum() >= 0.5 - 1e-9:
            return n
    return None


def trials_to_level_bounds(
    scores: Floats, level: tuple[float, float], *, looks: bool = False
) -> tuple[float, float]:
    """A 95 % interval for :func:`trials_to_level`, infinite where there is no upper bound.

    Exact for a level that is known: Clopper and Pearson's bounds on the chance that a trial
    reaches it; with ``looks`` those that hold at every number of trials together. The upper end may
    lie beyond N: the trials are independent.
    Every trial at or below the level counts for the lower bound; for the upper one only those that
    no trial above the level is preferred to, so that a choice on validation that misses on test is
    not forgotten. The level's own interval is taken at its worse end each time.

    Args:
        scores: (N,), in the order they are chosen by.
        level: Lower and upper end of the level's 95 % interval; twice the same where it is known.
    """
    low, high = level
    reached = int((scores <= high).sum())
    missed = scores > low
    leading = int(missed.argmax()) if missed.any() else len(scores)
    lower, upper = (
        proportion_bounds(count, len(scores), _ERROR, looks=looks) for count in (leading, reached)
    )
    return trials_to_success(upper[1]), trials_to_success(lower[0])


def prefers_a_miss(scores: Floats, level: float) -> bool:
    """Whether a trial above ``level`` is preferred to one at or below it; ``scores`` in order."""
    hits = scores <= level
    return bool((hits[1:] & ~hits[:-1]).any())


def median_bounds(values: Floats) -> tuple[Floats, Floats]:
    """Order statistics that hold the median of what ``values`` are drawn from.

    Distribution-free (the sign test inverted): at least 95 %, and 93.75 % of 5 values, whose range
    it is.

    Args:
        values: (R, ...), R >= 5 independent draws; each column is a quantity of its own.

    Returns:
        Lower and upper bounds, each (...).
    """
    R = len(values)
    place, below = 0, 0.5**R  # chance that no value is below the median
    while below + comb(R, place + 1) * 0.5**R <= (1 - CONFIDENCE) / 2:
        place += 1
        below += comb(R, place) * 0.5**R
    ordered = np.sort(values, axis=0)
    return ordered[place], ordered[R - 1 - place]


def trials_to_success(chance: float) -> float:
    """The fewest independent trials one of which succeeds with probability 1/2 or more."""
    if chance <= 0:
        return inf
    return 1.0 if chance >= 0.5 else float(ceil(log(0.5) / np.log1p(-chance) - 1e-9))


def first_below(values: Sequence[float | None], level: float) -> int | None:
    """The first n (from 1) from which on all ``values`` are at or below ``level``, if any is."""
    above = [i for i, value in enumerate(values) if value is None or value > level]
    n = above[-1] + 2 if above else 1
    return n if n <= len(values) else None
