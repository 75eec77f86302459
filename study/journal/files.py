"""Reading a journal: one file a launch, each accepting a part of one before it.

``journal/000001.log`` is the first launch's, ``000002.log`` the second's, and so on; the number is
the lease epoch, and a file is written by its launch alone. Its first line names the writer and the
format of its events (``lease``), its second what it continues (``accept``: an earlier file's epoch,
and how many bytes and events of it count; epoch 0 for the first). What a launch wrote after another
had taken over lies beyond the accepted bytes, and does not count.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from study.journal.events import (
    FORMAT,
    KINDS,
    Entry,
    Event,
    EventError,
    LaunchBegan,
    read_event,
)
from study.journal.lines import CONTROL, JournalError, Line, decode, decode_all

FOLDER = "journal"
"""The journal's folder in a study's home."""
_BLOCK = 2**16
"""Bytes that are read at once: what they become stays in the processor's cache."""
_NAME = re.compile(r"(\d{6,})\.log")
_RESTORE = "the journal was changed from outside, or its disk is failing: restore it from a copy"


def journal_file(home: Path, epoch: int) -> Path:
    """The file that the launch of lease epoch ``epoch`` writes."""
    return home / FOLDER / f"{epoch:06d}.log"


def epochs(home: Path) -> list[int]:
    """Lease epochs of the launches that the study in ``home`` has seen, ascending."""
    try:
        with readable(home / FOLDER):
            names = os.listdir(home / FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A block that looks at ``path``, which may be another user's; what is not there passes.

    Raises:
        JournalError: it may not be read, or its disk fails.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise JournalError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy="where it is another user's, ask them for it; "
            "name another folder of studies with --home",
        ) from error


def _open(path: Path) -> BinaryIO:
    with readable(path):
        return path.open("rb")


def superseded(home: Path, epoch: int) -> bool:
    """Whether a later launch has taken the study over from the one of ``epoch``; cheap."""
    try:
        # Opening the folder makes a network file system forget that the file was not there.
        os.close(os.open(home / FOLDER, os.O_RDONLY))
    except FileNotFoundError:
        return True  # the study was removed: no driver runs it
    return os.path.exists(journal_file(home, epoch + 1))


@dataclass(frozen=True)
class Accept:
    """What a file continues."""

    format: int
    """Of this file's events, from its first line."""
    base: int
    """Epoch of the file before it; 0 if it is the first that counts."""
    bytes: int
    """How much of that file counts."""
    events: int
    """How many events there are up to there, from the study's beginning."""


