"""Sequences: tables computed elsewhere, e-values against integrals, and Ville's inequality."""

from __future__ import annotations

from math import inf, lgamma, log

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from study.statistics import sequences


@pytest.mark.parametrize(
    ("n", "error", "radius"),
    [
        (6, 0.025, 4.83),
        (12, 0.025, 3.73),
        (40, 0.025, 3.43),
        (9, 0.025 / 4, 5.15),
        (40, 0.025 / 4, 3.93),
        (6, 0.025 / 12, 12.64),
        (40, 0.025 / 12, 4.31),
    ],
)
def test_radii(n: int, error: float, radius: float) -> None:
    assert sequences.radius(n, error) == pytest.approx(radius, rel=0.002)


def test_so_few_values_bound_nothing() -> None:
    assert sequences.radius(1, 0.025) == inf
    assert sequences.radius(3, 0.025 / 12) == inf


@pytest.mark.parametrize("effect", [-0.4, 0.0, 0.3, 1.2])
def test_the_mean_s_e_value_is_its_mixture(effect: float) -> None:
    # Likelihood ratio of t under effects from a half-normal of variance 2 against none: the
    # right Haar prior of the scale leaves the distribution of the t statistic.
    n = 9
    t = effect * np.sqrt(n)
    against = scipy.stats.t.pdf(t, n - 1)

    def integrand(delta: float) -> float:
        prior = 2 * scipy.stats.norm.pdf(delta, scale=np.sqrt(2))
        return float(scipy.stats.nct.pdf(t, n - 1, delta * np.sqrt(n)) * prior)

    ratio, _ = scipy.integrate.quad(integrand, 0, 12, limit=200)
    assert sequences.mean_log_e(n, effect) == pytest.approx(log(ratio / against), abs=1e-4)


@pytest.mark.parametrize(
    ("n", "wins"),
    [(7, 7), (8, 8), (9, 9), (12, 11), (15, 14), (18, 16), (21, 18), (24, 20), (30, 24), (40, 30)],
)
def test_wins_that_the_sign_test_takes(n: int, wins: int) -> None:
    assert sequences.sign_log_e(wins, n - wins) >= log(40)
    assert sequences.sign_log_e(wins - 1, n - wins + 1) < log(40)
    assert sequences.sign_rank(n, 0.025) == n - wins + 1


def test_so_few_signs_bound_nothing() -> None:
    assert sequences.sign_rank(6, 0.025) == 0


def _proportion_e(successes: int, count: int, q: float) -> float:
    """By numeric integration."""

    def prior(p: float) -> float:
        return float(scipy.stats.beta.pdf(p, 0.5, 0.5))

    def likelihood(p: float) -> float:
        return p**successes * (1 - p) ** (count - successes)

    mixed, _ = scipy.integrate.quad(lambda p: prior(p) * likelihood(p), q, 1)
    mass = scipy.stats.beta.sf(q, 0.5, 0.5)
    return float(mixed / mass / likelihood(q))


@pytest.mark.parametrize(("successes", "count"), [(1, 12), (3, 12), (11, 12), (20, 60)])
def test_bounds_of_a_proportion_are_where_the_e_value_is_at_its_threshold(
    successes: int, count: int
) -> None:
    lower, upper = sequences.proportion_sequence(successes, count, 0.025)
    assert _proportion_e(successes, count, lower) == pytest.approx(40, rel=1e-3)
    assert _proportion_e(count - successes, count, 1 - upper) == pytest.approx(40, rel=1e-3)
    exact = scipy.stats.binomtest(successes, count).proportion_ci()
    assert lower < exact.low < exact.high < upper


def test_a_proportion_of_none_or_all_is_open_on_that_side() -> None:
    assert sequences.proportion_sequence(0, 9, 0.025)[0] == 0
    assert sequences.proportion_sequence(9, 9, 0.025)[1] == 1
    assert sequences.proportion_sequence(0, 0, 0.025) == (0, 1)


def test_an_e_value_is_one_on_average() -> None:
    x = np.random.default_rng(2).normal(size=(20_000, 6))
    effects = x.mean(1) / x.std(1, ddof=1)
    found = np.exp([sequences.mean_log_e(6, e) for e in effects.tolist()])
    assert found.mean() == pytest.approx(1, abs=0.1)
    by_wins = np.array([sequences.sign_log_e(w, 9 - w) for w in range(10)])
    weights = [np.exp(lgamma(10) - lgamma(w + 1) - lgamma(10 - w)) / 512 for w in range(10)]
    # Exactly: under the null at its edge, one half, every path has the same chance.
    assert float(np.exp(by_wins) @ weights) == pytest.approx(1)


def test_ever_wrong_as_seldom_as_promised() -> None:
    # Ville: over all looks up to 100; a 95 % interval looked at so often is wrong in 30 %.
    rng = np.random.default_rng(8)
    mean, chance = np.zeros(300, bool), np.zeros(300, bool)
    for i in range(300):
        values, hits = rng.normal(size=100), np.cumsum(rng.random(100) < 0.2)
        for n in range(6, 101, 4):
            seen = values[:n]
            error = seen.std(ddof=1) / np.sqrt(n)
            mean[i] |= abs(seen.mean()) > sequences.radius(n, 0.025) * error
            low, high = sequences.proportion_sequence(int(hits[n - 1]), n, 0.025)
            chance[i] |= not low <= 0.2 <= high
    assert 0.005 < mean.mean() < 0.06
    assert 0.005 < chance.mean() < 0.06
