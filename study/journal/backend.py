"""The journal as an Optuna journal backend: Optuna's operations are events like any other."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from study.journal.journal import Journal
from study.journal.lines import Event

KIND = "optuna"


class JournalBackend(BaseJournalBackend):
    """Optuna's public extension point over a study's journal.

    Operations join the journal's pending group, so that a batch of trials and what the study
    records of it are committed together.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._logs = [event for event in journal.events if event.kind == KIND]

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Operations from number ``log_number_from`` on."""
        for event in self._logs[log_number_from:]:
            yield event.data

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations to the pending group."""
        self._logs += [self._append(log) for log in logs]

    def _append(self, log: dict[str, Any]) -> Event:
        return self._journal.append(KIND, log)
