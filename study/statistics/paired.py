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
from dataclasses import dataclass
from math import fsum, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtrit

from study.statistics import FEWEST
from study.statistics.sequences import radius, sign_rank

Floats = NDArray[np.float64]

LOOKED = 2.24
"""Standard errors of the test images where the data are looked at more than once: the images do
not grow, so their error is one event that happens or does not, at half of the level."""


@dataclass(frozen=True)
class Differences:
    """Paired differences of two arms, in the objective's unit, lower is better for both.

    Attributes:
        values: Hand-tuned minus automatic, one a seed.
        image_variance: Variance of their mean over seeds that a fresh test set would bring, beyond
            what the values show themselves; None where no score of an image is recorded.
        images: Test images N behind it.
    """

    values: tuple[float, ...]
    image_variance: float | None = None
    images: int = 0

    @property
    def n(self) -> int:
        """Seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Their mean; not defined without a seed."""
        return fsum(self.values) / self.n

    @property
    def spread(self) -> float:
        """Standard deviation over seeds, of 2 or more."""
        mean = self.mean
        return sqrt(fsum((v - mean) ** 2 for v in self.values) / (self.n - 1))


def image_variance(differences: Floats) -> float:
    """Of the mean of paired differences [n, N] over n seeds and N images: the images' own part.

    The two-way layout without replication: the variance of column means over N, less the
    interaction's (total - rows - columns) over n N, which the seeds' part counts already. 0 where
    that is negative.
    """
    n, N = differences.shape
    if n < 2 or N < 2:
        return 0.0
    rows, columns = differences.mean(1), differences.mean(0)
    s2, i2 = rows.var(ddof=1), columns.var(ddof=1)
    total = ((differences - differences.mean()) ** 2).sum()
    e2 = (total - N * (n - 1) * s2 - n * (N - 1) * i2) / ((n - 1) * (N - 1))
    return max(0.0, float(i2 / N - max(e2, 0.0) / (n * N)))


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
    """
    seeds = sorted(hand.keys() & automatic.keys())
    values = tuple(hand[seed] - automatic[seed] for seed in seeds)
    if not seeds or hand_images is None or automatic_images is None:
        return Differences(values)
    if not all(seed in hand_images and seed in automatic_images for seed in seeds):
        return Differences(values)
    of_images = np.stack([hand_images[seed] - automatic_images[seed] for seed in seeds])
    return Differences(values, image_variance(of_images), of_images.shape[1])


def bounds(
    differences: Differences, error: float = 0.025, *, looks: bool = False
) -> tuple[float, float] | None:
    """A lower and an upper bound, each wrong with a chance of ``error`` at most.

    Args:
        differences: over 2 seeds or more.
        error: of each bound alone.
        looks: whether the data are looked at after every seed, and may end the study: then the
            bounds hold at all looks from :data:`FEWEST` seeds on together.

    Returns:
        None where so few seeds bound nothing at this error, or all values are equal: that says
        nothing of the spread.
    """
    n = differences.n
    rank = sign_rank(n, error) if looks else _rank(n, error)
    if n < FEWEST or rank == 0 or differences.spread == 0:
        return None
    reach = radius(n, error) if looks else float(stdtrit(n - 1, 1 - error))
    if reach == inf:
        return None
    mean, ordered = differences.mean, sorted(differences.values)
    half = reach * differences.spread / sqrt(n)
    low = max(half, mean - ordered[rank - 1])
    high = max(half, ordered[n - rank] - mean)
    images = _images(differences, error, looks=looks)
    return mean - sqrt(low**2 + images), mean + sqrt(high**2 + images)


def over_seeds(differences: Differences, error: float = 0.025) -> tuple[float, float] | None:
    """Student's t bounds of the mean over seeds alone: fresh seeds on this very test set."""
    n = differences.n
    if n < 2 or len(set(differences.values)) == 1:
        return None
    half = float(stdtrit(n - 1, 1 - error)) * differences.spread / sqrt(n)
    return differences.mean - half, differences.mean + half


def _images(differences: Differences, error: float, *, looks: bool) -> float:
    if not differences.image_variance:
        return 0.0
    reach = float(stdtrit(max(1, differences.images - 1), 1 - error))
    if looks:
        reach = max(reach, LOOKED)
    return reach**2 * differences.image_variance


def _rank(n: int, error: float) -> int:
    """The r of the exact interval [x_(r), x_(n+1-r)] of a median; 0 where there is none."""
    return sum(1 for below in range(n) if bdtr(below, n, 0.5) <= error)
