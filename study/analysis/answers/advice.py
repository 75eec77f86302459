"""What an inconclusive study could have shown, and what it takes to show the margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from study.analysis.answers.design import Design
from study.analysis.answers.verdict import Comparison, Outcome
from study.statistics.planning import (
    ERROR,
    MOST_SEEDS,
    POWER,
    image_floor,
    seeds_needed,
    smallest_shown,
    spread_bound,
)


@dataclass(frozen=True)
class Advice:
    """How to go on from an inconclusive verdict.

    Attributes:
        shown: The difference that these seeds show with a power of 80 %, in the objective's unit;
            None where so few show nothing.
        seeds: How many seeds it takes in all to show the margin so, planned with the 80 % upper
            bound of this study's own standard deviation; None: without a margin, or where no number
            of seeds does.
        command: What to type; "" where there is nothing to type.
        sentence: All of it.
    """

    shown: float | None
    seeds: int | None
    command: str
    sentence: str


def advice(
    found: Comparison | None, design: Design, spec: Mapping[str, Any], name: str
) -> Advice | None:
    """Advice where the verdict is inconclusive by the margin too, over 2 seeds or more; else None.

    Args:
        found: What the verdict speaks of.
        design: How its pair came about.
        spec: The study's spec; its margin is what is to be shown.
        name: The study's name.
    """
    open_ones = Outcome.NOT_SHOWN, Outcome.UNKNOWN
    if found is None or found.no_worse or found.outcome not in open_ones:
        return None
    given, n = found.differences, found.difference.n
    if n < 2 or given.spread == 0:
        return None
    error, looks = ERROR / max(found.among), design.until_decided
    variance, images = given.image_variance or 0.0, given.images
    shown = smallest_shown(n, given.spread, variance, images, error=error, looks=looks)
    seeds = f"{n} seeds" if given.image_variance is None else f"{n} seeds on {images:,} images"
    by = f"{found.objective.number(shown)} {found.objective.unit}".strip()
    first = (
        f"{seeds} show a difference of {by} with a power of {100 * POWER:.0f} %"
        if shown < inf
        else f"{seeds} show no difference, however large"
    )
    needed, command, more = _for_margin(found, spec, name)
    return Advice(shown if shown < inf else None, needed, command, f"{first}; {more}.")


def _for_margin(
    found: Comparison, spec: Mapping[str, Any], name: str
) -> tuple[int | None, str, str]:
    """How many seeds in all show the margin, what to type for them, and both in words."""
    margin, given = spec.get("margin"), found.differences
    if margin is None:
        return None, "", "the study sets no margin, so no number of seeds is asked for"
    variance, images = given.image_variance or 0.0, given.images
    if variance and (floor := image_floor(variance, images)) >= margin:
        more = (
            f"no number of seeds shows the margin of {margin:g} on these images, nor anything "
            f"below {found.objective.number(floor)}"
        )
        return None, "", more
    chosen = found.among != (1, 1)  # to be compared again as a named pair, which needs fewer seeds
    spread = spread_bound(given.spread, given.n)
    needed = seeds_needed(margin, spread, variance, images, looks=not chosen)
    if needed is None:
        return None, "", f"the margin of {margin:g} takes more than {MOST_SEEDS}"
    if chosen:
        command = (
            f"study fork {name} {name}-named --set 'primary={{hand_tuned: {found.hand}, automatic: "
            f"{found.automatic}}}' --set 'seeds={{count: {needed}}}'"
        )
        more = (
            f"as a pair named in advance, the margin of {margin:g} takes about {needed} fresh "
            f"ones: `{command}`"
        )
        return needed, command, more
    if needed <= given.n:
        return needed, "", f"that is enough for the margin of {margin:g}"
    first = spec["seeds"][0]
    command = (
        f"study resume {name} --set 'seeds={{until: decided, at_most: {needed}, from: {first}}}'"
    )
    more = (
        f"the margin of {margin:g} takes about {needed - given.n} more: `{command}` (seeds added "
        "after a look count only so, or in a comparison of their own)"
    )
    return needed, command, more
