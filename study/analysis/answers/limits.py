"""What the verdict does not speak of: each a sentence, and only where it is so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log10
from typing import Any

import numpy as np

from study.analysis.answers.arms import ArmResult
from study.analysis.records.searches import ArmSearches
from study.metrics import Metric
from study.spec import SAMPLERS
from study.spec.distributions import CHANGEABLE
from study.statistics.paired import Differences

LATE = 0.8
"""Share of training: an arm that is not near its final value by then has not converged."""
HOPELESS = 10
"""Margins, or without one standard deviations over seeds: worse trials were never of use."""


def limits(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    searches: Mapping[str, ArmSearches],
    objective: Metric,
    spec: Mapping[str, Any],
) -> list[str]:
    """What the comparison of ``hand`` with ``best`` leaves open, the gravest first.

    Args:
        arms: The arms' results.
        hand: The hand-tuned arm of the study's pair.
        best: The automatic one.
        searches: What the arms tried, by arm.
        objective: What they are scored by.
        spec: The study's.
    """
    found = [*_one_search(arms), *_constant(arms)]
    if hand is None or best is None:
        return found
    return [
        *_one_rate(hand, best, spec),
        *_prior(hand, best, searches, objective, spec.get("margin")),
        *_other_searches(arms, hand),
        *found,
    ]


def _one_rate(hand: ArmResult, best: ArmResult, spec: Mapping[str, Any]) -> Iterator[str]:
    searches = [spec["arms"][arm.arm].get("search") or {} for arm in (hand, best)]
    if not any(CHANGEABLE in search.get("space", {}) for search in searches):
        yield (
            f"Both train at {CHANGEABLE} {spec['training']['lr']:g}, and a balance also sets how "
            "long Adam's steps are: at another rate the verdict may be another. To compare "
            f"balances alone, search {CHANGEABLE} in both, in one space and with as many trials."
        )


def _constant(arms: Sequence[ArmResult]) -> Iterator[str]:
    by_hand = [arm for arm in arms if not arm.automatic]
    evolved = any(arm.draws is not None and SAMPLERS[arm.draws.sampler].evolves for arm in by_hand)
    if {arm.balancer for arm in by_hand} == {"fixed_beta"} and not evolved:
        yield "Hand-tuned means a constant beta here: no arm searched a schedule of it."


def _one_search(arms: Sequence[ArmResult]) -> Iterator[str]:
    """What was averaged over: the luck of one search is in no interval."""
    searched = [arm for arm in arms if arm.validation is not None]
    once = [arm.arm for arm in searched if arm.replicates == 1]
    how = [f"{arm.arm} has {arm.replicates} searches" for arm in searched if arm.replicates > 1]
    if how:
        how[-1] += ", averaged within each seed"
    if once:
        how.append(f"{_listed(once)} {'has' if len(once) == 1 else 'have'} one search")
    if how:
        yield f"{'; '.join(how)}: the intervals cover training seeds, not the luck of a search."


def _other_searches(arms: Sequence[ArmResult], hand: ArmResult) -> Iterator[str]:
    others = [arm for arm in arms if not arm.automatic and arm.draws is not None]
    if hand in others and len(others) > 1:
        yield (
            f"Break-even counts the trials of {hand.arm} alone, not those of the hand-tuned arms "
            "that it was chosen among."
        )


def unconverged(hand: ArmResult | None, best: ArmResult | None) -> Iterator[str]:
    """That the two arms were still improving when they ended."""
    if hand is None or best is None:
        return
    if all(_late(arm) for arm in (hand, best)):
        yield (
            f"Neither {hand.arm} nor {best.arm} had converged: on validation they came within 1 % "
            "of where they ended in the last fifth of training only. Trained for longer, their "
            "order may be another."
        )


def _late(arm: ArmResult) -> bool:
    whole = arm.cost.final
    return (
        arm.images_away is not None and whole is not None and arm.images_away >= LATE * whole.images
    )


def _prior(
    hand: ArmResult,
    best: ArmResult,
    searches: Mapping[str, ArmSearches],
    objective: Metric,
    margin: float | None,
) -> Iterator[str]:
    arm, seeds = searches.get(hand.arm), Differences(tuple(best.by_seed.values()))
    if arm is None or not arm.searched or seeds.n < (1 if margin else 2):
        return
    if hand.draws is not None and SAMPLERS[hand.draws.sampler].evolves:
        return  # its early trials are bad as they are stages of trainings, whatever their beta
    unit = seeds.spread if margin is None else margin
    of = "standard deviations of its seeds" if margin is None else "margins"
    scores = np.concatenate([search.test for search in arm.searches])
    scores = scores[np.isfinite(scores)]
    worse = int((scores > seeds.mean + HOPELESS * unit).sum())
    if unit <= 0 or 2 * worse <= len(scores):
        return
    wide = ""
    if arm.prior is not None:
        wide = f", of a prior of {log10(arm.prior[1] / arm.prior[0]):.1f} decades of beta,"
    yield (
        f"{worse} of {hand.arm}'s {len(scores)} scored trials{wide} are worse than {best.arm} by "
        f"more than {HOPELESS} {of} ({objective.number(HOPELESS * unit)}): what the search costs "
        "is in part the width of its prior."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
