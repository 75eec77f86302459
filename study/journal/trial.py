"""A trial as the fold of its events, and which trials count for their arms."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from study.journal.events import (
    CapReached,
    EngineDied,
    Event,
    LaunchBegan,
    Reported,
    StudyInterrupted,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
)
from vae_core.errors import UserError

SUSPECT = 2
"""Deaths of engines with a trial on them, and no report in between, after which it trains alone."""
ENDED = frozenset({"complete", "pruned", "failed"})

Choices = Mapping[tuple[str, int], int | None]
"""(arm, replicate) -> number of the search trial that was chosen last; None: none could be."""


@dataclass(slots=True, eq=False)
class Trial:
    """One trial. Every reader of a journal holds one for each trial, and adds its own fields."""

    asked: TrialAsked
    state: str = "waiting"
    """``waiting``, ``running``, ``interrupted``, ``complete``, ``pruned`` or ``failed``."""
    step: int = 0
    """Last report."""
    images: int = 0
    """Trained on by then, each counted once."""
    value: float | None = None
    """The objective on validation, of a complete trial."""
    engine: str = ""
    """Where it last took a slot."""
    key: Mapping[str, Any] = field(default_factory=dict)
    """The numerics key there."""
    consecutive_deaths: int = 0
    """Engines that died while they trained it, since its last report."""

    @property
    def name(self) -> str:
        """Unique in the study."""
        return self.asked.trial

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever state."""
        return self.state in ENDED

    @property
    def alone(self) -> bool:
        """Whether it is suspected of taking engines down, and may share one with no other."""
        return self.consecutive_deaths >= SUSPECT

    def apply(self, event: Event) -> None:
        """Take in an event of this trial, or one that concerns every trial of the study.

        A report of a step it has already, and anything but a death after its end, changes nothing.
        """
        match event:
            case Reported(redone=False) if event.step > self.step:
                self.step = event.step
                # A crashed trial reports no images: those trained on before still count.
                self.images = max(self.images, event.images)
                self.consecutive_deaths = 0
            case TrialPlaced() if not self.ended:
                self.engine, self.key, self.state = event.engine, event.key, "running"
            case TrialEnded() if not self.ended:
                self.state, self.value = event.state, event.value
            case EngineDied():
                self.consecutive_deaths += 1
            case LaunchBegan() | StudyInterrupted() | CapReached() if self.state == "running":
                self.state = "interrupted"
            case _:
                pass


def standing(trials: Iterable[Trial], choices: Choices) -> list[Trial]:
    """The trials that their arms stand by: the configuration chosen, and its confirm runs.

    Of a trial and its retries one stands: the complete one, else the latest. Confirm runs of a
    superseded choice do not stand.
    """
    attempts: dict[tuple[Any, ...], Trial] = {}
    for trial in trials:
        asked = trial.asked
        number = asked.number if asked.phase == "search" else asked.chosen_from
        if number == choices.get((asked.arm, asked.replicate)):
            before = attempts.get(asked.configuration)
            if before is None or before.state != "complete":
                attempts[asked.configuration] = trial
    return list(attempts.values())


def unknown_trial(trial: str, known: Collection[str], study: str) -> UserError:
    """The error to raise about a ``trial`` that is not among those ``known`` of a study."""
    # Of thousands of trials, those that may have been meant.
    close = difflib.get_close_matches(trial, known, n=5, cutoff=0.0)
    remedy = f"the nearest: {', '.join(close)}" if close else "it has no trial yet"
    return UserError(f"no trial '{trial}'", where=study, remedy=remedy)
