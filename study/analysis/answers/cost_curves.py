"""What deploying the best trial found scores, against what finding it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from study.analysis.records.searches import ArmSearches, SearchTrials
from study.statistics import order_statistics as estimators
from study.statistics.intervals import Interval, mean_interval
from study.statistics.order_statistics import Floats

REPLICATES = 6
"""Replicates from which on a search that is not of independent trials has a band: the range of 5
holds the median in 93.75 % only."""


@dataclass(frozen=True)
class CostCurve:
    """What deploying the best trial so far scores on test, after n trials of an arm's search.

    The trial of lowest validation objective among the first n is deployed, as it is. Arrays have
    a place for each n = 1, 2, ...

    Attributes:
        arm: The arm searched.
        automatic: Whether it is an automatic arm, whose "trials" are runs of other seeds.
        estimand: The "median" search, or the "mean" best of n seeds of an arm that was only
            confirmed: where seeds were asked for as a search, it is the median of them too.
        images: Images trained on by then, on average over searches.
        seconds: Standard device seconds by then, None where a rate is not known.
        value: The estimate; None while no trial is complete.
        lower: Of the 95 % band, None where there is none.
        upper: Likewise.
        simultaneous: Whether the band holds at all n together, or at each n on its own.
        why: Why there is no band, or "".
        expected: For independent trials of a number fixed in advance, the expected score with its
            interval, for n up to N/4.
    """

    arm: str
    automatic: bool
    estimand: str
    images: Sequence[float]
    seconds: Sequence[float | None]
    value: Sequence[float | None]
    lower: Sequence[float | None]
    upper: Sequence[float | None]
    simultaneous: bool
    why: str
    expected: Sequence[Interval]

    @property
    def trials(self) -> Sequence[int]:
        """Every n, from 1."""
        return range(1, len(self.value) + 1)


@dataclass(frozen=True)
class Tunability:
    """How a search's score on test depends on its budget (Sivaprasad et al. 2020), lower better.

    L_n is the expected score after n of ``within`` trials. ``early`` weighs L_n by T + 1 - n
    (CPE), ``uniform`` by 1 (CPU), ``late`` by n (CPL); ``one_shot`` is L_1, ``peak`` L_T.
    """

    arm: str
    within: int
    early: float | None
    uniform: float | None
    late: float | None
    one_shot: float | None
    peak: float | None
    why: str = ""


def cost_curves(
    searches: Mapping[str, ArmSearches], *, looks: bool = False
) -> dict[str, CostCurve]:
    """By arm, where any trial has a score: not every objective is measured in a search.

    ``looks`` is whether seeds are added until the pair is decided.
    """
    return {
        name: curve
        for name, arm in searches.items()
        if any(np.isfinite(search.test).any() for search in arm.searches)
        and (curve := cost_curve(arm, looks=looks)) is not None
    }


def cost_curve(arm: ArmSearches, *, looks: bool = False) -> CostCurve | None:
    """The cost curve of ``arm``; None while none of its trials has ended."""
    if not arm.searches:
        return None
    if not arm.searched:
        return _of_seeds(arm, SearchTrials.pooled(arm.searches), looks=looks)
    if (pool := arm.pool) is not None:
        return _of_independent(arm, pool)
    return _of_replicates(arm, arm.searches)


def replicate_curves(searches: Sequence[SearchTrials]) -> Floats:
    """What each search has found after n trials, (R, N): as many n as all of them have."""
    shortest = min(len(search) for search in searches)
    return np.stack([search.found[:shortest] for search in searches])


def tunability(arm: ArmSearches) -> Tunability:
    """How ``arm``'s score depends on its budget (Sivaprasad et al. 2020)."""
    nothing = Tunability(arm.arm, 0, None, None, None, None, None, "no trial of it has ended")
    if not arm.searches:
        return nothing
    if (pool := arm.pool) is not None:
        count, scores = min(arm.budget, len(pool)), pool.scores
        values = np.array([estimators.expected_best(scores, n + 1) for n in range(count)])
    else:
        values = replicate_curves(arm.searches).mean(axis=0)
        count = len(values)
    if not np.isfinite(values).all():
        why = "a trial failed or was pruned, and has no score to average"
        return Tunability(arm.arm, count, None, None, None, None, _finite(values[-1]), why)
    n = np.arange(1, count + 1)
    early, late = count + 1 - n, n
    return Tunability(
        arm.arm,
        count,
        early=float(early @ values / early.sum()),
        uniform=float(values.mean()),
        late=float(late @ values / late.sum()),
        one_shot=float(values[0]),
        peak=float(values[-1]),
    )


