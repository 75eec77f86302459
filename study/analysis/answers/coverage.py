"""What the verdict's interval covers and what it leaves out, in sentences for a report's notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isclose, isfinite, sqrt
from statistics import median

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.non_inferiority import NonInferiority
from study.analysis.answers.two_models import TwoModels
from study.analysis.answers.verdict import Comparison
from study.analysis.answers.verdict_sentences import DECIDED
from study.metrics import Metric
from study.statistics.paired import median_rank

FAR = 4.0
"""Median absolute deviations, scaled to a normal law's standard deviation, from which on a seed is
so far off that the other seeds say nothing of the mean."""
FEW = 10
"""Seeds below which Student's t covers a mean of skewed values less often than it says."""
DRAWS = 0.1
"""What the draws' error is to be of the seeds', at most."""


def coverage_notes(
    found: Comparison | None,
    arms: Sequence[ArmResult],
    no_worse: Sequence[NonInferiority],
    models: TwoModels | None,
    draws: float | None,
    objective: Metric,
    *,
    looks: bool = False,
) -> list[str]:
    """What goes with the verdict's interval, most important first.

    Args:
        found: What the verdict speaks of.
        arms: The arms' results.
        no_worse: Whether automatic is no worse, by pair.
        models: The two models that would be deployed, over the test images.
        draws: The standard error that the draws of noise leave in the difference, in its unit.
        objective: What arms are scored by.
        looks: Whether seeds are added until the pair is decided.
    """
    notes = list(_skewed(arms, objective, looks=looks))
    if found is None or found.difference.mean is None:
        return notes
    said = [
        one.sentence
        for one in no_worse
        if found.among == (1, 1) and (one.hand, one.automatic) == (found.hand, found.automatic)
        if one.margin is not None or (one.collapsed is not None and one.collapsed.count)
    ]
    return [
        *said,
        *_typical(found),
        *_images(found),
        *_models(found, models),
        *_draws(found, draws),
        *notes,
    ]


def _typical(found: Comparison) -> Iterator[str]:
    """What is said of typical seeds and not of the average, where seeds are far from the others
    or may be, unseen.
    """
    values = found.differences.values
    off = [value for value in values if _distance(value, values) > FAR]
    if off and found.outcome in DECIDED:
        are, listed = "is" if len(off) == 1 else "are", ", ".join(map(found.objective.number, off))
        yield (
            f"The verdict speaks of typical seeds, not of the average: {len(off)} of {len(values)} "
            f"seeds ({found.hand} minus {found.automatic}: {listed}) {are} more than {FAR:g} "
            "median deviations off."
        )
    elif found.ends is not None:
        yield (
            "The verdict's interval holds for the typical seed whatever the law of seeds; for the "
            f"average it does unless seeds are skewed to one side, or some collapse too seldom for "
            f"{len(values)} seeds to show it."
        )


def _distance(value: float, values: Sequence[float]) -> float:
    """How far ``value`` is from the median of ``values``, in scaled median deviations.

    Infinite for one that differs where over half of the values are equal.
    """
    centre = median(values)
    if isclose(value, centre):  # apart by rounding alone
        return 0.0
    spread = 1.4826 * median(abs(v - centre) for v in values)
    return abs(value - centre) / spread if spread else inf


def _images(found: Comparison) -> Iterator[str]:
    alone = found.over_seeds
    if alone.lower is None:
        return
    if found.differences.image_variance is None:
        yield (
            "The verdict's interval is over seeds on this test set: the scores of single test "
            "images are not recorded, or not finite, and fresh images would widen it."
        )
    else:
        yield (
            f"Over seeds alone, on this very test set: {found.hand} minus {found.automatic} is "
            f"{found.objective.difference(alone)}; the verdict's interval is over fresh test "
            "images too."
        )


def _models(found: Comparison, models: TwoModels | None) -> Iterator[str]:
    if models is None:
        return
    one, other = models.seeds
    yield (
        f"These two models, the ones that are exported ({models.hand} of seed {one}, "
        f"{models.automatic} of seed {other}): hand-tuned minus automatic is "
        f"{found.objective.difference(models.difference)} over {models.difference.n:,} test "
        "images, which says nothing of other seeds."
    )


def _draws(found: Comparison, draws: float | None) -> Iterator[str]:
    if draws is None or not isfinite(draws):
        return
    if found.differences.n < 2 or found.differences.spread == 0:
        return
    share = draws / (found.differences.spread / sqrt(found.differences.n))
    beyond = "" if share <= DRAWS else f", more than the {100 * DRAWS:.0f} % that is aimed at"
    unit = f" {found.objective.unit}".rstrip()
    yield (
        f"The draws of noise that test images are scored with leave a standard error of "
        f"{draws:.2g}{unit} in the difference, {100 * share:.0f} % of the seeds'{beyond}."
    )


def _skewed(arms: Sequence[ArmResult], objective: Metric, *, looks: bool) -> Iterator[str]:
    """Arms of few seeds that look skewed, with the exact interval of their medians.

    A lost seed has no value, and leaves no interval of all seeds' median.
    """
    found = []
    for arm in arms:
        values = sorted(arm.by_seed.values())
        n = len(values)
        if not 3 <= n < FEW or not any(_distance(v, values) > FAR for v in (values[0], values[-1])):
            continue
        rank = 0 if arm.lost_seeds else median_rank(n, 0.025, looks=looks)
        exact = ""
        if rank:
            low, high = objective.number(values[rank - 1]), objective.number(values[n - rank])
            exact = f", median between {low} and {high}"
        found.append(f"{arm.arm} ({n} seeds{exact})")
    if found:
        yield (
            "Seeds look skewed, and of so few the interval of a mean covers less than 95 %: "
            f"{', '.join(found)}."
        )
