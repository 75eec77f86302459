"""From how many trials on a search reaches what a balancer reaches in one run.

The estimand is *deploy the trial found*: after n trials, the one best on validation is deployed as
it is, and scored on test. The level is the automatic arm's mean on test over its seeds, and its
uncertainty is part of the interval. Nothing is extrapolated: beyond the trials that were run the
answer is "not within them". Of both, random searches and replicates of others, it is the median
search that has to be at the level; their means have tails that no interval of theirs covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf

import numpy as np

from study.analysis.answers.arms import ArmResult, pairs
from study.analysis.answers.cost_curves import REPLICATES, CostCurve, replicate_curves, too_few
from study.analysis.records.searches import ArmSearches
from study.metrics import Metric
from study.statistics import order_statistics as estimators
from study.statistics.intervals import Interval, mean_interval


@dataclass(frozen=True)
class Count:
    """A number of trials with its 95 % interval, right-censored at the trials there are.

    Attributes:
        value: The estimate; None: not within ``within`` trials.
        lower: Of the interval, None where there is none; ``within`` + 1: not within them.
        upper: Of the interval; None where there is none, and with a ``lower``: not within them.
        within: How many trials there were.
        why: Why there is no interval, or "".
    """

    value: int | None
    lower: int | None
    upper: int | None
    within: int
    why: str = ""


@dataclass(frozen=True)
class BreakEven:
    """From how many trials on a search reaches a level: deploying the best trial found.

    Attributes:
        arm: The arm that searches.
        against: The automatic arm whose mean over seeds is the level; "" for a level of the user's.
        objective: Name of the objective searched and scored by.
        trials: From which trial on.
        images: What that many trials take, as (value, lower, upper), None as in ``trials``.
        seconds: Likewise in standard device seconds.
        level: The level, with its interval where it was measured.
        against_best: The first n at which the search is at or below the best of n seeds of the
            automatic arm, chosen on validation; None: not within ``seeds`` runs.
        seeds: How many runs the automatic arm has.
        sentence: All of it in words.
    """

    arm: str
    against: str
    objective: str
    trials: Count
    images: tuple[float | None, float | None, float | None]
    seconds: tuple[float | None, float | None, float | None]
    level: Interval
    against_best: int | None
    seeds: int
    sentence: str


@dataclass(frozen=True)
class Narrowed:
    """Break-even if beta's prior were narrower: the trials inside of a window around ``centre``.

    ``decades`` is the window's width in powers of ten, ``whole`` that of the prior searched.
    """

    arm: str
    against: str
    centre: float
    decades: float
    whole: float
    trials: Count


@dataclass(frozen=True)
class Target:
    """What is to be reached: the mean of ``values`` over seeds, or one value known exactly.

    ``name`` is the automatic arm, "" for a value of the user's own.
    """

    name: str
    values: Sequence[float]

    @property
    def interval(self) -> Interval:
        """The mean with its 95 % interval; a user's own value is known."""
        if not self.name:
            (value,) = self.values
            return Interval(value, value, value, 1)
        return mean_interval(self.values)


def break_even(
    arm: ArmSearches,
    curve: CostCurve,
    level: Target,
    objective: Metric,
    opponent: CostCurve | None = None,
) -> BreakEven | None:
    """From which trial on ``arm`` is at or below ``level``; None where there is no level.

    Args:
        arm: The arm that searches, with an ended trial at least.
        curve: Its cost curve.
        level: What is to be reached.
        objective: What trials are chosen and scored by.
        opponent: The cost curve of the level's arm: the best of its seeds.
    """
    if level.interval.mean is None:
        return None
    count = trials_to(arm, level)
    best = None
    if opponent is not None:
        pairs = zip(curve.value, opponent.value, strict=False)
        best = next(
            (n for n, (a, b) in enumerate(pairs, 1) if a is not None and b is not None and a <= b),
            None,
        )
    images, seconds = (_cost(count, costs) for costs in (curve.images, curve.seconds))
    return BreakEven(
        arm=arm.arm,
        against=level.name,
        objective=objective.name,
        trials=count,
        images=images,
        seconds=seconds,
        level=level.interval,
        against_best=best,
        seeds=len(opponent.value) if opponent else 0,
        sentence=_sentence(arm.arm, level, objective, count, images[0]),
    )


def break_evens(
    searches: Mapping[str, ArmSearches],
    curves: Mapping[str, CostCurve],
    arms: Sequence[ArmResult],
    objective: Metric,
    *,
    second: bool = False,
) -> list[BreakEven]:
    """Every hand-tuned arm that searches against every automatic one; arguments by arm.

    Args:
        searches: What the arms tried, chosen and scored by ``objective``.
        curves: Their cost curves.
        arms: Their results.
        objective: What trials are chosen and scored by.
        second: Whether that is the second objective, not the one that settings were chosen by.
    """
    found = [
        break_even(
            searches[hand.arm],
            curves[hand.arm],
            Target(arm.arm, list((arm.second_by_seed if second else arm.by_seed).values())),
            objective,
            None if searches[arm.arm].searched else curves.get(arm.arm),
        )
        for hand, arm in pairs(arms)
        if hand.arm in curves and searches[hand.arm].searched
    ]
    return [one for one in found if one is not None]


