"""Warnings about unfair or weak comparisons in a spec, shown at launch and in the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from study.spec.arms import ArmSpec, SearchSpec
from study.spec.distributions import Choice, Distribution
from study.spec.models import StudySpec
from study.spec.options import SAMPLERS
from study.spec.roles import departure
from study.spec.seeds import DEFAULT
from study.statistics import BOUND_BY, FEWEST

Roles = Mapping[str, Mapping[str, Any]]

WASTEFUL = {7: 6, 8: 6, 10: 9, 11: 9}
"""Numbers of seeds that make the sign test weaker than fewer do: at 6 to 8 all must agree, at 9 to
11 all but one, at 12 to 14 all but two."""
BETA_DECADES = 2.0
BREAK_EVEN = 2
"""Trials: a search that could not bound a break-even there bounds none to speak of."""


def warnings(spec: StudySpec, roles: Roles) -> list[str]:
    """A sentence or two for each weakness of ``spec``, with the remedy.

    All arms should search nuisance settings (learning rate, latent size, ...) in the same space
    with the same budget. Results need seeds. An adaptive search needs replicates: one search is
    one random draw. A narrow beta range is prior knowledge whose cost is not counted, and so is a
    balancer's setting that is not its default, unless the arm names the pilot that chose it.

    Args:
        spec: the study.
        roles: which arms are hand-tuned (:func:`study.spec.roles.arm_roles`).
    """
    by_hand = {name for name, role in roles.items() if role["hand_tuned"]}
    hand_tuned = {name: arm for name, arm in spec.arms.items() if name in by_hand}
    return [
        *_nuisance(spec, hand_tuned),
        *_seeds(spec),
        *_replicates(spec),
        *_trials(hand_tuned),
        *_narrow_beta(hand_tuned),
        *_enqueued(spec),
        *_departing(spec, roles),
        *_rows(spec),
    ]


def _nuisance_of(search: SearchSpec | None) -> dict[str, Distribution]:
    """The searched settings that are not the balancer's own."""
    space = search.space if search else {}
    return {key: distribution for key, distribution in space.items() if "." in key}


def _same_search(one: ArmSpec, other: ArmSpec) -> bool:
    """Whether two arms search the same nuisance settings with the same budget."""
    budgets = [arm.search.trainings if arm.search else 0 for arm in (one, other)]
    return _nuisance_of(one.search) == _nuisance_of(other.search) and budgets[0] == budgets[1]


def _nuisance(spec: StudySpec, hand: Mapping[str, ArmSpec]) -> Iterator[str]:
    automatic = {name: arm for name, arm in spec.arms.items() if name not in hand}
    for mine, others, kind in ((hand, automatic, "automatic"), (automatic, hand, "hand-tuned")):
        for name, arm in mine.items():
            searched = _nuisance_of(arm.search)
            unequal = [other for other in others if not _same_search(arm, others[other])]
            if searched and unequal:
                yield (
                    f"arm '{name}' searches {', '.join(searched)}, and the {kind} arms "
                    f"{', '.join(unequal)} do not with the same space and budget: the verdict is "
                    "limited to arms that search beta only. Give them the same settings and "
                    f"trials to search, or take these settings out of '{name}'."
                )


def _seeds(spec: StudySpec) -> Iterator[str]:
    count = len(spec.seeds)
    if count < FEWEST:
        yield (
            f"{count} seed{'s' if count > 1 else ''} can decide nothing: whatever the results, the "
            f"verdict is inconclusive. Give {FEWEST} or more; {DEFAULT} are the default."
        )
    elif count in WASTEFUL and spec.until is None:
        fewer = WASTEFUL[count]
        yield (
            f"{count} seeds decide less often than {fewer}: the sign test behind the verdict then "
            f"needs one agreeing seed more and may miss none more. Give {fewer}, {fewer + 3} or "
            f"{DEFAULT + 3}."
        )


def _replicates(spec: StudySpec) -> Iterator[str]:
    for name, arm in spec.arms.items():
        search = arm.search
        if search and SAMPLERS[search.sampler.name].adaptive and search.replicates == 1:
            yield (
                f"arm '{name}' runs its adaptive sampler '{search.sampler.name}' once, and one "
                "search cannot separate skill from chance: give 6 replicates or more."
            )


def _trials(hand_tuned: Mapping[str, ArmSpec]) -> Iterator[str]:
    """Random trials bound break-even up to a twelfth of their number."""
    for name, arm in hand_tuned.items():
        search = arm.search
        if search is None or not search.independent:
            continue
        count = search.trials * search.replicates
        if count < BREAK_EVEN * BOUND_BY:
            most = "at most " if search.until is not None else ""
            yield (
                f"arm '{name}' makes {most}{count} random trials, which can bound a break-even at "
                f"trial {count // BOUND_BY or 1} only: give {BOUND_BY} times the number to be "
                f"bounded, such as {3 * BOUND_BY} for 3."
            )


def _narrow_beta(hand_tuned: Mapping[str, ArmSpec]) -> Iterator[str]:
    for name, arm in hand_tuned.items():
        beta = arm.search.space.get("beta") if arm.search else None
        if beta is None:
            continue
        values = [float(value) for value in beta.ends()]
        decades = math.log10(max(values) / min(values)) if min(values) > 0 else math.inf
        if decades < BETA_DECADES:
            yield (
                f"arm '{name}' searches beta over {decades:.1f} decades only: so narrow a range is "
                "prior knowledge whose cost is not counted. Recorded trials can narrow a range "
                "afterwards but not widen it: search 2 decades or more."
            )
        elif not isinstance(beta, Choice) and not beta.log:
            yield (
                f"arm '{name}' searches beta uniformly, so nine draws in ten fall in its highest "
                "decade: give log: true."
            )


def _enqueued(spec: StudySpec) -> Iterator[str]:
    for name, arm in spec.arms.items():
        if arm.search and arm.search.enqueue:
            yield (
                f"arm '{name}' tries {len(arm.search.enqueue)} given settings first: what finding "
                "them took is not counted. warm_start counts what an earlier search took."
            )


def _departing(spec: StudySpec, roles: Roles) -> Iterator[str]:
    for name, arm in spec.arms.items():
        departs = roles[name].get("departs")
        if departs and arm.pilot is None:
            yield (
                f"arm '{name}' departs from its balancer's defaults, {departure(departs)}: tuned "
                f"outside this study, and its cost is not counted. Leave them out, or name what "
                f"chose them: arms.{name}.pilot."
            )


def _rows(spec: StudySpec) -> Iterator[str]:
    asked = spec.engines.device
    devices = ("cpu", "cuda") if asked == "auto" else (asked,)
    if spec.engines.slots not in ("auto", 1) and not all(map(spec.rows_alike_on, devices)):
        yield (
            f"engines.slots is {spec.engines.slots} and a batch is not a multiple of 4 images: the "
            "last bits of a trial can then depend on its slot. Use batches of a multiple of 4, or "
            "one slot."
        )
