"""The heartbeat file: an engine's time account, rewritten regularly so that it survives a crash."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from study.engine.home import FencedError, Home, HomeLostError
from study.engine.slots import Slots

BEAT = 5.0
"""Seconds between two heartbeats: the most that the account of a killed engine lacks."""


class Heartbeat:
    """Rewrites an engine's heartbeat file, in a thread of its own, until the engine ends.

    Args:
        engine: its name.
        home: where the file is.
        slots: end when the engine is fenced, or its home is gone.
        account: returns the engine's account.
    """

    def __init__(
        self, engine: str, home: Home, slots: Slots, account: Callable[[], dict[str, Any]]
    ) -> None:
        self._engine, self._home, self._slots, self._account = engine, home, slots, account

    def run(self) -> None:
        """Write the account every :data:`BEAT` seconds."""
        while not self._slots.ended.is_set():
            try:
                with suppress(OSError):  # the storage may have recovered at the next one
                    self._home.beat(self._engine, self._account())
            except FencedError:
                self._slots.end()
            except HomeLostError as error:
                self._slots.end(error)
            self._slots.ended.wait(BEAT)
