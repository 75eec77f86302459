"""One trial inside an engine: its row of a bank, its reports, its evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from study.journal import trial_folder
from study.scheduling import checkpoints
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


@dataclass
class Run:
    """A trial that an engine trains.

    Args:
        request: what is to be trained (see :class:`study.search.Request`), as a mapping.
        steps: optimiser steps in the whole trial.
        home: the study's folder.
    """

    request: dict[str, Any]
    steps: int
    home: Path
    reports: list[Report] = field(default_factory=list)
    bank: Bank | None = None
    row: int = -1
    released: bool = False
    over: bool = False
    """Its last report is made."""
    training_seconds: float = 0.0
    """Billed since the last report."""

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

    @property
    def _folder(self) -> Path:
        return trial_folder(self.home, self.trial)

    def enter(self, bank: Bank) -> None:
        """Take a row of ``bank``, from the newest checkpoint if there is one."""
        saved = checkpoints.newest(self._folder)
        self.row = bank.admit(self.member, saved.row if saved else None)
        self.bank = bank
        self.reports = saved.reports if saved else []

    def leave(self) -> None:
        """Give the row back."""
        if self.bank is not None:
            self.bank.release(self.row)
            self.bank = None

    def steps_to_report(self) -> int:
        """Steps until the next report is due."""
        assert self.bank is not None
        return self._boundary(len(self.reports) + 1) - self.bank.step(self.row)

    def report(self, evaluation: Evaluation) -> None:
        """Make the report that is due, and with the last one the trial's end."""
        assert self.bank is not None
        start = time.perf_counter()
        step = len(self.reports) + 1
        segment = self.bank.segment(self.row)
        report: Report = {
            "step": step,
            "images": self.bank.step(self.row) * self.bank.batch_size,
            "metrics": _train_metrics(segment, self.bank),
        }
        if segment.diverged_at is not None:
            report["end"] = {"state": "failed", "reason": f"diverged at step {segment.diverged_at}"}
        else:
            fitted = self._measure(evaluation.train)
            report["metrics"] |= self._scores("validation", fitted, evaluation.validation)
            if step == self.request["settings"]["training"]["reports"]:
                report["end"] = self._end(fitted, evaluation)
        report["seconds"] = {
            "training": self.training_seconds,
            "evaluation": time.perf_counter() - start,
        }
        self.training_seconds = 0.0
        reports = [*self.reports, report]
        if "end" in report:
            checkpoints.clear(self._folder)
        else:
            saved = checkpoints.Saved(self.bank.checkpoint(self.row), reports)
            checkpoints.save(self._folder, step, saved)
        self._publish(reports)

    def crash(self, traceback: str) -> None:
        """End the trial with an exception of its own code."""
        report: Report = {
            "step": len(self.reports) + 1,
            "images": 0,
            "metrics": {},
            "seconds": {"training": self.training_seconds, "evaluation": 0.0},
            "end": {"state": "failed", "reason": "crashed", "traceback": traceback},
        }
        self._publish([*self.reports, report])

    def _publish(self, reports: list[Report]) -> None:
        """Let others see the new report: only now, when it is whole."""
        self.reports = reports
        self.over = "end" in reports[-1] or len(reports) == self.request["until"]

    def _boundary(self, report: int) -> int:
        """Steps made when ``report`` is due: reports divide the trial evenly."""
        reports: int = self.request["settings"]["training"]["reports"]
        return max(1, round(self.steps * report / reports))

    def _measure(self, images: EvaluationSet) -> Measurement:
        assert self.bank is not None
        model = self.bank.model(self.row)
        return measure(model, images.batches(model.latent))

    def _scores(self, split: str, fitted: Measurement, images: EvaluationSet) -> dict[str, float]:
        assert self.bank is not None
        found = calibrated(fitted, self._measure(images), self.bank.shape.dims)
        return {f"{split}/{name}": value for name, value in found.items()}

    def _end(self, fitted: Measurement, evaluation: Evaluation) -> dict[str, Any]:
        metrics = self._scores("test", fitted, evaluation.test)
        artifacts = self._artifacts(evaluation) if self.request["phase"] == "confirm" else {}
        return {"state": "complete", "metrics": metrics, "artifacts": artifacts}

    def _artifacts(self, evaluation: Evaluation) -> dict[str, str]:
        """Write a confirm run's weights and pictures; return their paths within the home."""
        assert self.bank is not None
        model = self.bank.model(self.row)
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "model.pt")
        names = {"checkpoint": "model.pt"}
        if evaluation.pictures:
            first = next(evaluation.test.batches(model.latent)).x[: evaluation.pictures]
            reconstructions(model, first).save(folder / "reconstructions.png")
            samples(model, evaluation.pictures, seed=0).save(folder / "samples.png")
            names |= {"reconstructions": "reconstructions.png", "samples": "samples.png"}
        return {name: str((folder / file).relative_to(self.home)) for name, file in names.items()}


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