class Reader:
    """Reads one launch's file forward, a whole group at a time.

    Args:
        home: the study's folder.
        epoch: which launch's file.
        format: of its events.
        count: how many events the files before it hold.
        accepted: how many of its bytes a later launch continued from; None: it is the newest.
        left_out: kinds of events that are checked and not made.
    """

    def __init__(
        self,
        home: Path,
        epoch: int,
        format: int,
        count: int,
        accepted: int | None,
        left_out: Set[str],
    ) -> None:
        self.path, self.epoch, self.count = journal_file(home, epoch), epoch, count
        self._format, self._accepted, self._left_out = format, accepted, left_out
        self.end = 0
        """Byte after the last whole group; ``count`` is of events up to there."""
        self.lines = 0
        """Lines up to there."""
        self.cut = 0
        """Bytes after it: an unfinished or damaged tail."""

    def groups(self) -> Iterator[list[Entry]]:
        """What follows, up to the last whole group, or all that was accepted; read it to the end.

        Raises:
            JournalError: a damaged line with intact ones after it, lines in the wrong order, or
                less than was accepted.
        """
        with _open(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            limit = size if self._accepted is None else self._accepted
            if size < limit:
                raise JournalError(
                    f"has {size} bytes, and a later launch continued from its first {limit}",
                    where=str(self.path),
                    remedy=_RESTORE,
                )
            file.seek(self.end)
            group: list[Entry] = []
            offset, number, damaged, pending = self.end, self.lines, 0, 0
            # No further than it was long: a line written meanwhile would be read in two halves.
            for raw, line in _lines(file, limit - offset):
                offset += len(raw)
                number += 1
                if line is None:
                    damaged = damaged or number
                    continue
                if damaged:
                    raise corrupt(self.path, damaged, "is damaged and intact lines follow it")
                self._check(line, number, pending)
                if line.sequence != CONTROL:
                    pending += 1
                    if line.kind not in self._left_out:
                        group.append(self._entry(line, number))
                if line.last:
                    self.end, self.lines, self.count = offset, number, self.count + pending
                    yield group
                    group, pending = [], 0
        self.cut = offset - self.end
        if self._accepted is not None and self.end != limit:
            fault = "is damaged, and a later launch continued from it"
            raise corrupt(self.path, damaged or self.lines + 1, fault)

    def _check(self, line: Line, number: int, pending: int) -> None:
        if line.epoch != self.epoch:
            raise corrupt(self.path, number, f"is of launch {line.epoch}, not of {self.epoch}")
        if line.sequence == CONTROL and not pending:
            return
        expected = self.count + pending
        if line.sequence != expected:
            fault = f"has sequence number {line.sequence}, expected {expected}"
            raise corrupt(self.path, number, fault)

    def _entry(self, line: Line, number: int) -> Entry:
        try:
            event = read_event(line.kind, line.data, self._format)
        except EventError as error:
            fault = f"is no event of format {self._format}: '{line.kind}' {error}"
            raise corrupt(self.path, number, fault) from None
        return Entry(line.sequence, line.time, event)


@dataclass(frozen=True)
class Scan:
    """What a journal holds."""

    entries: list[Entry]
    """Committed events of the launches that held the lease, in order."""
    newest: Reader | None
    """Of the newest file that counts; None for an empty journal."""


def scan(home: Path, *kinds: type[Event], below: int | None = None) -> Scan:
    """Read the whole journal of the study in ``home``, or the part of launches before ``below``.

    Args:
        home: the study's folder.
        kinds: as for :func:`read_entries`.
        below: an epoch.

    Raises:
        JournalError: damage anywhere but at the newest file's tail, with file and line.
    """
    entries: list[Entry] = []
    newest = None
    for newest in _readers(home, *kinds, below=below):
        for group in newest.groups():
            entries += group
    return Scan(entries, newest)


def read_entries(home: Path, *kinds: type[Event]) -> Iterator[Entry]:
    """Committed events of the study in ``home``, one at a time, without taking its lease.

    Args:
        home: the study's folder.
        kinds: those that are wanted; none named: all. To check a line costs less than half of
            what it costs to make an event of it.

    Raises:
        JournalError: as :func:`scan`, but only once the damage is reached.
    """
    for reader in _readers(home, *kinds):
        for group in reader.groups():
            yield from group


def check_formats(home: Path) -> None:
    """Check that this version can read the journal's formats, without reading all of it.

    Raises:
        JournalError: a launch of a newer version has written in it.
    """
    _chain(home, epochs(home))


def has_events(home: Path, after: int = 0) -> bool:
    """Whether the study in ``home`` has any event, of launches ``after`` an epoch.

    Cheap, and does not look for damage.
    """
    for epoch in (epoch for epoch in epochs(home) if epoch > after):
        with _open(journal_file(home, epoch)) as file:
            third = [file.readline() for _ in range(3)][2]
        line = decode(third)
        if line is not None and line.sequence != CONTROL:
            return True
    return False


def launch_command(home: Path) -> list[str]:
    """The command line of the newest launch that has begun; cheap, and does not look for damage."""
    for epoch in reversed(epochs(home)):
        with _open(journal_file(home, epoch)) as file:
            # After who writes, what it continues, and perhaps the study's description.
            lines = [decode(file.readline()) for _ in range(4)]
        for line in lines:
            if line is not None and line.kind == LaunchBegan.kind:
                command = line.data.get("command")
                return [*map(str, command)] if isinstance(command, list) else []
    return []


class Follower:
    """Reads a journal while a driver writes it.

    Args:
        home: the study's folder.
        kinds: as for :func:`read_entries`.

    Attributes:
        entries: what has been read so far.
    """

    def __init__(self, home: Path, *kinds: type[Event]) -> None:
        self._home, self._kinds = home, kinds
        found = scan(home, *kinds)
        self.entries, self._newest = found.entries, found.newest
        self._unshown: list[Entry] = []

    def poll(self) -> None:
        """Read what has been committed since.

        Raises:
            JournalError: damage; or events that were shown are not the study's any more.
        """
        newest = self._newest
        if newest is None or self._continued(newest.epoch):
            self._rescan()
            return
        for group in newest.groups():
            self._unshown += group
        # What was read before any other launch is there will be accepted by all that follow.
        if not superseded(self._home, newest.epoch):
            self.entries += self._unshown
            self._unshown = []

    def _continued(self, epoch: int) -> bool:
        """Whether a launch after that of ``epoch`` has recorded what it continues."""
        if not superseded(self._home, epoch):
            return False
        chain = _chain(self._home, epochs(self._home))
        return bool(chain) and chain[-1][0] != epoch

    def _rescan(self) -> None:
        found = scan(self._home, *self._kinds)
        shown = len(self.entries)
        if shown and (
            len(found.entries) < shown or found.entries[shown - 1].time != self.entries[-1].time
        ):
            raise JournalError(
                "the study was taken over, and its last events were not kept",
                where=str(self._home / FOLDER),
                remedy="open it again",
            )
        self.entries += found.entries[shown:]
        self._newest, self._unshown = found.newest, []


def first_line(path: Path) -> Line | None:
    """Who writes a file; None if that cannot be read."""
    with _open(path) as file:
        line = decode(file.readline())
    return line if line is not None and line.is_control("lease") else None


def last_line(path: Path, reach: int = 4096) -> Line | None:
    """The line a file ends with; None if it is damaged, or longer than ``reach`` bytes."""
    with _open(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - reach))
        lines = file.read().splitlines(keepends=True)
    return decode(lines[-1]) if lines else None


