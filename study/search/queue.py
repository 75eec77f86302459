"""The trials a study has asked, sorted by what they wait for.

Every change of a trial is made here and kept account of at once, so that nothing a driver does at
a report or an ask takes longer in a study of more trials.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from study.search.phases import Ask, Phase

SUSPECT = 2
"""Deaths of engines with a trial aboard, and no report in between, that make it a suspect."""


@dataclass(eq=False)
class Trial:
    """A trial the study has asked."""

    ask: Ask
    phase: Phase
    settings: dict[str, dict[str, Any]]
    index: int = 0
    """How many trials the study had asked before it."""
    step: int = 0
    """Last report in the journal."""
    value: float | None = None
    """The objective at that report, on validation."""
    state: str | None = None
    """How it ended; None while it has not."""
    running: bool = False
    """Handed out and not back."""
    engine: str = ""
    """Where it last trained, in this launch."""
    key: dict[str, Any] = field(default_factory=dict)
    """The numerics key it last trained under, in this launch."""
    held: bool = False
    """At a report where its whole batch is to be decided on."""
    made: set[tuple[str, int]] = field(default_factory=set)
    """(engine, step) of every report that is in the journal."""
    deaths: int = 0
    """Engines that died under it since its last report."""

    @property
    def alone(self) -> bool:
        """Whether it is suspected of taking engines down."""
        return self.deaths >= SUSPECT

    @property
    def ready(self) -> bool:
        """Whether it could be handed out."""
        return self.state is None and not self.running and not self.held


@dataclass
class Batch:
    """What a phase has asked and not told Optuna about yet."""

    trials: list[Trial] = field(default_factory=list)
    """In the order they were asked."""
    living: int = 0
    """How many have not ended."""
    held: int = 0
    """How many of them are held."""
    ready: list[Trial] = field(default_factory=list)
    """Those that could be handed out, in the order they were asked."""

    @property
    def over(self) -> bool:
        """Whether it can be told."""
        return not self.living

    @property
    def reached(self) -> bool:
        """Whether all that live are held, so that it can be decided on."""
        return 0 < self.living == self.held


class Roster:
    """A study's trials and its phases' batches.

    Attributes:
        trials: all of them by name, in the order they were asked.
        running: names of those that were handed out and are not back.
    """

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}
        self.running: set[str] = set()
        self._batches: dict[str, Batch] = {}

    def batch(self, phase: Phase) -> Batch:
        """The batch of ``phase`` that is not told."""
        return self._batches.setdefault(phase.name, Batch())

    def of(self, phase: Phase) -> list[Trial]:
        """All trials of ``phase``; looks through the whole study."""
        return [trial for trial in self.trials.values() if trial.phase.name == phase.name]

    @property
    def ready(self) -> int:
        """How many trials could be handed out."""
        return sum(len(batch.ready) for batch in self._batches.values())

    def first(self) -> Trial | None:
        """The trial to hand out next, if any is ready.

        The phase with most batches ahead of it comes first: the others fill the slots it leaves.
        """
        heads = (batch.ready[0] for batch in self._batches.values() if batch.ready)
        return max(heads, key=lambda t: (t.phase.batches_left(), -t.index), default=None)

    def add(self, trial: Trial) -> None:
        """Take in a trial that has been asked."""
        trial.index = len(self.trials)
        self.trials[trial.ask.trial] = trial
        batch = self.batch(trial.phase)
        batch.trials.append(trial)
        batch.living += 1
        self._sort(trial)

    def hand_out(self, trial: Trial) -> None:
        """It has been given to whoever runs it."""
        trial.running = True
        self.running.add(trial.ask.trial)
        self._sort(trial)

    def take_back(self, trial: Trial) -> None:
        """It is not in a slot any more."""
        trial.running = False
        self.running.discard(trial.ask.trial)
        self._sort(trial)

    def hold(self, trial: Trial, held: bool = True) -> None:
        """Hold a living trial for its batch to be decided on, or let it go on."""
        self.batch(trial.phase).held += held - trial.held
        trial.held = held
        self._sort(trial)

    def end(self, trial: Trial, state: str) -> None:
        """It has ended as ``state`` says."""
        self.hold(trial, False)
        self.batch(trial.phase).living -= trial.state is None
        trial.state = state
        self._sort(trial)

    def _sort(self, trial: Trial) -> None:
        ready = self.batch(trial.phase).ready
        place = bisect_left(ready, trial.index, key=lambda other: other.index)
        there = place < len(ready) and ready[place] is trial
        if trial.ready and not there:
            ready.insert(place, trial)
        elif there and not trial.ready:
            del ready[place]
