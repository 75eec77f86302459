"""Numbers over runs x datasets, with intervals whose coverage at so few runs is known.

The datasets are those there are, the runs of each a sample: intervals are about fresh runs on the
same datasets. ``runs`` is a sequence of finite values per dataset throughout.

A percentile bootstrap is too short at 3, 5 or 10 runs. So:

* The interquartile mean has a studentised bootstrap: the standard error is that of stratified
  resamples (of runs within a dataset; Agarwal et al. 2021), and how many of them an interval takes
  is found on simulated runs, normal ones and ones skewed either way, with
  the levels and spreads the datasets show. What it covers was simulated
  (``python tests/study/analysis/answers/simulate_several.py``) and is in :data:`SIMULATED`.
* A share of runs has the exact binomial interval. It holds for runs of several datasets, whose
  shares may differ: their sum varies less than a binomial one (Hoeffding 1956).
* The probability of improvement has the interval of Chernoff's bound, which holds for an average
  over all pairs of runs as for the fewer pairs that are disjoint (Hoeffding 1963, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log, sqrt

import numpy as np
from scipy.special import bdtr, rel_entr

from study.statistics.intervals import CONFIDENCE, Interval, proportion_bounds

Runs = Sequence[Sequence[float]]
TRIMMED = 0.25
"""The share left out at each end of an interquartile mean."""
FEWEST = 3
"""Runs on each dataset that the interval of an interquartile mean takes."""
_SETS, _INNER, _RESAMPLES = 500, 50, 5000
_SKEW = 0.5  # of the underlying normal: lognormal runs of skewness 1.75
_SEED = 1
_EXPONENT = log(2 / (1 - CONFIDENCE))


@dataclass(frozen=True)
class Coverage:
    """How often an interval meant to cover 95 % does so, at ``runs`` on each of ``datasets``.

    ``least`` is for the hardest kind of runs looked at, ``usual`` for normal runs on datasets
    alike; of shares, for the hardest share and for 1/2.
    """

    least: float
    usual: float
    runs: int
    datasets: int


@dataclass(frozen=True)
class Aggregate:
    """A number over runs x datasets, and what its interval covers; None without an interval."""

    interval: Interval
    coverage: Coverage | None


@dataclass(frozen=True)
class Profile:
    """The share of an arm's runs, over all datasets, whose score is at most ``tau``.

    ``share`` with its band ``lower`` to ``upper`` has a place for each of ``tau``, ascending. The
    band holds at each tau on its own.
    """

    arm: str
    tau: Sequence[float]
    share: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    coverage: Coverage


#: (runs, datasets) -> share covered of the hardest of six kinds, and of normal runs on datasets
#: alike, in 1,000 simulated studies of each kind.
SIMULATED = {
    (3, 1): (0.977, 0.981),
    (3, 2): (0.948, 0.994),
    (3, 3): (0.965, 0.999),
    (3, 4): (0.947, 0.998),
    (5, 1): (0.944, 0.959),
    (5, 2): (0.959, 0.992),
    (5, 3): (0.965, 0.980),
    (5, 4): (0.956, 0.975),
    (10, 1): (0.968, 0.977),
    (10, 2): (0.965, 0.973),
    (10, 3): (0.947, 0.973),
    (10, 4): (0.960, 0.975),
}


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the last axis without its lowest and highest quarter, each rounded down."""
    cut = int(TRIMMED * values.shape[-1])
    kept = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return np.asarray(kept.mean(-1))


def resamples(sizes: Sequence[int], count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of ``count`` stratified resamples of runs laid end to end, shape (count, runs)."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [
            start + generator.integers(0, size, (count, size))
            for start, size in zip(starts, sizes, strict=True)
        ],
        axis=1,
    )


def aggregate(runs: Runs) -> Aggregate:
    """The interquartile mean of ``runs`` over all datasets, with its interval.

    It estimates the average of such means over as many fresh runs.
    """
    values = np.array([value for of_one in runs for value in of_one])
    sizes = tuple(len(of_one) for of_one in runs)
    n = len(values)
    if min(sizes, default=0) == 0:
        return Aggregate(Interval(None, None, None, 0, "a dataset has no run"), None)
    middle = float(interquartile_mean(values))
    if min(sizes) < FEWEST:
        why = "it takes three runs at least on each dataset to give an interval"
        return Aggregate(Interval(middle, None, None, n, why), None)
    half = half_width(values, sizes)
    if not 0 < half < inf:
        why = "the runs do not differ enough to give an interval"
        return Aggregate(Interval(middle, None, None, n, why), None)
    return Aggregate(Interval(middle, middle - half, middle + half, n), _coverage(sizes))


def half_width(values: np.ndarray, sizes: tuple[int, ...]) -> float:
    """Half the length of the interval of the interquartile mean of runs laid end to end."""
    kinds, few, many = _draws(sizes)
    of_each = np.split(values, np.cumsum(sizes)[:-1])
    level = np.repeat([runs.mean() for runs in of_each], sizes)
    spread = np.repeat([runs.std(ddof=1) for runs in of_each], sizes)
    if not spread.any():
        return 0.0
    # The levels and spreads are estimates: beyond 95 % by what that was found to cost.
    confidence = 0.98 if min(sizes) < 5 else 0.97
    reach = 0.0
    for of_kind in kinds:
        simulated = level + spread * of_kind
        means = interquartile_mean(simulated)
        errors = interquartile_mean(simulated[:, few]).std(-1, ddof=1)
        off = np.abs(means - means.mean())
        studentised = np.divide(off, errors, out=np.full_like(off, inf), where=errors > 0)
        reach = max(reach, float(np.quantile(studentised, confidence, method="higher")))
    return reach * float(interquartile_mean(values[many]).std(ddof=1))


