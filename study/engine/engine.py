"""An engine: owns a device and its banks, and trains the trials in its slots.

One thread trains (:mod:`study.engine.training`). The methods only change what it will do, or wait
for what it has made, so a call waits at most for the steps up to the next report.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from study.engine.banks import Banks
from study.engine.config import EngineConfig
from study.engine.evaluation import Evaluation
from study.engine.faults import Faults
from study.engine.heartbeat import Heartbeat
from study.engine.home import Home, HomeFiles
from study.engine.slots import Slots
from study.engine.stages import Stages
from study.engine.timing import time_widths
from study.engine.training import TrainingLoop
from study.engine.trial_run import TrialRun
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.memory import free_unused_memory, keep_freed_memory
from vae_core.numerics import settle_kernels

PATIENCE = 8.0
"""Seconds that stopping waits for the current steps, and for the last heartbeat."""


class Engine:
    """See the module. Made in two steps: the process first, the data when they are ready.

    Attributes:
        home: the study's home; another one may be set before :meth:`prepare`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._born = time.perf_counter()
        torch.set_num_threads(1)
        keep_freed_memory()
        settle_kernels()
        self.config = config
        self.home: Home = HomeFiles(Path(config.home), config.epoch, config.keep, config.mark)
        self._slots = Slots()
        self._threads: list[threading.Thread] = []

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int]
    ) -> dict[int, float]:
        """Seconds per image in banks of ``widths`` rows.

        Raises:
            Exception: whatever the model raises in its training, or the device.
        """
        torch.set_num_threads(1)  # of this thread
        prepared, _ = self.home.data(PreparedData.from_dict(data), None)
        try:
            return time_widths(spec, prepared.to_dict(), self.config.device, widths)
        finally:
            free_unused_memory()  # of the banks

    def prepare(self, data: Mapping[str, Any], validation: float, width: int) -> dict[str, Any]:
        """Open the data and begin, with ``width`` slots; return what the engine is."""
        device = torch.device(self.config.device)
        self._slots.width = width
        prepared, weights = self.home.data(PreparedData.from_dict(data), self.config.weights)
        dataset = Dataset.open(prepared, validation, verify=False)
        self._images = TrainingImages(dataset.train, device)
        here = replace(self.config, weights=weights)
        self._evaluation = Evaluation.of(dataset, prepared, self._images, here)
        if not self.home.share(prepared):
            self._evaluation = Evaluation.of(dataset, prepared, self._images, here)
        self._banks = Banks(self.config, self._images, dataset.shape, self._slots)
        faults = Faults(self._slots, self._banks, device)
        self._training = TrainingLoop(self._slots, self._banks, self._evaluation, faults)
        heartbeat = Heartbeat(self.config.name, self.home, self._slots, self._account)
        self._slots.account.seconds["start_up"] = time.perf_counter() - self._born
        for name, target in (("training", self._training.run), ("heartbeat", heartbeat.run)):
            thread = threading.Thread(target=target, daemon=True, name=name)
            self._threads.append(thread)
            thread.start()
        return {**self._identity(), "features": self._evaluation.features()}

    def admit(self, request: dict[str, Any]) -> None:
        """Train a trial as soon as a row is free; a no-op if it is here already."""
        stages = Stages.of(request, self._images.count)
        with self._slots.change:
            if request["trial"] not in self._slots.runs and not self._slots.ended.is_set():
                self._slots.admit(TrialRun(request, stages, self.config, self.home))

    def occupancy(self) -> tuple[int, list[str]]:
        """How many slots there are, and the trials that were admitted and not released."""
        return self._slots.occupancy()

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """The deliverables of ``trial`` since its admission, less the first ``after``.

        That is, in order: reports that a former engine made later than the request's ``after``;
        every report made here, those that the study has already (work redone) included; or last
        ``{"storage_error": message}`` where the storage fails. Waits for the first.

        Empty where the trial is not here, or leaves during the wait, or the engine ends; and where
        all is delivered and the run is over. So a run whose release was lost ends for a caller
        that asks for the next.
        """
        slots = self._slots
        with slots.change:
            run = slots.runs.get(trial)
            while (
                run is not None
                and slots.is_current(run)
                and not run.over
                and len(run.deliverables) <= after
            ):
                slots.change.wait()
            if run is None or not slots.is_current(run):
                return []
            run.delivered = max(run.delivered, len(run.deliverables))
            start = self._banks.placement(run)
            return [{"start": start, **report} for report in run.deliverables[after:]]

    def release(self, trial: str) -> None:
        """Take ``trial`` out of its slot; a no-op if it is not here."""
        with self._slots.change:
            run = self._slots.runs.get(trial)
            if run is not None:
                self._slots.release(run)

    def suspend(self) -> dict[str, float]:
        """Save every trial that is not over in a checkpoint, and free its slot.

        Checkpoints are written inside a segment if need be.

        Returns:
            By trial, device seconds spent here since its last report: the caller charges them, and
            they are no longer unreported.
        """
        return self._training.suspend()

    def serve(self) -> None:
        """Return only when the engine stops: a caller that waits for this sees its death.

        Raises:
            RuntimeError: the engine failed, and no trial is to blame.
        """
        self._slots.ended.wait()
        if self._slots.failure is not None:
            raise RuntimeError(f"engine {self.config.name} failed") from self._slots.failure

    def stop(self) -> dict[str, Any]:
        """End training; return the engine's account, as in its heartbeats.

        ``seconds`` are device seconds by purpose; ``unreported``, by trial, those of them that are
        in no report: lost work, unless the trial resumes from a checkpoint.
        """
        self._slots.end()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self._account()

    def _identity(self) -> dict[str, Any]:
        return {
            "engine": self.config.name,
            "device": self.config.device,
            "width": self._slots.width,
            "startup_seconds": self._slots.account.seconds["start_up"],
        }

    def _account(self) -> dict[str, Any]:
        return {**self._identity(), **self._slots.snapshot()}
