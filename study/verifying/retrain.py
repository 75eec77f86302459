"""Whether a trial's recorded numbers come out again: trained anew, elsewhere, beside others.

Under one numerics key they must, to the last bit, whatever slot the trial holds and whoever trains
beside it. Nothing is written into the study's home, and nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from study.analysis.records.history import History, TrialHistory
from study.engine import checkpoints
from study.engine.config import EngineConfig
from study.engine.engine import Engine
from study.engine.weights import recorded_weights
from study.journal import Event, StudyHome, read_events, trial_folder
from study.managing.status import no_trial
from study.verifying.compare import (
    Difference,
    Training,
    Verification,
    compare_reports,
    compare_values,
    compare_weights,
    shortened,
)
from vae_core.data import Dataset, PreparedData
from vae_core.errors import UserError
from vae_core.export import ExportError, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

Request = dict[str, Any]
Report = dict[str, Any]
OUTLASTING = 10
"""How many times as long as the trial its neighbours train: none leaves before it."""
WEIGHTS = "checkpoint"
"""The artifact of a trial's end that holds its weights."""


class VerificationError(UserError):
    """A trial that cannot be verified."""


class VerificationFailedError(VerificationError):
    """A verification that did not come to its end."""

    exit_code = 1


def verify(
    home: StudyHome, trial: str | None = None, say: Callable[[str], None] = lambda text: None
) -> Verification:
    """Train a complete trial of a study again, from scratch and from its middle checkpoint.

    Each time in another slot of a bank of the width it had, beside other trials of the study.

    Args:
        home: the study's.
        trial: the trial's name; by default the first confirm run that left its weights, else the
            first that is complete, else the first search trial that is.
        say: is told what is going on.

    Raises:
        VerificationError: the trial is not complete, or none is.
        VerificationFailedError: it cannot be trained again, or its weights are damaged.
        DataError: the study's images are not there any more, or not those.
    """
    events = list(read_events(home.path))
    history = History(events)
    chosen, why = _choose(home, history, trial)
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as scratch:
            verifier = _Verifier(home, history, events, chosen, Path(scratch), say)
            trainings = list(verifier.trainings())
    finally:
        torch.set_num_threads(threads)  # an engine sets them for the thread that makes it
    return Verification(
        study=home.name,
        trial=chosen.trial,
        why=why,
        slots=verifier.width,
        keys=verifier.key_differences(),
        trainings=trainings,
        left_out=verifier.left_out,
    )


def _choose(home: StudyHome, history: History, name: str | None) -> tuple[TrialHistory, str]:
    """The trial to verify, and why it is this one."""
    if name is not None:
        if name not in history.trials:
            raise no_trial(name, history.trials, home.name)
        found = history.trials[name]
        if found.state != "complete":
            raise VerificationError(
                f"trial '{name}' is {found.state}",
                where=home.name,
                remedy="only a complete trial can be verified",
            )
        return found, "as asked for"
    complete = [trial for trial in history.trials.values() if trial.state == "complete"]
    confirmed = [trial for trial in complete if trial.phase == "confirm"]
    left = [trial for trial in confirmed if _weights_file(home, trial) is not None]
    for trials, why in (
        (left, "the first confirm run that left its weights"),
        (confirmed, "the first complete confirm run"),
        (complete, "the first complete trial"),
    ):
        if trials:
            return trials[0], why
    raise VerificationError("no trial is complete", where=home.name, remedy="let it go on first")


