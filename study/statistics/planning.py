"""How many seeds, trials and replicates it takes: power of the rules that the report decides by.

Power is the chance that :func:`study.statistics.paired.bounds` leave 0 outside on the right side,
for normal differences: that of the mean's test and the sign test together, which is the lesser of
the two within .02 (simulated). Differences are in the objective's unit throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import expm1, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, betaincinv, chdtri, ndtr, ndtri

from study.statistics.paired import fewest, image_reach, mean_reach, median_rank
from study.statistics.sequences import exceeds

POWER = 0.8
ERROR = 0.025
MOST_SEEDS, MOST_TRIALS = 500, 5000
"""Beyond which nothing is planned."""
_NODES = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """What decides, and how the differences that it decides over vary.

    Attributes:
        spread: Standard deviation of the paired differences over seeds.
        image_variance: as in :class:`study.statistics.paired.Differences`.
        images: The test images behind it.
        error: of each bound; .025 over the number of arms for best against best.
        looks: Whether the seeds go on until decided: then n is that of a look.
    """

    spread: float
    image_variance: float = 0.0
    images: int = 0
    error: float = ERROR
    looks: bool = False

    @property
    def fewest(self) -> int:
        """From how many seeds on it can decide."""
        return fewest(self.error, looks=self.looks)

    def power(self, difference: float, n: int) -> float:
        """The chance that ``n`` seeds show a true ``difference``, above 0."""
        if n < self.fewest:
            return 0.0
        # What this test set adds to all seeds, and the spread these seeds show, at equal chances.
        chances, by_images = (np.arange(_NODES) + 0.5) / _NODES, sqrt(self.image_variance)
        luck = difference + by_images * ndtri(chances)
        shown = self.spread * np.sqrt(chdtri(n - 1, chances) / (n - 1))
        standard = by_images * image_reach(self.images, self.error, looks=self.looks)
        reach = mean_reach(n, self.error, looks=self.looks)
        needed = np.hypot(reach * shown / sqrt(n), standard)
        by_mean = ndtr((luck[:, None] - needed) * sqrt(n) / self.spread).mean(1)
        # The sign test's end is joined with the images: that many values must be above this.
        left = np.maximum(luck, 0) ** 2 - standard**2
        above = luck - np.sqrt(np.maximum(left, 0))
        wins = n - median_rank(n, self.error, looks=self.looks)
        by_sign = np.where(left >= 0, bdtrc(wins, n, ndtr((luck - above) / self.spread)), 0.0)
        return float(np.minimum(by_mean, by_sign).mean())

    def smallest_shown(self, n: int) -> float:
        """The difference that ``n`` seeds show with :data:`POWER`; infinite where they decide
        nothing.
        """
        if n < self.fewest:
            return inf
        low, high = 0.0, 10 * (self.spread + sqrt(self.image_variance))
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            if self.power(middle, n) < POWER:
                low = middle
            else:
                high = middle
        return high

    def seeds_needed(self, difference: float) -> int | None:
        """The fewest seeds that show ``difference`` with :data:`POWER`.

        The sign test's power goes down where one more seed does not let it spare one more: so a few
        seeds more can be worse.

        Returns:
            None where :data:`MOST_SEEDS` do not show it, as below :func:`image_floor`.
        """
        if difference <= 0 or self.power(difference, MOST_SEEDS) < POWER:
            return None
        counts = range(self.fewest, MOST_SEEDS + 1)
        return next(n for n in counts if self.power(difference, n) >= POWER)


def image_floor(image_variance: float, images: int, *, error: float = ERROR) -> float:
    """The difference that no number of seeds shows on these images, with :data:`POWER`."""
    return (image_reach(images, error) + float(ndtri(POWER))) * sqrt(image_variance)


def spread_bound(spread: float, n: int, confidence: float = 0.8) -> float:
    """The upper bound of a standard deviation, for normal values (Browne 1995 plans with 80 %).

    ``spread`` is that of ``n`` >= 2 values. A plan with it has the power wanted in four of five
    cases; a plan with the pilot's own has it in fewer than half.
    """
    return spread * sqrt((n - 1) / float(chdtri(n - 1, confidence)))


def trials_needed(
    break_even: float, factor: float | None = None, *, looks: bool = False
) -> int | None:
    """The fewest independent trials that bound a break-even from above, with :data:`POWER`.

    Args:
        break_even: The true number of trials, one of which reaches the level with chance 1/2.
        factor: How many times the truth the upper end may be; None: it need only lie within the
            trials that are run.
        looks: Whether they are added until they bound it: then so many of such searches are over.

    Returns:
        None where :data:`MOST_TRIALS` do not.
    """
    trials = np.arange(2, MOST_TRIALS + 1)
    wanted = trials if factor is None else np.full(trials.shape, factor * break_even)
    # At X successes the bound is low enough if so many are rare at the chance of ``wanted``.
    chances = -np.expm1(np.log(0.5) / wanted)
    successes = _fewest_looked(MOST_TRIALS) if looks else _fewest_successes(trials, chances)
    chance = bdtrc(successes - 1, trials, -np.expm1(np.log(0.5) / break_even))
    found = np.flatnonzero(chance >= POWER)
    return int(trials[found[0]]) if len(found) else None


def break_even_bounded(trials: int, *, looks: bool = False) -> int:
    """The largest break-even that so many trials bound from above within themselves; 0: none.

    With :data:`POWER`, of independent trials; with ``looks`` of at most so many, added until then.
    """
    wanted = np.array([-np.expm1(np.log(0.5) / trials)])
    successes = (
        _fewest_looked(trials)[-1] if looks else _fewest_successes(np.array([trials]), wanted)[0]
    )
    truths = np.arange(1, trials + 1)
    chance = bdtrc(successes - 1, trials, -np.expm1(np.log(0.5) / truths))
    return int((chance >= POWER).sum())  # the chance falls with the truth


def _fewest_successes(trials: NDArray[np.intp], chance: Floats) -> Floats:
    """The least X whose lower Clopper-Pearson bound is at ``chance`` or above, of each N."""
    low, high = np.zeros(trials.shape), trials.astype(float)  # X > low; X <= high if any is
    while (high - low > 1).any():
        middle = np.where(high - low > 1, np.floor((low + high) / 2), high)
        bound = betaincinv(middle, trials - middle + 1, ERROR)
        low, high = np.where(bound < chance, middle, low), np.where(bound < chance, high, middle)
    return high


@lru_cache(maxsize=4)
def _fewest_looked(most: int) -> Floats:
    """The least X of N trials that bounds break-even within N at a look, of N = 2 to ``most``."""
    found = [0]
    for N in range(2, most + 1):
        within = -expm1(log(0.5) / N)
        rising = range(found[-1], N + 1)  # the more trials, the more have to reach the level
        found.append(next((X for X in rising if exceeds(X, N, within, ERROR)), N + 1))
    return np.array(found[1:], float)


def replicates_needed(share: float) -> int:
    """The fewest replicates of a search whose median's interval spans ``share`` of all searches.

    On average, whatever their law: [x_(r), x_(R+1-r)] holds (R + 1 - 2r) / (R + 1) of it.
    """
    R = fewest(ERROR)
    while R + 1 - 2 * median_rank(R, ERROR) > share * (R + 1):
        R += 1
    return R
