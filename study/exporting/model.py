"""An arm's best model as a folder of its own, or packed for MLflow; needs no data and no engine."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from study.analysis import build_tables
from study.analysis.answers.costs import Amount, CostToOneModel, cost_to_one_model
from study.analysis.records.history import History, TrialHistory
from study.journal import StudyHome, read_events
from vae_core.errors import nearest
from vae_core.export import (
    ExportError,
    Plan,
    load,
    read_tensors,
    write,
)
from vae_core.geometry import ImageShape

CARD = "README.md"
UNITS = {
    "S": "squared error per image, x in [0, 1]",
    "MSE": "squared error per pixel, x in [0, 1]",
    "R": "nats per image",
    "calibrated_elbo": "nats per image, a negative ELBO: lower is better",
    "bits_per_dim": "bits per dimension, lower is better",
    "own_elbo": "nats per image, a negative ELBO: lower is better",
    "own_bits_per_dim": "bits per dimension, lower is better",
    "discretised_bits_per_dim": "bits per dimension, of bytes: lower is better",
    "iwae": "nats per image, lower is better",
    "nll": "nats per image, lower is better",
    "active_units": "latents",
    "variance_law": "1 at an optimum",
    "smoothness": "1 at constant speed on a straight path",
}
"""Of the test metrics that have one; distances and shares have none."""


@dataclass(frozen=True)
class Exported:
    """A model that was exported."""

    study: str
    arm: str
    trial: str
    folder: Path
    own: bool
    """Whether loading it imports code of a person's own."""

    @property
    def usage(self) -> str:
        """Three lines of Python that use it."""
        return _usage(str(self.folder), own=self.own)

    def __str__(self) -> str:
        return f"{self.study}: {self.trial}, the best of {self.arm}, is in {self.folder}\n\n" + (
            self.usage
        )


