from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from study.statistics.collapse import collapses, typical, withstands
from study.statistics.paired import Differences


@pytest.mark.parametrize(
    ("count", "n", "percent"),
    [(0, 5, 45), (0, 9, 28), (0, 12, 22), (0, 40, 7), (1, 12, 34), (2, 12, 44), (2, 40, 15)],
)
def test_collapses_are_at_most(count: int, n: int, percent: int) -> None:
    found = collapses(count, n)
    assert round(100 * found.at_most) == percent
    assert found.share == count / n
    exact = scipy.stats.binomtest(count, n).proportion_ci()
    assert (found.lower, found.upper) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert found.at_most < found.upper


def test_looks_widen_shares() -> None:
    once, looked = collapses(2, 12), collapses(2, 12, looks=True)
    assert looked.lower < once.lower
    assert once.at_most < looked.at_most < looked.upper


def test_typical_seeds_lose_less_than_the_margin() -> None:
    # Losses of -1 to 0.9 below a margin of 1; one of the margin itself does not count.
    values = Differences((1.0, 0.5, -0.9, 0.0, 0.2, 0.3, 0.1, 0.0, 0.0, 0.2, -1.0, -7.0))
    found = typical(values, 1.0)
    assert (found.count, found.n) == (10, 12)
    assert found.at_least == pytest.approx(scipy.stats.beta.ppf(0.025, 10, 3))
    assert found.at_least > 0.5  # 10 of 12 is what the sign test takes
    assert typical(values, 0.9).at_least < 0.5


def test_what_the_average_withstands() -> None:
    values = Differences(tuple(np.random.default_rng(0).normal(1, 1, 11)))
    low = scipy.stats.ttest_1samp(values.values, 0).confidence_interval(0.975).low
    share = scipy.stats.beta.ppf(1 - 0.0125, 2, 11)  # one of 12
    cost = withstands(values, 1, 0.5)
    assert cost is not None
    assert cost == pytest.approx(-low + (0.5 + low) / share)
    # At that cost, as often as that, with that loss otherwise: the mean loss is the margin.
    assert (1 - share) * -low + share * cost == pytest.approx(0.5)


def test_nothing_is_withstood_where_the_rest_may_lose_the_margin() -> None:
    values = Differences(tuple(np.random.default_rng(0).normal(0, 1, 11)))
    assert withstands(values, 1, 0.1) is None
    assert withstands(Differences((1.0,)), 0, 0.1) is None
