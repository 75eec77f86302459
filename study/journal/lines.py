"""The journal's lines: checksummed, numbered, stamped with the writer's lease epoch.

A line is ``CRC-32 (8 hex digits) SPACE JSON NEWLINE`` with the JSON array ``[epoch, sequence,
time, kind, data, last]``. Lines are written in groups, ``last`` marking each group's end: a group
is there whole or not at all. Lines about the file itself (who writes it, what it continues, that it
was released) have the sequence number :data:`CONTROL` and are no events.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import orjson

from vae_core.errors import UserError

CONTROL = -1
Control = Literal["lease", "accept", "released"]


_PLAIN = [{int}, {int}, {float}, {str}, {dict}, {int}]
"""Types of a line's fields."""


class JournalError(UserError):
    """A journal that cannot be read, or written, as it is."""

    exit_code = 1


class Line(NamedTuple):
    """One line of a journal's file."""

    epoch: int
    """The writer's lease epoch."""
    sequence: int
    """Of an event, its place in the journal; :data:`CONTROL` of a line about the file."""
    time: float
    """Seconds since the Unix epoch; of an event, by the clock of its launch."""
    kind: str
    data: dict[str, Any]
    last: int
    """1 where it ends its group, else 0."""

    def encode(self) -> bytes:
        """The line as it is in the file."""
        return encoded(*self[:4], dump(self.data), last=self.last)

    def is_control(self, kind: Control) -> bool:
        """Whether it is a line of ``kind`` about the file itself."""
        return self.sequence == CONTROL and self.kind == kind


def encoded(epoch: int, sequence: int, time: float, kind: str, data: bytes, *, last: int) -> bytes:
    """A :class:`Line` as it is in the file; ``data`` is in JSON already."""
    head = dump([epoch, sequence, time, kind])[:-1]
    body = b"%b,%b,%d]" % (head, data, last)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def control(epoch: int, time: float, kind: Control, data: dict[str, Any]) -> bytes:
    """A line about the file itself, encoded."""
    return Line(epoch, CONTROL, time, kind, data, 1).encode()


def dump(value: Any) -> bytes:
    """``value`` in JSON, as lines hold it: NaN and infinities as Python writes them."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def parse(body: bytes | str) -> Any:
    """The value that ``body`` holds in JSON, as Python writes it; equal keys share their memory.

    Raises:
        ValueError: it is not JSON.
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
    return Line(epoch, sequence, time, kind, data, last)


def decode_all(raws: Sequence[bytes]) -> list[Line | None]:
    """:func:`decode` of each of ``raws``, in half the time where all are whole and plain JSON."""
    bodies = [raw[9:-1] for raw in raws]
    sums = [b"%08x " % zlib.crc32(body) for body in bodies]
    if [raw[:9] for raw in raws] == sums and raws[-1].endswith(b"\n"):
        with suppress(ValueError, TypeError):
            lines = orjson.loads(b"[%b]" % b",".join(bodies))
            columns = [{*map(type, column)} for column in zip(*lines, strict=True)]
            if len(lines) == len(raws) and columns == _PLAIN:
                return [*map(Line._make, lines)]
    return [decode(raw) for raw in raws]
