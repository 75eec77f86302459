"""The append-only record of a study, and the one writer it has."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.journal.files import Scan, scan
from study.journal.lease import BEAT, LAPSE, Lease
from study.journal.lines import Event, JournalError, Line, control, parse
from vae_core.errors import UserError

Observer = Callable[[Event], None]


class Journal:
    """Takes a study's lease, reads its journal, and appends groups of events durably.

    :meth:`append` only collects; :meth:`commit` writes the group in one piece and waits until it
    is on disk, then tells the observers. Nothing the driver decides or sends may precede its
    commit. A journal that could not be written, or whose lease was lost, refuses every commit
    from then on: what it holds and what is on disk are not the same any more.

    Args:
        home: the study's folder.
        take_over: take the lease from whoever holds it.
        beat: seconds between signs of life.
        lapse: seconds without one after which another holder is taken for gone.

    Attributes:
        events: committed events, from the first launch on.
        epoch: this writer's lease epoch.
        cut: bytes of an unfinished or damaged tail that the launch before left, and nobody reads.

    Raises:
        LeaseError: another driver holds the study.
        LeaseLostError: another driver took the study over meanwhile.
        JournalError: it is damaged, or cannot be written.
    """

    def __init__(
        self, home: Path, *, take_over: bool = False, beat: float = BEAT, lapse: float = LAPSE
    ) -> None:
        self._lease = Lease(home, take_over=take_over, beat=beat, lapse=lapse)
        self.home, self.epoch = home, self._lease.epoch
        self._group: list[Event] = []
        self._observers: list[Observer] = []
        self._lock = threading.RLock()
        self._refusal: UserError | None = None
        try:
            found = scan(home, below=self.epoch)
            self.events, self.cut = found.events, found.newest.cut if found.newest else 0
            self._accept(found)
        except BaseException:
            self._lease.release()
            raise

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every event, in order, once it is on disk."""
        self._observers.append(observer)

    def append(self, kind: str, data: dict[str, Any]) -> Event:
        """Add an event to the group that the next :meth:`commit` writes.

        The event holds ``data`` as it will be read back: lists for tuples, text for keys.
        """
        data = parse(json.dumps(data))
        with self._lock:
            event = Event(len(self.events) + len(self._group), time.time(), kind, data)
            self._group.append(event)
            return event

    def commit(self) -> None:
        """Write the group, wait for the disk, tell the observers.

        Raises:
            JournalError: it could not be written.
            LeaseLostError: another driver has taken the study over; observers are not told.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            group, self._group = self._group, []
            if not group:
                return
            lines = [Line(self.epoch, event, event is group[-1]).encode() for event in group]
            self._write(b"".join(lines))
            self.events += group
            for event in group:
                for observer in self._observers:
                    observer(event)

    def held(self) -> bool:
        """Whether nobody has taken the study over; cheap."""
        return self._lease.held()

    def check(self) -> None:
        """See that the study is still this driver's.

        Raises:
            LeaseLostError: another driver has taken it over.
        """
        if not self.held():
            raise self._refuse(self._lease.lost())

    def close(self) -> None:
        """Commit what is pending, if it may, and let the next driver in."""
        with self._lock:
            try:
                if self._refusal is None:
                    self.commit()
            finally:
                self._refuse(JournalError("is closed", where=str(self._lease.path)))
                self._lease.release()

    def _accept(self, found: Scan) -> None:
        base = {"base": 0, "bytes": 0, "events": 0}
        if found.newest is not None:
            reader = found.newest
            with reader.path.open("rb") as file:  # its writer may not have come to it
                os.fsync(file.fileno())
            base = {"base": reader.epoch, "bytes": reader.end, "events": len(found.events)}
        self._write(control(self.epoch, time.time(), "accept", base))

    def _write(self, data: bytes) -> None:
        try:
            self._lease.write(data)
            # Written before another's file came, it is read by the other; after, it may not be.
            held = self._lease.held()
        except BaseException as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            refusal = self._refuse(
                JournalError(
                    f"could not be written: {reason}",
                    where=str(self._lease.path),
                    remedy=f"free some space, then go on with `study resume {self.home.name}`",
                )
            )
            if isinstance(error, OSError):
                raise refusal from error
            raise
        if not held:
            raise self._refuse(self._lease.lost())

    def _refuse(self, error: UserError) -> UserError:
        self._refusal = self._refusal or error
        return error
