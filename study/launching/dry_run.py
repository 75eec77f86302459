"""``--dry-run``: what a launch would run, cost and refuse, before anything of it is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count

from study.analysis.answers.plan import Plan
from study.diagnosing.diagnosis import check_machine
from study.diagnosing.limits import ENGINE_MEMORY, LAUNCH_MEMORY, usable_memory
from study.engine.checkpoints import KEPT
from study.engine.timing import time_widths
from study.engine.weights import measured_with, shared_weights
from study.formatting import duration, size
from study.journal import StudyHome
from study.journal.commands import describe
from study.journal.events import ArmPiloted, TrialsTold
from study.journal.files import scan
from study.launching.checks import (
    begun_arms,
    check_data,
    check_home,
    check_tracking,
    settle,
)
from study.launching.pilots import pilots
from study.launching.plan import images_of_run, plan_of
from study.launching.preparing import as_begun, prepare_images
from study.launching.ray_cluster import check_address
from study.launching.remaining import ArmPlan, Past, remaining
from study.launching.warm_start import earlier_trials, other_trainings
from study.scheduling.sizing import best_width, widths_to_try
from study.search.rehearsal import Rehearsal, rehearse
from study.spec import (
    SpecError,
    StudySpec,
    check_images,
    converted,
    training_steps,
    unfinished,
)
from study.spec.images import Models
from vae_core.data import Dataset, PreparedData
from vae_core.errors import UserError
from vae_core.geometry import ImageShape
from vae_core.models import build
from vae_core.numerics import settled_kernels

ROW_COPIES = 4
"""Parameters, gradients and Adam's two moments: what a row of a bank holds of each parameter."""
FLOAT_BYTES = 4
REPORT_BYTES = 2_000
"""What a report takes in journal, tables and MLflow, about."""


