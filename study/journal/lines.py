"""The journal's lines: checksummed, numbered, stamped with the writer's lease epoch.

A line is ``CRC-32 (8 hex digits) SPACE JSON NEWLINE`` with the JSON array ``[epoch, sequence,
time, kind, data, last]``. Lines are written in groups, ``last`` marking each group's end: a group
is there whole or not at all.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_core.errors import UserError

JOURNAL = "journal.log"
"""The journal's file in a study's home."""


class JournalError(UserError):
    """A journal that cannot be read as it stands."""


@dataclass(frozen=True)
class Event:
    """One thing that happened in a study."""

    sequence: int
    time: float
    """Seconds since the Unix epoch, as the driver saw it."""
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Line:
    """An event with what the file adds to it."""

    epoch: int
    event: Event
    last: bool

    def encode(self) -> bytes:
        """The line as it stands in the file."""
        event = self.event
        fields = [self.epoch, event.sequence, event.time, event.kind, event.data, int(self.last)]
        body = json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode()
        return b"%08x %b\n" % (zlib.crc32(body), body)


def decode(raw: bytes) -> Line | None:
    """The line that ``raw`` encodes, or None where it is torn or damaged."""
    if len(raw) < 10 or raw[8:9] != b" " or not raw.endswith(b"\n"):
        return None
    body = raw[9:-1]
    if raw[:8] != b"%08x" % zlib.crc32(body):  # as text: no other spelling of it is ours
        return None
    try:
        epoch, sequence, time, kind, data, last = json.loads(body)
    except ValueError:
        return None
    return Line(epoch, Event(sequence, time, kind, data), bool(last))


@dataclass(frozen=True)
class Scan:
    """What a journal file holds."""

    events: list[Event]
    """Committed events of the writers that held the lease, in order."""
    epoch: int
    """Highest lease epoch seen; 0 for an empty journal."""
    end: int
    """Byte after the last committed line: what follows is an unfinished or damaged tail."""
    size: int
    """Bytes in the file."""


def scan(path: Path) -> Scan:
    """Read a whole journal.

    Lines of a lower epoch than one seen before are a fenced-off writer's and are passed over. A
    damaged tail is left out.

    Raises:
        JournalError: a damaged line with intact ones after it, or a gap in the sequence.
    """
    events: list[Event] = []
    group: list[Event] = []
    epoch = end = offset = 0
    damaged: int | None = None
    for number, raw in enumerate(_raw_lines(path), start=1):
        offset += len(raw)
        line = decode(raw)
        if line is None:
            damaged = damaged or number
            continue
        if damaged is not None:
            raise _corrupt(path, damaged, "is damaged and intact lines follow it")
        if line.epoch < epoch:
            end = offset
            continue
        if line.epoch > epoch:
            group.clear()  # what the former holder left unfinished never happened
            epoch = line.epoch
        if line.event.sequence != len(events) + len(group):
            raise _corrupt(
                path,
                number,
                f"has sequence number {line.event.sequence}, expected {len(events) + len(group)}",
            )
        group.append(line.event)
        if line.last:
            events += group
            group.clear()
            end = offset
    return Scan(events, epoch, end, offset)


def read_events(home: Path) -> Iterator[Event]:
    """Committed events of the study in ``home``, without taking its lease."""
    yield from scan(home / JOURNAL).events


def _raw_lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


def _corrupt(path: Path, number: int, fault: str) -> JournalError:
    return JournalError(
        f"line {number} {fault}",
        where=str(path),
        remedy="the journal was changed from outside: restore the file from a copy",
    )
