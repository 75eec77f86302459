"""An engine: owns a device and its banks, and trains whatever trials hold its slots.

One thread trains. The methods only leave word for it, or wait for what it has made, so a call
never waits for more than the steps up to the next report. Trials come and go while the others
train: continuous batching, for trials.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from study.scheduling.engine_actor import EngineConfig
from study.scheduling.run import Evaluation, Run
from study.spec import training_steps
from vae_core.bank import Bank
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.numerics import numerics_key

CHUNK_SECONDS = 0.5
"""How long the training thread goes without looking up: what an admission waits for at most."""
PILOT_STEPS = 5


class Engine:
    """See the module. Made in two steps: the process first, the data when they are ready."""

    def __init__(self, config: EngineConfig) -> None:
        self._born = time.perf_counter()
        torch.set_num_threads(1)
        self.config = config
        self._device = torch.device(config.device)
        self._change = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._waiting: list[Run] = []
        self._banks: dict[str, Bank] = {}
        self._occupants: list[Run] = []
        self._step_seconds: dict[int, float] = {}
        self._pilots: dict[str, float] = {}
        self._seconds = dict.fromkeys(
            ("start_up", "training", "evaluation", "pilot", "idle_slots", "waiting"), 0.0
        )
        self._stopped = False

    def prepare(self, data: Mapping[str, Any], validation: float) -> dict[str, Any]:
        """Open the data and begin; return what the engine is."""
        home = Path(self.config.home)
        if not home.is_dir():
            raise FileNotFoundError(
                f"{home} is not there on this node: the studies' home must be on shared storage"
            )
        self._data = Dataset.open(PreparedData.from_dict(data), validation, verify=False)
        self._images = TrainingImages(self._data.train, self._device)
        self._evaluation = Evaluation.of(
            self._data, self.config.evaluation_images, self.config.pictures, self._device
        )
        self._seconds["start_up"] = time.perf_counter() - self._born
        threading.Thread(target=self._train, daemon=True, name="training").start()
        return {
            "engine": self.config.name,
            "device": self.config.device,
            "width": self.config.width,
            "startup_seconds": self._seconds["start_up"],
        }

    def admit(self, request: dict[str, Any]) -> None:
        """Train a trial as soon as a row is free; again for one already here, nothing happens."""
        training = request["settings"]["training"]
        steps = training_steps(training["epochs"], training["batch_size"], self._images.count)
        with self._change:
            if request["trial"] in self._runs:
                return
            run = Run(request, steps, Path(self.config.home))
            self._runs[run.trial] = run
            self._waiting.append(run)
            self._change.notify_all()

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """All reports of ``trial`` after report ``after``; waits for the first of them.

        Empty where the trial is not here, or leaves while waiting.
        """
        with self._change:
            run = self._runs.get(trial)
            while run is not None and not run.released and len(run.reports) <= after:
                self._change.wait()
            if run is None:
                return []
            return [{**report, "start": self._start(run)} for report in run.reports[after:]]

    def release(self, trial: str) -> None:
        """Take ``trial`` out of its slot; nothing happens if it is not here."""
        with self._change:
            run = self._runs.pop(trial, None)
            if run is not None:
                run.released = True
                if run in self._waiting:
                    self._waiting.remove(run)
                self._change.notify_all()

    def serve(self) -> None:
        """Return only when the engine stops; whoever waits for this learns of its death."""
        with self._change:
            while not self._stopped:
                self._change.wait()

    def stop(self) -> dict[str, float]:
        """End training; return the engine's seconds by what they went into."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
            return dict(self._seconds)

    # -- the training thread ------------------------------------------------------------------

    def _train(self) -> None:
        torch.set_num_threads(1)  # of this thread: the setting is each thread's own
        turn = 0
        while not self._stopped:
            self._vacate()
            self._place()
            busy = [bank for bank in self._banks.values() if self._in(bank)]
            if busy:
                turn += 1
                self._advance(busy[turn % len(busy)])
            else:
                self._wait()

    def _wait(self) -> None:
        """Sleep until a trial comes or goes."""
        start = time.perf_counter()
        with self._change:
            if not self._waiting and not self._stopped:
                self._change.wait()
            self._seconds["waiting"] += time.perf_counter() - start

    def _vacate(self) -> None:
        """Free the rows of trials that have been released or are over."""
        for run in [run for run in self._occupants if run.released or run.over]:
            run.leave()
            self._occupants.remove(run)

    def _place(self) -> None:
        """Give waiting trials rows, as far as there are any."""
        with self._change:
            waiting = list(self._waiting)
        for run in waiting:
            try:
                bank = self._bank(run)
                if not bank.free:
                    continue
                run.enter(bank)
                self._occupants.append(run)
            except Exception:  # a model of the user's own may raise anything
                run.crash(traceback.format_exc())
            with self._change:
                if run in self._waiting:
                    self._waiting.remove(run)
                self._change.notify_all()

    def _advance(self, bank: Bank) -> None:
        """Train ``bank`` up to its next report, or for as long as a chunk may take."""
        runs = self._in(bank)
        try:
            steps = min(run.steps_to_report() for run in runs)
            if steps > 0:
                self._train_bank(bank, min(steps, self._chunk(bank)), runs)
            for run in runs:
                if run.steps_to_report() <= 0 and not run.released:
                    run.report(self._evaluation)
                    self._charge("evaluation", run.reports[-1]["seconds"]["evaluation"])
        except Exception:  # likewise
            for run in runs:
                run.crash(traceback.format_exc())
        with self._change:
            self._change.notify_all()

    def _train_bank(self, bank: Bank, steps: int, runs: list[Run]) -> None:
        start = time.perf_counter()
        bank.train(steps)
        elapsed = time.perf_counter() - start
        self._step_seconds[id(bank)] = elapsed / steps
        share = elapsed / bank.width
        for run in runs:
            run.training_seconds += share
        self._charge("training", share * len(runs))
        self._charge("idle_slots", share * (bank.width - len(runs)))

    def _chunk(self, bank: Bank) -> int:
        return max(1, int(CHUNK_SECONDS / self._step_seconds.get(id(bank), CHUNK_SECONDS)))

    def _bank(self, run: Run) -> Bank:
        """The bank of the trial's shape, made and timed if it is the first of its kind."""
        key = _shape_key(run.request)
        if key not in self._banks:
            settings = run.request["settings"]
            bank = Bank(
                settings["model"],
                self._images,
                self._data.shape,
                width=self.config.width,
                batch_size=settings["training"]["batch_size"],
                dequantize=settings["training"]["dequantize"],
            )
            start = time.perf_counter()
            self._pilots[key] = bank.seconds_per_image(run.member, PILOT_STEPS)
            self._charge("pilot", time.perf_counter() - start)
            self._banks[key] = bank
        return self._banks[key]

    def _in(self, bank: Bank) -> list[Run]:
        return [run for run in self._occupants if run.bank is bank]

    def _charge(self, purpose: str, seconds: float) -> None:
        with self._change:
            self._seconds[purpose] += seconds

    def _start(self, run: Run) -> dict[str, Any]:
        shape = _shape_key(run.request)
        return {
            "engine": self.config.name,
            "shape": shape,
            "key": numerics_key(self._device, self.config.width),
            "seconds_per_image": self._pilots.get(shape),
        }


def _shape_key(request: dict[str, Any]) -> str:
    """What trials must have in common to be rows of one bank."""
    settings = request["settings"]
    training = {name: settings["training"][name] for name in ("batch_size", "dequantize")}
    return json.dumps({**settings["model"], **training}, sort_keys=True)