@dataclass(frozen=True)
class Estimate:
    """What a launch would run, need and take: what is left of the study."""

    spec: StudySpec
    data: PreparedData
    models: Models
    """What was found of a user's own models."""
    arms: list[ArmPlan]
    past: Past
    refusals: list[UserError]
    """Why a launch would not begin now, though the spec and the images are right."""
    device: str
    engines: int
    slots: int
    memory_bytes: int
    """Of all banks together, without activations."""
    usable_bytes: int | None
    """Memory that this machine, or its container, lets the study have; None: it runs on others."""
    problems: list[str]
    """Of this machine; none where it runs on others."""
    disk_bytes: int
    seconds: float
    """Of training, with every slot busy and nothing pruned."""
    before: list[TrialsTold | ArmPiloted]
    """The earlier searches that searches begin with, and the pilots of arms."""
    others: list[str]
    """Where these searches were another training: of another model or balancer, say."""
    rehearsals: list[Rehearsal]
    """What the searches' samplers and pruners can do."""
    plan: Plan
    """What the study's seeds and trials can show."""

    def __str__(self) -> str:
        images = sum(arm.images for arm in self.arms)
        lines = [self._headline(images)]
        lines += [self._row(arm) for arm in self.arms]
        lines += [
            *map(str, self.before),
            *(f"warning: {found}" for found in self.others),
            *filter(None, map(str, self.rehearsals)),
            *(f"warning: {found.warning}" for found in self.rehearsals if found.warning),
            *converted(self.spec, ImageShape(*self.data.shape).dims),
            *unfinished(self.spec, self.data),
            f"data: {self.data}",
            *self.models.said,
            f"{self.engines} engine(s) on {self.device}, {self.slots} slot(s) each",
            f"memory about {size(self.memory_bytes)}, disk about {size(self.disk_bytes)}",
            *self._memory(),
            *(f"warning: {problem}" for problem in self.problems),
            f"time about {duration(self.seconds)}, from a few timed steps, "
            "with every slot busy, nothing pruned and without evaluation",
            *self._caps(images),
            *([] if self.past.finished else self.plan.short),
            *(f"a launch first executes: {describe(command)}" for command in self.past.commands),
        ]
        return "\n".join(lines)

    def _row(self, arm: ArmPlan) -> str:
        stages = self.spec.design == "two_stages"
        runs = f"{arm.choosing_runs:>3} to choose, " if stages else ""
        runs += f"{arm.confirm_runs:>3} to {'compare' if stages else 'confirm'}"
        runs += " at most" if arm.most else ""
        return f"  {arm.arm:<24} {arm.search_trials:>5} to search, {runs}, {arm.images:>15,} images"

    def _headline(self, images: int) -> str:
        name, ended = self.spec.name, sum(arm.ended for arm in self.arms)
        trials = sum(arm.trials for arm in self.arms)
        if self.past.finished:
            return f"{name} is finished: a launch would run nothing, and report again"
        if self.past.reached is not None:
            cap = self.past.reached
            return (
                f"{name} would run nothing: {cap.cap} is {cap.limit:,}, and {_amount(cap.spent)} "
                f"are spent. With a higher cap, {trials} trials on {images:,} images are left:"
            )
        before = f", after {ended} that have ended" if ended else ""
        most = "at most " if any(arm.most for arm in self.arms) else ""
        return f"{name} would run {most}{trials} trials on {images:,} images{before}:"

    def _memory(self) -> list[str]:
        """That the engines' processes would not have the memory they need here."""
        banks = self.memory_bytes if self.device == "cpu" else 0
        engine = ENGINE_MEMORY + banks // self.engines
        need = LAUNCH_MEMORY + engine * self.engines
        if self.usable_bytes is None or need <= self.usable_bytes:
            return []
        room = max(0, (self.usable_bytes - LAUNCH_MEMORY) // engine)
        remedy = f"set engines.count to {room}" if room else "it takes more for one engine"
        return [
            f"warning: {self.engines} engine(s), Ray and the driver need about "
            f"{need / 2**20:,.0f} MiB, and {self.usable_bytes / 2**20:,.0f} may be used here: "
            f"{remedy}"
        ]

    def _caps(self, images: int) -> list[str]:
        """The caps that would end the study before it is through."""
        if self.past.reached is not None:
            return []
        hours = self.seconds / 3600
        needs = {
            "max_hours": hours,
            "max_images": images,
            "max_device_hours": hours * self.engines,
        }
        lines = []
        for key, need in needs.items():
            cap, spent = getattr(self.spec, key), self.past.spent[key]
            if cap is not None and cap - spent < need:
                used = f", {_amount(spent)} of it spent," if spent else ""
                share = f"{(cap - spent) / need:.0%} of {'what is left' if used else 'it'}"
                lines.append(f"{key}: {cap:,}{used} would end it early, at about {share}")
        return lines


def estimate(
    spec: StudySpec,
    home: Path,
    data_root: Path | None,
    *,
    address: str | None = None,
    take_over: bool = False,
) -> Estimate:
    """Plan what is left of ``spec`` for this machine, and time a few steps. Prepares the data.

    Arguments as for :class:`study.launching.driver.Options`.

    Raises:
        UserError: a launch would refuse the spec, its data or its model; its journal cannot be
            read; or there is no device to time steps on.
    """
    device, available = devices(spec.engines.device)
    there = StudyHome(home, spec.name)
    spec = settle(spec, there)
    entries = scan(there.path).entries
    told = earlier_trials(spec, there)
    rehearsals = rehearse(spec, told, begun=begun_arms(there))
    refused = [
        *_refused(lambda: check_tracking(spec, there, writing=False)),
        *_refused(lambda: check_address(address)),
        *_refused(lambda: check_home(there, take_over=take_over)),
    ]
    data = as_begun(prepare_images(spec, there.data, data_root), entries)
    models = check_images(spec, data, begun=begun_arms(there))
    check_data(spec, data, entries, there)
    shared_weights(spec.evaluation, there.data, measured_with(entries))
    opened = Dataset.open(data, spec.data.validation, verify=False)
    engines = available if spec.engines.count == "auto" else spec.engines.count
    widths = widths_to_try(spec, device, engines, entries, one_row=models.one_row is not None)
    with settled_kernels(threads=1):  # as an engine would
        seconds_per_image = time_widths(spec.to_dict(), data.to_dict(), device, widths)
    slots = best_width(spec, engines, seconds_per_image)
    arms = remaining(spec, entries, lambda training: _images(training, len(opened.train)))
    model = build(spec.model.settings, ImageShape(*data.shape))
    parameters = sum(values.numel() for values in model.parameters())
    return Estimate(
        spec=spec,
        data=data,
        models=models,
        arms=arms,
        past=Past.read(spec, entries, there),
        refusals=refused,
        device=device,
        engines=engines,
        slots=slots,
        memory_bytes=parameters * FLOAT_BYTES * ROW_COPIES * engines * slots,
        usable_bytes=usable_memory() if address is None else None,
        problems=list(check_machine(spec.engines.precision, device)) if address is None else [],
        disk_bytes=_disk(spec, arms, engines * slots, parameters),
        seconds=sum(arm.images for arm in arms) * seconds_per_image[slots] / engines,
        before=[*told, *pilots(spec, there)],
        others=list(other_trainings(spec, there)),
        rehearsals=rehearsals,
        plan=plan_of(spec, images_of_run(spec, len(opened.train)), there),
    )


def _disk(spec: StudySpec, arms: Sequence[ArmPlan], rows: int, parameters: int) -> int:
    """Bytes of checkpoints, weights and records of what ``arms`` run in so many rows."""
    trials = sum(arm.trials for arm in arms)
    confirmed = sum(arm.choosing_runs + arm.confirm_runs for arm in arms)
    running = rows * KEPT
    checkpoints = {  # at the end, when most are there
        "none": running,
        "last": running + trials,
        "all": trials * spec.training.reports,
    }[spec.checkpoints.keep]
    return (
        parameters * FLOAT_BYTES * (ROW_COPIES * checkpoints + confirmed)
        + trials * spec.training.reports * REPORT_BYTES
    )


def _refused(check: Callable[[], None]) -> Iterator[UserError]:
    try:
        check()
    except UserError as error:
        yield error


def _images(training: Mapping[str, Any], train: int) -> int:
    batch_size: int = training["batch_size"]
    return training_steps(training["epochs"], batch_size, train) * batch_size


def _amount(spent: float) -> str:
    return f"{round(spent, 4):,.12g}"


def devices(wanted: str) -> tuple[str, int]:
    """What engines would run on, ``cpu`` or ``cuda``, and how many of it this process may use."""
    gpus = torch.cuda.device_count()
    if wanted == "cuda" and not gpus:
        raise SpecError(
            "device cuda, but this machine has no GPU to time steps on",
            where="engines.device",
            remedy="do the dry run on a machine with one, or with --set engines.device=cpu",
        )
    if gpus and wanted != "cpu":
        return "cuda", gpus
    return "cpu", cpu_count()
