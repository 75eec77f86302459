from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
import scipy.stats

from study.statistics.paired import (
    Differences,
    bounds,
    fewest,
    image_variance,
    mean_bounds,
    median_rank,
    over_seeds,
    paired,
)

NORMAL = Differences(tuple(np.random.default_rng(4).normal(1, 2, 12)))


def test_pairs_are_the_seeds_that_both_have() -> None:
    found = paired({3: 5.0, 1: 2.0, 7: 0.0}, {1: 1.5, 3: 1.0, 9: 4.0})
    assert found == Differences((0.5, 4.0))
    assert found.mean == 2.25
    assert found.spread == pytest.approx(np.std([0.5, 4.0], ddof=1))


def test_images_count_where_every_seed_of_both_has_them() -> None:
    rng = np.random.default_rng(0)
    hand, automatic = ({seed: rng.normal(size=50) for seed in range(3)} for _ in range(2))
    means = [{seed: float(x.mean()) for seed, x in arm.items()} for arm in (hand, automatic)]
    whole = paired(*means, hand, automatic)
    table = np.stack([hand[seed] - automatic[seed] for seed in range(3)])
    assert whole.image_variance == image_variance(table)
    assert whole.images == 50
    assert paired(*means, hand, {0: automatic[0]}).image_variance is None


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_an_image_score_that_is_not_finite_leaves_no_images_part(score: float) -> None:
    """And not one of 0, as if the images were known to add nothing."""
    hand, automatic = ({s: np.arange(50.0) * (s + arm) for s in range(3)} for arm in range(2))
    scores = dict.fromkeys(range(3), 1.0)
    assert paired(scores, scores, hand, automatic).images == 50
    hand[1][7] = score
    assert paired(scores, scores, hand, automatic) == Differences((0.0,) * 3)
    assert np.isnan(image_variance(np.array([[1.0, 2.0, 0.0], [np.nan, 1.0, 3.0]])))


def test_the_images_part_is_that_of_the_two_way_table() -> None:
    # By sums of squares over all cells: columns', less what the interaction puts into them.
    table = np.random.default_rng(5).normal(size=(4, 30)) + 3 * np.arange(30) / 30
    rows, columns, all_ = table.mean(1), table.mean(0), table.mean()
    of_columns = sum((column - all_) ** 2 for column in columns) / 29
    residual = sum(
        (table[s, i] - rows[s] - columns[i] + all_) ** 2 for s in range(4) for i in range(30)
    ) / (3 * 29)
    assert image_variance(table) == pytest.approx(of_columns / 30 - residual / (4 * 30))


def test_images_without_a_part_of_their_own_add_nothing() -> None:
    found = np.mean(
        [image_variance(np.random.default_rng(i).normal(size=(5, 200))) for i in range(200)]
    )
    assert found < 0.1 / 200  # the variance of a mean over 200 images of one seed is 1 / 200
    one_a_seed = np.repeat(np.arange(5.0)[:, None], 200, axis=1)
    assert image_variance(one_a_seed) == 0


@pytest.mark.parametrize(
    ("n", "rank"),
    [(5, 0), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (14, 3), (15, 4), (17, 5), (20, 6)],
)
def test_ranks_are_those_of_the_exact_interval_of_a_median(n: int, rank: int) -> None:
    assert median_rank(n, 0.025) == rank
    if rank:
        assert scipy.stats.binomtest(rank - 1, n, 0.5, "less").pvalue <= 0.025
    assert scipy.stats.binomtest(rank, n, 0.5, "less").pvalue > 0.025


def test_how_many_seeds_decide() -> None:
    assert [fewest(0.025 / arms) for arms in (1, 4, 12)] == [6, 8, 9]
    assert fewest(0.025, looks=True) == 7
    assert bounds(Differences((1.0, 2.0, 3.0, 4.0, 5.0))) is None
    assert bounds(Differences(())) is None


def test_each_end_is_the_further_of_t_and_the_sign_test() -> None:
    found = bounds(NORMAL)
    assert found is not None
    low, high = scipy.stats.ttest_1samp(NORMAL.values, 0).confidence_interval()
    ordered = sorted(NORMAL.values)
    assert found == pytest.approx((min(low, ordered[2]), max(high, ordered[9])))
    # One seed far off: t is wide, and the other end is still no closer than the ordered values.
    skewed = Differences((*sorted(NORMAL.values)[:11], 40.0))
    low, high = scipy.stats.ttest_1samp(skewed.values, 0).confidence_interval()
    assert bounds(skewed) == pytest.approx((low, high))


def test_bounds_move_and_turn_with_the_data() -> None:
    found = bounds(NORMAL)
    assert found is not None
    moved = bounds(Differences(tuple(3 - 2 * v for v in NORMAL.values)))
    assert moved == pytest.approx((3 - 2 * found[1], 3 - 2 * found[0]))


def test_images_widen_both_ends_in_squares() -> None:
    images = Differences(NORMAL.values, 0.5, 300)
    reach = scipy.stats.t.ppf(0.975, 299)
    for alone, both in (
        (bounds(NORMAL), bounds(images)),
        (over_seeds(images), mean_bounds(images)),
    ):
        assert alone is not None
        assert both is not None
        for a, b in zip(alone, both, strict=True):
            expected = (a - NORMAL.mean) ** 2 + reach**2 * 0.5
            assert (b - NORMAL.mean) ** 2 == pytest.approx(expected)
    # The test set does not grow with the seeds: its error is met once, at half of the level.
    looked, before = bounds(images, looks=True), bounds(NORMAL, looks=True)
    assert looked is not None
    assert before is not None
    squares = (looked[0] - NORMAL.mean) ** 2 - (before[0] - NORMAL.mean) ** 2
    assert sqrt(squares / 0.5) == pytest.approx(scipy.stats.t.ppf(1 - 0.025 / 2, 299))


def test_a_tie_supports_neither_arm() -> None:
    found = bounds(Differences((0.0, 0.0, 0.0, 1.0, 1.1, 1.2, 0.9, 1.0, 1.0, 1.1, 1.2, 0.9)))
    assert found is not None
    assert found[0] == 0  # 9 wins of 12, where it takes 10


def test_values_without_spread_say_nothing_of_it() -> None:
    assert bounds(Differences((1.0,) * 12)) is None
    assert mean_bounds(Differences((1.0,) * 12)) is None


def test_looks_cost_width() -> None:
    once, looked = bounds(NORMAL), bounds(NORMAL, looks=True)
    assert once is not None
    assert looked is not None
    assert looked[0] < once[0] < once[1] < looked[1]
    assert mean_bounds(Differences((1.0, 2.0)), 0.025, looks=True) is None
    assert -inf < looked[0]


def test_a_single_test_image_says_nothing_of_fresh_ones() -> None:
    of_images = {seed: np.array([float(seed)]) for seed in range(6)}
    values, zeros = {seed: float(seed) for seed in range(6)}, dict.fromkeys(range(6), np.zeros(1))
    found = paired(values, dict.fromkeys(values, 0.0), of_images, zeros)
    assert (found.image_variance, found.images) == (None, 0)
