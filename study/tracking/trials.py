"""The runs of a study's trials, and what an arm's run shows of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from study.formatting import setting
from study.journal.course import Course, in_words
from study.journal.events import StudyDescribed, TrialAsked
from study.journal.trial import Choices, Trial, standing
from study.tracking.changes import Change, flatten
from study.tracking.views import axis

CHECKPOINT = "checkpoint"  # the trained model among a trial's artifacts
_VALUES = 120  # characters of searched values in a run's name, which has 250


@dataclass(eq=False)
class TrackedTrial:
    """A trial and what only its run in MLflow needs."""

    trial: Trial
    started: float | None = None
    """When it first took a slot, in seconds since the epoch; None: it has no run yet."""
    last: float | None = None
    """The objective on validation at its last report."""
    device_seconds: float = 0.0
    engine_deaths: int = 0
    artifacts: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name, unique in a study and recognisable by its first few letters.

        MLflow's list of runs shows no more of them.
        """
        asked = self.trial.asked
        values = (f"{key.rpartition('.')[2]}={setting(v)}" for key, v in asked.params.items())
        parts = [f"#{asked.number}" if asked.phase == "search" else f"seed {asked.seed}"]
        if asked.retry_of is not None:
            parts.append(f"retry {asked.trial.rpartition('.retry')[2]}")
        parts += [shorten(" ".join(values), _VALUES), asked.arm, f"r{asked.replicate}"]
        if asked.chosen_from is not None:
            parts.append(f"of #{asked.chosen_from}")
        return " ".join(filter(None, parts))

    @property
    def tags(self) -> dict[str, str]:
        """What people read of it that does not change."""
        asked = self.trial.asked
        tags = {name: str(getattr(asked, name)) for name in ("replicate", "number", "seed")}
        for name in ("chosen_from", "retry_of", "drawn_by", "stage"):
            if (value := getattr(asked, name)) not in (None, ""):
                tags[name] = str(value)
        return tags

    @property
    def objective(self) -> float | None:
        """The objective on validation, of a complete trial."""
        return self.trial.value if self.trial.state == "complete" else None

    def tag_deaths(self, change: Change) -> None:
        """Tag the run with the number of engines that died while they trained the trial."""
        if self.engine_deaths:
            change.tags["engine_deaths"] = str(self.engine_deaths)


def arm_kind(hand_tuned: bool) -> str:
    """Which side of the comparison an arm is on."""
    return "hand-tuned" if hand_tuned else "automatic"


def arm_name(arm: str, *, hand_tuned: bool) -> str:
    """The name of an arm's run; no trial's begins like it."""
    return f"{arm} ({arm_kind(hand_tuned)})"


def best_confirmed(runs: Iterable[TrackedTrial], choices: Choices) -> TrackedTrial | None:
    """The standing confirm run of lowest objective that left a model."""
    found = [
        (run.objective, run.trial.name, run)
        for run in standing_runs(runs, choices)
        if CHECKPOINT in run.artifacts and run.objective is not None
    ]
    return min(found)[2] if found else None


def standing_runs(runs: Iterable[TrackedTrial], choices: Choices) -> list[TrackedTrial]:
    """The confirm runs that stand (:func:`study.journal.trial.standing`)."""
    confirmed = {run.trial: run for run in runs if run.trial.asked.phase == "confirm"}
    return [confirmed[trial] for trial in standing(confirmed, choices)]


def search_history(runs: Sequence[TrackedTrial]) -> str:
    """The trials of an arm's searches as CSV: their settings, outcomes and costs."""
    searched = [run for run in runs if run.trial.asked.phase == "search"]
    names = list(dict.fromkeys(name for run in searched for name in run.trial.asked.params))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            "number",
            *names,
            "value",
            "state",
            "replicate",
            "images",
            "device_seconds",
            "seed",
            "drawn_by",
        ]
    )
    for run in searched:
        trial, asked = run.trial, run.trial.asked
        row = [asked.number, *(asked.params.get(name) for name in names), trial.value]
        row += [trial.state if trial.ended else "running", asked.replicate, trial.images]
        table.writerow([*row, run.device_seconds, asked.seed, asked.drawn_by])
    return text.getvalue()


def arm_params(study: StudyDescribed, arm: str) -> dict[str, str]:
    """What an arm's run has as params: what it trains with, and how it searches."""
    spec = study.spec["arms"][arm]
    params = {"balancer": spec["balancer"]["name"]}
    if search := spec.get("search"):
        params |= {"sampler": search["sampler"]["name"], "searched": ", ".join(search["space"])}
        if search.get("pruner"):
            params["pruner"] = search["pruner"]["name"]
        params |= flatten({name: search[name] for name in ("trials", "replicates")})
    return params


def trial_params(study: StudyDescribed, asked: TrialAsked) -> dict[str, str]:
    """What a trial's run has as params: its arm, all it trains with, and what was searched."""
    params = {"arm": asked.arm} | flatten(asked.settings) | flatten(asked.params)
    search = study.spec["arms"][asked.arm].get("search")
    for name, distribution in search["space"].items() if search else ():
        if (shown := axis(name, distribution)) != name and asked.params.get(name, 0) > 0:
            params[shown] = f"{math.log10(asked.params[name]):.4g}"
    if course := Course.of(asked.course):
        params["course"] = ", ".join(f"{k}={v}" for k, v in in_words(asked.params, course).items())
        params |= {"goes_on_from": course.parent} if course.parent else {}
    return params
