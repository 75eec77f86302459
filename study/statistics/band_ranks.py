"""The band of the median of the best of n, as ranks of the trials that bound it.

The exact distribution-free bands of Lourie et al. 2023 (package opda) for the distribution of one
trial's score. Up to :data:`TIGHT` trials their tight form is read from a table: opda simulates its
levels, which takes seconds, and loads all of SciPy's statistics for it.

    python -m study.statistics.band_ranks  # computes the table anew
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.statistics.intervals import CONFIDENCE

Ranks = tuple[NDArray[np.intp], NDArray[np.intp]]

TIGHT = 100
"""Up to how many trials the tight band is used."""
TABLE = Path(__file__).with_suffix(".npz")


@lru_cache(maxsize=16)
def band_ranks(count: int) -> Ranks:
    """Which of ``count`` order statistics, from 1, bound the median of the best of n.

    Returns:
        The lower and the upper one for n = 1..count; 0 and count + 1 where none does.
    """
    if count <= TIGHT:
        low, high = _table()[:, count - 1, :count].astype(np.intp)
        return low, high
    from scipy.stats import kstwo

    # One trial is at the median of the best of n, or below, with this chance; by Kolmogorov and
    # Smirnov the share of those that are is nowhere further from it than the margin.
    chance = 1 - 0.5 ** (1 / np.arange(1, count + 1))
    share, margin = np.arange(count + 1) / count, float(kstwo(count).ppf(CONFIDENCE))
    return np.searchsorted(share + margin, chance), np.searchsorted(share - margin, chance)


def computed_ranks(count: int) -> Ranks:
    """The same by opda, the tight form's levels simulated from a fixed seed; count^2 bytes."""
    from opda.nonparametric import EmpiricalDistribution

    below, _, above = EmpiricalDistribution.confidence_bands(
        np.arange(1.0, count + 1),
        CONFIDENCE,
        a=0.0,
        b=count + 1.0,
        generator=np.random.default_rng(0),
        method="ld_equal_tailed" if count <= TIGHT else "ks",
        n_jobs=1,
    )
    n = np.arange(1, count + 1)
    low, high = (
        np.asarray(d.quantile_tuning_curve(n, minimize=True), np.intp) for d in (above, below)
    )
    return low, high


@cache
def _table() -> NDArray[np.uint8]:
    """Low and high ranks [2, count - 1, n - 1]; 0 where n is above the count."""
    with np.load(TABLE, allow_pickle=False) as file:
        found: NDArray[np.uint8] = file["ranks"]
    return found


def main() -> None:
    """Write the table."""
    ranks = np.zeros((2, TIGHT, TIGHT), np.uint8)
    for count in range(1, TIGHT + 1):
        ranks[:, count - 1, :count] = computed_ranks(count)
    np.savez_compressed(TABLE, ranks=ranks)


if __name__ == "__main__":
    main()