def export(home: StudyHome, arm: str, folder: Path) -> Exported:
    """Write the best model of ``arm`` into ``folder``.

    The best is the standing confirm run of lowest objective on validation. No code of a person's
    own is imported, and nothing is written but the folder, which is there whole or not at all.

    Args:
        home: the study's.
        arm: the arm's name.
        folder: is not there yet, or empty.

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
    except OSError as error:
        raise ExportError(
            f"it cannot be written: {error.strerror or error}",
            where=str(target),
            remedy="give a folder that can be made, on a disk with space left",
        ) from error
    return Exported(home.name, arm, trial.trial, folder, own)


def pack(home: StudyHome, trial: str, folder: Path) -> None:
    """Make ``folder`` an MLflow model of a confirm run: what ``mlflow.pytorch.load_model`` reads.

    MLflow pickles the model: its other format, pt2, holds one traced function, and this is to
    encode, decode and sample. The exported folder, which holds no code, is among its extra files.

    Args:
        home: the study's.
        trial: a complete confirm run. Where its model is a person's own, its code is imported.
        folder: is not there yet.

    Raises:
        ExportError: its weights are gone or damaged.
        ContractError: the model cannot be imported or built.
    """
    import mlflow.pytorch

    # It warns that pickles run code when they are loaded, which is said above and to the reader.
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)
    records = _Records(home)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "exported"
        found = records.trial(trial)
        records.write(found, exported)
        mlflow.pytorch.save_model(
            load(exported, trust=True),
            folder,
            serialization_format="pickle",
            # Named, or MLflow would load the model in another process to find them.
            pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "mlflow")],
            extra_files=[str(file) for file in sorted(exported.iterdir())],
            metadata={"study": home.name, "arm": found.arm, "trial": trial},
        )


class _Records:
    """A study's journal, as far as its models go."""

    def __init__(self, home: StudyHome) -> None:
        self._home = home
        self._history = History(read_events(home.path))

    @cached_property
    def _trials(self) -> Any:
        return build_tables(read_events(self._home.path))["trials"]

    def best(self, arm: str) -> TrialHistory:
        """The standing confirm run of lowest objective on validation."""
        arms = self._history.study["spec"]["arms"]
        if arm not in arms:
            raise ExportError(f"no arm '{arm}'", where=self._home.name, remedy=nearest(arm, arms))
        found = [
            (trial.value, trial.trial)
            for trial in self._history.trials.values()
            if trial.arm == arm and trial.phase == "confirm" and trial.state == "complete"
            if trial.value is not None and isfinite(trial.value) and self._history.chosen(trial)
        ]
        if not found:
            raise ExportError(
                f"arm '{arm}' has no complete confirm run",
                where=self._home.name,
                remedy=f"let it go on first: study resume {self._home.name}",
            )
        return self.trial(min(found)[1])

    def trial(self, name: str) -> TrialHistory:
        """The trial called ``name``."""
        return self._history.trials[name]

    def write(self, trial: TrialHistory, folder: Path) -> bool:
        """Write the model of ``trial`` into the new ``folder``; whether its code is one's own."""
        weights = read_tensors(self._file(trial, "checkpoint"))
        second = None
        if "second_stage" in trial.artifacts:
            second = read_tensors(self._file(trial, "second_stage"))
        try:
            plan, record = self._plan(trial, second is not None), self._record(trial)
            card = "\n".join(self._card(trial, plan, record)) + "\n"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(
                f"the journal's records of '{trial.trial}' cannot be understood: "
                f"{type(error).__name__}: {error}",
                where=self._home.name,
                remedy="the study's files were changed from outside: restore them from a copy",
            ) from error
        write(folder, plan, weights, second, record)
        (folder / CARD).write_text(card)
        return plan.own

    def _file(self, trial: TrialHistory, artifact: str) -> Path:
        file = self._home.artifact(trial.artifacts.get(artifact, ""))
        if file is None:
            raise ExportError(
                f"the weights of '{trial.trial}' are not in the study's home any more",
                where=str(self._home.trial(trial.trial)),
                remedy="restore the trial's files from a copy, or from its run in MLflow",
            )
        return file

    def _row(self, trial: TrialHistory) -> dict[str, Any]:
        found = self._trials.filter(pc.equal(self._trials["trial"], trial.trial))
        row: dict[str, Any] = found.to_pylist()[0]
        return row

    def _plan(self, trial: TrialHistory, staged: bool) -> Plan:
        study = self._history.study
        channels, height, width = study["data"]["shape"]
        return Plan(
            model=trial.settings["model"],
            shape=ImageShape(channels, height, width),
            head=json.loads(trial.shape).get("head"),
            sigma2=refitted_variance(self._row(trial)),
            second_stage=study["spec"]["evaluation"]["second_stage"] if staged else None,
        )

    def _record(self, trial: TrialHistory) -> dict[str, Any]:
        study, row = self._history.study, self._row(trial)
        return {
            "study": self._home.name,
            "arm": trial.arm,
            "trial": trial.trial,
            "seed": trial.seed,
            "chosen_from": trial.chosen_from,
            "objective": {"name": study["spec"]["objective"], "validation": trial.value},
            "settings": dict(trial.settings),
            "at_the_end": {name: row.get(name) for name in ("sigma", "k", "beta")},
            "test": {
                name.removeprefix("test/"): value
                for name, value in trial.metrics.items()
                if name.startswith("test/") and value is not None and isfinite(value)
            },
            "data": {name: study["data"][name] for name in ("name", "shape", "counts", "sha256")},
            "cost": {
                "images": row["images"],
                "device_seconds": row["billed_seconds"],
                "standard_seconds": row["standard_seconds"],
            },
            "numerics_key": dict(trial.key),
            "code_version": study["code_version"],
        }

    def _card(self, trial: TrialHistory, plan: Plan, record: Mapping[str, Any]) -> Iterator[str]:
        spec, data = self._history.study["spec"], record["data"]
        settings, end = record["settings"], record["at_the_end"]
        objective = record["objective"]
        yield f"# {self._home.name}, {trial.arm}"
        yield ""
        yield (
            f"A variational autoencoder for images of {plan.shape} (channels x height x width), "
            f"trained by the study {self._home.name}: of the complete confirm runs of its arm "
            f"{trial.arm} the one of lowest {objective['name']} on validation "
            f"({objective['validation']:.6g}), {trial.trial}, seed {trial.seed}."
        )
        if spec.get("question"):
            yield f"\nThe study's question: {spec['question']}"
        yield from (
            "",
            "## Use",
            "",
            "```python",
            _usage("path/to/this/folder", own=plan.own),
            "```",
            "",
        )
        yield (
            "It needs the package `vae_core` and torch. `images` are [N, "
            f"{', '.join(map(str, plan.shape.chw))}]: uint8, or floats in [0, 1], where a byte v "
            f"stands for (v + 1/2)/256. `model.encode(images)` gives posterior means [N, "
            f"{plan.model['latent']}], `model.decode(z)` images."
        )
        if plan.second_stage is not None:
            yield '`model.sample(16, generator="second_stage")` draws from its second stage.'
        if plan.own:
            yield (
                f"\nThe model's code is not in this folder: `{plan.model['name']}` has to be "
                "importable, and `trust=True` says that it may be run."
            )
        yield from ("", "## Data", "")
        yield f"{data['name']}, images of {plan.shape}, prepared as:"
        yield from ("", "| split | images | SHA-256 of the prepared file |", "|---|---|---|")
        for split, count in data["counts"].items():
            sha256 = data["sha256"].get(split, "not recorded")
            yield f"| {split} | {count:,} | `{sha256}` |"
        yield ""
        yield f"Held out of train for validation: {spec['data'].get('validation', 'not recorded')}."
        yield from ("", "## Setting", "", "```json", json.dumps(settings, indent=2), "```", "")
        yield f"Balancer: {settings['balancer']['name']}. In the last segment of training: " + (
            ", ".join(f"{name} {_number(value)}" for name, value in end.items()) + "."
        )
        if plan.head is not None:
            yield f"The decoder predicts its own noise variance, for each {plan.head}."
        yield (
            "sigma^2 refitted on training images, the Gaussian observation noise that the "
            f"calibrated -ELBO is computed with: {_number(plan.sigma2)} (x in [0, 1])."
        )
        yield from ("", "## On test", "", "| metric | value | unit |", "|---|---|---|")
        for name, value in record["test"].items():
            yield f"| {name} | {value:.6g} | {UNITS.get(name, '')} |"
        for name, seen in self._history.features.items():
            n, sha256 = (seen[-1].get(key, "not recorded") for key in ("n", "sha256"))
            yield f"\nDistances by {name}: of {n} test images, in its features (`{sha256}`)."
        yield from ("", "## What it cost", "", "| | images | device seconds | standard seconds |")
        yield "|---|---|---|---|"
        cost = record["cost"]
        this = Amount(cost["images"], cost["device_seconds"], cost["standard_seconds"])
        yield _cost("this run", this)
        yield from _arms_cost(cost_to_one_model(self._trials, trial.arm))
        yield ""
        yield (
            "Standard seconds are images times the timed seconds per image of such a model: free "
            "of neighbours and crashes."
        )
        yield from ("", "## Made with", "")
        yield from (f"- {name}: {value}" for name, value in record["numerics_key"].items())
        yield f"- code version: {record['code_version']}"


