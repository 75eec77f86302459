"""The journal as an Optuna journal backend: Optuna's operations are events like any other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from study.journal.events import Entry, OptunaOperation
from study.journal.files import Follower
from study.journal.journal import Journal
from vae_core.errors import UserError


class ReadOnlyError(UserError):
    """A write to a storage that is read-only."""


class JournalBackend(BaseJournalBackend):
    """Optuna's public extension point over a study's journal.

    Operations join the journal's pending group, so that a batch of trials and what the study
    records of it are committed together.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._logs = list(_operations(journal.entries))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Operations from number ``log_number_from`` on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations to the pending group."""
        self._logs += _operations([self._journal.append(OptunaOperation(log)) for log in logs])

    def __reduce__(self) -> tuple[object, ...]:
        # A journal has one writer: a copy, in another process perhaps, reads what is on disk.
        return ReadOnlyBackend, (self._journal.home,)


class ReadOnlyBackend(BaseJournalBackend):
    """A study's journal for Optuna to read, whether or not a driver is writing it.

    Args:
        home: the study's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._follower = Follower(home, OptunaOperation)
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Operations from number ``log_number_from`` on, those committed since included."""
        self._follower.poll()
        self._logs += _operations(self._follower.entries[len(self._logs) :])
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse.

        Raises:
            ReadOnlyError: always.
        """
        raise ReadOnlyError(
            "this storage is read-only",
            where=str(self._home),
            remedy="change the study with `study stop` and `study retry`",
        )


def _operations(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        if isinstance(entry.event, OptunaOperation):
            yield entry.event.operation
