"""What a launch prints: a study does not end because nobody reads it any more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Lasting:
    """A stream whose writes never fail: what its other end does not take is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``, if that can be."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # the latter where it was closed
            self.failed = True
            return len(text)

    def flush(self) -> None:
        """Flush, if that can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.failed = True


@contextmanager
def lasting_output() -> Iterator[None]:
    """A block in which printing never fails: not to a closed terminal, a broken pipe, a full disk.

    A stream that failed stays replaced: with the former, Python's own exit would fail.
    """
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    former = {name: stream for name, stream in streams.items() if stream}  # None where it is closed
    lasting = {name: Lasting(stream) for name, stream in former.items()}
    for name, stream in lasting.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in lasting.items():
            if not stream.failed:
                setattr(sys, name, former[name])
