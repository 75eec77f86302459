"""What is left to run of a study, from its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from study.analysis.records.history import History
from study.journal import Entry, StudyHome, Trial
from study.journal.commands import STOP, Command, pending
from study.journal.events import CapReached
from study.launching.checks import nothing_left
from study.search.budget import Spending
from study.spec import StudySpec

ImagesOf = Callable[[Mapping[str, Any]], int]
"""Images that a trial of these training settings trains on."""


@dataclass(frozen=True)
class ArmPlan:
    """What an arm would run."""

    arm: str
    search_trials: int
    """Begun ones included; ``confirm_runs`` likewise."""
    confirm_runs: int
    images: int
    """Without those that trials have trained on already."""
    ended: int
    """Trials that have ended."""


@dataclass(frozen=True)
class Past:
    """What the launches of a study before this one left."""

    spent: Mapping[str, float]
    """By the spec's key of its cap."""
    reached: CapReached | None
    """The cap that has been reached."""
    finished: bool
    """A launch would only report."""
    commands: Sequence[Command]
    """Those that a launch executes first."""

    @classmethod
    def read(cls, spec: StudySpec, entries: Sequence[Entry], home: StudyHome) -> Self:
        """From the journal's ``entries``, up to the last of them."""
        spending, now = Spending(), entries[-1].time if entries else 0.0
        for entry in entries:
            spending.follow(entry)
        return cls(
            spent=spending.amounts(now),
            reached=spending.exceeded(spec, now),
            finished=nothing_left(spec, entries, home),
            commands=[command for _, command in pending(home.path) if command != STOP],
        )


def remaining(spec: StudySpec, entries: Iterable[Entry], images_of: ImagesOf) -> list[ArmPlan]:
    """What each arm of ``spec`` has left, with nothing pruned; all of it for a study not begun.

    A search that goes on may choose another configuration: all its confirm runs are counted.
    """
    history = History(entries)
    trials: dict[str, list[Trial]] = {arm: [] for arm in spec.arms}
    for found in history.trials.values():
        trials.setdefault(found.trial.asked.arm, []).append(found.trial)
    return [_plan(spec, arm, trials[arm], history, images_of) for arm in spec.arms]


def _plan(
    spec: StudySpec, arm: str, trials: list[Trial], history: History, images_of: ImagesOf
) -> ArmPlan:
    open_trials = [trial for trial in trials if not trial.ended]
    searched, confirmed = 0, 0  # of those that are not asked yet
    if f"arm {arm}" not in history.stopped:
        searched, confirmed = _not_asked(spec, arm, trials, history)
    begun = sum(_left_of(trial, images_of) for trial in open_trials)
    whole = images_of(spec.training.model_dump(mode="json"))
    searching = sum(trial.asked.phase == "search" for trial in open_trials)
    return ArmPlan(
        arm=arm,
        search_trials=searching + searched,
        confirm_runs=len(open_trials) - searching + confirmed,
        images=begun + (searched + confirmed) * whole,
        ended=len(trials) - len(open_trials),
    )


def _not_asked(spec: StudySpec, arm: str, trials: list[Trial], history: History) -> tuple[int, int]:
    """Search trials and confirm runs that are still to be asked for."""
    search = spec.arms[arm].search
    searched = confirmed = 0
    for replicate in range(search.replicates if search else 1):
        mine = [trial for trial in trials if trial.asked.replicate == replicate]
        asked = {t.asked.number for t in mine if t.asked.phase == "search"}
        new = search.trials - len(asked) if search else 0
        searched += new
        goes_on = new > 0 or any(t.asked.phase == "search" and not t.ended for t in mine)
        chosen = history.choices.get((arm, replicate)) if search else None
        if search and not goes_on and chosen is None and (arm, replicate) in history.choices:
            continue  # no trial of it is complete: there is nothing to confirm
        runs = {
            t.asked.number
            for t in mine
            if t.asked.phase == "confirm" and t.asked.chosen_from == chosen and not goes_on
        }
        confirmed += len(spec.seeds) - len(runs)
    return searched, confirmed


def _left_of(trial: Trial, images_of: ImagesOf) -> int:
    return max(0, images_of(trial.asked.settings["training"]) - trial.images)
