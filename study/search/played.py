"""A search whose trials' reports are known beforehand, so that nothing trains.

Sampler and pruner are the real ones: :mod:`study.replaying` plays recorded trials,
:mod:`study.search.rehearsal` made-up ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.journal.events import TrialAsked
from study.search.phases import Search
from study.spec import SearchSpec, StudySpec


@dataclass(frozen=True)
class Trajectory:
    """What a trial reports if nothing prunes it."""

    curve: Sequence[float | None]
    """The objective on validation at each report; None where it is not finite."""
    value: float | None
    """The objective of a complete trial."""
    complete: bool = True
    """Whether it is complete at its last report; else it fails there."""


@dataclass
class Outcome:
    """How a played trial ended."""

    state: str = ""
    """``complete``, ``failed`` or ``pruned``, once it has ended."""
    reports: int = 0
    """How many it made."""


def with_search(spec: StudySpec, arm: str, search: SearchSpec) -> StudySpec:
    """A study of ``arm`` of ``spec`` alone, with another search."""
    arms = {arm: spec.arms[arm].model_copy(update={"search": search})}
    return spec.model_copy(update={"arms": arms})


class PlayedSearch(Search):
    """A search that asks :meth:`trajectory` what a trial reports, and is otherwise unchanged."""

    def trajectory(self, asked: TrialAsked) -> Trajectory:
        """What trial ``asked`` reports."""
        raise NotImplementedError

    def play(self) -> list[Outcome]:
        """The whole search, in the order of its trials.

        A batch trains side by side, report by report, where pruning is synchronous; else one
        trial after another, as in a study with one slot.
        """
        outcomes: list[Outcome] = []
        while batch := self.ask_batch():
            played = {ask.optuna: (self.trajectory(ask), Outcome()) for ask in batch}
            for group in [[*played]] if self.synchronous else [[number] for number in played]:
                self._train({number: played[number] for number in group})
            for number, (trajectory, outcome) in played.items():
                self.tell(number, outcome.state, trajectory.value)
                outcomes.append(outcome)
        return outcomes

    def _train(self, training: dict[int, tuple[Trajectory, Outcome]]) -> None:
        step = 0
        while training:
            step += 1
            training = {
                number: played
                for number, played in training.items()
                if self._reach(number, *played, step)
            }
            pruned = [number for number in training if self.should_prune(number)]
            for number in pruned:
                training.pop(number)[1].state = "pruned"

    def _reach(self, number: int, trajectory: Trajectory, outcome: Outcome, step: int) -> bool:
        """Make a trial's report ``step``; return whether it continues after it."""
        ended = step >= len(trajectory.curve)
        if step <= len(trajectory.curve):
            outcome.reports = step
            value = trajectory.curve[step - 1]
            if value is not None and not (ended and self.synchronous):
                self.report(number, step, value)
        if ended:
            outcome.state = "complete" if trajectory.complete else "failed"
        return not ended
