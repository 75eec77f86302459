"""The journal's lines: checksummed, numbered, stamped with the writer's lease epoch.

A line is ``CRC-32 (8 hex digits) SPACE JSON NEWLINE`` with the JSON array ``[epoch, sequence,
time, kind, data, last]``. Lines are written in groups, ``last`` marking each group's end: a group
is there whole or not at all. Lines about the file itself (who writes it, what it goes on from,
that it was released) have the sequence number :data:`CONTROL` and are no events.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Literal, NamedTuple

import orjson

from vae_core.errors import UserError

CONTROL = -1
Control = Literal["lease", "accept", "released"]


class JournalError(UserError):
    """A journal that cannot be read, or written, as it stands."""

    exit_code = 1


class Event(NamedTuple):
    """One thing that happened in a study."""

    sequence: int
    time: float
    """Seconds since the Unix epoch, as the driver saw it."""
    kind: str
    data: dict[str, Any]


class Line(NamedTuple):
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

    def control(self, kind: Control) -> bool:
        """Whether it is a line of ``kind`` about the file itself."""
        return self.event.sequence == CONTROL and self.event.kind == kind


def control(epoch: int, time: float, kind: Control, data: dict[str, Any]) -> bytes:
    """A line about the file itself, encoded."""
    return Line(epoch, Event(CONTROL, time, kind, data), True).encode()


def parse(body: bytes | str) -> Any:
    """What ``body`` says in JSON, as Python writes it; the keys of many share their memory.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(body)  # several times as fast
    except orjson.JSONDecodeError:
        return json.loads(body)  # what Python writes beyond JSON: NaN, infinities, lone surrogates


def decode(raw: bytes) -> Line | None:
    """The line that ``raw`` encodes, or None where it is torn or damaged."""
    if len(raw) < 10 or raw[8:9] != b" " or not raw.endswith(b"\n"):
        return None
    body = raw[9:-1]
    if raw[:8] != b"%08x" % zlib.crc32(body):  # as text: no other spelling of it is ours
        return None
    try:
        epoch, sequence, time, kind, data, last = parse(body)
    except (ValueError, TypeError, RecursionError):
        return None
    if not (
        type(epoch) is int
        and type(sequence) is int
        and isinstance(time, (int, float))
        and isinstance(kind, str)
        and isinstance(data, dict)
    ):
        return None
    return Line(epoch, Event(sequence, time, kind, data), bool(last))
