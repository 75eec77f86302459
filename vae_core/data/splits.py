"""Splits that are a function of the number of rows alone: no generator, no stored state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def splitmix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash each 64-bit integer: the output function of SplitMix64 (Steele et al., OOPSLA 2014)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hold_out(n: int, count: int) -> tuple[Rows, Rows]:
    """Part ``n`` rows into those kept and ``count`` held out, both in ascending order.

    The rows with the smallest hash of their own number are held out, so the same (n, count)
    gives the same split on every machine, and a larger count holds out a superset.
    """
    if not 0 <= count <= n:
        raise ValueError(f"cannot hold out {count} of {n} rows")
    order = np.argsort(splitmix64(np.arange(n, dtype=np.uint64)), kind="stable").astype(np.int64)
    return np.sort(order[count:]), np.sort(order[:count])
