"""From how many trials on a search reaches what the automatic side deploys, and at what price.

The estimand is *deploy the trial found*: after n trials, the one best on validation is deployed as
it is, and scored on test. The level is the automatic arm's mean on test over its seeds, and its
uncertainty is part of the interval. Of both, random searches and replicates of others, it is the
median search that has to be at the level; their means have tails that no interval of theirs covers.
Trials of random search are independent, so the upper end is exact beyond those that were run; of
other searches nothing is known there, and the answer is "not within them".

What the automatic side deploys took a choice where no arm was named: then the images are a multiple
of those of the choice too. Where all automatic arms ran the same seeds, the level is what one run
of each gives: the best on validation of each seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isinf

import numpy as np
import pyarrow as pa

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.cost_curves import REPLICATES, CostCurve, replicate_curves, too_few
from study.analysis.answers.costs import Amount
from study.analysis.answers.sides import EACH, PairCost, best_of_each
from study.analysis.records.searches import ArmSearches
from study.formatting import multiple
from study.metrics import Metric
from study.statistics import BOUND_BY
from study.statistics import order_statistics as estimators
from study.statistics.intervals import Interval, mean_interval

BEST_OF = "best of "
"""Begins the name of the level that one run of each of several automatic arms gives."""
_LISTED = 4
"""Looks that a sentence names after the first."""


@dataclass(frozen=True)
class Count:
    """A number of trials with its 95 % interval.

    Attributes:
        value: The estimate; None: not within ``within`` trials.
        lower: Of the interval, None where there is none; ``within`` + 1: not within them.
        upper: Of the interval, of independent trials beyond ``within`` too. None where there is no
            interval, and with a ``lower``: these trials do not bound it.
        within: How many trials there were.
        why: Why there is no interval, or "".
        enough: Where independent trials do not bound it, about how many would; at least, where
            none of them reaches the level. None where it is not a matter of their number.
        misses: Whether it is not bounded as validation prefers a trial that misses the level to
            one that reaches it.
        looks: Of a search that goes on until it is bounded, the trials after which it was looked
            at: its interval holds at all of them. None of others.
    """

    value: int | None
    lower: int | None
    upper: int | None
    within: int
    why: str = ""
    enough: int | None = None
    misses: bool = False
    looks: Sequence[int] | None = None


@dataclass(frozen=True)
class BreakEven:
    """From how many trials on a search reaches a level: deploying the best trial found.

    Attributes:
        arm: The arm that searches.
        against: The automatic arm whose mean over seeds is the level, or "best of m" for one run of
            each of m; "" for a level of the user's.
        objective: Name of the objective searched and scored by.
        trials: From which trial on.
        images: What that many trials take, as (value, lower, upper), None as in ``trials``.
        seconds: Likewise in standard device seconds.
        level: The level, with its interval where it was measured.
        takes: Images that what is at the level takes; None for a level of the user's.
        multiple: ``images`` as a multiple of them.
        deployed: Whether the level is what the automatic side deploys, and ``takes`` its price:
            what the verdict speaks of.
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
    takes: float | None
    multiple: tuple[float | None, float | None, float | None]
    deployed: bool
    against_best: int | None
    seeds: int
    sentence: str


@dataclass(frozen=True)
class Target:
    """What is to be reached: the mean of ``values`` over seeds, or one value known exactly.

    Attributes:
        name: The automatic arm; "" for a value of the user's own.
        values: One a seed.
        arms: How many arms it is the best of, with one run of each.
        takes: Images that it takes, None where that is not known or not asked.
        way: What takes them, in words.
        deployed: Whether it is what the automatic side deploys.
        looks: Whether seeds are added until a pair is decided: the interval then holds at all looks
            together.
    """

    name: str
    values: Sequence[float]
    arms: int = 1
    takes: float | None = None
    way: str = ""
    deployed: bool = False
    looks: bool = False

    @property
    def interval(self) -> Interval:
        """The mean with its 95 % interval; a user's own value is known."""
        if not self.name:
            (value,) = self.values
            return Interval(value, value, value, 1)
        return mean_interval(self.values, looks=self.looks)

    def text(self, objective: Metric) -> str:
        """The level in words."""
        number = objective.number(self.interval.mean)
        if self.arms > 1:
            return f"the {number} of one run of each of {self.arms} automatic arms"
        return f"{self.name}'s {number}" if self.name else number


