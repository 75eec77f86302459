"""Which seeds count for an arm: one rule for the looks of a running study and for its report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import fsum, isfinite


def over_replicates(
    runs: Iterable[tuple[int, float | None]], replicates: int
) -> tuple[dict[int, float], list[int]]:
    """What an arm scores seed by seed, and the seeds that it lost.

    A seed counts with all replicates of the arm's search or not at all: else an arm would get
    better where its worse configuration fails.

    Args:
        runs: Seed and score of every run that completed or failed; None of one that failed. A
            score that is not finite is none.
        replicates: Replicates whose search found a configuration.

    Returns:
        Seed -> mean of its ``replicates`` scores; and the seeds on which a run ended without one.
        Seeds on which runs are missing that have not ended are in neither.
    """
    found: dict[int, list[float]] = defaultdict(list)
    lost = set()
    for seed, score in runs:
        if score is None or not isfinite(score):
            lost.add(seed)
        else:
            found[seed].append(score)
    whole = {seed: of for seed, of in found.items() if len(of) == replicates and seed not in lost}
    return {seed: fsum(whole[seed]) / replicates for seed in sorted(whole)}, sorted(lost)
