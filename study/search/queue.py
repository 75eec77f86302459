"""The trials a study has asked for, sorted by what they wait for.

Every change of a trial's place is made here and accounted for at once, so that nothing a driver
does at a report or an ask takes longer in a study of more trials.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from study.journal import Event, Trial
from study.journal.events import Reported, TrialEnded
from study.search.phases import Phase
from vae_core.errors import UserError


@dataclass(eq=False)
class QueuedTrial:
    """A trial and its place in the queue."""

    trial: Trial
    phase: Phase
    index: int = 0
    """How many trials the study had asked for before it."""
    running: bool = False
    """Handed out and not returned."""
    held: bool = False
    """At a report where its whole batch is to be decided on."""
    objective: float | None = None
    """Of its last report, on validation."""
    best: float = math.inf
    """The lowest of its reports, on validation; infinite before the first finite one."""
    end: TrialEnded | None = None
    """How it ended; None before."""
    reported: set[tuple[str, int]] = field(default_factory=set)
    """(engine, step) of every report that is in the journal."""

    def apply(self, event: Event, objective: str) -> None:
        """Take in an event of this trial; ``objective`` is its metric's name in reports."""
        over = self.ended
        self.trial.apply(event)
        if isinstance(event, Reported):
            self.reported.add((event.engine, event.step))
            if not event.redone:
                self.objective = event.metrics.get(objective)
                if self.objective is not None and math.isfinite(self.objective):
                    self.best = min(self.best, self.objective)
        elif isinstance(event, TrialEnded) and not over:
            self.end = event

    @property
    def name(self) -> str:
        """Unique in the study."""
        return self.trial.name

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever state."""
        return self.trial.ended

    @property
    def ready(self) -> bool:
        """Whether it could be handed out."""
        return not (self.ended or self.running or self.held)


@dataclass
class Batch:
    """What a phase has asked for and not told Optuna about yet."""

    trials: list[QueuedTrial] = field(default_factory=list)
    """In the order they were asked."""
    living: int = 0
    """How many have not ended."""
    held: int = 0
    """How many of them are held."""
    ready: list[QueuedTrial] = field(default_factory=list)
    """Those that could be handed out, in the order they were asked."""

    @property
    def over(self) -> bool:
        """Whether all of it has ended, so that Optuna can be told."""
        return not self.living

    @property
    def reached(self) -> bool:
        """Whether all that have not ended are held, so that the pruner can decide."""
        return 0 < self.living == self.held


class Queue:
    """A study's trials and its phases' batches.

    Attributes:
        trials: all of them by name, in the order they were asked.
        running: names of those that were handed out and are not returned.
    """

    def __init__(self) -> None:
        self.trials: dict[str, QueuedTrial] = {}
        self.running: set[str] = set()
        self._batches: dict[str, Batch] = {}

    def batch(self, phase: Phase) -> Batch:
        """The batch of ``phase`` that Optuna is not told about yet."""
        return self._batches.setdefault(phase.name, Batch())

    def of(self, phase: Phase) -> list[QueuedTrial]:
        """All trials of ``phase``; looks through the whole study."""
        return [trial for trial in self.trials.values() if trial.phase.name == phase.name]

    def of_arm(self, arm: str) -> list[QueuedTrial]:
        """All trials of ``arm``; looks through the whole study."""
        return [queued for queued in self.trials.values() if queued.trial.asked.arm == arm]

    def known(self, name: str, study: str) -> QueuedTrial:
        """The trial of that name.

        Raises:
            UserError: ``study`` has none.
        """
        if name not in self.trials:
            raise UserError(f"no trial '{name}'", where=study)
        return self.trials[name]

    def to_retry(self, name: str, study: str) -> tuple[QueuedTrial, int]:
        """The trial of that name, which may be run again, and how often it has been run.

        Raises:
            UserError: there is none, or it has not failed and was not pruned, or it was retried
                already: then the last retry is the one to retry.
        """
        old = self.known(name, study)
        if old.trial.state not in {"failed", "pruned"}:
            state = old.trial.state if old.ended else "not over"
            raise UserError(f"trial '{name}' is {state}", where=study)
        number = old.trial.asked.number
        attempts = [q for q in self.of(old.phase) if q.trial.asked.number == number]
        if attempts[-1] is not old:
            where = f"retried already, as '{attempts[-1].name}'"
            raise UserError(f"trial '{name}' was {where}", where=study)
        return old, len(attempts)

    def resume(self, phase: Phase) -> None:
        """Make the batch of ``phase``, all of whose trials were added again, what it was."""
        batch = self.batch(phase)
        batch.trials = [q for q in batch.trials if not phase.told(q.trial.asked.optuna)]
        for queued in batch.trials:
            if not queued.ended and phase.synchronous:
                reported = phase.reported(queued.trial.asked.optuna)
                self.hold(queued, queued.trial.step > reported)

    @property
    def ready(self) -> int:
        """How many trials could be handed out."""
        return sum(len(batch.ready) for batch in self._batches.values())

    def first(self) -> QueuedTrial | None:
        """The trial to hand out next, if any is ready.

        The phase with most batches left comes first: the others fill the slots it leaves free.
        """
        heads = (batch.ready[0] for batch in self._batches.values() if batch.ready)
        return max(heads, key=lambda t: (t.phase.batches_left(), -t.index), default=None)

    def add(self, trial: QueuedTrial) -> None:
        """Add a trial that has been asked for."""
        trial.index = len(self.trials)
        self.trials[trial.name] = trial
        batch = self.batch(trial.phase)
        batch.trials.append(trial)
        batch.living += 1
        self._sort(trial)

    def hand_out(self, trial: QueuedTrial) -> None:
        """Mark a trial as given to an engine."""
        trial.running = True
        self.running.add(trial.name)
        self._sort(trial)

    def take_back(self, trial: QueuedTrial) -> None:
        """Mark a trial as in no slot any more."""
        trial.running = False
        self.running.discard(trial.name)
        self._sort(trial)

    def hold(self, trial: QueuedTrial, held: bool = True) -> None:
        """Hold a trial until its batch is decided on, or let it continue."""
        self.batch(trial.phase).held += held - trial.held
        trial.held = held
        self._sort(trial)

    def end(self, trial: QueuedTrial) -> None:
        """Account for a trial that has just ended."""
        self.hold(trial, False)
        self.batch(trial.phase).living -= 1
        self._sort(trial)

    def _sort(self, trial: QueuedTrial) -> None:
        ready = self.batch(trial.phase).ready
        place = bisect_left(ready, trial.index, key=lambda other: other.index)
        there = place < len(ready) and ready[place] is trial
        if trial.ready and not there:
            ready.insert(place, trial)
        elif there and not trial.ready:
            del ready[place]