def deployed_target(
    trials: pa.Table,
    arms: Sequence[ArmResult],
    cost: PairCost,
    objective: str,
    *,
    second: bool = False,
    looks: bool = False,
) -> Target:
    """What the automatic side deploys, as a level, with what it takes.

    Args:
        trials: The table of `trials.parquet`.
        arms: The study's arms.
        cost: What the models of its pair take.
        objective: What runs are chosen and scored by.
        second: Whether that is the second objective.
        looks: Whether seeds are added until a pair is decided.
    """
    automatic = {arm.arm: arm for arm in arms if arm.automatic}
    each = [way.automatic for way in cost.ways if way.way == EACH]
    if each and len(automatic) > 1 and (best := best_of_each(trials, list(automatic), objective)):
        count, takes = len(automatic), _images(each[0])
        values = list(best.values())
        return Target(
            f"{BEST_OF}{count}", values, count, takes, "theirs", deployed=True, looks=looks
        )
    level = _level(automatic[cost.automatic], second=second, looks=looks)
    if cost.among[1] == 1:
        return replace(level, deployed=True)
    way = f"those of {cost.chosen[1]}"
    return replace(level, takes=_images(cost.charged.automatic), way=way, deployed=True)


def break_even(
    arm: ArmSearches,
    curve: CostCurve,
    level: Target,
    objective: Metric,
    opponent: CostCurve | None = None,
) -> BreakEven | None:
    """From which trial of ``arm`` on its curve is at or below ``level``; None without a level.

    Args:
        arm: What it tried.
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
    images, seconds = (
        _cost(count, costs, before if arm.independent else None)
        for costs, before in zip((curve.images, curve.seconds), arm.elsewhere, strict=True)
    )
    ratios = tuple(n / level.takes if n is not None and level.takes else None for n in images)
    return BreakEven(
        arm=arm.arm,
        against=level.name,
        objective=objective.name,
        trials=count,
        images=images,
        seconds=seconds,
        level=level.interval,
        takes=level.takes,
        multiple=(ratios[0], ratios[1], ratios[2]),
        deployed=level.deployed,
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
    deployed: Target | None = None,
    second: bool = False,
    looks: bool = False,
) -> list[BreakEven]:
    """Every hand-tuned arm that searches against every automatic one that is compared.

    Args:
        searches: By arm, what it tried, chosen and scored by ``objective``.
        curves: By arm, its cost curve.
        arms: The arms' results.
        objective: What trials are chosen and scored by.
        deployed: What the automatic side deploys, the first level of each hand-tuned arm; None
            while there is no pair.
        second: Whether that is the second objective, not the one that settings were chosen by.
        looks: Whether seeds are added until a pair is decided.
    """
    found = []
    for hand in arms:
        if hand.automatic or hand.arm not in curves or not searches[hand.arm].searched:
            continue
        compared = [arm for arm in arms if arm.automatic and arm.compared]
        levels = [_level(arm, second=second, looks=looks) for arm in compared]
        if deployed is not None:
            levels = [deployed, *(one for one in levels if one.name != deployed.name)]
        found += [
            break_even(
                searches[hand.arm],
                curves[hand.arm],
                level,
                objective,
                _of_seeds(searches, curves, level),
            )
            for level in levels
        ]
    return [one for one in found if one is not None]


def _of_seeds(
    searches: Mapping[str, ArmSearches], curves: Mapping[str, CostCurve], level: Target
) -> CostCurve | None:
    """The best of n seeds of the level's arm, for as many as were trained."""
    arm = searches.get(level.name)
    return curves.get(level.name) if arm is not None and arm.of_seeds else None


def _level(arm: ArmResult, *, second: bool, looks: bool) -> Target:
    """The level of ``arm``, had it been named in advance."""
    values = list((arm.second_by_seed if second else arm.by_seed).values())
    takes = _images(arm.cost.total)
    return Target(arm.arm, values, takes=takes, way=f"{arm.arm}'s", looks=looks)


