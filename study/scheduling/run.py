"""One trial inside an engine: its row of a bank, its reports, its evaluation."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from study.journal import trial_folder
from study.scheduling import checkpoints
from study.scheduling.engine_actor import EngineConfig
from study.scheduling.fence import Fence
from vae_core.bank import Bank, Member, Segment
from vae_core.data import Dataset
from vae_core.evaluation import (
    EvaluationSet,
    Measurement,
    calibrated,
    measure,
    reconstructions,
    samples,
)
from vae_core.models import VAE

Report = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The fixed images every trial of a study is measured on, on one device."""

    train: EvaluationSet
    """A seed-independent part of the training split: sigma^2 is refitted on it."""
    validation: EvaluationSet
    test: EvaluationSet
    pictures: int

    @classmethod
    def of(cls, data: Dataset, images: int, pictures: int, device: torch.device) -> Evaluation:
        """At most ``images`` of train and validation; of test, all."""

        def part(split: str, count: int) -> EvaluationSet:
            rows = getattr(data, split)
            return EvaluationSet(rows, split, count=count, shape=data.shape, device=device)

        return cls(
            train=part("train", images),
            validation=part("validation", images),
            test=part("test", len(data.test)),
            pictures=pictures,
        )


class TroubleError(Exception):
    """The home's storage fails: no fault of the trial that meets it."""


