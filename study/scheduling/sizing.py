"""How many engines, on what, and how many slots each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from study.engine.config import EngineConfig
from study.journal import Event, Journal
from study.spec import EnginesSpec, StudySpec
from study.spec.distributions import Choice, Distribution
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet
    from vae_core.data import PreparedData

WIDEST = 64
"""Slots an engine that ``slots: auto`` goes up to."""
NARROWEST = 4
"""The least rows beside one that it tries: two gain nothing, for ``vmap`` costs what they share."""
CLEARLY = 1.15
"""How many times as fast a wider bank has to be: less may be noise, and is not worth its memory."""
_SHAPING = ("model.", "training.batch_size", "training.dequantize")
"""Settings that trials must have in common to be rows of one bank."""


class ResourceError(UserError):
    """A cluster that has not what the spec asks for."""


@dataclass(frozen=True)
class EnginePlan:
    """The engines of a launch."""

    device: str
    """``cpu`` or ``cuda``."""
    count: int

    def config(self, spec: StudySpec, home: Path, epoch: int, weights: Path | None) -> EngineConfig:
        """The template of their configurations."""
        return EngineConfig(
            name=f"{spec.name}-engine-{epoch}",
            home=str(home),
            device=self.device,
            evaluation=spec.evaluation.model_dump(mode="json"),
            objective=spec.objective,
            epoch=epoch,
            keep=spec.checkpoints.keep,
            weights=None if weights is None else str(weights),
            precision=spec.engines.precision,
        )


def engine_plan(spec: EnginesSpec) -> EnginePlan:
    """One engine a GPU where the cluster has any, else one a core; or what the spec says.

    Raises:
        ResourceError: ``cuda`` on a cluster without a GPU, where none was counted on either.
    """
    there = ray.cluster_resources()
    gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 1))
    device = spec.device if spec.device != "auto" else ("cuda" if gpus else "cpu")
    if spec.count != "auto":  # an autoscaling cluster may still have to grow to it
        return EnginePlan(device, spec.count)
    if device == "cuda" and not gpus:
        raise ResourceError(
            "device cuda, but Ray sees no GPU",
            where="engines.device",
            remedy="use device: cpu, or engines.count to have an autoscaling cluster add nodes",
        )
    return EnginePlan(device, gpus if device == "cuda" else max(1, cores))


def widths_to_try(
    spec: StudySpec, device: str, engines: int, events: Iterable[Event]
) -> tuple[int, ...]:
    """Slots an engine may have, fewest first: one number where the spec or a launch before says.

    Else 1 and what lets all trials that may run at once do so, halved again and again: so few
    rows stay empty. Only 1 on a CPU where batches could cost a wider bank its last bits.
    """
    if spec.engines.slots != "auto":
        return (spec.engines.slots,)
    for event in events:
        if event.kind == "slots" and event.data["device"] == device:
            return (int(event.data["width"]),)
    if device == "cpu" and not spec.rows_alike:
        return (1,)
    most = math.ceil(_at_once(spec) / engines)
    halved = {math.ceil(most / 2**i) for i in range(most.bit_length())}
    wide = {width for width in halved if width >= NARROWEST or width == most}
    return (1, *sorted(width for width in wide if 1 < width <= WIDEST))


def frozen_width(
    spec: StudySpec, plan: EnginePlan, fleet: Fleet, data: PreparedData, journal: Journal
) -> int:
    """K, the slots an engine: as the spec says, or as this study's first launch found.

    Found on one of the ``fleet``'s engines, and recorded, for it is part of the numerics key.
    Where the model cannot be trained it is 1 and not recorded: the trials will say what is wrong.
    """
    widths = widths_to_try(spec, plan.device, plan.count, journal.events)
    if len(widths) == 1:
        return widths[0]
    seconds = fleet.time_widths(spec.to_dict(), data.to_dict(), widths)
    if not seconds:
        return 1
    width = best_width(spec, plan.count, seconds)
    timed = {str(k): s for k, s in seconds.items()}
    journal.append("slots", {"device": plan.device, "width": width, "seconds_per_image": timed})
    journal.commit()
    return width


def best_width(spec: StudySpec, engines: int, seconds: Mapping[int, float]) -> int:
    """The number of slots an engine with which the study trains for the shortest time.

    A greater one only where that is clearly shorter.

    Args:
        spec: the study.
        engines: how many of them there are.
        seconds: by slots an engine, seconds per image of a full bank; not empty.
    """

    def time(width: int) -> float:
        banks = min(width, _shapes(spec))
        return _rounds(spec, engines * width) * banks * width * seconds[width]

    best, *wider = sorted(seconds)
    for width in wider:
        if time(width) * CLEARLY < time(best):
            best = width
    return best


def _at_once(spec: StudySpec) -> int:
    """Trials that the study may have running at once."""
    found = 0
    for arm in spec.arms.values():
        batch = max(len(spec.seeds), arm.search.batch_size if arm.search else 0)
        found += batch * (arm.search.replicates if arm.search else 1)
    return found


def _rounds(spec: StudySpec, slots: int) -> int:
    """How many trials' time the study takes, each trained to its end.

    That is the longest arm's, whose batches wait for each other, or that of all trials together.
    """
    longest = trials = 0
    for arm in spec.arms.values():
        replicates = arm.search.replicates if arm.search else 1
        batches = [len(spec.seeds)]
        if arm.search:
            batches += [arm.search.batch_size] * math.ceil(
                arm.search.trials / arm.search.batch_size
            )
        longest = max(longest, sum(math.ceil(batch * replicates / slots) for batch in batches))
        trials += sum(batches) * replicates
    return max(longest, math.ceil(trials / slots))


def _shapes(spec: StudySpec) -> float:
    """Shapes that an arm's trials have, each of which has a bank of its own in an engine."""
    searched = [arm.search.space for arm in spec.arms.values() if arm.search]
    return max((math.prod(map(_shapes_of, space, space.values())) for space in searched), default=1)


def _shapes_of(key: str, drawn: Distribution) -> float:
    if not key.startswith(_SHAPING):
        return 1
    return len(drawn.values) if isinstance(drawn, Choice) else math.inf
