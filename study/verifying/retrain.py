"""Whether training a trial again, elsewhere and beside other trials, gives its recorded numbers.

Under one numerics key it must, to the last bit, in any slot and beside any other trials. Nothing is
written into the study's home, and nothing is downloaded.
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
from study.image_scores import ARTIFACT, FILE, ImageScores
from study.journal import Entry, StudyHome, read_entries, trial_folder, unknown_trial
from study.journal.events import Reported, TrialPlaced
from study.verifying.compare import (
    Mismatch,
    Training,
    Verification,
    compare_reports,
    compare_tensors,
    compare_values,
    shortened,
)
from vae_core.data import Dataset, PreparedData
from vae_core.errors import DataError, UserError
from vae_core.export import ExportError, read_tensors
from vae_core.numerics import settled_kernels

if TYPE_CHECKING:
    from torch import Tensor

Request = dict[str, Any]
Report = dict[str, Any]
Values = Mapping[str, float | None]
NEIGHBOUR_EPOCHS = 10
"""How many times as long as the trial its neighbours train: none ends before it."""
WEIGHTS = "checkpoint"
"""The artifact of a trial that holds its weights."""


class VerificationError(UserError):
    """A trial that cannot be verified."""


class VerificationFailedError(VerificationError):
    """A verification that did not complete."""

    exit_code = 1


def verify(
    home: StudyHome, trial: str | None = None, progress: Callable[[str], None] = lambda text: None
) -> Verification:
    """Train a complete trial of a study again, from scratch and from its middle checkpoint.

    Each time in another slot of a bank of the width it had, beside other trials of the study.

    Args:
        home: the study's.
        trial: the trial's name; by default the first confirm run whose weights are there, else
            the first complete one, else the first complete search trial.
        progress: is called with what is being done.

    Raises:
        VerificationError: the trial is not complete, or none is.
        VerificationFailedError: it cannot be trained again, or its weights are damaged.
        DataError: the study's images are gone, or are different ones.
    """
    entries = list(read_entries(home.path))
    history = History(entries)
    chosen, why = _choose(home, history, trial)
    with (
        settled_kernels(threads=1),  # as an engine settles them, for good
        tempfile.TemporaryDirectory(prefix="verify-", ignore_cleanup_errors=True) as scratch,
    ):
        verifier = _Verifier(home, history, entries, chosen, Path(scratch), progress)
        trainings = list(verifier.trainings())
    return Verification(
        study=home.name,
        trial=chosen.trial.name,
        why=why,
        slots=verifier.width,
        keys=verifier.key_differences(),
        trainings=trainings,
        left_out=verifier.left_out,
    )


def _choose(home: StudyHome, history: History, name: str | None) -> tuple[TrialHistory, str]:
    """The trial to verify, and why this one."""
    if name is not None:
        if name not in history.trials:
            raise unknown_trial(name, history.trials, home.name)
        found = history.trials[name]
        if found.trial.state != "complete":
            raise VerificationError(
                f"trial '{name}' is {found.trial.state}",
                where=home.name,
                remedy="only a complete trial can be verified",
            )
        return found, "as requested"
    complete = [found for found in history.trials.values() if found.trial.state == "complete"]
    confirmed = [found for found in complete if found.trial.asked.phase == "confirm"]
    weighted = [found for found in confirmed if _file(home, found, WEIGHTS) is not None]
    for trials, why in (
        (weighted, "the first confirm run whose weights are there"),
        (confirmed, "the first complete confirm run"),
        (complete, "the first complete trial"),
    ):
        if trials:
            return trials[0], why
    raise VerificationError("no trial is complete", where=home.name, remedy="resume the study")


class _Verifier:
    """Trains one trial again and compares.

    Args:
        home: the study's.
        history: its journal, folded.
        entries: its journal.
        recorded: the trial.
        scratch: a folder to train in.
        progress: is called with what is being done.
    """

    def __init__(
        self,
        home: StudyHome,
        history: History,
        entries: Sequence[Entry],
        recorded: TrialHistory,
        scratch: Path,
        progress: Callable[[str], None],
    ) -> None:
        self._home, self._history, self._recorded = home, history, recorded
        self._scratch, self._progress = scratch, progress
        self._trial, self._asked = recorded.trial, recorded.trial.asked
        self._reports: dict[int, Values] = {}
        self._keys: list[Mapping[str, Any]] = []
        line = _line(history, self._trial.name)
        for entry in entries:
            match entry.event:
                case Reported(trial=self._trial.name) as report:
                    values = {"images": report.images, **report.metrics}
                    self._reports.setdefault(report.step, values)
                case TrialPlaced(trial=name, key=key) if name in line and key not in self._keys:
                    self._keys.append(key)
        self.width = int(self._trial.key["width"])
        self.left_out: list[str] = []
        self._key: Mapping[str, Any] = {}
        """The numerics key here."""
        spec = history.study.spec
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
            precision=self._trial.key["dtype"],
        )
        self._data = _data(home, history.study.data)
        Dataset.open(self._data, self._validation)  # verifies checksums, which engines do not
        self._weights = self._kept("the weights", WEIGHTS, _load)
        self._scores = self._kept("the scores of single images", ARTIFACT, _scores)

    def trainings(self) -> Iterator[Training]:
        """From scratch in the last slot; from the middle checkpoint in the middle one."""
        last, middle = self.width - 1, len(self._reports) // 2
        scratch = self._scratch / "scratch"
        yield self._again("from scratch", scratch, row=last, after=0, skip=0)
        if not middle:
            self.left_out.append("resuming in the middle: with one report there is no checkpoint")
            return
        folder = self._home.trial(self._trial.name)
        saved, which = checkpoints.at(folder, middle), "the recorded one"
        if saved is None:
            folder = trial_folder(scratch, self._trial.name)
            saved, which = checkpoints.at(folder, middle), "the one made again"
        if saved is None:
            raise self._failed(f"its checkpoint of report {middle} was not written", "")
        there = self._scratch / "middle"
        checkpoints.save(trial_folder(there, self._trial.name), saved, epoch=1, keep="all")
        start = f"from the checkpoint of report {middle}, {which}"
        yield self._again(start, there, row=last // 2, after=middle, skip=max(1, last))

    def _kept(
        self, what: str, artifact: str, load: Callable[[Path], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor] | None:
        """What the recorded trial left as a file, if it did and the file is there."""
        file = _file(self._home, self._recorded, artifact)
        if file is not None:
            return load(file)
        if artifact in self._recorded.artifacts:
            self.left_out.append(f"{what}: they are not in the study's home any more")
        return None

    def key_differences(self) -> dict[str, tuple[Any, Any]]:
        """Where a numerics key of the recorded training and the one here differ."""
        names = {name: None for key in (*self._keys, self._key) for name in key}
        found = {}
        for name in names:
            for key in self._keys:
                if key.get(name) != self._key.get(name):
                    found[name] = (key.get(name), self._key.get(name))
        return found

    def _again(self, start: str, home: Path, *, row: int, after: int, skip: int) -> Training:
        neighbours = self._neighbours(skip)
        beside = [request["trial"] for request in neighbours]
        self._progress(f"training {self._trial.name} {start}, beside {shortened(beside)}")
        reports = self._train(home, neighbours[:row], neighbours[row:], after)
        found = {r["step"]: {"images": r["images"], **r["metrics"]} for r in reports}
        recorded = {step: values for step, values in self._reports.items() if step > after}
        metrics, differences = compare_reports(recorded, found)
        end = reports[-1]["end"]
        metrics += len(self._recorded.metrics)
        if end["state"] == "complete":
            differences += compare_values("test", self._recorded.metrics, end["metrics"])
        else:
            outcome = f"{end['state']}: {end['reason']}"
            differences.append(Mismatch("end", "state", "complete", outcome, None))
        folder = trial_folder(home, self._trial.name)
        if self._scores is not None:
            again = _scores(folder / FILE) if (folder / FILE).exists() else {}
            count, of_images = compare_tensors("image scores", self._scores, again)
            metrics, differences = metrics + count, [*differences, *of_images]
        weights = None
        if self._weights is not None:
            file = folder / "model.pt"
            made = _load(file) if file.exists() else {}
            weights, of_weights = compare_tensors("weights", self._weights, made)
            differences += of_weights
        self._key = reports[0]["start"]["key"]
        slot = len(neighbours[:row]) + 1
        return Training(start, slot, beside, metrics, weights, differences)

    def _train(
        self, home: Path, before: Sequence[Request], behind: Sequence[Request], after: int
    ) -> list[Report]:
        """The trial's reports later than ``after``, trained in the row after ``before``'s."""
        home.mkdir(exist_ok=True)
        engine = Engine(replace(self._config, home=str(home)))
        engine.prepare(self._data.to_dict(), self._validation, self.width)
        asked = self._asked
        mine = _request(asked.trial, asked.seed, asked.settings, asked.phase, after)
        mine["course"] = {**asked.course, "parent": ""} if asked.course else {}
        try:
            for request in (*before, mine, *behind):
                engine.admit(request)
            reports: list[Report] = []
            while not reports or "end" not in reports[-1]:
                delivered = engine.reports(asked.trial, len(reports))
                if not delivered:
                    raise self._failed(_end_of(engine), "try again, perhaps on another machine")
                if "storage_error" in delivered[-1]:
                    error = delivered[-1]["storage_error"]
                    raise self._failed(error, "free some space in $TMPDIR")
                reports += delivered
        finally:
            engine.stop()
        if reports[-1]["end"].get("reason") == "crashed":
            raise self._failed(
                "it crashes when it is trained again", reports[-1]["end"]["traceback"]
            )
        return reports

    def _neighbours(self, skip: int) -> list[Request]:
        """The trials to train beside this one, without the first ``skip`` candidates.

        Other trials of the study: in a bank, those of its shape, filled up with its own settings
        under other seeds; if a bank has one row, one of another shape.
        """
        trials = list(self._history.trials.values())
        at = list(self._history.trials).index(self._trial.name)
        others = [
            other.trial.asked
            for other in (*trials[at + 1 :], *trials[:at])
            if other.shape and other.reason != "crashed"
            if (other.shape == self._recorded.shape) == (self.width > 1)
        ]
        count = self.width - 1 or min(1, len(others))
        turned = [others[(skip + i) % len(others)] for i in range(min(count, len(others)))]
        settings, seed = self._asked.settings, self._asked.seed
        epochs = NEIGHBOUR_EPOCHS * settings["training"]["epochs"]
        found = [_neighbour(other.trial, other.seed, other.settings, epochs) for other in turned]
        for extra in range(1, count - len(found) + 1):
            other_seed = (seed + extra) % 2**32
            name = f"{self._trial.name}-seed-{other_seed}"
            found.append(_neighbour(name, other_seed, settings, epochs))
        return found

    def _device(self) -> str:
        device = self._history.engines[self._trial.engine].device
        return "cuda" if device == "cuda" and torch.cuda.is_available() else "cpu"

    def _failed(self, what: str, remedy: str) -> VerificationFailedError:
        return VerificationFailedError(what, where=self._trial.name, remedy=remedy)


def _line(history: History, trial: str) -> list[str]:
    """A trial and those that it goes on from: under whose keys its weights came about."""
    line = [trial]
    while parent := history.trials[line[-1]].trial.asked.course.get("parent"):
        line.append(parent)
    return line


def _request(trial: str, seed: int, settings: Mapping[str, Any], phase: str, after: int) -> Request:
    """The request that an engine admits."""
    return {
        **{"trial": trial, "phase": phase, "seed": seed, "settings": settings},
        **{"after": after, "until": None, "alone": False, "course": {}},
    }


def _neighbour(trial: str, seed: int, settings: Mapping[str, Any], epochs: float) -> Request:
    """A trial that only fills a slot: it writes no checkpoint before its end."""
    training = {**settings["training"], "epochs": epochs, "reports": 1}
    return _request(trial, seed, {**settings, "training": training}, "search", 0)


def _end_of(engine: Engine) -> str:
    try:
        engine.serve()
    except RuntimeError as error:
        return f"the engine failed: {error.__cause__!r}"
    return "the engine ended"


def _data(home: StudyHome, recorded: Mapping[str, Any]) -> PreparedData:
    """The study's images: in the home's own store, which may have moved, or at the old paths."""
    data = PreparedData.from_dict(recorded)
    beside = {split: home.data / Path(file).name for split, file in data.files.items()}
    moved = {split: str(file) for split, file in beside.items() if file.is_file()}
    return replace(data, files={**data.files, **moved})


def _file(home: StudyHome, trial: TrialHistory, artifact: str) -> Path | None:
    """A file of a trial in the study's home, if it is there."""
    return home.artifact(trial.artifacts[artifact]) if artifact in trial.artifacts else None


def _scores(file: Path) -> dict[str, Tensor]:
    try:
        scores = ImageScores.read(file)
    except DataError as error:
        raise VerificationFailedError(error.what, where=error.where, remedy=error.remedy) from error
    return {"values": torch.from_numpy(scores.values), "draws": torch.from_numpy(scores.draws)}


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(file)
    except ExportError as error:
        raise VerificationFailedError(error.what, where=error.where, remedy=error.remedy) from error