def refitted_variance(metrics: Mapping[str, Any]) -> float | None:
    """The noise variance that a trial's calibrated -ELBOs were computed with, from the records.

    Both have S/(2 sigma^2) + D/2 ln(2 pi sigma^2) + R with one sigma^2, which their difference
    gives: (S' - S) / 2 (E' - E - R' + R).

    Args:
        metrics: a row of `trials.parquet`.

    Returns:
        None where they are not there, or validation and test agree too well to tell.
    """
    names = [
        f"{split}_{n}" for n in ("S", "R", "calibrated_elbo") for split in ("validation", "test")
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
    """Where ``folder`` lies, if a model may be put there."""

    def refused(what: str) -> ExportError:
        return ExportError(what, where=str(folder), remedy="give a folder that is not there yet")

    target = folder.absolute()
    if target.is_symlink():
        raise refused("this is a link")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise refused("this is a folder with something in it" if target.is_dir() else "a file")
    target = target.resolve()
    if target.is_relative_to(home.path.resolve()):
        raise refused("this is inside the study's own folder")
    return target


def _usage(folder: str, *, own: bool) -> str:
    trust = ", trust=True" if own else ""
    return (
        "from vae_core.export import load\n"
        f"model = load({json.dumps(folder)}{trust})\n"
        "x, new = model.reconstruct(images), model.sample(16, seed=0)"
    )


def _arms_cost(cost: CostToOneModel) -> Iterator[str]:
    """Rows of the cost to one model of the arm."""
    if cost.search is not None:
        yield _cost("one search of its arm", cost.search)
    if cost.total is None:
        yield f"| one model of its arm: {cost.why} | | | |"
    else:
        yield _cost("one model of its arm, search and final run", cost.total)


def _cost(name: str, amount: Amount) -> str:
    standard = "" if amount.standard is None else f"{amount.standard:,.1f}"
    return f"| {name} | {amount.images:,.0f} | {amount.billed:,.1f} | {standard} |"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.6g}"
