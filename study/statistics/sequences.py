"""Bounds that hold at every look at once: for seeds and trials that are added until they decide.

A fixed-n interval that is looked at again and again is wrong more often than it says. These hold
however often one looks and whatever makes one stop (Ville 1939; Robbins 1970).
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, log, sqrt

from scipy.special import betaincc, betaln, log1p, stdtr

PRIOR = 2.0
"""Variance g of the mixture over the mean in standard deviations: widths near those of a fixed t
from 9 to 40 seeds."""


def mean_log_e(n: int, standardised: float) -> float:
    """The logarithm of the one-sided e-value against "the mean is at most 0", of n normal values.

    ``standardised`` is mean / standard deviation. Gaussian mixture over the mean in standard
    deviations, its half above 0, right Haar prior over the standard deviation (Robbins 1970, Lai
    1976, Wang & Ramdas 2023): the chance that it ever reaches ln(1/error) is at most ``error``.
    """
    k = 1 + n * PRIOR
    u = n * standardised**2 / (n - 1)
    two_sided = -log(k) / 2 + n / 2 * (float(log1p(u)) - float(log1p(u / k)))
    squares = (n - 1) + n * standardised**2 / k
    z = (n * PRIOR / k) * standardised / sqrt(PRIOR * squares / (k * n))
    return two_sided + log(2) + log(float(stdtr(n, z)) or 1e-300)


@lru_cache(maxsize=1024)
def radius(n: int, error: float) -> float:
    """C of the bounds mean +- C sd / sqrt(n), each wrong at any n with chance ``error`` at most.

    By halving :func:`mean_log_e`; infinite where n values bound nothing.
    """
    low, high = 0.0, 1e6
    if n < 2 or mean_log_e(n, high / sqrt(n)) < -log(error):
        return inf
    for _ in range(100):
        middle = (low + high) / 2
        if mean_log_e(n, middle / sqrt(n)) < -log(error):
            low = middle
        else:
            high = middle
    return high


def sign_log_e(above: int, below: int) -> float:
    """The logarithm of the e-value against "at most one half of all values are above 0".

    Jeffreys' prior of that chance, its half above 1/2; values of 0 are left out.
    """
    n = above + below
    return (
        n * log(2)
        + float(betaln(above + 0.5, below + 0.5) - betaln(0.5, 0.5))
        + log(2 * float(betaincc(above + 0.5, below + 0.5, 0.5)) or 1e-300)
    )


@lru_cache(maxsize=1024)
def sign_rank(n: int, error: float) -> int:
    """The r of [x_(r), x_(n+1-r)] that bounds the median at all n together; 0: none.

    Each end is wrong at any look with a chance of ``error`` at most.
    """
    rank = 0
    while sign_log_e(n - rank, rank) >= -log(error):
        rank += 1
    return rank


def proportion_sequence(successes: int, count: int, error: float) -> tuple[float, float]:
    """Bounds of a proportion, each wrong at any count with a chance of ``error`` at most.

    Jeffreys' Beta(1/2, 1/2) as the mixture over chances above q, cut there and renormalised,
    against q: the lower bound is the largest q rejected. The upper one is that of failures.
    """
    lower = _chance_above(successes, count, error)
    return lower, 1 - _chance_above(count - successes, count, error)


def exceeds(successes: int, count: int, q: float, error: float) -> bool:
    """Whether the lower bound of :func:`proportion_sequence` is at ``q`` or above."""
    above = successes > q * count
    return above and _proportion_log_e(successes, count, q) >= -log(error)


@lru_cache(maxsize=4096)
def _chance_above(successes: int, count: int, error: float) -> float:
    """The largest q against which the e-value reaches 1 / ``error``; it falls in q up to X / N."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / count
    for _ in range(60):  # halvings, to the last bit
        middle = (low + high) / 2
        if exceeds(successes, count, middle, error):
            low = middle
        else:
            high = middle
    return low


def _proportion_log_e(successes: int, count: int, q: float) -> float:
    """The logarithm of the e-value against "the chance is at most q"."""
    a, b = successes + 0.5, count - successes + 0.5
    whole = float(betaln(a, b) - betaln(0.5, 0.5))
    cut = log(float(betaincc(a, b, q)) or 1e-300) - log(float(betaincc(0.5, 0.5, q)))
    return whole + cut - successes * log(q) - (count - successes) * float(log1p(-q))
