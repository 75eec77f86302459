"""The trials of a study as its events tell them, and what an arm's run says of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from study.tracking.changes import Change

CHECKPOINT = "checkpoint"  # name under which an `end` event lists the trained model


@dataclass
class Trial:
    """One trial, as the events so far tell it."""

    data: Mapping[str, Any]  # of its `trial` event
    started: float | None = None
    numerics: str = ""
    step: int = 0
    images: int = 0
    device_seconds: float = 0.0
    deaths: int = 0  # engines that died with it aboard
    end: Mapping[str, Any] | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people read: unique in a study, and told apart by its first few letters.

        MLflow's list of runs shows no more of them.
        """
        d = self.data
        again = "" if d["retry_of"] is None else f" retry {d['trial'].rpartition('.retry')[2]}"
        of = f"{again} r{d['replicate']} {d['arm']} {d['phase']}"
        if d["phase"] == "search":
            return f"#{d['number']}{of}"
        chosen = d["chosen_from"]
        return f"seed {d['seed']}{of}" + ("" if chosen is None else f" of #{chosen}")

    @property
    def value(self) -> float | None:
        """The objective on validation, of a trial that came to its end."""
        if self.end is None or self.end["state"] != "complete":
            return None
        value: float | None = self.end.get("value")
        return value

    def tag_deaths(self, change: Change) -> None:
        """Say on the trial's run how many engines died with it aboard, if any did."""
        if self.deaths:
            change.tags["study.engine_deaths"] = str(self.deaths)


def arm_name(arm: str, spec: Mapping[str, Any]) -> str:
    """What people read as the name of an arm's run: no trial's begins so."""
    return f"{arm} ({'hand-tuned' if spec['balancer']['name'] == 'fixed_beta' else 'automatic'})"


@dataclass
class SoFar:
    """How far a replicate's search is."""

    ended: int = 0
    best: float | None = None
    """The lowest objective of the trials that have ended."""

    def add(self, trial: Trial) -> None:
        """Take in a trial that has ended."""
        self.ended += 1
        if trial.value is not None:
            self.best = trial.value if self.best is None else min(self.best, trial.value)


def confirm_mean(trials: Iterable[Trial], choices: Mapping[int, int]) -> tuple[int, float | None]:
    """How many confirm runs have ended, and the mean objective of those that stand."""
    confirmed = [trial for trial in trials if trial.end and trial.data["phase"] == "confirm"]
    values = [t.value for t in standing(confirmed, choices) if t.value is not None]
    return len(confirmed), fmean(values) if values else None


def best_confirmed(trials: Iterable[Trial], choices: Mapping[int, int]) -> Trial | None:
    """The standing confirm run of lowest objective that left a model."""
    found = [
        (trial.value, trial.data["trial"], trial)
        for trial in standing(trials, choices)
        if CHECKPOINT in trial.artifacts and trial.value is not None
    ]
    return min(found)[2] if found else None


def standing(trials: Iterable[Trial], choices: Mapping[int, int]) -> list[Trial]:
    """Confirm runs of the latest choices (replicate -> number), or of an arm that chooses none."""
    return [
        trial
        for trial in trials
        if trial.data["phase"] == "confirm"
        and trial.data["chosen_from"] in {None, choices.get(trial.data["replicate"])}
    ]


def search_history(trials: Sequence[Trial]) -> str:
    """The trials of an arm's searches as CSV: what was tried, what came of it, what it cost."""
    searched = [trial for trial in trials if trial.data["phase"] == "search"]
    names = list(dict.fromkeys(name for trial in searched for name in trial.data["params"]))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["number", *names, "value", "state", "replicate", "images", "device_seconds", "seed"]
    )
    for trial in searched:
        d, end = trial.data, trial.end or {"state": "running"}
        row = [d["number"], *(d["params"].get(name) for name in names), end.get("value")]
        row += [end["state"], d["replicate"], trial.images, trial.device_seconds, d["seed"]]
        table.writerow(row)
    return text.getvalue()
