"""``--dry-run``: what a study would run and cost, before anything of it is started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from study.engine.checkpoints import KEPT
from study.engine.timing import time_widths
from study.formatting import duration, size
from study.journal import StudyHome
from study.journal.events import TrialsTold
from study.launching.preparing import prepare_images
from study.launching.warm_start import earlier_trials
from study.scheduling.sizing import best_width, widths_to_try
from study.search.rehearsal import Rehearsal, rehearse
from study.spec import SpecError, StudySpec, check_images, converted, training_steps
from study.spec.images import Models
from vae_core.data import Dataset, PreparedData
from vae_core.geometry import ImageShape
from vae_core.models import build

ROW_COPIES = 4
"""Parameters, gradients and Adam's two moments: what a row of a bank holds of each parameter."""
FLOAT_BYTES = 4
REPORT_BYTES = 2_000
"""What a report takes in journal, tables and MLflow, about."""


@dataclass(frozen=True)
class ArmPlan:
    """What an arm would run."""

    arm: str
    search_trials: int
    confirm_runs: int
    images: int


@dataclass(frozen=True)
class Estimate:
    """What a study would run, need and take."""

    spec: StudySpec
    data: PreparedData
    models: Models
    """What was found of a user's own models."""
    arms: list[ArmPlan]
    device: str
    engines: int
    slots: int
    memory_bytes: int
    """Of all banks together, without activations."""
    disk_bytes: int
    seconds: float
    """Of training, with every slot busy and nothing pruned."""
    told: list[TrialsTold]
    """The earlier searches that searches begin with."""
    rehearsals: list[Rehearsal]
    """What the searches' samplers and pruners can do."""

    def __str__(self) -> str:
        trials = sum(arm.search_trials + arm.confirm_runs for arm in self.arms)
        images = sum(arm.images for arm in self.arms)
        lines = [f"{self.spec.name} would run {trials} trials on {images:,} images:"]
        lines += [
            f"  {arm.arm:<24} {arm.search_trials:>5} to search, {arm.confirm_runs:>3} to confirm, "
            f"{arm.images:>15,} images"
            for arm in self.arms
        ]
        lines += [
            *map(str, self.told),
            *filter(None, map(str, self.rehearsals)),
            *(f"warning: {found.warning}" for found in self.rehearsals if found.warning),
            *converted(self.spec, ImageShape(*self.data.shape).dims),
            f"data: {self.data}",
            *self.models.said,
            f"{self.engines} engine(s) on {self.device}, {self.slots} slot(s) each",
            f"memory about {size(self.memory_bytes)}, disk about {size(self.disk_bytes)}",
            f"time about {duration(self.seconds)}, from a few timed steps, "
            "with every slot busy, nothing pruned and without evaluation",
            *self._caps(images),
        ]
        return "\n".join(lines)

    def _caps(self, images: int) -> list[str]:
        """The caps that would end the study before it is through."""
        hours = self.seconds / 3600
        needs = {
            "max_hours": hours,
            "max_images": images,
            "max_device_hours": hours * self.engines,
        }
        caps = {key: getattr(self.spec, key) for key in needs}
        return [
            f"{key}: {cap:,} would end it early, at about {cap / needs[key]:.0%} of it"
            for key, cap in caps.items()
            if cap is not None and cap < needs[key]
        ]


def estimate(spec: StudySpec, home: Path, data_root: Path | None) -> Estimate:
    """Plan ``spec`` for this machine and time a few steps of it. Prepares the data.

    Raises:
        UserError: the spec's data or model cannot be used, or there is no device to time it on.
    """
    device, available = _devices(spec.engines.device)
    told = earlier_trials(spec, StudyHome(home, spec.name))
    rehearsals = rehearse(spec, told)
    data = prepare_images(spec, home / "data", data_root)
    models = check_images(spec, data)
    opened = Dataset.open(data, spec.data.validation, verify=False)
    engines = available if spec.engines.count == "auto" else spec.engines.count
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an engine would
    widths = widths_to_try(spec, device, engines, (), one_row=models.one_row is not None)
    seconds_per_image = time_widths(spec.to_dict(), data.to_dict(), device, widths)
    torch.set_num_threads(threads)
    slots = best_width(spec, engines, seconds_per_image)
    per_trial = _images(spec, len(opened.train))
    arms = [_plan(spec, arm, per_trial) for arm in spec.arms]
    parameters = sum(
        p.numel() for p in build(spec.model.settings, ImageShape(*data.shape)).parameters()
    )
    row = parameters * FLOAT_BYTES * ROW_COPIES
    trials = sum(arm.search_trials + arm.confirm_runs for arm in arms)
    confirmed = sum(arm.confirm_runs for arm in arms)
    running = engines * slots * KEPT
    checkpoints = {  # at the end, when most are there
        "none": running,
        "last": running + trials,
        "all": trials * spec.training.reports,
    }[spec.checkpoints.keep]
    return Estimate(
        spec=spec,
        data=data,
        models=models,
        arms=arms,
        device=device,
        engines=engines,
        slots=slots,
        memory_bytes=row * engines * slots,
        disk_bytes=row * checkpoints
        + confirmed * parameters * FLOAT_BYTES
        + trials * spec.training.reports * REPORT_BYTES,
        seconds=sum(arm.images for arm in arms) * seconds_per_image[slots] / engines,
        told=told,
        rehearsals=rehearsals,
    )


def _images(spec: StudySpec, train: int) -> int:
    batch_size = spec.training.batch_size
    return training_steps(spec.training.epochs, batch_size, train) * batch_size


def _devices(wanted: str) -> tuple[str, int]:
    """What engines would run on, ``cpu`` or ``cuda``, and how many of it are here."""
    gpus = torch.cuda.device_count()
    if wanted == "cuda" and not gpus:
        raise SpecError(
            "device cuda, but this machine has no GPU to time steps on",
            where="engines.device",
            remedy="do the dry run on a machine with one, or with --set engines.device=cpu",
        )
    if gpus and wanted != "cpu":
        return "cuda", gpus
    return "cpu", os.cpu_count() or 1


def _plan(spec: StudySpec, arm: str, images: int) -> ArmPlan:
    search = spec.arms[arm].search
    replicates = search.replicates if search else 1
    searched = search.trials * replicates if search else 0
    confirmed = len(spec.seeds) * replicates
    return ArmPlan(arm, searched, confirmed, (searched + confirmed) * images)
