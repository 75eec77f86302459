from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from study.statistics.intervals import mean_interval
from study.statistics.paired import Differences, mean_bounds

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12).filter(
    lambda v: np.std(v) > 1e-6 * (1 + np.max(np.abs(v)))
)


@given(values)
def test_interval_is_scipy_s_t_interval(sample: list[float]) -> None:
    interval = mean_interval(sample)
    low, high = scipy.stats.t.interval(
        0.95, len(sample) - 1, loc=np.mean(sample), scale=scipy.stats.sem(sample)
    )
    assert interval.mean == pytest.approx(np.mean(sample), rel=1e-9, abs=1e-6)
    assert interval.lower == pytest.approx(low, rel=1e-9, abs=1e-6)
    assert interval.upper == pytest.approx(high, rel=1e-9, abs=1e-6)


@given(values)
def test_turning_the_signs_turns_the_interval(sample: list[float]) -> None:
    assert -mean_interval(sample) == mean_interval([-v for v in sample])


def test_the_sequence_is_that_of_paired_differences() -> None:
    sample = (1.0, 2.0, 4.0, 3.5, 0.5, 2.5, 1.5, 3.0)
    found = mean_interval(sample, looks=True)
    ends = mean_bounds(Differences(sample), looks=True)
    assert (found.lower, found.upper) == pytest.approx(ends)
    few = mean_interval(sample[:2], looks=True)
    assert (few.mean, few.lower, few.upper) == (1.5, None, None)
    assert "at every look" in few.why


def test_interval_of_three_seeds_covers_95_percent() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    intervals = [mean_interval(row) for row in draws.tolist()]
    covered = np.mean([i.lower <= 0 <= i.upper for i in intervals])  # type: ignore[operator]
    assert 0.935 < covered < 0.965


@pytest.mark.parametrize(
    ("sample", "mean", "why"),
    [
        ([], None, "there is no value"),
        ([3.0], 3.0, "one seed gives no interval: it takes two at least"),
        ([1.0, float("nan")], None, "a value is not finite"),
        ([1.0, float("inf")], None, "a value is not finite"),
    ],
)
def test_what_cannot_be_said_is_said_in_words(sample: list[float], mean: float, why: str) -> None:
    interval = mean_interval(sample)
    assert (interval.mean, interval.lower, interval.upper) == (mean, None, None)
    assert interval.half_width is None
    assert interval.why == why


def test_equal_values_give_a_point_with_a_warning() -> None:
    interval = mean_interval([0.1, 0.1, 0.1])
    assert interval.lower == interval.mean == interval.upper == 0.1
    assert "says nothing of the spread" in interval.why
