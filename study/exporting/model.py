"""An arm's best model as a folder, or packed for MLflow; needs no data and no engine."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from study.analysis.answers.costs import cost_to_one_model
from study.analysis.records.history import History, TrialHistory
from study.analysis.records.tables import tables_of
from study.exporting.card import model_card, usage
from study.journal import StudyHome, read_entries
from study.journal.events import SHOWN
from vae_core.atomic import atomic_write, sync_folder
from vae_core.errors import nearest
from vae_core.export import ExportError, Plan, load, picklable, read_tensors, write
from vae_core.geometry import ImageShape

CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """A model that was exported."""

    study: str
    arm: str
    trial: str
    folder: Path
    own: bool
    """Whether loading it imports a user's own code."""

    @property
    def usage(self) -> str:
        """Three lines of Python that use it."""
        return usage(str(self.folder), own=self.own)

    def __str__(self) -> str:
        return f"{self.study}: {self.trial}, the best of {self.arm}, is in {self.folder}\n\n" + (
            self.usage
        )


def export(home: StudyHome, arm: str, folder: Path) -> Exported:
    """Write the best model of ``arm`` into ``folder``.

    The best is the standing confirm run of lowest objective on validation. No user's code is
    imported, and nothing is written but the folder, which appears whole or not at all.

    Args:
        home: the study's.
        arm: the arm's name.
        folder: does not exist yet, or is empty.

    Raises:
        ExportError: there is no such arm, it has no complete confirm run, the weights are gone or
            damaged, or the folder cannot be written.
        ContractError: the model cannot be built.
    """
    records = _Records(home)
    trial = records.best(arm)
    target = _target(folder, home)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{target.name}-", suffix=".partial", dir=target.parent
        ) as scratch:
            made = Path(scratch) / "model"
            own = records.write(trial, made)
            made.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        raise ExportError(
            f"it cannot be written: {error.strerror or error}",
            where=str(target),
            remedy="give a folder that can be created, on a disk with free space",
        ) from error
    return Exported(home.name, arm, trial.trial.name, folder, own)


def pack(home: StudyHome, trial: str, folder: Path) -> None:
    """Make ``folder`` an MLflow model of a confirm run: what ``mlflow.pytorch.load_model`` reads.

    MLflow pickles the model: its other format, pt2, holds one traced function, but this model has
    to encode, decode and sample. The exported folder, which holds no code, is in its extra files.

    Args:
        home: the study's.
        trial: a complete confirm run. If its model is a user's own, its code is imported.
        folder: does not exist yet.

    Raises:
        ExportError: its weights are gone or damaged.
        ContractError: the model cannot be imported or built.
    """
    import mlflow.pytorch

    # It warns that loading a pickle runs code; the docstring and the card say so.
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)
    records = _Records(home)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "exported"
        found = records.trial(trial)
        records.write(found, exported)
        mlflow.pytorch.save_model(
            picklable(load(exported, trust=True)),
            folder,
            serialization_format="pickle",
            # Without names MLflow would load the model in another process to find them.
            pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "mlflow")],
            extra_files=[str(file) for file in sorted(exported.iterdir())],
            metadata={"study": home.name, "arm": found.trial.asked.arm, "trial": trial},
        )


