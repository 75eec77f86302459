"""What is to be written to a run in MLflow, in plain values: no MLflow here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Pack = Callable[[str, Path], None]
"""Writes a trial's model into a new folder, as an MLflow model."""

STUDY = "study"  # key of the study's own run
NOTE = "mlflow.note.content"  # the tag that MLflow shows as a description, in Markdown
ANSWERED = "study.answers_of"  # the tag that names the end of the study whose answers a run holds
PARENT = "mlflow.parentRunId"  # the tag that puts a run under another in MLflow's pages
NOT_YET = "not yet"  # the value of a tag for a result, until there is one
ARM_RESULTS = ("against", "break_even", "cost", "score", "setting")
"""Tags of an arm's run that its results fill."""
STUDY_RESULTS = ("answer", "break_even", "cost", "difference", "distrust")
"""Likewise of the study's."""
PRUNED_AT = "objective_when_pruned"  # the metric with a pruned trial's last value


def arm_key(arm: str) -> str:
    """Key of an arm's run."""
    return f"arm/{arm}"


def trial_key(trial: str) -> str:
    """Key of a trial's run."""
    return f"trial/{trial}"


def parent_key(tags: Mapping[str, str]) -> str | None:
    """Key of the run that the run with these tags belongs under; None for the study's own."""
    if tags["study.kind"] == "trial":
        return arm_key(tags["study.arm"])
    return STUDY if tags["study.kind"] == "arm" else None


def model_name(study: str, arm: str) -> str:
    """Name of an arm's registered model: no other arm of any study has it.

    A dot is in no name of a study or an arm, and needs no quoting in ``models:/NAME@best``.
    """
    return f"{study}.{arm}"


class NotHeldError(Exception):
    """Another driver has taken the study over: nothing more may be written."""


class DeletedError(Exception):
    """Runs of the study, or its experiment, were deleted in MLflow."""


class Point(NamedTuple):
    """One value of one metric; ``time`` in milliseconds since the epoch."""

    name: str
    value: float
    time: int
    step: int


class Run(NamedTuple):
    """What a run is created with; ``started`` in milliseconds since the epoch."""

    name: str
    parent: str | None
    tags: dict[str, str]
    started: int


class Model(NamedTuple):
    """A model to register, of the trial ``trial`` whose run's key is ``run``.

    ``former`` is the name under which earlier versions of this platform registered it.
    """

    name: str
    former: str
    run: str
    trial: str
    about: str


@dataclass
class Change:
    """Everything that one run has not received yet, later events merged into earlier ones.

    ``sequence`` and ``time`` are those of the last event in it, ``items`` the numbers of all of
    them (to count what is unsent).
    """

    key: str
    sequence: int = -1
    time: float = 0.0
    items: set[int] = field(default_factory=set)
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    answers: list[Point] = field(default_factory=list)  # step: how often the study had ended before
    tags: dict[str, str] = field(default_factory=dict)
    experiment: dict[str, str] = field(default_factory=dict)  # its tags: views, and the answer
    files: dict[str, list[Path]] = field(default_factory=dict)  # folder in the run -> files
    texts: dict[str, str] = field(default_factory=dict)  # file in the run -> its text
    inputs: bool = False  # the dataset is to be logged as the run's input
    model: Model | None = None
    status: str | None = None  # RUNNING, FINISHED, KILLED or FAILED
    ended: int | None = None  # milliseconds since the epoch

    def end(self, status: str, state: str, time: int, reason: str = "") -> None:
        """The run ended at ``time`` (milliseconds), in the study's own ``state``."""
        self.status, self.ended = status, time
        self.tags["state"] = state
        if reason:
            self.tags["reason"] = reason

    def reopen(self, *, reason: bool) -> None:
        """The run continues; ``reason`` is whether it holds a reason for its earlier end."""
        self.status, self.ended = "RUNNING", None
        self.tags["state"] = "running"
        if reason:
            self.tags["reason"] = ""


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time. Equal events give equal timestamps, so they can be sent again."""
    return int(seconds * 1000)


def created_tag(time: float) -> str:
    """A study's first time as a tag: tells apart studies of one name on a shared server."""
    return f"{time:.6f}"


def points(values: Mapping[str, float | None], time: float, step: int) -> list[Point]:
    """Metrics of one event. Infinity becomes NaN: SQL stores would draw it as 1.8e308."""
    return [
        Point(name, value if math.isfinite(value) else math.nan, milliseconds(time), step)
        for name, value in values.items()
        if value is not None
    ]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as MLflow params: dotted keys, text values."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value)
    return flat
