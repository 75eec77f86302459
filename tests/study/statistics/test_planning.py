"""Plans against the rule itself: simulated studies, tables computed elsewhere, brute force."""

from __future__ import annotations

from math import inf, log, log1p, sqrt

import numpy as np
import pytest
import scipy.stats

from study.statistics import planning
from study.statistics.intervals import proportion_bounds
from study.statistics.order_statistics import trials_to_success
from study.statistics.paired import Differences, bounds, median_rank
from study.statistics.planning import Rule


@pytest.mark.parametrize(
    ("n", "shown"),
    [(6, 1.78), (8, 1.94), (9, 1.34), (12, 1.14), (15, 1.02), (20, 0.86), (40, 0.62), (60, 0.54)],
)
def test_the_difference_that_seeds_show(n: int, shown: float) -> None:
    found = Rule(1.0).smallest_shown(n)
    assert found == pytest.approx(shown, abs=0.045)
    assert Rule(3.0).smallest_shown(n) == pytest.approx(3 * found, 3e-3)


def test_fewer_seeds_than_decide_show_nothing() -> None:
    assert Rule(1.0).smallest_shown(5) == inf
    assert Rule(1.0).power(9.0, 5) == 0


@pytest.mark.parametrize(
    ("n", "images", "looks", "error"),
    [
        (6, 0.0, False, 0.025),
        (12, 0.0, False, 0.025),
        (20, 0.1, False, 0.025),
        (12, 0.5, False, 0.025),
        (20, 0.1, True, 0.025),
        (20, 0.0, False, 0.025 / 4),
    ],
)
def test_the_plan_is_what_the_verdict_does(
    n: int, images: float, looks: bool, error: float
) -> None:
    difference = Rule(1.0, images, 300, error, looks).smallest_shown(n)
    rng = np.random.default_rng(3)
    shown = 0
    for _ in range(2000):
        values = difference + rng.normal(size=n) + sqrt(images) * rng.normal()
        found = bounds(Differences(tuple(values), images, 300), error, looks=looks)
        shown += found is not None and found[0] > 0
    assert shown / 2000 == pytest.approx(0.8, abs=0.035)


def test_seeds_for_a_difference() -> None:
    found = [Rule(1.0).seeds_needed(d) for d in (0.5, 0.75, 1.0, 1.5, 2.0)]
    assert found == [51, 25, 17, 9, 6]
    assert Rule(1.0).seeds_needed(0.0) is None


def test_images_put_a_floor_under_what_seeds_show() -> None:
    rule, floor = Rule(1.0, 0.1, 10_000), planning.image_floor(0.1, 10_000)
    assert floor == pytest.approx(2.8 * sqrt(0.1), rel=0.002)
    assert rule.seeds_needed(0.95 * floor) is None
    assert rule.seeds_needed(1.2 * floor) is not None


@pytest.mark.parametrize(("k", "factor"), [(3, 2.12), (5, 1.56), (9, 1.32), (12, 1.25), (20, 1.18)])
def test_a_pilot_s_spread_is_planned_with_its_bound(k: int, factor: float) -> None:
    assert planning.spread_bound(2.0, k) == pytest.approx(2 * factor, abs=0.011)


@pytest.mark.parametrize(("truth", "factor"), [(3, None), (3, 4.0), (6, None)])
def test_trials_that_bound_a_break_even(truth: int, factor: float | None) -> None:
    needed = planning.trials_needed(truth, factor)
    assert needed is not None

    def chance(N: int) -> float:
        p = 1 - 0.5 ** (1 / truth)
        total = 0.0
        for hits in range(1, N):
            upper = log(0.5) / log1p(-proportion_bounds(hits, N, 0.025)[0])
            if upper <= (N if factor is None else factor * truth):
                total += scipy.stats.binom.pmf(hits, N, p)
        return total

    assert chance(needed) >= 0.8 - 1e-6
    assert all(chance(N) < 0.8 for N in range(4, needed))


def test_trials_added_until_they_bound_a_break_even() -> None:
    needed = {truth: planning.trials_needed(truth, looks=True) for truth in (3, 6, 10)}
    assert needed == {3: 32, 6: 71, 10: 117}
    assert [planning.break_even_bounded(N, looks=True) for N in (31, 32, 71)] == [2, 3, 6]
    rng = np.random.default_rng(4)
    made = [
        _until_bounded(hits.tolist())
        for hits in np.cumsum(rng.random((400, 71)) < 1 - 0.5 ** (1 / 6), axis=1)
    ]
    assert np.mean([N is not None for N in made]) == pytest.approx(0.8, abs=0.06)


def _until_bounded(hits: list[int]) -> int | None:
    """The first number of trials whose interval ends within them."""
    for N, X in enumerate(hits, 1):
        low = proportion_bounds(X, N, 0.025, looks=True)[0]
        if trials_to_success(low) <= N:
            return N
    return None


def test_no_number_of_trials_bounds_what_is_out_of_reach() -> None:
    assert planning.trials_needed(1_000_000) is None


def test_replicates_for_an_interval_of_the_median() -> None:
    assert [planning.replicates_needed(share) for share in (0.75, 0.6, 0.5)] == [6, 9, 15]
    R = planning.replicates_needed(0.5)
    rank = median_rank(R, 0.025)
    searches = np.sort(np.random.default_rng(0).random((4000, R)), axis=1)
    inside = (searches[:, R - rank] - searches[:, rank - 1]).mean()
    assert inside == pytest.approx(0.5, abs=0.01)
