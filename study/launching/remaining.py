"""What is left to run of a study, from its journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from study.analysis.records.history import History
from study.journal import Entry, StudyHome, Trial
from study.journal.commands import STOP, Command, pending
from study.journal.events import CapReached
from study.launching.checks import nothing_left
from study.search.budget import Spending
from study.search.comparison import DECIDED
from study.search.phases import CHOOSING
from study.spec import StudySpec, arm_roles
from study.spec.design import bounded_arms, confirm_runs

ImagesOf = Callable[[Mapping[str, Any]], int]
"""Images that a trial of these training settings trains on."""


PAIR = "the chosen pair"
"""Stands for the two arms that are not chosen yet."""


@dataclass(frozen=True)
class ArmPlan:
    """What an arm would run; or the pair that is to be chosen, at most."""

    arm: str
    search_trials: int
    """Begun ones included; likewise the others."""
    choosing_runs: int
    """Confirm runs that the pair is chosen by."""
    confirm_runs: int
    """All others."""
    images: int
    """Without those that trials have trained on already."""
    ended: int
    """Trials that have ended."""
    most: bool = False
    """Whether there may be fewer: trials or seeds are added until it is bounded or decided, or it
    is not known how many replicates the chosen arms have."""

    @property
    def trials(self) -> int:
        """All of them."""
        return self.search_trials + self.choosing_runs + self.confirm_runs


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

    A search that goes on may choose another configuration: all its confirm runs are counted. While
    it is not known which pair is chosen, its comparing runs are those of :data:`PAIR`, at most.
    """
    history = History(entries)
    trials: dict[str, list[Trial]] = {arm: [] for arm in spec.arms}
    for found in history.trials.values():
        trials.setdefault(found.trial.asked.arm, []).append(found.trial)
    pair = _pair(spec, history)
    left = {arm: _left(spec, arm, trials[arm], history, pair) for arm in spec.arms}
    chooses = spec.design == "two_stages" and any(mine.chooses for mine in left.values())
    images = images_of(spec.training.model_dump(mode="json"))
    plans = []
    for arm, mine in left.items():
        compared = spec.design != "two_stages" or (arm in pair and not chooses)
        counted = mine if compared else replace(mine, comparing=0)
        search = spec.arms[arm].search
        each = images // search.generations if search else images
        plan = _plan(arm, trials[arm], counted, images_of, (each, images))
        decides = spec.until is not None and arm in pair and counted.comparing > 0
        bounds = arm in bounded_arms(spec) and counted.searched > 0
        plans.append(replace(plan, most=decides or bounds))
    if chooses:
        roles = arm_roles(spec)
        kinds = [
            [mine.comparing for arm, mine in left.items() if roles[arm]["hand_tuned"] is hand]
            for hand in (True, False)
        ]
        runs = sum(map(max, kinds))
        most = spec.until is not None or runs > sum(map(min, kinds))
        plans.append(ArmPlan(PAIR, 0, 0, runs, runs * images, 0, most))
    return plans


@dataclass(frozen=True)
class _Left:
    """Trials of an arm that are still to be asked for."""

    searched: int = 0
    choosing: int = 0
    comparing: int = 0
    """Its other confirm runs, if it is of the pair or there is none."""
    chooses: bool = False
    """Whether a search or a choosing run of it is not over."""


def _pair(spec: StudySpec, history: History) -> tuple[str, ...]:
    """The arms that are compared, as far as known."""
    if spec.primary is not None:
        return spec.primary.hand_tuned, spec.primary.automatic
    return (history.pair.hand, history.pair.automatic) if history.pair else ()


def _plan(
    arm: str, trials: list[Trial], left: _Left, images_of: ImagesOf, each: tuple[int, int]
) -> ArmPlan:
    """``each``: images of one of its search trials, and of a whole training."""
    open_trials = [trial for trial in trials if not trial.ended]
    searching = sum(trial.asked.phase == "search" for trial in open_trials)
    choosing = sum(trial.asked.stage == CHOOSING for trial in open_trials)
    begun = sum(_left_of(trial, images_of) for trial in open_trials)
    return ArmPlan(
        arm=arm,
        search_trials=searching + left.searched,
        choosing_runs=choosing + left.choosing,
        confirm_runs=len(open_trials) - searching - choosing + left.comparing,
        images=begun + left.searched * each[0] + (left.choosing + left.comparing) * each[1],
        ended=len(trials) - len(open_trials),
    )


def _left(
    spec: StudySpec, arm: str, trials: list[Trial], history: History, pair: Collection[str]
) -> _Left:
    if f"arm {arm}" in history.stopped:
        return _Left()
    search, before = spec.arms[arm].search, spec.choosing_seeds or 0
    searched = choosing = comparing = 0
    chooses = False
    whole = confirm_runs(spec, compared=spec.design == "two_stages" or arm in pair)
    for replicate in range(search.replicates if search else 1):
        mine = [trial for trial in trials if trial.asked.replicate == replicate]
        asked = {t.asked.number for t in mine if t.asked.phase == "search"}
        over = _is_bounded(history, arm, len(asked))
        new = search.trials - len(asked) if search and not over else 0
        searched += new
        goes_on = new > 0 or any(t.asked.phase == "search" and not t.ended for t in mine)
        chosen = history.choices.get((arm, replicate)) if search else None
        if search and not goes_on and chosen is None and (arm, replicate) in history.choices:
            continue  # no trial of it is complete: there is nothing to confirm
        runs = [
            t
            for t in mine
            if t.asked.phase == "confirm" and t.asked.chosen_from == chosen and not goes_on
        ]
        numbers = {run.asked.number for run in runs}
        chosen_by = len([number for number in numbers if number < before])
        choosing += before - chosen_by
        comparing += max(0, whole - before - (len(numbers) - chosen_by))
        living = any(run.asked.number < before and not run.ended for run in runs)
        chooses = chooses or goes_on or chosen_by < before or living
    looks = list(history.looks.values())
    if looks and looks[-1].outcome in DECIDED and arm in pair and not chooses:
        comparing = 0
    return _Left(searched, choosing, comparing, chooses)


def _is_bounded(history: History, arm: str, trials: int) -> bool:
    """Whether a look at so many trials of ``arm`` has ended its search."""
    looks = history.search_looks.get(arm)
    return looks is not None and looks[-1].bounded and looks[-1].trials == trials


def _left_of(trial: Trial, images_of: ImagesOf) -> int:
    return max(0, images_of(trial.asked.settings["training"]) - trial.images)