class Run:
    """A trial that an engine trains.

    Args:
        request: what is to be trained (see :class:`study.search.Request`), as a mapping.
        steps: optimiser steps in the whole trial.
        config: the engine's.

    Attributes:
        reports: every report of the trial so far, as its next checkpoint will hold them.
        deliverables: what the trial's process is to hear, in order: reports that a former engine
            made and the driver has not, every report made here, or the trouble that ended it.
        heard: how many of them were asked for.
        unreported: device seconds by purpose, spent here since the last report.
        released: taken out from outside.
        over: nothing more will be delivered.
        suspect: to be trained alone, for its bank has raised an exception that may be its.
    """

    def __init__(self, request: dict[str, Any], steps: int, config: EngineConfig) -> None:
        self.request, self.steps, self.config = request, steps, config
        self.home = Path(config.home)
        self.folder = trial_folder(self.home, self.trial)
        self.reports: list[Report] = []
        self.deliverables: list[Report] = []
        self.bank: Bank | None = None
        self.row, self.heard = -1, 0
        self.released = self.over = self.suspect = False
        self.unreported = {"training": 0.0, "evaluation": 0.0}
        self._fence = Fence(self.home, config.epoch)
        self._saved: checkpoints.Saved | None = None
        self._saved_steps = 0
        self._loaded = False

    @property
    def trial(self) -> str:
        """The trial's name."""
        name: str = self.request["trial"]
        return name

    @property
    def member(self) -> Member:
        """What the bank needs to know."""
        settings = self.request["settings"]
        hyper = {k: v for k, v in settings["balancer"].items() if k != "name"}
        return Member(
            seed=self.request["seed"],
            lr=settings["training"]["lr"],
            balancer=settings["balancer"]["name"],
            hyper=hyper,
        )

    def load(self) -> None:
        """Read the newest checkpoint; what it tells can be heard before there is a free row.

        Raises:
            TroubleError: the storage fails.
        """
        if self._loaded:
            return
        with _storage(self.folder, "read"):
            self._saved = checkpoints.newest(self.folder)
        self._loaded = True
        self.reports = self._saved.reports if self._saved else []
        self._saved_steps = self._saved.steps if self._saved else 0
        known = {report["step"] for report in self.deliverables}
        unheard = [r for r in self.reports if r["step"] > self.request["after"]]
        self.deliverables = [*self.deliverables, *(r for r in unheard if r["step"] not in known)]
        self.over = self._ended()

    def enter(self, bank: Bank) -> None:
        """Take a row of ``bank``, from what :meth:`load` found."""
        self.row = bank.admit(self.member, self._saved.row if self._saved else None)
        self.bank, self._saved = bank, None

    def leave(self) -> None:
        """Give the row back."""
        if self.bank is not None:
            self.bank.release(self.row)
        self.put_back()

    def put_back(self) -> None:
        """Forget the row, and begin again from the newest checkpoint at the next entry."""
        self.bank, self._saved, self._loaded = None, None, False

    def steps_to_report(self) -> int:
        """Steps until the next report is due."""
        assert self.bank is not None
        return self._boundary(len(self.reports) + 1) - self.bank.step(self.row)

    def report(self, evaluation: Evaluation) -> Report:
        """Make the report that is due, and with the last one the trial's end; save it.

        Raises:
            TroubleError: it cannot be saved.
            FencedError: the study is another driver's by now.
        """
        assert self.bank is not None
        start = time.perf_counter()
        step = len(self.reports) + 1
        segment = self.bank.segment(self.row)
        report: Report = {
            "step": step,
            "images": self.bank.step(self.row) * self.bank.batch_size,
            "metrics": _train_metrics(segment, self.bank),
            "engine": self.config.name,
        }
        if segment.diverged_at is not None:
            report["end"] = {"state": "failed", "reason": f"diverged at step {segment.diverged_at}"}
        else:
            model, dims = self.bank.model(self.row), self.bank.shape.dims
            fitted = _measure(model, evaluation.train)
            report["metrics"] |= _scores("validation", model, fitted, evaluation.validation, dims)
            if step == self.request["settings"]["training"]["reports"]:
                metrics = _scores("test", model, fitted, evaluation.test, dims)
                confirmed = self.request["phase"] == "confirm"
                artifacts = self._artifacts(model, evaluation) if confirmed else {}
                report["end"] = {"state": "complete", "metrics": metrics, "artifacts": artifacts}
        spent = time.perf_counter() - start
        spent += self.unreported["evaluation"]
        report["seconds"] = {**self.unreported, "evaluation": spent}
        self._save([*self.reports, report])
        return report

    def crashed(self, traceback: str) -> Report:
        """The report that ends the trial with an exception of its own code."""
        return {
            "step": len(self.reports) + 1,
            "images": 0,
            "metrics": {},
            "engine": self.config.name,
            "seconds": dict(self.unreported),
            "end": {"state": "failed", "reason": "crashed", "traceback": traceback},
        }

    def publish(self, report: Report) -> None:
        """Let others hear of a report: only now, when it is whole and saved."""
        self.reports = [*self.reports, report]
        self.deliverables = [*self.deliverables, report]
        self.unreported = dict.fromkeys(self.unreported, 0.0)
        self.over = self._ended()

    def give_up(self, trouble: str) -> None:
        """End the stay here for something that is not the trial's fault."""
        self.deliverables = [*self.deliverables, {"trouble": trouble}]
        self.over = True

    def untold(self) -> float:
        """Device seconds spent here that no report would carry, were the engine to end now.

        A crash is in no checkpoint: until someone has heard of it, it counts.
        """
        unheard = self.deliverables[self.heard :]
        crashes = (r for r in unheard if r.get("end", {}).get("reason") == "crashed")
        return sum(self.unreported.values()) + sum(_seconds(report) for report in crashes)

    def take_unreported(self) -> float:
        """Device seconds spent here since the last report; from now on they count as told."""
        spent, self.unreported = self.unreported, dict.fromkeys(self.unreported, 0.0)
        return sum(spent.values())

    def take_unheard(self) -> float:
        """Device seconds of reports made here that nobody asked for; likewise."""
        unheard, self.heard = self.deliverables[self.heard :], len(self.deliverables)
        mine = (report for report in unheard if report.get("engine") == self.config.name)
        return sum(_seconds(report) for report in mine)

    def suspend(self) -> None:
        """Save the row as it is, inside a segment.

        Raises:
            TroubleError: it cannot be saved.
            FencedError: the study is another driver's by now.
        """
        if self.bank is not None and self.bank.step(self.row) > self._saved_steps:
            self._save(self.reports)

    def _ended(self) -> bool:
        if not self.reports:
            return False
        until = self.request["until"]
        return "end" in self.reports[-1] or (until is not None and len(self.reports) >= until)

    def _boundary(self, report: int) -> int:
        """Steps made when ``report`` is due: reports divide the trial evenly."""
        reports: int = self.request["settings"]["training"]["reports"]
        return max(1, round(self.steps * report / reports))

    def _save(self, reports: list[Report]) -> None:
        assert self.bank is not None
        saved = checkpoints.Saved(self.bank.checkpoint(self.row), reports)
        self._fence.check()
        with _storage(self.folder, "write a checkpoint"):
            checkpoints.save(self.folder, saved, epoch=self.config.epoch, keep=self.config.keep)
        self._saved_steps = saved.steps

    def _artifacts(self, model: VAE, evaluation: Evaluation) -> dict[str, str]:
        """Write a confirm run's weights and pictures; return their paths within the home."""
        weights = io.BytesIO()
        torch.save(model.state_dict(), weights)
        files = {"checkpoint": ("model.pt", weights.getvalue())}
        if evaluation.pictures:
            first = next(evaluation.test.batches(model.latent)).x[: evaluation.pictures]
            files["reconstructions"] = ("reconstructions.png", _png(reconstructions(model, first)))
            drawn = samples(model, evaluation.pictures, seed=0)
            files["samples"] = ("samples.png", _png(drawn))
        for file, data in files.values():
            self._fence.check()
            with _storage(self.folder / file, "write"):
                checkpoints.write(self.folder / file, data)
        return {
            name: str((self.folder / file).relative_to(self.home))
            for name, (file, _) in files.items()
        }


@contextmanager
def _storage(path: Path, doing: str) -> Iterator[None]:
    """Tell the storage's faults from those of a model's own code, which may be an OSError too."""
    try:
        yield
    except OSError as error:
        raise TroubleError(f"cannot {doing}: {error.strerror or error}, {path}") from error


def _seconds(report: Report) -> float:
    seconds: dict[str, float] = report["seconds"]
    return sum(seconds.values())


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()


def _measure(model: VAE, images: EvaluationSet) -> Measurement:
    return measure(model, images.batches(model.latent))


def _scores(
    split: str, model: VAE, fitted: Measurement, images: EvaluationSet, dims: int
) -> dict[str, float]:
    found = calibrated(fitted, _measure(model, images), dims)
    return {f"{split}/{name}": value for name, value in found.items()}


def _train_metrics(segment: Segment, bank: Bank) -> dict[str, float]:
    return {
        "train/loss": segment.loss,
        "train/S": segment.squared_error,
        "train/MSE": segment.squared_error / bank.shape.dims,
        "train/R": segment.kl,
        "sigma": segment.sigma2**0.5,
        "k": segment.k,
        "beta": segment.k * segment.sigma2,
    }