def _of_independent(arm: ArmSearches, pool: SearchTrials) -> CostCurve:
    scores = pool.scores
    looked = arm.looks is not None
    lower, upper = estimators.median_best_band(scores, looks=looked)
    n = range(1, len(pool) + 1)
    return CostCurve(
        arm=arm.arm,
        automatic=arm.automatic,
        estimand="median",
        **_spent(arm, np.arange(1, len(pool) + 1)[:, None] * _means(pool)),
        value=[_finite(estimators.median_best(scores, i)) for i in n],
        lower=list(map(_finite, lower)),
        upper=list(map(_finite, upper)),
        simultaneous=not looked,
        why="",
        expected=[
            estimators.expected_best_interval(scores, i)
            for i in range(1, 1 if looked else len(pool) // 4 + 1)
        ],
    )


def _of_replicates(arm: ArmSearches, searches: Sequence[SearchTrials]) -> CostCurve:
    found = replicate_curves(searches)
    R, count = found.shape
    none: list[float | None] = [None] * count
    lower, upper = none, none
    if R >= REPLICATES:
        lower, upper = (list(map(_finite, ends)) for ends in estimators.median_bounds(found))
    return CostCurve(
        arm=arm.arm,
        automatic=arm.automatic,
        estimand="median",
        **_spent(arm, np.mean([_cumulative(s)[:count] for s in searches], axis=0)),
        value=list(map(_finite, np.median(found, axis=0))),
        lower=lower,
        upper=upper,
        simultaneous=False,
        why="" if R >= REPLICATES else too_few(arm),
        expected=[],
    )


def too_few(arm: ArmSearches) -> str:
    """Why ``arm``, whose trials depend on each other, has no band and no intervals."""
    times = len(arm.searches)
    often = "once" if times == 1 else f"{times} times"
    return (
        f"{arm.arm} ({arm.how}) was searched {often}, and its trials are no independent draws: "
        f"set `replicates: {REPLICATES}` or more to get an interval"
    )


def _of_seeds(arm: ArmSearches, runs: SearchTrials, *, looks: bool) -> CostCurve:
    n = range(1, len(runs) + 1)
    one = mean_interval(runs.test, looks=looks)  # none where a run failed
    return CostCurve(
        arm=arm.arm,
        automatic=arm.automatic,
        estimand="mean",
        **_spent(arm, np.arange(1, len(runs) + 1)[:, None] * _means(runs)),
        value=[_finite(estimators.expected_best(runs.scores, i)) for i in n],
        lower=[one.lower, *[None] * (len(runs) - 1)],
        upper=[one.upper, *[None] * (len(runs) - 1)],
        simultaneous=False,
        why=f"the best of several seeds of {arm.arm} has no interval: {len(runs)} runs are too few",
        expected=[],
    )


def _means(trials: SearchTrials) -> Floats:
    """Images and standard device seconds of one of them on average, (2,)."""
    return np.array([trials.images.mean(), trials.seconds.mean()])


def _cumulative(search: SearchTrials) -> Floats:
    """Images and standard device seconds up to each trial, (N, 2)."""
    return np.cumsum([search.images, search.seconds], axis=1).T


def _spent(arm: ArmSearches, trials: Floats) -> dict[str, Any]:
    """A curve's images and seconds: of so many trials, (N, 2), after what was spent elsewhere."""
    images, seconds = (trials + arm.elsewhere).T
    return {"images": images.tolist(), "seconds": [_finite(float(value)) for value in seconds]}


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
