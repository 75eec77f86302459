"""One trial inside an engine: its row of a bank, its reports, its evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.engine import checkpoints
from study.engine.config import EngineConfig
from study.engine.evaluation import Evaluation, Files, never_mind, scores
from study.engine.fence import Fence
from study.engine.final_evaluation import Closely
from study.journal import trial_folder
from vae_core.balancers import BALANCERS
from vae_core.bank import Bank, Member, Segment
from vae_core.evaluation import Measurement, measure
from vae_core.likelihoods import Likelihood
from vae_core.models import VAE, Head

Report = dict[str, Any]


class Stopwatch:
    """Hands the time since the lap before to ``spend``, under the purpose it went into."""

    def __init__(self, spend: Callable[[str, float], None]) -> None:
        self._spend, self._since = spend, time.perf_counter()

    def lap(self, purpose: str) -> None:
        """The device seconds since the last lap went into ``purpose``."""
        now = time.perf_counter()
        self._spend(purpose, now - self._since)
        self._since = now


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
        self.unreported = {"training": 0.0, "evaluation": 0.0, "second_stage": 0.0}
        self._fence = Fence(self.home, config.epoch)
        self._saved: checkpoints.Saved | None = None
        self._saved_steps = 0
        self._loaded = False
        self._pending: Report | None = None

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
            halve_every=settings["training"].get("halve_every"),
        )

    @property
    def head(self) -> Head | None:
        """The likelihood head the trial's balancer asks of the decoder."""
        return BALANCERS.get(self.member.balancer).head

    @property
    def shape(self) -> str:
        """What trials must have in common to be rows of one bank."""
        settings, head = self.request["settings"], self.head
        training = {name: settings["training"][name] for name in ("batch_size", "dequantize")}
        heads = {} if head is None else {"head": head}
        return json.dumps({**settings["model"], **training, **heads}, sort_keys=True)

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
        self._pending = self._saved.pending if self._saved else None
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
        self.bank, self._saved, self._pending, self._loaded = None, None, None, False

    def steps_to_report(self) -> int:
        """Steps until the next report is due."""
        assert self.bank is not None
        return self._boundary(len(self.reports) + 1) - self.bank.step(self.row)

    def report(self, evaluation: Evaluation, watch: Stopwatch, check: Callable[[], None]) -> Report:
        """Make the report that is due, and with the last one the trial's end; save it.

        Args:
            evaluation: what to measure, and on what.
            watch: takes the time.
            check: called every now and then while the end is measured; may raise to put it off.
                The training is safe in a checkpoint by then.

        Raises:
            TroubleError: it cannot be saved.
            FencedError: the study is another driver's by now.
        """
        assert self.bank is not None
        try:
            model = self.bank.model(self.row)
            report = self._pending or self._train_report()
            if "end" not in report:
                fitted = measure(model, evaluation.train.batches(model.latent))
                if self._pending is None:
                    report["metrics"] |= self._validated(model, fitted, evaluation)
                if report["step"] == self.request["settings"]["training"]["reports"]:
                    self._pending = report
                    self._save(self.reports)  # the end may take long to measure
                    end = self._end(model, fitted, evaluation, watch, check)
                    report = {**report, "end": end}
        except Exception:
            watch.lap("evaluation")
            raise
        watch.lap("evaluation")
        report |= {"engine": self.config.name, "seconds": dict(self.unreported)}
        self._pending = None
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

    def publish(self, report: Report, start: dict[str, Any]) -> None:
        """Let others hear of a report, and where it was made: it is whole, and saved."""
        self.reports = [*self.reports, report]
        self.deliverables = [*self.deliverables, {**report, "start": start}]
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
        saved = checkpoints.Saved(self.bank.checkpoint(self.row), reports, self._pending)
        self._fence.check()
        with _storage(self.folder, "write a checkpoint"):
            checkpoints.save(self.folder, saved, epoch=self.config.epoch, keep=self.config.keep)
        self._saved_steps = saved.steps

    def _train_report(self) -> Report:
        """The report that is due, as far as training tells it."""
        assert self.bank is not None
        segment = self.bank.segment(self.row)
        report: Report = {
            "step": len(self.reports) + 1,
            "images": self.bank.step(self.row) * self.bank.batch_size,
            "metrics": _train_metrics(segment, self.bank),
        }
        if segment.diverged_at is not None:
            report["end"] = {"state": "failed", "reason": f"diverged at step {segment.diverged_at}"}
        return report

    def _validated(
        self, model: VAE, fitted: Measurement, evaluation: Evaluation
    ) -> dict[str, float]:
        validation, likelihood = evaluation.validation, self._likelihood
        found = scores(model, fitted, validation, likelihood, never_mind)
        return {**found, **evaluation.objective_on("validation", model, never_mind)}

    def _end(
        self,
        model: VAE,
        fitted: Measurement,
        evaluation: Evaluation,
        watch: Stopwatch,
        check: Callable[[], None],
    ) -> dict[str, Any]:
        """How the trial ends that came to its last report."""
        metrics = scores(model, fitted, evaluation.test, self._likelihood, check)
        confirmed = self.request["phase"] == "confirm"
        files: Files = {}
        if confirmed or evaluation.settings.trials == "all":
            found = Closely(
                evaluation, model, fitted, self._likelihood, self.request["seed"], watch.lap, check
            ).result()
            metrics |= found.metrics
            files = found.files
        else:
            metrics |= evaluation.objective_on("test", model, check)
        artifacts = self._write(files) if confirmed else {}
        return {"state": "complete", "metrics": metrics, "artifacts": artifacts}

    @property
    def _likelihood(self) -> Likelihood:
        return BALANCERS.get(self.member.balancer).likelihood

    def _write(self, files: Files) -> dict[str, str]:
        """Write a confirm run's weights, pictures and tables; return their paths in the home."""
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
