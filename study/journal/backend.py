"""The journal as an Optuna journal backend: Optuna's operations are events like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from study.journal.files import Follower
from study.journal.journal import Journal
from study.journal.lines import Event
from vae_core.errors import UserError

KIND = "optuna"


class ReadOnlyError(UserError):
    """A study changed through a storage that only shows it."""


class JournalBackend(BaseJournalBackend):
    """Optuna's public extension point over a study's journal.

    Operations join the journal's pending group, so that a batch of trials and what the study
    records of it are committed together.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._logs = [event for event in journal.events if event.kind == KIND]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Operations from number ``log_number_from`` on."""
        for event in self._logs[log_number_from:]:
            yield event.data

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations to the pending group."""
        self._logs += [self._append(log) for log in logs]

    def _append(self, log: dict[str, Any]) -> Event:
        return self._journal.append(KIND, log)

    def __reduce__(self) -> tuple[object, ...]:
        # A journal has one writer: a copy, in another process perhaps, reads what is on disk.
        self._journal.commit()
        return ReadOnlyBackend, (self._journal.home,)


class ReadOnlyBackend(BaseJournalBackend):
    """A study's journal for Optuna to look at, while a driver writes it or not.

    Args:
        home: the study's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._follower = Follower(home)
        self._logs: list[dict[str, Any]] = []
        self._seen = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Operations from number ``log_number_from`` on, those committed since included."""
        self._follower.poll()
        fresh = self._follower.events[self._seen :]
        self._seen += len(fresh)
        self._logs += [event.data for event in fresh if event.kind == KIND]
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse.

        Raises:
            ReadOnlyError: always.
        """
        raise ReadOnlyError(
            "this storage shows a study and cannot change it",
            where=str(self._home),
            remedy="steer it with `study stop` and `study retry`",
        )
