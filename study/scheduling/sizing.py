"""How many engines, on what, and how many slots each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from study.journal import Journal
from study.scheduling.engine_actor import EngineConfig
from study.spec import EnginesSpec, StudySpec
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.errors import UserError

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
"""Bank widths that ``slots: auto`` tries on a GPU."""


class ResourceError(UserError):
    """A cluster that has not what the spec asks for."""


@dataclass(frozen=True)
class EnginePlan:
    """The engines of a launch."""

    device: str
    """``cpu`` or ``cuda``."""
    count: int

    def config(
        self, spec: StudySpec, home: Path, width: int, epoch: int, weights: Path | None
    ) -> EngineConfig:
        """The template of their configurations."""
        return EngineConfig(
            name=f"{spec.name}-engine-{epoch}",
            home=str(home),
            device=self.device,
            width=width,
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


def frozen_width(spec: StudySpec, device: str, data: PreparedData, journal: Journal) -> int:
    """K, the slots an engine: as the spec says, or as this study's first launch found.

    ``auto`` is one a core on a CPU, where engines are one a core too; on a GPU the fastest width
    is measured once, and recorded, for it is part of the numerics key.
    """
    slots = spec.engines.slots
    if slots != "auto":
        return slots
    for event in journal.events:
        if event.kind == "slots" and event.data["device"] == device:
            return int(event.data["width"])
    width = 1
    if device == "cuda":
        measure = ray.remote(num_gpus=1)(fastest_width)
        width = ray.get(measure.remote(spec.to_dict(), data.to_dict(), device))
    journal.append("slots", {"device": device, "width": width})
    journal.commit()
    return width


def fastest_width(
    spec: Mapping[str, Any], data: Mapping[str, Any], device: str, widths: tuple[int, ...] = WIDTHS
) -> int:
    """The bank width that trains most images a second on ``device``, of those that fit."""
    best, best_seconds = 1, float("inf")
    for width in widths:
        try:
            seconds = time_images(spec, data, device, width)
        except torch.OutOfMemoryError:
            break
        if seconds < best_seconds:
            best, best_seconds = width, seconds
    return best


def time_images(
    spec: Mapping[str, Any], data: Mapping[str, Any], device: str, width: int, steps: int = 20
) -> float:
    """Seconds per image of the spec's model in a bank of ``width`` rows, from a few steps."""
    prepared, training = PreparedData.from_dict(data), spec["training"]
    opened = Dataset.open(prepared, spec["data"]["validation"], verify=False)
    bank = Bank(
        spec["model"],
        TrainingImages(opened.train, torch.device(device)),
        opened.shape,
        width=width,
        batch_size=training["batch_size"],
        dequantize=training["dequantize"],
        precision=spec["engines"]["precision"],
    )
    return bank.seconds_per_image(Member(0, training["lr"], "learned_sigma", {}), steps)
