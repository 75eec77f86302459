"""Which checkpoints go: those of trials that have ended, unless others go on from them."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

from study.engine import checkpoints
from study.journal import Entry, StudyHome
from study.journal.events import ConfigurationChosen, Stopped, TrialAsked, TrialEnded
from study.spec import StudySpec


class Retiring:
    """Follows a study's journal, and keeps of the checkpoints of ended trials what the spec says.

    Members of a generation keep theirs until their search is over: the next one begins with them.
    """

    def __init__(self, spec: StudySpec, home: StudyHome) -> None:
        self._keep, self._home = spec.checkpoints.keep, home
        self._members: dict[str, tuple[str, int]] = {}
        self._waiting: dict[tuple[str, int], list[str]] = defaultdict(list)

    def follow(self, entry: Entry) -> None:
        """Take in the journal's next event."""
        match entry.event:
            case TrialAsked(phase="search") as asked if asked.course:
                self._members[asked.trial] = asked.arm, asked.replicate
            case TrialEnded(trial=trial) if trial in self._members:
                self._waiting[self._members[trial]].append(trial)
            case TrialEnded(trial=trial):
                self._retire(trial)
            case ConfigurationChosen(arm=arm, replicate=replicate):
                self._over((arm, replicate))
            case Stopped(arm=str() as arm):
                for search in [search for search in self._waiting if search[0] == arm]:
                    self._over(search)
            case _:
                pass

    def _over(self, search: tuple[str, int]) -> None:
        for trial in self._waiting.pop(search, []):
            self._retire(trial)

    def _retire(self, trial: str) -> None:
        with suppress(OSError):  # the next launch does what a shared disk refuses for a moment
            checkpoints.retire(self._home.trial(trial), self._keep)