class _Records:
    """What a study's journal says of its models."""

    def __init__(self, home: StudyHome) -> None:
        self._home = home
        self._history = History(read_entries(home.path, *SHOWN))

    @cached_property
    def _trials(self) -> Any:
        return tables_of(self._home.path)["trials"]

    def best(self, arm: str) -> TrialHistory:
        """The standing confirm run of lowest objective on validation."""
        arms = self._history.study.spec["arms"]
        if arm not in arms:
            raise ExportError(f"no arm '{arm}'", where=self._home.name, remedy=nearest(arm, arms))
        trials = (found.trial for found in self._history.trials.values())
        found = [
            (trial.value, trial.name)
            for trial in trials
            if trial.asked.arm == arm and trial.asked.phase == "confirm"
            if trial.state == "complete" and self._history.chosen(trial.name)
            if trial.value is not None and isfinite(trial.value)
        ]
        if not found:
            raise ExportError(
                f"arm '{arm}' has no complete confirm run",
                where=self._home.name,
                remedy=f"resume the study first: {self._home.command('resume')}",
            )
        return self.trial(min(found)[1])

    def trial(self, name: str) -> TrialHistory:
        """The trial called ``name``."""
        return self._history.trials[name]

    def write(self, trial: TrialHistory, folder: Path) -> bool:
        """Write the model of ``trial`` into the new ``folder``; return whether its code is own."""
        weights = read_tensors(self._file(trial, "checkpoint"))
        second = None
        if "second_stage" in trial.artifacts:
            second = read_tensors(self._file(trial, "second_stage"))
        try:
            plan, record = self._plan(trial, second is not None), self._record(trial)
            card = model_card(
                plan,
                record,
                spec=self._history.study.spec,
                features={name: seen[-1] for name, seen in self._history.features.items()},
                cost=cost_to_one_model(self._trials, trial.trial.asked.arm),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(
                f"the journal's records of '{trial.trial.name}' are inconsistent: "
                f"{type(error).__name__}: {error}",
                where=self._home.name,
                remedy="the study's files were changed from outside: restore them from a copy",
            ) from error
        write(folder, plan, weights, second, record)
        with atomic_write(folder / CARD) as file:
            file.write(card.encode())
        return plan.own

    def _file(self, trial: TrialHistory, artifact: str) -> Path:
        file = self._home.artifact(trial.artifacts.get(artifact, ""))
        if file is None:
            name = trial.trial.name
            raise ExportError(
                f"the weights of '{name}' are not in the study's home any more",
                where=str(self._home.trial(name)),
                remedy="restore the trial's files from a copy, or from its run in MLflow",
            )
        return file

    def _row(self, trial: TrialHistory) -> dict[str, Any]:
        found = self._trials.filter(pc.equal(self._trials["trial"], trial.trial.name))
        row: dict[str, Any] = found.to_pylist()[0]
        return row

    def _plan(self, trial: TrialHistory, staged: bool) -> Plan:
        study = self._history.study
        channels, height, width = study.data["shape"]
        return Plan(
            model=trial.trial.asked.settings["model"],
            shape=ImageShape(channels, height, width),
            head=json.loads(trial.shape).get("head"),
            sigma2=refitted_variance(self._row(trial)),
            second_stage=study.spec["evaluation"]["second_stage"] if staged else None,
        )

    def _record(self, found: TrialHistory) -> dict[str, Any]:
        study, row = self._history.study, self._row(found)
        trial, asked = found.trial, found.trial.asked
        return {
            "study": self._home.name,
            "arm": asked.arm,
            "trial": trial.name,
            "seed": asked.seed,
            "chosen_from": asked.chosen_from,
            "objective": {"name": study.spec["objective"], "validation": trial.value},
            "settings": dict(asked.settings),
            "at_the_end": {name: row.get(name) for name in ("sigma", "k", "beta")},
            "test": {
                name.removeprefix("test/"): value
                for name, value in found.metrics.items()
                if name.startswith("test/") and value is not None and isfinite(value)
            },
            "data": {name: study.data[name] for name in ("name", "shape", "counts", "sha256")},
            "cost": {
                "images": row["images"],
                "device_seconds": row["billed_seconds"],
                "standard_seconds": row["standard_seconds"],
            },
            "numerics_key": dict(trial.key),
            "code_version": study.code_version,
        }


def refitted_variance(metrics: Mapping[str, Any]) -> float | None:
    """The noise variance of a trial's calibrated negative ELBOs, from its records.

    Both are S/(2 sigma^2) + D/2 ln(2 pi sigma^2) + R with one sigma^2, so their difference gives
    it: (S' - S) / 2 (E' - E - R' + R).

    Args:
        metrics: a row of `trials.parquet`.

    Returns:
        None where they are missing, or validation and test are too nearly equal.
    """
    names = [
        f"{split}_{n}"
        for n in ("S", "R", "calibrated_negative_elbo")
        for split in ("validation", "test")
    ]
    values = [value for name in names if (value := metrics.get(name)) is not None]
    if len(values) < len(names):
        return None
    S, R, elbo = (
        test - validation for validation, test in zip(values[::2], values[1::2], strict=True)
    )
    found = S / (2 * (elbo - R)) if elbo != R else nan
    return found if isfinite(found) and found > 0 else None


def _target(folder: Path, home: StudyHome) -> Path:
    """The path of ``folder``, if a model may be written there."""

    def refused(what: str) -> ExportError:
        return ExportError(what, where=str(folder), remedy="give a folder that does not exist yet")

    target = folder.absolute()
    if target.is_symlink():
        raise refused("this is a link")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise refused("this is a folder with something in it" if target.is_dir() else "a file")
    target = target.resolve()
    if target.is_relative_to(home.path.resolve()):
        raise refused("this is inside the study's own folder")
    return target
