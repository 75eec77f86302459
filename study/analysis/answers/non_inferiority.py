"""Is automatic no worse? Three statements, with a margin the study sets before it runs.

*Typical seeds*: the interval of hand-tuned minus automatic lies above minus the margin
(:func:`study.statistics.paired.bounds`: the mean and the typical seed), and an exact bound of the
share of seeds on which automatic loses less. *Risk*: an exact bound of the share of seeds on which
it collapses. *On average*: what a collapse may cost at most, because no interval of a mean holds
for every law (Bahadur & Savage 1956): a rare collapse, not seen yet, can be as bad as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.verdict import Comparison
from study.analysis.answers.verdict_sentences import one_end
from study.metrics import Metric
from study.spec.collapse import CollapseSpec
from study.statistics.collapse import Collapses, Typical, collapses, typical, withstands
from study.statistics.intervals import Interval, win_interval
from study.statistics.paired import Differences


@dataclass(frozen=True)
class NonInferiority:
    """Whether the automatic arm is worse than the hand-tuned one by less than a margin.

    Attributes:
        margin: In the objective's unit; None where the study sets none.
        difference: Automatic minus hand-tuned on test, as in the comparison.
        shown: Whether the mean and the typical seed lose less; None where nothing can be said.
        typical: On how many seeds automatic loses less; one on which only it failed does not count.
        collapsed: On how many of all its seeds that have ended it collapsed (see
            :class:`study.spec.collapse.CollapseSpec`), whatever the hand-tuned arm did there.
        withstands: What a collapse may cost at most, in the objective's unit, for automatic to be
            no worse on average; None where that cannot be said.
        improvement: The chance that on a fresh seed automatic is the better one: exact interval.
            An arm that fails is worse than one that does not.
        sentence: All of it.
    """

    hand: str
    automatic: str
    margin: float | None
    difference: Interval
    shown: bool | None
    typical: Typical | None
    collapsed: Collapses | None
    withstands: float | None
    improvement: Interval
    sentence: str


def non_inferiority(
    hand: ArmResult,
    automatic: ArmResult,
    comparison: Comparison,
    margin: float | None,
    rule: CollapseSpec,
    *,
    looks: bool = False,
) -> NonInferiority:
    """Whether ``automatic`` is no worse than ``hand``, by less than ``margin``.

    Args:
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        comparison: Of the two, by the study's objective.
        margin: In its unit.
        rule: What counts as a collapse.
        looks: Whether seeds are added until the pair is decided.
    """
    differences, objective = comparison.differences, comparison.objective
    seeds = sorted(hand.by_seed.keys() & automatic.by_seed.keys())
    bad = _collapsed(automatic, seeds, differences.values, rule)
    ended = automatic.collapsed.n if automatic.collapsed is not None else 0
    collapsed = collapses(len(bad), ended, looks=looks) if ended else None
    n = differences.n + differences.failed[1]
    shown, often, cost = None, None, None
    if margin is not None and n:
        often = typical(_with_failures(differences), margin, looks=looks)
        if comparison.ends is not None:
            shown = comparison.ends[0] > -margin
        kept = [v for seed, v in zip(seeds, differences.values, strict=True) if seed not in bad]
        part = Differences(tuple(kept), differences.image_variance, differences.images)
        cost = withstands(part, len(bad), margin, looks=looks)
    found = NonInferiority(
        hand.arm,
        automatic.arm,
        margin,
        -comparison.difference,
        shown,
        often,
        collapsed,
        cost,
        win_interval(_ended(automatic), _ended(hand), looks=looks),
        "",
    )
    low, high = comparison.ends or (-inf, inf)
    by = f"{objective.difference(found.difference)}{one_end(objective, (-high, -low))}"
    whose = "all that not both lose" if {*hand.lost_seeds} & {*automatic.lost_seeds} else "all"
    sentence = _sentence(found, objective, by, whose, comparison.needed)
    return NonInferiority(**{**vars(found), "sentence": sentence})


def _collapsed(
    automatic: ArmResult, seeds: Sequence[int], values: Sequence[float], rule: CollapseSpec
) -> set[int]:
    """The seeds on which the automatic arm collapsed, with or without a rival.

    ``values`` are hand-tuned minus automatic on ``seeds``.
    """
    bad = set(automatic.collapsed_seeds)
    if rule.worse_by is not None:
        bad |= {s for s, v in zip(seeds, values, strict=True) if -v > rule.worse_by}
    return bad


def _ended(arm: ArmResult) -> dict[int, float]:
    """Seed -> test objective; a lost seed is as bad as can be."""
    return {**arm.by_seed, **dict.fromkeys(arm.lost_seeds, inf)}


def _with_failures(differences: Differences) -> Differences:
    hand, automatic = differences.failed
    return Differences((*[-inf] * automatic, *differences.values, *[inf] * hand))


def _sentence(found: NonInferiority, objective: Metric, by: str, whose: str, needed: int) -> str:
    """All of it.

    ``by`` is the difference, ``whose`` the seeds that a typical share is of, ``needed`` how many
    can decide.
    """
    hand, automatic, margin = found.hand, found.automatic, found.margin
    risk = _risk(found)
    if margin is None:
        said = "The study sets no margin: whether automatic is no worse can't be said"
    elif found.shown is None:
        n = found.difference.n
        why = found.difference.why or f"{n} seeds cannot decide, {needed} can"
        said = f"Whether {automatic} is no worse than {hand} can't be said: {why}"
    else:
        verdict = "is no worse than" if found.shown else "is not shown to be no worse than"
        said = (
            f"{automatic} {verdict} {hand} by the margin of {margin:g}: {automatic} minus {hand} "
            f"is {by}"
        )
    if found.typical is not None:
        often = found.typical
        said += (
            f"; it loses less than {margin:g} on {often.count} of {often.n} seeds, so on at least "
            f"{100 * often.at_least:.0f} % of {whose}"
        )
    average = ""
    if found.withstands is not None:
        average = (
            f"; no worse on average as long as a collapse costs less than "
            f"{objective.number(found.withstands)} {objective.unit}".rstrip()
        )
    return f"{said}{risk}{average}."


def _risk(found: NonInferiority) -> str:
    if found.collapsed is None:
        return ""
    risk = found.collapsed
    return (
        f"; {found.automatic} collapsed on {risk.count} of {risk.n} seeds, at most "
        f"{100 * risk.at_most:.0f} % of all"
    )
