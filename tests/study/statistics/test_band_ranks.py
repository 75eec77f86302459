"""The stored band of the median of the best of n, against the package that computes it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.special import comb

from study.statistics.band_ranks import TIGHT, band_ranks, computed_ranks

UNLOADED = """
import sys
from study.statistics.order_statistics import median_best_band
median_best_band([0.5] * 100)
assert not {"opda", "scipy.stats"} & set(sys.modules)
"""


@pytest.mark.parametrize("count", [1, 2, 3, 12, 41, *range(TIGHT + 1, 400, 13), 2000])
def test_ranks_are_those_that_the_package_computes(count: int) -> None:
    for found, expected in zip(band_ranks(count), computed_ranks(count), strict=True):
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("count", range(1, TIGHT + 1))
def test_each_n_alone_is_covered_by_the_level_of_the_whole_band(count: int) -> None:
    """P(X_(low) <= m_n < X_(high)) of order statistics, m_n with F(m_n) = 1 - 2^(-1/n)."""
    n = np.arange(1, count + 1)
    below = -np.expm1(-np.log(2) / n)  # the chance of one trial
    k = np.arange(count + 1)[:, None]
    chance = comb(count, k) * below**k * (1 - below) ** (count - k)
    low, high = band_ranks(count)
    assert (low < high).all()
    inside = (k >= low) & (k < high)
    assert (chance * inside).sum(axis=0).min() >= 0.95


def test_a_band_of_few_trials_loads_no_statistics() -> None:
    subprocess.run([sys.executable, "-c", UNLOADED], check=True)
