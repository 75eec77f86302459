"""How many engines, on which device, and how many slots each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from study.engine.config import CLEARLY, EngineConfig
from study.engine.parts import Part
from study.journal import Entry
from study.journal.events import SlotsChosen
from study.spec import EnginesSpec, StudySpec
from study.spec.design import confirm_runs, first_look
from study.spec.distributions import Choice, Distribution
from study.spec.seeds import BATCH
from vae_core.errors import UserError

WIDEST = 64
"""The most slots an engine gets from ``slots: auto``."""
NARROWEST = 4
"""The fewest rows that it tries besides one: two gain nothing, ``vmap`` costs what they save."""
_SHAPING = ("model.", "training.batch_size", "training.dequantize")
"""Settings that trials of one bank have in common."""


class ResourceError(UserError):
    """The cluster lacks resources that the spec requires."""


@dataclass(frozen=True)
class EnginePlan:
    """The engines of a launch."""

    device: str
    """``cpu`` or ``cuda``."""
    count: int
    """How many there are at its start."""

    def config(
        self,
        spec: StudySpec,
        home: Path,
        epoch: int,
        weights: Path | None,
        parts: Mapping[Part, str],
        mark: str,
    ) -> EngineConfig:
        """The template of the engines' configurations."""
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
            parts=parts,
            mark=mark,
        )


def engine_plan(spec: EnginesSpec) -> EnginePlan:
    """One engine for each GPU of the cluster, else for each core; or as the spec says.

    Raises:
        ResourceError: ``cuda`` on a cluster without a GPU, and no ``engines.count`` in the spec.
    """
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    device = spec.device if spec.device != "auto" else ("cuda" if gpus else "cpu")
    if spec.count != "auto":  # an autoscaling cluster may grow to it later
        return EnginePlan(device, spec.count)
    if device == "cuda" and not gpus:
        raise ResourceError(
            "device cuda, but Ray sees no GPU",
            where="engines.device",
            remedy="set engines.device: cpu, or engines.count for an autoscaling cluster to reach",
        )
    return EnginePlan(device, gpus if device == "cuda" else max(1, cores))


def widths_to_try(
    spec: StudySpec, device: str, engines: int, entries: Iterable[Entry], *, one_row: bool = False
) -> tuple[int, ...]:
    """Slots an engine may have, fewest first: one number if the spec or the journal fixes it.

    Else 1, and the width that lets all simultaneous trials run, halved repeatedly: so few rows
    stay empty. Only 1 for a model whose banks can have ``one_row`` only, and where batches could
    change the last bits in a wider bank.
    """
    if one_row:
        return (1,)
    if spec.engines.slots != "auto":
        return (spec.engines.slots,)
    for entry in entries:
        match entry.event:
            case SlotsChosen(device=chosen_for, width=width) if chosen_for == device:
                return (width,)
    if not spec.rows_alike_on(device):
        return (1,)
    most = math.ceil(_at_once(spec) / engines)
    halved = {math.ceil(most / 2**i) for i in range(most.bit_length())}
    wide = {width for width in halved if width >= NARROWEST or width == most}
    return (1, *sorted(width for width in wide if 1 < width <= WIDEST))


def best_width(spec: StudySpec, engines: int, seconds: Mapping[int, float]) -> int:
    """The number of slots an engine for which the study trains the shortest time.

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
    """How many trials of the study may run at once."""
    found = 0
    confirm = confirm_runs(spec, compared=False)
    for arm in spec.arms.values():
        batch = max(confirm, arm.search.batch_size if arm.search else 0)
        found += batch * (arm.search.replicates if arm.search else 1)
    return max(found, *_comparing(spec))


def _rounds(spec: StudySpec, slots: int) -> int:
    """The study's time in times of one trial, each trained to its end.

    That is the time of the longest arm, whose batches wait for each other, or that of all trials.
    """
    longest = trials = 0
    confirm, comparing = confirm_runs(spec, compared=False), _comparing(spec)
    for arm in spec.arms.values():
        replicates = arm.search.replicates if arm.search else 1
        batches = [confirm]
        if arm.search:
            batches += [arm.search.batch_size] * math.ceil(
                arm.search.trainings / arm.search.batch_size
            )
        longest = max(longest, sum(math.ceil(batch * replicates / slots) for batch in batches))
        trials += sum(batches) * replicates
    longest += sum(math.ceil(batch / slots) for batch in comparing)
    return max(longest, math.ceil((trials + sum(comparing)) / slots))


def _comparing(spec: StudySpec) -> list[int]:
    """Confirm runs of the pair beyond those of other arms, at most: batch after batch."""
    seeds = confirm_runs(spec, compared=True) - confirm_runs(spec, compared=False)
    batches = [seeds]
    if spec.until is not None:
        batch = spec.seeds_batch or BATCH
        first = batch if spec.design == "named" else first_look(spec)
        batches = [first, *[batch] * math.ceil(max(0, seeds - first) / batch)]
    replicates = sorted(arm.search.replicates if arm.search else 1 for arm in spec.arms.values())
    return [seeds * sum(replicates[-2:]) for seeds in batches]


def _shapes(spec: StudySpec) -> float:
    """The most shapes that an arm's trials have: each has a bank of its own in an engine."""
    searched = [arm.search.space for arm in spec.arms.values() if arm.search]
    return max((math.prod(map(_shapes_of, space, space.values())) for space in searched), default=1)


def _shapes_of(key: str, drawn: Distribution) -> float:
    if not key.startswith(_SHAPING):
        return 1
    return len(drawn.values) if isinstance(drawn, Choice) else math.inf
