"""The append-only record of a study, and the one writer it has."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.journal.lines import Event, Line, scan

Observer = Callable[[Event], None]


class Journal:
    """Appends groups of events durably.

    :meth:`append` only collects; :meth:`commit` writes the group in one piece and waits until it
    is on disk, then tells the observers. Nothing the driver decides or sends may precede its
    commit. Opening cuts an unfinished or damaged tail off and takes the next lease epoch.

    Attributes:
        events: committed events, from the first launch on.
        epoch: this writer's lease epoch.
        truncated: bytes of tail that opening cut off.
    """

    def __init__(self, path: Path) -> None:
        found = scan(path)
        self.events, self.epoch = found.events, found.epoch + 1
        self.truncated = found.size - found.end
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, found.end)
        self._group: list[Event] = []
        self._observers: list[Observer] = []
        self._lock = threading.RLock()

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every event, in order, once it is on disk."""
        self._observers.append(observer)

    def append(self, kind: str, data: dict[str, Any]) -> Event:
        """Add an event to the group that the next :meth:`commit` writes."""
        with self._lock:
            event = Event(len(self.events) + len(self._group), time.time(), kind, data)
            self._group.append(event)
            return event

    def commit(self) -> None:
        """Write the group, wait for the disk, tell the observers."""
        with self._lock:
            group, self._group = self._group, []
            if not group:
                return
            lines = [Line(self.epoch, event, event is group[-1]).encode() for event in group]
            _write_all(self._file, b"".join(lines))
            os.fdatasync(self._file)
            self.events += group
            for event in group:
                for observer in self._observers:
                    observer(event)

    def close(self) -> None:
        """Commit what is pending and close the file."""
        self.commit()
        os.close(self._file)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
