"""What the difference of two arms is over seeds and test images, with bounds that hold.

A difference has a value for each seed, hand-tuned minus automatic, and is measured on a finite
test set. Its interval is the one that two tests together leave: seeds outside it are rejected both
by a test of the mean (Student's t, or its sequence where the data are looked at more than once) and
by the sign test, which is exact for the median under any law. So each end is the further of
the two, and the interval holds for the mean and for a typical seed. The test images enter at each
end as a second, independent error: squares of the two parts are joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import fsum, hypot, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtrit

from study.statistics import FEWEST
from study.statistics.sequences import radius, sign_rank

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """Paired differences of two arms, in the objective's unit, lower is better for both.

    Attributes:
        values: Hand-tuned minus automatic, one a seed.
        image_variance: Variance of their mean over seeds that a fresh test set would bring, beyond
            what the values show themselves; None where an image's score is not recorded or not
            finite.
        images: Test images N behind it.
        failed: Further seeds on which only the hand-tuned run failed, and only the automatic one:
            they have no value, and to a typical seed they are as bad as can be.
    """

    values: tuple[float, ...]
    image_variance: float | None = None
    images: int = 0
    failed: tuple[int, int] = (0, 0)

    @property
    def n(self) -> int:
        """Seeds."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        """Their mean; not defined without a seed."""
        return fsum(self.values) / self.n

    @cached_property
    def spread(self) -> float:
        """Standard deviation over seeds, of 2 or more."""
        mean = self.mean
        return sqrt(fsum((v - mean) ** 2 for v in self.values) / (self.n - 1))


def image_variance(differences: Floats) -> float:
    """Of the mean of paired differences [n, N] over n seeds and N images: the images' own part.

    The two-way layout without replication (seeds and images crossed, both random): the variance of
    column means over N, less the interaction's, (total - rows - columns) over n N, which the seeds'
    part counts already. 0 where that is negative, NaN where a difference is not finite. It takes 2
    seeds and 2 images.
    """
    n, N = differences.shape
    rows, columns = differences.mean(1), differences.mean(0)
    s2, i2 = rows.var(ddof=1), columns.var(ddof=1)
    total = ((differences - differences.mean()) ** 2).sum()
    e2 = (total - N * (n - 1) * s2 - n * (N - 1) * i2) / ((n - 1) * (N - 1))
    return float(np.maximum(0.0, i2 / N - e2 / (n * N)))  # which, unlike max, keeps a NaN


def paired(
    hand: Mapping[int, float],
    automatic: Mapping[int, float],
    hand_images: Mapping[int, Floats] | None = None,
    automatic_images: Mapping[int, Floats] | None = None,
) -> Differences:
    """Hand-tuned minus automatic over the seeds that both have.

    Args:
        hand: seed -> score.
        automatic: likewise.
        hand_images: seed -> scores of the test images [N], in the same unit.
        automatic_images: likewise, of the same images.

    Returns:
        With the images' part where every seed of both has them, all finite, and there are 2 seeds
        and 2 images at least.
    """
    seeds = sorted(hand.keys() & automatic.keys())
    values = tuple(hand[seed] - automatic[seed] for seed in seeds)
    if len(seeds) < 2 or hand_images is None or automatic_images is None:
        return Differences(values)
    if not all(seed in hand_images and seed in automatic_images for seed in seeds):
        return Differences(values)
    of_images = np.stack([hand_images[seed] - automatic_images[seed] for seed in seeds])
    if of_images.shape[1] < 2 or not np.isfinite(of_images).all():
        return Differences(values)
    return Differences(values, image_variance(of_images), of_images.shape[1])


def bounds(
    differences: Differences, error: float = 0.025, *, looks: bool = False
) -> tuple[float, float] | None:
    """A lower and an upper bound, each wrong with a chance of ``error`` at most.

    Args:
        differences: over any number of seeds.
        error: of each bound alone.
        looks: whether the data are looked at after every seed, and may end the study: then the
            bounds hold at all looks from :data:`FEWEST` seeds on together.

    Returns:
        Infinite on the side of an arm that failed on too many seeds to be the better one. None
        where so few seeds bound nothing at this error, or all values are equal: that says
        nothing of the spread.
    """
    n = differences.n
    if n < fewest(error, looks=looks) or differences.spread == 0:
        return None
    mean, (hand, automatic) = differences.mean, differences.failed
    half = mean_reach(n, error, looks=looks) * differences.spread / sqrt(n)
    ordered = [*[-inf] * automatic, *sorted(differences.values), *[inf] * hand]
    rank = median_rank(len(ordered), error, looks=looks)
    low = max(half, mean - ordered[rank - 1])
    high = max(half, ordered[-rank] - mean)
    images = _images(differences, error, looks=looks)
    return mean - hypot(low, images), mean + hypot(high, images)


def mean_bounds(
    differences: Differences, error: float = 0.025, *, looks: bool = False
) -> tuple[float, float] | None:
    """The bounds of the mean alone, over seeds and images: Student's t, or its sequence.

    They hold for means of values near to normal ones; None where fewer than 2 values, or equal
    ones, bound nothing.
    """
    n = differences.n
    if n < 2 or differences.spread == 0:
        return None
    reach = mean_reach(n, error, looks=looks)
    if reach == inf:
        return None
    half = reach * differences.spread / sqrt(n)
    width = hypot(half, _images(differences, error, looks=looks))
    return differences.mean - width, differences.mean + width


def over_seeds(
    differences: Differences, error: float = 0.025, *, looks: bool = False
) -> tuple[float, float] | None:
    """:func:`mean_bounds` over seeds alone: of fresh seeds on this very test set."""
    return mean_bounds(replace(differences, image_variance=None), error, looks=looks)


@lru_cache(maxsize=256)
def fewest(error: float = 0.025, *, looks: bool = False) -> int:
    """From how many seeds on :func:`bounds` are finite: fewer cannot decide at this error."""
    n = FEWEST
    while not median_rank(n, error, looks=looks) or mean_reach(n, error, looks=looks) == inf:
        n += 1
    return n


@lru_cache(maxsize=4096)
def mean_reach(n: int, error: float, *, looks: bool = False) -> float:
    """How many standard errors over n >= 2 seeds a bound of the mean is away from it."""
    return radius(n, error) if looks else float(stdtrit(n - 1, 1 - error))


@lru_cache(maxsize=4096)
def median_rank(n: int, error: float, *, looks: bool = False) -> int:
    """The r of the exact bounds [x_(r), x_(n+1-r)] of a median; 0 where there are none."""
    if looks:
        return sign_rank(n, error)
    return sum(1 for below in range(n) if bdtr(below, n, 0.5) <= error)


def image_reach(images: int, error: float, *, looks: bool = False) -> float:
    """How many of their standard errors the ``images`` add, to be joined with the seeds' part.

    Where the data are looked at more than once the images do not grow: their error is one event
    that happens or does not, at half of the level.
    """
    return float(stdtrit(max(1, images - 1), 1 - (error / 2 if looks else error)))


def _images(differences: Differences, error: float, *, looks: bool) -> float:
    if not differences.image_variance:
        return 0.0
    return image_reach(differences.images, error, looks=looks) * sqrt(differences.image_variance)
