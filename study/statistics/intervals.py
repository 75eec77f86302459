"""Intervals for means over seeds. Where there is none, words say why; there is never a NaN.

A percentile bootstrap of a seed mean covers 74 / 83 / 90 % at 3 / 5 / 10 seeds where Student's t
covers 95 %, so it is t throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum, inf, isfinite, sqrt

from scipy.special import betaincinv

from study.statistics.paired import mean_reach
from study.statistics.sequences import proportion_sequence

CONFIDENCE = 0.95
_ERROR = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` values with its 95 % interval, in the values' unit.

    ``mean`` is None without values, ``lower`` and ``upper`` where no interval can be given;
    ``why`` then says why, and is also set where the interval must be read with care.
    """

    mean: float | None
    lower: float | None
    upper: float | None
    n: int
    why: str = ""

    @property
    def half_width(self) -> float | None:
        """Half the interval's length, or None without an interval."""
        if self.lower is None or self.upper is None:
            return None
        return (self.upper - self.lower) / 2

    def __neg__(self) -> Interval:
        """The interval of the values with their signs turned."""
        mean, lower, upper = (
            None if v is None else -v for v in (self.mean, self.upper, self.lower)
        )
        return Interval(mean, lower, upper, self.n, self.why)


def mean_interval(values: Iterable[float], *, looks: bool = False) -> Interval:
    """Student's t interval of the mean of independent ``values``, such as one per seed.

    With ``looks`` its sequence, that holds at every number of values together.
    """
    values = list(values)
    n = len(values)
    if n == 0:
        return Interval(None, None, None, 0, "there is no value")
    if not all(map(isfinite, values)):
        return Interval(None, None, None, n, "a value is not finite")
    mean = fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1, "one seed gives no interval: it takes two at least")
    reach = mean_reach(n, _ERROR, looks=looks)
    if reach == inf:
        return Interval(mean, None, None, n, f"{n} seeds give no interval that holds at every look")
    if min(values) == max(values):
        why = f"all {n} values are equal: the interval has no width and says nothing of the spread"
        return Interval(values[0], values[0], values[0], n, why)
    spread = sqrt(fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = reach * spread / sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def proportion_bounds(
    successes: int, count: int, error: float, *, looks: bool = False
) -> tuple[float, float]:
    """Clopper and Pearson's exact bounds, each wrong with probability ``error`` at most.

    With ``looks`` those of the sequence, that hold at every count together.
    """
    if looks:
        return proportion_sequence(successes, count, error)
    lower = betaincinv(successes, count - successes + 1, error) if successes else 0.0
    upper = betaincinv(successes + 1, count - successes, 1 - error) if successes < count else 1.0
    return float(lower), float(upper)


def win_interval(
    a: Mapping[int, float], b: Mapping[int, float], *, looks: bool = False
) -> Interval:
    """The chance that on a fresh seed ``a`` is below ``b``, ties counting half.

    Over the seeds both have. The interval is Clopper and Pearson's, exact whatever the seeds'
    distribution, or with ``looks`` one that holds at every number of seeds together; a tie counts
    for neither end.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return Interval(None, None, None, 0, "they have no finished seed in common")
    wins = sum(a[seed] < b[seed] for seed in seeds)
    ties = sum(a[seed] == b[seed] for seed in seeds)
    lower = proportion_bounds(wins, len(seeds), _ERROR, looks=looks)[0]
    upper = proportion_bounds(wins + ties, len(seeds), _ERROR, looks=looks)[1]
    return Interval((wins + ties / 2) / len(seeds), lower, upper, len(seeds))