@lru_cache(maxsize=16)
def _draws(sizes: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Standard runs (sets, runs) of each kind; indices of resamples of them, and of real runs."""
    generator = np.random.default_rng(_SEED)
    normal = generator.standard_normal((_SETS, sum(sizes)))
    skewed = skew(generator.standard_normal((_SETS, sum(sizes))))
    few, many = (resamples(sizes, count, generator) for count in (_INNER, _RESAMPLES))
    return [normal, skewed, -skewed], few, many


def skew(normal: np.ndarray) -> np.ndarray:
    """Lognormal values of mean 0 and variance 1 for standard normal ones."""
    square = exp(_SKEW**2)
    return np.asarray((np.exp(_SKEW * normal) / sqrt(square) - 1) / sqrt(square - 1))


def _coverage(sizes: tuple[int, ...]) -> Coverage | None:
    """What was simulated for this shape, or for the largest one that is nowhere larger."""
    runs, datasets = min(sizes), len(sizes)
    shapes = [(r, d) for r, d in SIMULATED if r <= runs and d <= datasets]
    if not shapes:
        return None
    shape = max(shapes)
    return Coverage(*SIMULATED[shape], *shape)


def improvement(runs: Runs, others: Runs) -> Aggregate:
    """The probability that a fresh one of ``runs`` is lower than one of ``others``.

    The mean over datasets of the share of pairs (Mann and Whitney's U over n1 n2; a tie is half
    a pair). The interval takes runs of the two as independent; where runs of one seed go
    up and down together it only covers more.
    """
    pairs = [(np.array(a), np.array(b)) for a, b in zip(runs, others, strict=True)]
    fewest = min((min(len(a), len(b)) for a, b in pairs), default=0)
    n = fewest * len(pairs)
    if not n:
        return Aggregate(Interval(None, None, None, 0, "a dataset has no run of both"), None)
    value = float(np.mean([_share_lower(a, b) for a, b in pairs]))
    lower, upper = (_chernoff_bound(value, n, end) for end in (0.0, 1.0))
    return Aggregate(Interval(value, lower, upper, n), _improvement_coverage(fewest, len(pairs)))


def _share_lower(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of pairs, one of the last axis of each, in which that of ``a`` is lower."""
    a, b = a[..., :, None], b[..., None, :]
    return np.asarray(((a < b) + 0.5 * (a == b)).mean((-2, -1)))


def _exponent(share: np.ndarray | float, truth: np.ndarray | float, n: int) -> np.ndarray:
    """Chernoff's: n times the relative entropy of ``share`` against ``truth``."""
    return np.asarray(n * (rel_entr(share, truth) + rel_entr(1 - share, 1 - truth)))


def _chernoff_bound(share: float, n: int, end: float) -> float:
    """Where, from ``share`` towards ``end``, the exponent reaches that of the confidence."""
    inside, outside = share, end
    for _ in range(60):  # halvings, to the last bit
        middle = (inside + outside) / 2
        if _exponent(share, middle, n) <= _EXPONENT:
            inside = middle
        else:
            outside = middle
    return inside


@lru_cache(maxsize=64)
def _improvement_coverage(runs: int, datasets: int) -> Coverage:
    """Simulated: normal and skewed runs, 0 to 2 standard deviations apart."""
    generator = np.random.default_rng(_SEED)
    covered = []
    for kind in (np.asarray, skew):
        for shift in (0.0, 0.5, 1.0, 2.0):
            a, b = (kind(generator.standard_normal((2000, datasets, runs))) for _ in range(2))
            shares = _share_lower(a, b + shift).mean(-1)
            inside = _exponent(shares, float(shares.mean()), runs * datasets) <= _EXPONENT
            covered.append(float(inside.mean()))
    return Coverage(min(covered), covered[0], runs, datasets)


def profile(arm: str, runs: Runs, tau: Sequence[float]) -> Profile:
    """The share of ``runs``, all datasets together, at or below each of ``tau``, with its band."""
    values = np.sort([value for of_one in runs for value in of_one])
    n = len(values)
    counts = np.searchsorted(values, tau, side="right")
    lower, upper = (bound[counts] for bound in _binomial_bounds(n))
    fewest = min(len(of_one) for of_one in runs)
    least, usual = _binomial_coverage(n)
    return Profile(
        arm,
        list(tau),
        (counts / n).tolist(),
        lower.tolist(),
        upper.tolist(),
        Coverage(least, usual, fewest, len(runs)),
    )


def _binomial_bounds(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of a share, for each number of successes 0..n."""
    bounds = [proportion_bounds(count, n, (1 - CONFIDENCE) / 2) for count in range(n + 1)]
    lower, upper = np.array(bounds).T
    return lower, upper


@lru_cache(maxsize=64)
def _binomial_coverage(n: int) -> tuple[float, float]:
    """What the exact interval covers: least of the shares 0.001 to 0.999, and of 1/2."""
    lower, upper = _binomial_bounds(n)
    shares = np.arange(1, 1000) / 1000
    below = bdtr(np.arange(n + 1.0)[:, None], n, shares)
    mass = np.diff(below, axis=0, prepend=0.0)
    covered = (mass * ((lower[:, None] <= shares) & (shares <= upper[:, None]))).sum(0)
    return float(covered.min()), float(covered[499])
