"""One trial inside an engine: its row of a bank, its reports, its evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from study.engine import checkpoints
from study.engine.beta_curve import BetaCurve
from study.engine.config import EngineConfig
from study.engine.evaluation import Evaluation, Files, no_check
from study.engine.final_evaluation import FinalEvaluation, csv_file
from study.engine.home import Home
from study.engine.stages import Stages
from study.image_scores import ARTIFACT, FILE
from study.journal import trial_folder
from study.journal.course import Course
from vae_core.balancers import BALANCERS, Balancer
from vae_core.bank import Bank, Checkpoint, Member, Segment
from vae_core.evaluation import Measurement, measure
from vae_core.models import VAE

Report = dict[str, Any]


class Stopwatch:
    """Passes the time of each lap to ``charge``, with the purpose it was spent on."""

    def __init__(self, charge: Callable[[str, float], None]) -> None:
        self._charge, self._since = charge, time.perf_counter()

    def lap(self, purpose: str) -> None:
        """Charge the device seconds since the last lap to ``purpose``."""
        now = time.perf_counter()
        self._charge(purpose, now - self._since)
        self._since = now


class StorageError(Exception):
    """The home's storage fails: no fault of the trial that is affected."""


class TrialRun:
    """A trial that an engine trains.

    Args:
        request: what is to be trained (see :class:`study.search.Request`), as a mapping.
        stages: its training.
        config: the engine's.
        home: where its checkpoints are.

    Attributes:
        reports: every report of the trial so far, as its next checkpoint will hold them.
        deliverables: what the relay fetches, in order: reports of a former engine that the driver
            has not received, every report made here, or the storage error that ended the run.
        delivered: how many of them were fetched.
        unreported: device seconds by purpose, spent here since the last report.
        released: its slot was freed from outside.
        over: no deliverable will follow.
        suspect: must be trained alone, because its bank raised an exception that may be its own.
    """

    def __init__(
        self, request: dict[str, Any], stages: Stages, config: EngineConfig, home: Home
    ) -> None:
        self.request, self.config, self._stages, self._home = request, config, stages, home
        self.folder = trial_folder(Path(config.home), self.trial)
        self.reports: list[Report] = []
        self.deliverables: list[Report] = []
        self.bank: Bank | None = None
        self.row, self.delivered = -1, 0
        self.released = self.over = self.suspect = False
        self.unreported = {"training": 0.0, "evaluation": 0.0, "second_stage": 0.0}
        self._saved: checkpoints.Saved | None = None
        self._saved_steps = 0
        self._member = self.member
        self._loaded = False
        self._pending: Report | None = None

    @property
    def trial(self) -> str:
        """The trial's name."""
        name: str = self.request["trial"]
        return name

    @property
    def member(self) -> Member:
        """The trial as a member of a bank, in its last stage."""
        return self._stages.members[-1]

    @property
    def rule(self) -> type[Balancer]:
        """The trial's balancer, which may require a likelihood head or gates of the model."""
        return BALANCERS.get(self.member.balancer)

    @property
    def shape(self) -> str:
        """The settings that trials of one bank have in common."""
        settings, rule = self.request["settings"], self.rule
        training = {name: settings["training"][name] for name in ("batch_size", "dequantize")}
        parts: dict[str, Any] = {} if rule.head is None else {"head": rule.head}
        parts |= {"gated": True} if rule.gated else {}
        return json.dumps({**settings["model"], **training, **parts}, sort_keys=True)

    def load(self) -> None:
        """Read the newest checkpoint; its reports can be delivered before a row is free.

        Raises:
            StorageError: the storage fails.
        """
        if self._loaded:
            return
        with _storage(self.folder, "read"):
            self._saved = next(checkpoints.resumable(self._checkpoints()), None) or self._begun()
        self._loaded = True
        self.reports = self._saved.reports if self._saved else []
        self._saved_steps = self._saved.steps if self._saved else 0
        self._pending = self._saved.pending if self._saved else None
        known = {report["step"] for report in self.deliverables}
        missing = [r for r in self.reports if r["step"] > self.request["after"]]
        self.deliverables = [*self.deliverables, *(r for r in missing if r["step"] not in known)]
        self.over = self._ended()

    def enter(self, bank: Bank) -> None:
        """Take a row of ``bank``, and resume from the checkpoint that :meth:`load` found."""
        self._admit(bank, self._saved.row if self._saved else None)
        self.bank, self._saved = bank, None

    def turn(self) -> None:
        """Go on as the member of the stage that begins now, if one does."""
        if self.bank is None or self.over:
            return
        if self._stages.at(self.bank.step(self.row)) is not self._member:
            row = self.bank.checkpoint(self.row)
            self.bank.release(self.row)
            self._admit(self.bank, row)

    def leave(self) -> None:
        """Give the row back."""
        if self.bank is not None:
            self.bank.release(self.row)
        self.put_back()

    def put_back(self) -> None:
        """Drop the row; the next entry resumes from the newest checkpoint."""
        self.bank, self._saved, self._pending, self._loaded = None, None, None, False

    def steps_to_report(self) -> int:
        """Steps until the next report is due."""
        assert self.bank is not None
        return self._boundary(len(self.reports) + 1) - self.bank.step(self.row)

    def steps_ahead(self) -> int:
        """Steps until the next report is due, or the next stage begins."""
        assert self.bank is not None
        return min(self.steps_to_report(), self._stages.left(self.bank.step(self.row)))

    def report(self, evaluation: Evaluation, watch: Stopwatch, check: Callable[[], None]) -> Report:
        """Make and save the report that is due; the last one includes the trial's end.

        Args:
            evaluation: what to measure, and on which images.
            watch: charges the time.
            check: called regularly during the final evaluation; it may raise to postpone it. The
                training is in a checkpoint by then.

        Raises:
            StorageError: it cannot be saved.
            FencedError: another driver has taken the study over.
        """
        assert self.bank is not None
        try:
            report = self._pending or self._train_report()
            if "end" not in report:
                model = self._model(report, evaluation)
                fitted = measure(model, evaluation.train.batches(model.latent))
                if self._pending is None:
                    report["metrics"] |= self._validated(model, fitted, evaluation)
                if report["step"] == self.request["settings"]["training"]["reports"]:
                    self._pending = report
                    self._save(self.reports)  # the final evaluation may take long
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
        """The report that ends the trial because its own code raised an exception."""
        return {
            "step": len(self.reports) + 1,
            "images": 0,
            "metrics": {},
            "engine": self.config.name,
            "seconds": dict(self.unreported),
            "end": {"state": "failed", "reason": "crashed", "traceback": traceback},
        }

    def publish(self, report: Report, start: dict[str, Any]) -> None:
        """Make a saved report available for delivery, with where it was made."""
        self.reports = [*self.reports, report]
        self.deliverables = [*self.deliverables, {**report, "start": start}]
        self.unreported = dict.fromkeys(self.unreported, 0.0)
        self.over = self._ended()

    def end_with_storage_error(self, message: str) -> None:
        """End the run here because of the storage; the trial itself has not failed."""
        self.deliverables = [*self.deliverables, {"storage_error": message}]
        self.over = True

    def unreported_seconds(self) -> float:
        """Device seconds spent here that would be in no report if the engine ended now.

        A crash is in no checkpoint: it counts until it has been delivered.
        """
        undelivered = self.deliverables[self.delivered :]
        crashes = (r for r in undelivered if r.get("end", {}).get("reason") == "crashed")
        return sum(self.unreported.values()) + sum(_seconds(report) for report in crashes)

    def take_unreported(self) -> float:
        """Device seconds spent here since the last report; from now on they count as reported."""
        spent, self.unreported = self.unreported, dict.fromkeys(self.unreported, 0.0)
        return sum(spent.values())

    def take_undelivered(self) -> float:
        """Device seconds of reports made here and not fetched; they now count as delivered."""
        undelivered, self.delivered = self.deliverables[self.delivered :], len(self.deliverables)
        mine = (report for report in undelivered if report.get("engine") == self.config.name)
        return sum(_seconds(report) for report in mine)

    def suspend(self) -> None:
        """Save the row as it is, inside a segment.

        Raises:
            StorageError: it cannot be saved.
            FencedError: another driver has taken the study over.
        """
        if self.bank is not None and self.bank.step(self.row) > self._saved_steps:
            self._save(self.reports)

    def _admit(self, bank: Bank, row: Checkpoint | None) -> None:
        """Take a row of ``bank`` as the member of the stage that ``row`` is in."""
        step = 0 if row is None else int(row["step"])
        if row is not None and self._stages.begins(step):
            # Steps of the stage before are in no report of this one, where none was due there.
            row = {**row, "history": row["history"][:0]}
        self._member = self._stages.at(step)
        self.row = bank.admit(self._member, row)

    def _ended(self) -> bool:
        if not self.reports:
            return False
        until = self.request["until"]
        return "end" in self.reports[-1] or (until is not None and len(self.reports) >= until)

    def _boundary(self, report: int) -> int:
        """Steps after which ``report`` is due: reports divide the trial evenly."""
        reports: int = self.request["settings"]["training"]["reports"]
        begin, end = self._stages.begin, self._stages.end
        return begin + max(1, round((end - begin) * report / reports))

    def _save(self, reports: list[Report]) -> None:
        assert self.bank is not None
        saved = checkpoints.Saved(self.bank.checkpoint(self.row), reports, self._pending)
        with _storage(self.folder, "write a checkpoint"):
            self._home.save(self.trial, saved.steps, saved.to_bytes())
        self._saved_steps = saved.steps

    def _checkpoints(self) -> Iterator[tuple[int, bytes]]:
        """Steps and payloads of the trial's whole checkpoints, most steps first."""
        for skip in count():
            found = self._home.checkpoint(self.trial, skip)
            if found is None:
                return
            yield found

    def _begun(self) -> checkpoints.Saved | None:
        """The end of the trial that this one goes on from; None: it begins at its first stage."""
        course = Course.of(self.request["course"])
        found = self._home.checkpoint(course.parent) if course and course.parent else None
        saved = next(checkpoints.resumable([found] if found else []), None)
        if saved is None or saved.steps != self._stages.begin:
            return None
        return replace(saved, reports=[], pending=None)

    def _train_report(self) -> Report:
        """The report that is due, with the metrics of training only."""
        assert self.bank is not None
        segment = self.bank.segment(self.row)
        report: Report = {
            "step": len(self.reports) + 1,
            "images": (self.bank.step(self.row) - self._stages.begin) * self.bank.batch_size,
            "metrics": _train_metrics(segment, self.bank),
        }
        if segment.diverged_at is not None:
            report["end"] = {"state": "failed", "reason": f"diverged at step {segment.diverged_at}"}
        return report

    def _model(self, report: Report, evaluation: Evaluation) -> VAE:
        """The trained model; a gated one at the beta that ``report`` has, or is given here."""
        assert self.bank is not None
        curve = BetaCurve.of(self.bank, self.row, evaluation)
        if curve is None:
            return self.bank.model(self.row)
        if self._pending is None:
            beta = curve.best()
            report["metrics"] |= {"sigma": 1.0, "k": beta, "beta": beta}
        return self.bank.model(self.row, report["metrics"]["beta"])

    def _validated(
        self, model: VAE, fitted: Measurement, evaluation: Evaluation
    ) -> dict[str, float]:
        found = evaluation.on_validation(model, fitted, self.rule.likelihood)
        return {**found, **evaluation.objective_on("validation", model, no_check)}

    def _end(
        self,
        model: VAE,
        fitted: Measurement,
        evaluation: Evaluation,
        watch: Stopwatch,
        check: Callable[[], None],
    ) -> dict[str, Any]:
        """The end of a trial at its last report."""
        likelihood, seed = self.rule.likelihood, self.request["seed"]
        metrics, scores = evaluation.on_test(model, fitted, likelihood, seed, check)
        confirmed = self.request["phase"] == "confirm"
        files: Files = {}
        if confirmed or evaluation.settings.trials == "all":
            found = FinalEvaluation(
                evaluation, model, fitted, likelihood, seed, watch.lap, check
            ).result()
            metrics |= found.metrics
            files = {**found.files, ARTIFACT: (FILE, scores.to_bytes())}
            assert self.bank is not None
            curve = BetaCurve.of(self.bank, self.row, evaluation)
            if confirmed and curve is not None and len(curve.betas) > 1:
                # Last: it changes the module of the model that was measured.
                files["beta_curve"] = csv_file("beta_curve", curve.table(check))
        else:
            metrics |= evaluation.objective_on("test", model, check)
        artifacts = self._write(files) if confirmed else {}
        return {"state": "complete", "metrics": metrics, "artifacts": artifacts}

    def _write(self, files: Files) -> dict[str, str]:
        """Write a confirm run's weights, pictures and tables; return their paths in the home."""
        written = {}
        for name, (file, content) in files.items():
            with _storage(self.folder / file, "write"):
                written[name] = self._home.write(self.trial, file, content)
        return written


@contextmanager
def _storage(path: Path, doing: str) -> Iterator[None]:
    """Mark errors of the storage: a model's own code may raise an OSError too."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {doing}: {error.strerror or error}, {path}") from error


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
