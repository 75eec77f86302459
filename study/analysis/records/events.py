"""What the analysis needs of a journal's events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Event(Protocol):
    """One line of a study's journal; `study.journal.Event` is one."""

    @property
    def sequence(self) -> int:
        """Place in the journal, from 0."""

    @property
    def time(self) -> float:
        """When it was written: seconds since 1970."""

    @property
    def kind(self) -> str:
        """What happened: "trial", "report", "end", ..."""

    @property
    def data(self) -> Mapping[str, Any]:
        """The event's fields."""