def targets(
    searches: Mapping[str, ArmSearches],
    curves: Mapping[str, CostCurve],
    target: float,
    objective: Metric,
) -> list[BreakEven]:
    """From which trial on each arm is at or below ``target``; arguments by arm."""
    found = [
        break_even(searches[name], curve, Target("", [target]), objective)
        for name, curve in curves.items()
    ]
    return [one for one in found if one is not None]


def narrowed_priors(searches: Mapping[str, ArmSearches], best: ArmResult | None) -> list[Narrowed]:
    """:func:`narrowed` of every hand-tuned arm that searches, around where ``best`` ended."""
    if best is None or not best.by_seed:
        return []
    level = Target(best.arm, list(best.by_seed.values()))
    return [
        one
        for arm in searches.values()
        if not arm.automatic and arm.searched
        for one in narrowed(arm, level, best.effective_beta)
    ]


def trials_to(arm: ArmSearches, level: Target) -> Count:
    """From which trial on ``arm`` is at or below ``level``, with its 95 % interval."""
    known = level.interval
    assert known.mean is not None
    pool = arm.pool
    if pool is not None:
        scores = pool.scores
        value = estimators.trials_to_level(scores, known.mean)
        if known.lower is None or known.upper is None:
            return Count(value, None, None, len(pool), known.why)
        ends = estimators.trials_to_level_bounds(scores, (known.lower, known.upper))
        return _count(value, ends, len(pool))
    curves = replicate_curves(arm.searches)
    R, within = curves.shape
    value = estimators.first_below(np.median(curves, axis=0).tolist(), known.mean)
    if R < REPLICATES:
        return Count(value, None, None, within, too_few(arm))
    if known.lower is None or known.upper is None:
        return Count(value, None, None, within, known.why)
    lower, upper = estimators.median_bounds(curves)
    reached = np.flatnonzero(lower <= known.upper)
    first = float(reached[0] + 1) if len(reached) else inf
    last = estimators.first_below(upper.tolist(), known.lower)
    return _count(value, (first, inf if last is None else float(last)), within)


def narrowed(arm: ArmSearches, level: Target, centre: float | None) -> list[Narrowed]:
    """Break-even under priors of beta that are narrower than the one searched.

    Windows of 3/4, 1/2 and 1/4 of the prior's decades around ``centre``, moved to lie within it:
    the trials inside are a search of that prior. It takes independent trials of a log-uniform
    beta, and works for narrower priors only: what was never tried is in no record. ``centre`` must
    not come from the search itself, or the windows depend on its outcome; it is the beta at which
    the balancer ended, which takes a run of the balancer to know.
    """
    pool = arm.pool
    if pool is None or arm.prior is None or centre is None or centre <= 0:
        return []
    low, high = np.log10(arm.prior)
    found = []
    for share in (1.0, 0.75, 0.5, 0.25):
        width = share * (high - low)
        start = min(max(np.log10(centre) - width / 2, low), high - width)
        slack = 1e-9 if share == 1 else 0.0  # the ends of the whole prior belong to it
        inside = pool.inside(10 ** (start - slack), 10 ** (start + width + slack))
        trials = (
            trials_to(replace(arm, searches=[inside]), level)
            if len(inside)
            else Count(None, None, None, 0, "no trial lies in it")
        )
        found.append(Narrowed(arm.arm, level.name, centre, float(width), float(high - low), trials))
    return found


def _count(value: int | None, ends: tuple[float, float], within: int) -> Count:
    lower, upper = ends
    return Count(
        value,
        int(min(lower, within + 1)),
        None if isinf(upper) or upper > within else int(upper),
        within,
    )


def _cost(
    count: Count, costs: Sequence[float | None]
) -> tuple[float | None, float | None, float | None]:
    def at(n: int | None) -> float | None:
        return None if n is None or n > len(costs) else costs[n - 1]

    return at(count.value), at(count.lower), at(count.upper)


def _sentence(
    arm: str, level: Target, objective: Metric, count: Count, images: float | None
) -> str:
    what = (
        f"{level.name}'s {objective.number(level.interval.mean)}"
        if level.name
        else f"{objective.number(level.interval.mean)}"
    )
    ends = interval_text(count)
    if count.value is None:
        said = f"{arm} does not reach {what} within its {count.within} trials"
    elif count.value == 1:
        said = f"{arm} is at {what} from its first trial on"
    else:
        said = f"{arm} reaches {what} from trial {count.value} of {count.within} on"
        if images is not None:
            said += f", {images:,.0f} images"
    return f"{said} ({ends})" if ends else f"{said} (no interval: {count.why})"


def interval_text(count: Count) -> str:
    """The interval of ``count`` in words, "" where there is none."""
    if count.lower is None:
        return ""
    if count.lower > count.within:
        return f"95 %: not within {count.within}"
    if count.upper is None:
        return f"95 %: {count.lower} to not within {count.within}"
    return f"95 %: {count.lower} to {count.upper}"
