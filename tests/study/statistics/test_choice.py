from __future__ import annotations

from math import inf

import numpy as np
import pytest

from study.statistics.choice import best_against_best, fewest_seeds
from study.statistics.paired import Differences, bounds


def of(hand: np.ndarray, automatic: np.ndarray) -> dict[tuple[str, str], Differences]:
    """Every pair, of scores (arms, seeds)."""
    return {
        (f"h{i}", f"a{j}"): Differences(tuple(h - a))
        for i, h in enumerate(hand)
        for j, a in enumerate(automatic)
    }


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return (
        rng.normal(size=(2, 12)) + np.array([[3.0], [2.0]]),
        rng.normal(size=(3, 12)) + np.array([[0.5], [0.0], [1.0]]),
    )


def test_one_pair_is_the_plain_interval(scores: tuple[np.ndarray, np.ndarray]) -> None:
    pair = of(scores[0][:1], scores[1][:1])
    found = best_against_best(pair)
    assert found is not None
    assert (found.lower, found.upper) == bounds(pair["h0", "a0"])
    assert (found.hand, found.automatic, found.mean) == ("h0", "a0", pair["h0", "a0"].mean)


@pytest.mark.parametrize("looks", [False, True])
def test_bounds_by_hand(scores: tuple[np.ndarray, np.ndarray], looks: bool) -> None:
    pairs = of(*scores)
    found = best_against_best(pairs, looks=looks)
    assert found is not None

    def end(h: int, a: int, error: float, side: int) -> float:
        both = bounds(pairs[f"h{h}", f"a{a}"], error, looks=looks)
        assert both is not None
        return both[side]

    lower = max(min(end(h, a, 0.025 / 3, 0) for h in range(2)) for a in range(3))
    upper = min(max(end(h, a, 0.025 / 2, 1) for a in range(3)) for h in range(2))
    assert (found.lower, found.upper) == (lower, upper)
    assert found.mean == pytest.approx(scores[0].mean(1).min() - scores[1].mean(1).min())
    assert (found.hand, found.automatic) == ("h1", "a1")
    assert found.lower < found.mean < found.upper


def test_one_hand_tuned_arm_that_is_better_forbids_a_claim(
    scores: tuple[np.ndarray, np.ndarray],
) -> None:
    hand, automatic = scores
    found = best_against_best(of(np.vstack([hand, hand[:1] - 10]), automatic))
    assert found is not None
    assert found.upper < 0


def test_so_few_seeds_cannot_tell_so_many_arms(scores: tuple[np.ndarray, np.ndarray]) -> None:
    hand, automatic = scores
    assert fewest_seeds(1, 1) == (6, 6)
    assert fewest_seeds(2, 4) == (7, 8)
    assert fewest_seeds(12, 1) == (9, 6)
    found = best_against_best(of(hand[:, :6], automatic[:, :6]))
    assert found is not None
    assert (found.lower, found.upper) == (-inf, inf)
    assert best_against_best({}) is None
    assert best_against_best({("h", "a"): Differences(())}) is None


def test_one_side_can_be_bounded_where_the_other_takes_more_seeds(
    scores: tuple[np.ndarray, np.ndarray],
) -> None:
    """One hand-tuned arm is no choice: its bound has the whole error, which six seeds do with."""
    pairs = of(scores[0][:1, :6], scores[1][:, :6])
    found = best_against_best(pairs)
    uppers = [ends[1] for one in pairs.values() if (ends := bounds(one)) is not None]
    assert found is not None
    assert len(uppers) == 3
    assert (found.lower, found.upper) == (-inf, max(uppers))


def test_an_arm_lost_to_failures_gives_no_estimate_and_takes_none_away() -> None:
    noise = 0.1 * np.arange(12)
    pairs = {
        ("h", "sound"): Differences(tuple(0.5 + noise)),
        ("h", "fails"): Differences(tuple(5 + noise[4:]), failed=(0, 4)),
    }
    found, sound = best_against_best(pairs), bounds(pairs["h", "sound"], 0.0125)
    assert found is not None
    assert sound is not None
    assert found.automatic == "sound"
    assert found.mean == pairs["h", "sound"].mean
    assert found.lower == sound[0]
    assert found.upper > 5, "the one that fails may still be the better one"
