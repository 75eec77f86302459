"""What an inconclusive study could have shown, and what it takes to show the margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from study.analysis.answers.design import Design
from study.analysis.answers.verdict import Comparison
from study.analysis.answers.verdict_sentences import Outcome
from study.statistics.paired import Differences
from study.statistics.planning import (
    ERROR,
    MOST_SEEDS,
    POWER,
    Rule,
    image_floor,
    spread_bound,
)


@dataclass(frozen=True)
class Advice:
    """How to go on from an inconclusive verdict.

    Attributes:
        shown: The difference that these seeds show with a power of 80 %, in the objective's unit;
            None where so few show nothing.
        seeds: How many seeds it takes in all to show the margin so, planned with the 80 % upper
            bound of this study's own standard deviation, and with as many that fail as here; None:
            without a margin, or where no number of seeds does.
        command: What to type; "" where there is nothing to type.
        sentence: All of it.
    """

    shown: float | None
    seeds: int | None
    command: str
    sentence: str


def advice(
    found: Comparison | None, design: Design, spec: Mapping[str, Any], *, finished: bool
) -> Advice | None:
    """Advice where the verdict is inconclusive by the margin too, over 2 seeds or more; else None.

    Args:
        found: What the verdict speaks of.
        design: How its pair came about.
        spec: The study's spec; its margin is what is to be shown.
        finished: Whether all of its seeds have run; before, there is nothing to type.
    """
    open_ones = Outcome.NOT_SHOWN, Outcome.UNKNOWN
    if found is None or found.no_worse or found.outcome not in open_ones:
        return None
    given, n = found.differences, found.difference.n
    if n < 2 or given.spread == 0:
        return None
    rule = _rule(given, given.spread, design.error / max(found.among), looks=design.looked)
    shown = rule.smallest_shown(n)
    seeds = f"{n} seeds"
    if given.image_variance is not None:
        seeds += f" on {given.images:,} images"
    by = f"{found.objective.number(shown)} {found.objective.unit}".strip()
    if shown < inf:
        first = f"{seeds} show a difference of {by} with a power of {100 * POWER:.0f} %"
        first = f"where none fails, {first}" if any(given.failed) else first
    elif n >= found.needed:
        first = f"{seeds} can show a difference in one direction only"
    else:
        first = f"{seeds} show no difference, however large"
    needed, command, more = _for_margin(found, spec, design.error, finished=finished)
    return Advice(shown if shown < inf else None, needed, command, f"{first}; {more}.")


def _for_margin(
    found: Comparison, spec: Mapping[str, Any], error: float, *, finished: bool
) -> tuple[int | None, str, str]:
    """How many seeds in all show the margin, what to type for them, and both in words."""
    margin, given = spec.get("margin"), found.differences
    if margin is None:
        return None, "", "the study sets no margin, so no number of seeds is asked for"
    variance = given.image_variance
    if variance and (floor := image_floor(variance, given.images)) >= margin:
        more = (
            f"no number of seeds shows the margin of {margin:g} on these images, nor anything "
            f"below {found.objective.number(floor)}"
        )
        return None, "", more
    ran = list(spec["seeds"])
    again = found.among != (1, 1)  # best arms are compared anew as a named pair, on fresh seeds
    spread = spread_bound(given.spread, given.n)
    rule = _rule(given, spread, ERROR if again else error, looks=not again)
    needed = rule.seeds_needed(margin)
    each = len(ran) / given.n if finished else 1.0  # seeds that one paired one takes: some fail
    if needed is None or ceil(needed * each) > MOST_SEEDS:
        return None, "", f"the margin of {margin:g} takes more than {MOST_SEEDS}"
    if not finished:
        return needed, "", f"the margin of {margin:g} takes about {needed} in all"
    name, failures = spec["name"], ""
    if any(given.failed):
        failures = "; more where runs fail again, as that counts against their arm"
    if again:
        total = ceil(needed * each)
        command = (
            f"study fork {name} {name}-named --set 'primary={{hand_tuned: {found.hand}, automatic: "
            f"{found.automatic}}}' --set 'seeds={{count: {total}}}'"
        )
        more = (
            f"as a pair named in advance, the margin of {margin:g} takes about {total} fresh "
            f"ones: `{command}`{failures}"
        )
        return total, command, more
    if needed <= given.n:
        if failures:
            return None, "", "what failed counts against its arm, so no number of seeds is planned"
        return needed, "", f"that is enough for the margin of {margin:g}"
    total = len(ran) + ceil((needed - given.n) * each)
    command = f"study resume {name} --set 'seeds={{until: decided, at_most: {total}}}'"
    more = (
        f"the margin of {margin:g} takes about {total - len(ran)} more: `{command}` (seeds added "
        f"after a look count only so, or in a comparison of their own){failures}"
    )
    return total, command, more


def _rule(given: Differences, spread: float, error: float, *, looks: bool) -> Rule:
    """What decides over differences like those ``given``, but for their ``spread``."""
    return Rule(spread, given.image_variance or 0.0, given.images, error, looks)
