"""The append-only record of a study, and the one writer it has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from study.journal.clock import Clock
from study.journal.events import FORMAT, Entry, Event, read_event
from study.journal.files import Scan, check_formats, scan
from study.journal.home import command_line
from study.journal.lease import BEAT, LAPSE, Lease
from study.journal.lines import JournalError, control, dump, encoded, parse
from vae_core.errors import UserError

Observer = Callable[[Entry], None]


class Journal:
    """Takes a study's lease, reads its journal, and appends groups of events durably.

    :meth:`append` only collects; :meth:`commit` writes the group in one piece, waits until it is on
    disk, then notifies the observers. Nothing the driver decides or sends may precede its commit.
    A journal that could not be written, whose lease was lost, or one of whose groups was cut short
    refuses every commit from then on: what the driver knows and what the file holds are not the
    same any more.

    Args:
        home: the study's folder.
        take_over: take the lease from the process that holds it.
        beat: seconds between heartbeats.
        lapse: seconds without one after which another holder is considered dead.

    Attributes:
        entries: committed events, from the first launch on.
        epoch: this writer's lease epoch.
        cut: bytes of an unfinished or damaged tail of the launch before, which do not count.
        clock: which times this writer's events.

    Raises:
        LeaseError: another driver holds the study.
        LeaseLostError: another driver took the study over meanwhile.
        JournalError: it is damaged, of a newer format, or cannot be written.
    """

    def __init__(
        self, home: Path, *, take_over: bool = False, beat: float = BEAT, lapse: float = LAPSE
    ) -> None:
        check_formats(home)  # before the lease: a study that cannot be read is left as it is
        self._lease = Lease(home, take_over=take_over, beat=beat, lapse=lapse)
        self.home, self.epoch = home, self._lease.epoch
        self._group: list[tuple[Entry, bytes]] = []  # each with its event's data as written
        self._observers: list[Observer] = []
        self._lock = threading.RLock()
        self._refusal: UserError | None = None
        try:
            found = scan(home, below=self.epoch)
            self.entries = found.entries
            self.cut = found.newest.cut if found.newest else 0
            # The clock may have been set back since: no event is before the one that precedes it.
            self.clock = Clock(self.entries[-1].time if self.entries else 0.0)
            self._accept(found)
        except BaseException:
            self._lease.release()
            raise

    def observe(self, observer: Observer) -> None:
        """Call ``observer`` with every event, in order, once it is on disk."""
        self._observers.append(observer)

    def append(self, event: Event) -> Entry:
        """Add an event to the group that the next :meth:`commit` writes.

        Returns:
            The event as it will be read back (lists for tuples, text for keys), with its place.
        """
        data = dump(event.to_data())
        event = read_event(event.kind, parse(data), FORMAT)
        with self._lock:
            entry = Entry(len(self.entries) + len(self._group), self.clock.now(), event)
            self._group.append((entry, data))
            return entry

    def commit(self) -> None:
        """Write the group, wait for the disk, notify the observers.

        Raises:
            JournalError: it could not be written.
            LeaseLostError: another driver has taken the study over; observers are not notified.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if not self._group:
                return
            self._write(b"".join(self._lines(self._group)))
            entries = [entry for entry, _ in self._group]
            self._group = []
            self.entries += entries
            for entry in entries:
                for observer in self._observers:
                    observer(entry)

    @contextmanager
    def group(self) -> Iterator[None]:
        """A block whose events are committed at its end, or none of them if it raises.

        A part of a decision is another decision: to a later launch, a batch of which Optuna knows
        and no trial was asked is over.
        """
        try:
            yield
            self.commit()
        except BaseException as error:
            if self._group:
                self._cut_short(": ".join(filter(None, (type(error).__name__, str(error)))))
            raise

    @property
    def refuses(self) -> bool:
        """Whether it takes no commits any more."""
        return self._refusal is not None

    def held(self) -> bool:
        """Whether no other driver has taken the study over; cheap."""
        return self._lease.held()

    def check(self) -> None:
        """Check that this driver still holds the study.

        Raises:
            LeaseLostError: another driver has taken it over.
        """
        if not self.held():
            raise self._refuse(self._lease.lost())

    def close(self) -> None:
        """Let the next driver in. What is pending was cut short, and never happened."""
        with self._lock:
            self._group = []
            self._refuse(JournalError("is closed", where=str(self._lease.path)))
            self._lease.release()

    def _lines(self, group: list[tuple[Entry, bytes]]) -> Iterator[bytes]:
        end = group[-1][0]
        for entry, data in group:
            sequence, time, event = entry
            yield encoded(self.epoch, sequence, time, event.kind, data, last=entry is end)

    def _accept(self, found: Scan) -> None:
        base = {"base": 0, "bytes": 0, "events": 0}
        if found.newest is not None:
            reader = found.newest
            with reader.path.open("rb") as file:  # its writer may have died before it did
                os.fsync(file.fileno())
            base = {"base": reader.epoch, "bytes": reader.end, "events": len(found.entries)}
        self._write(control(self.epoch, self.clock.now(), "accept", base))

    def _write(self, data: bytes) -> None:
        try:
            self._lease.write(data)
            # Written before another's file was created, it counts; after that, it may not.
            held = self._lease.held()
        except BaseException as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            again = f"resume with `{command_line('resume', self.home)}`"
            if not self.entries:
                again = "launch the study again"
            refusal = self._refuse(
                JournalError(
                    f"could not be written: {reason}",
                    where=str(self._lease.path),
                    remedy=f"free some space, then {again}",
                )
            )
            if isinstance(error, OSError):
                raise refusal from error
            raise
        if not held:
            raise self._refuse(self._lease.lost())

    def _cut_short(self, cause: str) -> None:
        with self._lock:
            self._group = []
            self._refuse(
                JournalError(
                    f"ends before a decision that was cut short ({cause})",
                    where=str(self._lease.path),
                    remedy=f"resume with `{command_line('resume', self.home)}`",
                )
            )

    def _refuse(self, error: UserError) -> UserError:
        self._refusal = self._refusal or error
        return error
