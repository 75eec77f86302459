"""Bounds that hold at every look at once: for data that are added until they decide.

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
