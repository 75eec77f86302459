from __future__ import annotations

from itertools import combinations, product
from math import inf

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from study.statistics import order_statistics as estimators
from study.statistics.intervals import proportion_bounds, win_interval

SCORES = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])  # test, in the order validation prefers them


@pytest.mark.parametrize("n", range(1, 7))
def test_expected_best_is_the_mean_over_all_subsets(n: int) -> None:
    drawn = [SCORES[min(chosen)] for chosen in combinations(range(6), n)]
    assert estimators.expected_best(SCORES, n) == pytest.approx(np.mean(drawn))


@pytest.mark.parametrize("n", range(1, 7))
def test_median_best_halves_all_subsets(n: int) -> None:
    drawn = sorted(SCORES[min(chosen)] for chosen in combinations(range(6), n))
    assert estimators.median_best(SCORES, n) == drawn[(len(drawn) - 1) // 2]


@pytest.mark.parametrize("n", range(1, 7))
def test_trials_to_a_level_by_counting_subsets(n: int) -> None:
    for level in SCORES:
        enough = [
            np.mean([SCORES[min(c)] <= level for c in combinations(range(6), k)]) >= 0.5
            for k in range(1, 7)
        ]
        expected = enough.index(True) + 1 if True in enough else None
        assert estimators.trials_to_level(SCORES, level) == expected


@given(st.integers(1, 60), st.data())
def test_weights_are_a_distribution_and_shift_to_the_best(count: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, count))
    weights = estimators.chosen_weights(count, n)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[0] == pytest.approx(n / count)


def test_weights_of_many_trials_stay_finite() -> None:
    assert estimators.chosen_weights(5000, 4999)[:2] == pytest.approx([0.9998, 0.0002], rel=1e-3)


def test_the_jackknife_is_that_of_leaving_one_out() -> None:
    scores = np.random.default_rng(0).normal(size=24)
    n, N = 3, 24
    without = [estimators.expected_best(np.delete(scores, j), n) for j in range(N)]
    spread = ((N - 1) / N * np.sum((without - np.mean(without)) ** 2)) ** 0.5
    found = estimators.expected_best_interval(scores, n)
    half = spread * scipy.stats.t.ppf(0.9925, N // n - 1)
    assert found.mean == pytest.approx(estimators.expected_best(scores, n))
    assert found.half_width == pytest.approx(half)


@pytest.mark.parametrize(("count", "n"), [(24, 1), (24, 7), (19, 4)])
def test_no_interval_where_none_would_cover(count: int, n: int) -> None:
    found = estimators.expected_best_interval(np.arange(float(count)), n)
    assert found.mean is not None
    assert found.lower is None
    assert "covers 95 %" in found.why


def test_a_trial_that_came_to_nothing_has_no_mean_but_a_median() -> None:
    scores = np.array([1.0, 2.0, inf, inf])
    assert estimators.expected_best_interval(scores, 1).mean is None
    assert estimators.median_best(scores, 2) == 1.0
    assert estimators.trials_to_level(scores, 0.5) is None


def test_the_band_contains_the_estimate_and_admits_what_is_unknown() -> None:
    scores = np.sort(np.random.default_rng(1).normal(size=40))
    lower, upper = estimators.median_best_band(scores)
    middle = [estimators.median_best(scores, n) for n in range(1, 41)]
    assert (lower <= middle).all()
    assert (middle <= upper).all()
    assert lower[-1] == -inf, "no sample bounds the best of as many again from below"
    assert (np.diff(upper) <= 0).all()


def test_a_choice_that_misses_lifts_the_band_above() -> None:
    scores = np.sort(np.random.default_rng(1).normal(size=40))
    missed = np.concatenate([[3.0], scores])  # what validation liked best scores badly on test
    _, upper = estimators.median_best_band(missed)
    assert upper[-1] == 3.0


@pytest.mark.parametrize(("successes", "count"), list(product((0, 1, 4), (4, 9))))
def test_proportions_are_scipys_exact_ones(successes: int, count: int) -> None:
    exact = scipy.stats.binomtest(successes, count).proportion_ci(0.95, "exact")
    assert proportion_bounds(successes, count, 0.025) == pytest.approx((exact.low, exact.high))


@given(st.floats(0.001, 0.999))
def test_trials_to_success_is_the_first_that_makes_it_likely(chance: float) -> None:
    n = estimators.trials_to_success(chance)
    assert 1 - (1 - chance) ** n >= 0.5 - 1e-6
    assert n == 1 or 1 - (1 - chance) ** (n - 1) < 0.5 + 1e-6


@pytest.mark.parametrize("count", [5, 6, 7, 9, 12, 30])
def test_median_bounds_are_the_narrowest_that_the_sign_test_allows(count: int) -> None:
    values = np.arange(float(count))
    low, high = estimators.median_bounds(values)
    place = int(low)
    assert high == count - 1 - place
    outside = 2 * scipy.stats.binom.cdf(place, count, 0.5)
    assert 1 - outside >= (0.9375 if count == 5 else 0.95)
    assert 1 - 2 * scipy.stats.binom.cdf(place + 1, count, 0.5) < 0.95


def test_first_below_is_where_the_curve_stays() -> None:
    assert estimators.first_below([5.0, 3.0, 4.0, 2.0], 3.0) == 4
    assert estimators.first_below([1.0, None, 1.0], 3.0) == 3
    assert estimators.first_below([1.0, 4.0], 3.0) is None


def test_wins_are_paired_and_ties_widen() -> None:
    found = win_interval({1: 1.0, 2: 2.0, 3: 3.0, 9: 0.0}, {1: 2.0, 2: 2.0, 3: 4.0, 8: 1.0})
    assert found.n == 3
    assert found.mean == pytest.approx(2.5 / 3)
    assert found.lower == pytest.approx(proportion_bounds(2, 3, 0.025)[0])
    assert found.upper == 1.0


def test_a_band_of_a_number_that_was_looked_at_says_what_break_even_says() -> None:
    scores = np.random.default_rng(3).permutation(np.arange(40.0))
    lower, upper = estimators.median_best_band(scores, looks=True)
    for level in (2.0, 7.0, 20.0):
        known = (level, level)
        first, last = estimators.trials_to_level_bounds(scores, known, looks=True)
        assert np.argmax(lower <= level) + 1 == first
        reached = np.flatnonzero(upper <= level)
        assert (reached[0] + 1 if len(reached) else inf) == (last if last <= 40 else inf)
        narrow = estimators.trials_to_level_bounds(scores, known)
        assert first <= narrow[0] <= narrow[1] <= last
