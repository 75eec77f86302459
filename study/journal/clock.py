"""The clock of a journal's entries: no step of the machine's clock changes a time between two."""

from __future__ import annotations

import time

_COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Nobody can set it. On Linux it counts while the machine sleeps, too."""


class Clock:
    """Seconds since the Unix epoch: the machine's clock, read once and counted on from there.

    So the difference of two readings is the time that passed, whether the machine's clock is set
    meanwhile, by hand or by a time server, or not.

    Args:
        start: no reading is before it.

    Attributes:
        behind: seconds by which the machine's clock was behind ``start``.
    """

    def __init__(self, start: float = 0.0) -> None:
        wall = time.time()
        self.behind = max(0.0, start - wall)
        self._start, self._began = max(start, wall), time.clock_gettime(_COUNTER)

    def now(self) -> float:
        """The time now."""
        return self._start + (time.clock_gettime(_COUNTER) - self._began)