def _images(amount: Amount | None) -> float | None:
    return None if amount is None else amount.images


def targets(
    searches: Mapping[str, ArmSearches],
    curves: Mapping[str, CostCurve],
    target: float,
    objective: Metric,
    *,
    looks: bool = False,
) -> list[BreakEven]:
    """From which trial on each arm is at or below ``target``; arguments by arm.

    ``looks`` is whether seeds are added until a pair is decided.
    """
    found = [
        break_even(searches[name], curve, Target("", [target], looks=looks), objective)
        for name, curve in curves.items()
    ]
    return [one for one in found if one is not None]


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
        ends = known.lower, known.upper
        looked = arm.looks is not None or (level.looks and not arm.searched)  # pools of seeds
        first, last = estimators.trials_to_level_bounds(scores, ends, looks=looked)
        count = Count(value, int(first), None, len(pool), looks=arm.looks)
        if isinf(last):
            misses = estimators.prefers_a_miss(scores, known.lower)
            enough = BOUND_BY * int(value or first)
            return replace(
                count, misses=misses, enough=None if misses or enough <= len(pool) else enough
            )
        return replace(count, upper=int(last))
    curves = replicate_curves(arm.searches)
    R, within = curves.shape
    value = estimators.first_below(np.median(curves, axis=0).tolist(), known.mean)
    if R < REPLICATES:
        return Count(value, None, None, within, too_few(arm))
    if known.lower is None or known.upper is None:
        return Count(value, None, None, within, known.why)
    lower, upper = estimators.median_bounds(curves)
    reached = np.flatnonzero(lower <= known.upper)
    first = int(reached[0]) + 1 if len(reached) else within + 1
    return Count(value, first, estimators.first_below(upper.tolist(), known.lower), within)


def _cost(
    count: Count, costs: Sequence[float | None], before: float | None
) -> tuple[float | None, float | None, float | None]:
    """What the trials of ``count`` take, by ``costs`` of 1, 2, ... of them.

    Beyond those there are each takes what the first did, without what was spent ``before`` it;
    None: trials differ, and nothing is known there.
    """

    def at(n: int | None) -> float | None:
        if n is None or n <= len(costs):
            return None if n is None else costs[n - 1]
        first = costs[0]
        return None if first is None or before is None else before + n * (first - before)

    return at(count.value), at(count.lower), at(count.upper)


def _sentence(
    arm: str, level: Target, objective: Metric, count: Count, images: float | None
) -> str:
    what, ends = level.text(objective), interval_text(count)
    if count.value is None:
        said = f"{arm} does not reach {what} within its {count.within} trials"
    elif count.value == 1:
        said = f"{arm} is at {what} from its first trial on"
    else:
        said = f"{arm} reaches {what} from trial {count.value} of {count.within} on"
    if images is not None and (count.value or 0) > 1:
        said += f", {images:,.0f} images"
    if images is not None and level.takes:
        said += f", {multiple(images / level.takes)}x {level.way}"
    if not ends:
        return f"{said} (no interval: {count.why})"
    more = ""
    if count.misses:
        more = "; more trials need not bound it, as validation prefers one that misses"
    elif count.enough is not None:
        least = "some" if count.value else "at least"
        more = f"; it takes {least} {count.enough} trials to bound it"
    return f"{said} ({ends}{more}{_looked(count)})"


def _looked(count: Count) -> str:
    """That trials were added until it was bounded, in words; "" if they were not."""
    if count.looks is None:
        return ""
    first, *more = [str(trials) for trials in count.looks] or ["no trial yet"]
    listed = [first, *more] if len(more) < _LISTED else [first, more[0], "...", more[-1]]
    return f"; searched until bounded: looked at after {', '.join(listed)}"


def interval_text(count: Count) -> str:
    """The interval of ``count`` in words, "" where there is none."""
    if count.lower is None:
        return ""
    if count.lower > count.within:
        return f"95 %: not within {count.within}"
    if count.upper is None:
        return f"95 %: {count.lower} to not within {count.within}"
    return f"95 %: {count.lower} to {count.upper}"