class _Verifier:
    """Trains one trial again and compares.

    Args:
        home: the study's.
        history: its journal, folded.
        events: its journal.
        trial: the trial.
        scratch: a folder to train in.
        say: is told what is going on.
    """

    def __init__(
        self,
        home: StudyHome,
        history: History,
        events: Sequence[Event],
        trial: TrialHistory,
        scratch: Path,
        say: Callable[[str], None],
    ) -> None:
        self._home, self._history, self._trial = home, history, trial
        self._scratch, self._say = scratch, say
        self._reports: dict[int, Report] = {}
        self._keys: list[Mapping[str, Any]] = []
        for event in events:
            if event.data.get("trial") != trial.trial:
                continue
            if event.kind == "report":
                self._reports.setdefault(event.data["step"], event.data)
            elif event.kind == "start" and event.data["key"] not in self._keys:
                self._keys.append(event.data["key"])
        self.width = int(trial.key["width"])
        self.left_out: list[str] = []
        self._key: Mapping[str, Any] = {}
        """The numerics key here."""
        spec = history.study["spec"]
        weights = recorded_weights(history.features, home.data)
        self._validation = spec["data"]["validation"]
        self._config = EngineConfig(
            name="verify",
            home="",
            device=self._device(),
            evaluation={**spec["evaluation"], "pictures": 0},
            objective=spec["objective"],
            epoch=1,
            keep="all",
            weights=None if weights is None else str(weights),
            precision=trial.key["dtype"],
        )
        self._data = _data(home, history.study["data"])
        Dataset.open(self._data, self._validation)  # reads all of it and checks it, engines do not
        self._weights: Mapping[str, Tensor] | None = None
        file = _weights_file(home, trial)
        if file is not None:
            self._weights = _load(file)
        elif WEIGHTS in trial.artifacts:
            self.left_out.append("the weights: they are not in the study's home any more")

    def trainings(self) -> Iterator[Training]:
        """From scratch in the last slot; from the middle checkpoint in the middle one."""
        last, middle = self.width - 1, len(self._reports) // 2
        scratch = self._scratch / "scratch"
        yield self._again("from scratch", scratch, row=last, after=0, skip=0)
        if not middle:
            self.left_out.append("going on from the middle: one report leaves no checkpoint there")
            return
        folder = self._home.trial(self._trial.trial)
        saved, whose = checkpoints.at(folder, middle), "as the trial left it"
        if saved is None:
            folder = trial_folder(scratch, self._trial.trial)
            saved, whose = checkpoints.at(folder, middle), "as it was made again"
        if saved is None:
            raise self._failed(f"its checkpoint of report {middle} was not made", "")
        there = self._scratch / "middle"
        checkpoints.save(trial_folder(there, self._trial.trial), saved, epoch=1, keep="all")
        start = f"from the checkpoint of report {middle}, {whose}"
        yield self._again(start, there, row=last // 2, after=middle, skip=max(1, last))

    def key_differences(self) -> dict[str, tuple[Any, Any]]:
        """Where a numerics key the trial trained under and the one here differ."""
        names = {name: None for key in (*self._keys, self._key) for name in key}
        found = {}
        for name in names:
            for key in self._keys:
                if key.get(name) != self._key.get(name):
                    found[name] = (key.get(name), self._key.get(name))
        return found

    def _again(self, start: str, home: Path, *, row: int, after: int, skip: int) -> Training:
        company = self._company(skip)
        beside = [request["trial"] for request in company]
        self._say(f"training {self._trial.trial} {start}, beside {shortened(beside)}")
        reports = self._train(home, company[:row], company[row:], after)
        found = {report["step"]: report for report in reports}
        recorded = {step: report for step, report in self._reports.items() if step > after}
        metrics, differences = compare_reports(recorded, found)
        end = reports[-1]["end"]
        metrics += len(self._trial.metrics)
        if end["state"] == "complete":
            differences += compare_values("test", self._trial.metrics, end["metrics"])
        else:
            outcome = f"{end['state']}: {end['reason']}"
            differences.append(Difference("end", "state", "complete", outcome, None))
        weights = None
        if self._weights is not None:
            file = trial_folder(home, self._trial.trial) / "model.pt"
            made = _load(file) if file.exists() else {}
            weights, apart = compare_weights(self._weights, made)
            differences += apart
        self._key = reports[0]["start"]["key"]
        slot = len(company[:row]) + 1
        return Training(start, slot, beside, metrics, weights, differences)

    def _train(
        self, home: Path, before: Sequence[Request], behind: Sequence[Request], after: int
    ) -> list[Report]:
        """The trial's reports later than ``after``, trained in the row after ``before``'s."""
        home.mkdir(exist_ok=True)
        engine = Engine(replace(self._config, home=str(home)))
        engine.prepare(self._data.to_dict(), self._validation, self.width)
        name = self._trial.trial
        mine = _request(name, self._trial.seed, self._trial.settings, self._trial.phase, after)
        try:
            for request in (*before, mine, *behind):
                engine.admit(request)
            reports: list[Report] = []
            while not reports or "end" not in reports[-1]:
                heard = engine.reports(name, len(reports))
                if not heard:
                    raise self._failed(_end_of(engine), "try again, perhaps on another machine")
                if "trouble" in heard[-1]:
                    raise self._failed(heard[-1]["trouble"], "free some space in $TMPDIR")
                reports += heard
        finally:
            engine.stop()
        if reports[-1]["end"].get("reason") == "crashed":
            raise self._failed(
                "it crashes when it is trained again", reports[-1]["end"]["traceback"]
            )
        return reports

    def _company(self, skip: int) -> list[Request]:
        """Who is to train beside the trial, less the first ``skip`` of them.

        Other trials of the study: in a bank, those of its shape, filled up with its own settings
        under other seeds; where a bank has one row, one of another shape.
        """
        trials = list(self._history.trials.values())
        at = list(self._history.trials).index(self._trial.trial)
        others = [
            other
            for other in (*trials[at + 1 :], *trials[:at])
            if other.shape and other.reason != "crashed"
            if (other.shape == self._trial.shape) == (self.width > 1)
        ]
        count = self.width - 1 or min(1, len(others))
        turned = [others[(skip + i) % len(others)] for i in range(min(count, len(others)))]
        epochs = OUTLASTING * self._trial.settings["training"]["epochs"]
        company = [_neighbour(other.trial, other.seed, other.settings, epochs) for other in turned]
        for extra in range(1, count - len(company) + 1):
            seed = (self._trial.seed + extra) % 2**32
            name = f"{self._trial.trial}-seed-{seed}"
            company.append(_neighbour(name, seed, self._trial.settings, epochs))
        return company

    def _device(self) -> str:
        device = self._history.engines[self._trial.engine].device
        return "cuda" if device == "cuda" and torch.cuda.is_available() else "cpu"

    def _failed(self, what: str, remedy: str) -> VerificationFailedError:
        return VerificationFailedError(what, where=self._trial.trial, remedy=remedy)


def _request(trial: str, seed: int, settings: Mapping[str, Any], phase: str, after: int) -> Request:
    """What an engine is asked."""
    return {
        **{"trial": trial, "phase": phase, "seed": seed, "settings": settings},
        **{"after": after, "until": None, "alone": False},
    }


def _neighbour(trial: str, seed: int, settings: Mapping[str, Any], epochs: float) -> Request:
    """A trial that only keeps company: it leaves no checkpoint before its end."""
    training = {**settings["training"], "epochs": epochs, "reports": 1}
    return _request(trial, seed, {**settings, "training": training}, "search", 0)


def _end_of(engine: Engine) -> str:
    try:
        engine.serve()
    except RuntimeError as error:
        return f"the engine failed: {error.__cause__!r}"
    return "the engine ended"


def _data(home: StudyHome, recorded: Mapping[str, Any]) -> PreparedData:
    """The study's images: in the home's own store, which may have moved, or where they were."""
    data = PreparedData.from_dict(recorded)
    beside = {split: home.data / Path(file).name for split, file in data.files.items()}
    moved = {split: str(file) for split, file in beside.items() if file.is_file()}
    return replace(data, files={**data.files, **moved})


def _weights_file(home: StudyHome, trial: TrialHistory) -> Path | None:
    """The weights that a trial has left in the study's home, if they are there."""
    return home.artifact(trial.artifacts[WEIGHTS]) if WEIGHTS in trial.artifacts else None


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(file)
    except ExportError as error:
        raise VerificationFailedError(error.what, where=error.where, remedy=error.remedy) from error
