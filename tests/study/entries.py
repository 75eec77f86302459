"""Looking into a journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from study.journal import Entry, Event

E = TypeVar("E", bound=Event)


def of_kind(entries: Iterable[Entry], kind: type[E]) -> list[E]:
    """The events of one kind, in order."""
    return [entry.event for entry in entries if isinstance(entry.event, kind)]