def _lines(file: BinaryIO, size: int) -> Iterator[tuple[bytes, Line | None]]:
    """The lines of the next ``size`` bytes of ``file``, as they are and decoded."""
    rest = b""
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        size -= len(block)
        raws = io.BytesIO(rest + block).readlines()
        rest = raws.pop() if size and not raws[-1].endswith(b"\n") else b""
        if raws:
            yield from zip(raws, decode_all(raws), strict=True)
    if rest:
        yield rest, decode(rest)


def corrupt(path: Path, number: int, fault: str) -> JournalError:
    """The error of a line that cannot be read."""
    return JournalError(f"line {number} {fault}", where=str(path), remedy=_RESTORE)


def _readers(home: Path, *kinds: type[Event], below: int | None = None) -> Iterator[Reader]:
    """A reader a file that counts; each is to be read to its end before the next is asked for."""
    left_out = KINDS.keys() - {kind.kind for kind in kinds} if kinds else set[str]()
    chain = _chain(home, [epoch for epoch in epochs(home) if below is None or epoch < below])
    accepted = [*(accept.bytes for _, accept in chain[1:]), None]  # the newest is read to its end
    count = 0
    for (epoch, accept), limit in zip(chain, accepted, strict=False):
        if accept.events != count:
            fault = f"continues from {accept.events} events, and {count} are there"
            raise corrupt(journal_file(home, epoch), 2, fault)
        reader = Reader(home, epoch, accept.format, count, limit, left_out)
        yield reader
        count = reader.count


def _chain(home: Path, known: list[int]) -> list[tuple[int, Accept]]:
    """The files that count, first to newest, each with what it continues."""
    chain: list[tuple[int, Accept]] = []
    for epoch in reversed(known):
        if not chain or chain[-1][1].base == epoch:
            accept = _accept(journal_file(home, epoch), epoch)
            if accept is not None:
                chain.append((epoch, accept))
    if chain and chain[-1][1].base:
        epoch, accept = chain[-1]
        raise JournalError(
            f"{journal_file(home, accept.base).name} is missing or cut short, and {epoch:06d}.log "
            "continues it",
            where=str(home / FOLDER),
            remedy=_RESTORE,
        )
    return chain[::-1]


def _accept(path: Path, epoch: int) -> Accept | None:
    """What a file continues; None if its launch ended before it recorded that."""
    with _open(path) as file:
        raw = [file.readline() for _ in range(2)]
    head, accept = lines = [decode(line) for line in raw]
    for number, (found, line) in enumerate(zip(raw, lines, strict=True), start=1):
        # Unfinished, it is a launch that died here. Whole and damaged, it hides what counts.
        if line is None and (found.endswith(b"\n") or decode(found[:-1] + b"\n")):
            raise corrupt(path, number, "is damaged")
    if head is None:
        return None
    if not head.is_control("lease") or head.epoch != epoch:
        raise corrupt(path, 1, f"does not begin the file of launch {epoch}")
    if accept is None or not accept.is_control("accept"):
        return None
    try:
        continued = Accept(_format(path, head), **accept.data)
        if 0 <= continued.base < epoch and continued.bytes >= 0:
            return continued
    except TypeError:
        pass
    raise corrupt(path, 2, "does not say what it continues")


def _format(path: Path, head: Line) -> int:
    """The format of a file's events, named in its first line; the first format named none."""
    found = head.data.get("format", 1)
    if type(found) is int and 1 <= found <= FORMAT:
        return found
    writer = head.data.get("version", "a newer version")
    raise JournalError(
        f"is in journal format {found}, and this version reads formats 1 to {FORMAT}",
        where=str(path),
        remedy=f"use vae-tuning-study {writer}, which wrote it, or a later version",
    )
