"""The heartbeat file: an engine's time account, rewritten regularly so that it survives a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.engine.config import EngineConfig
from study.engine.fence import Fence, FencedError
from study.engine.slots import Slots
from study.journal.heartbeats import heartbeat_file
from vae_core.atomic import atomic_write

BEAT = 5.0
"""Seconds between two heartbeats: the most that the account of a killed engine lacks."""


class Heartbeat:
    """Rewrites an engine's heartbeat file, in a thread of its own, until the engine ends.

    Args:
        config: the engine's.
        slots: end when the engine is fenced.
        account: returns the engine's account.
    """

    def __init__(
        self, config: EngineConfig, slots: Slots, account: Callable[[], dict[str, Any]]
    ) -> None:
        home = Path(config.home)
        self._file = heartbeat_file(home, config.name)
        self._fence = Fence(home, config.epoch)
        self._slots, self._account = slots, account

    def run(self) -> None:
        """Write the account every :data:`BEAT` seconds."""
        while not self._slots.ended.is_set():
            try:
                with suppress(OSError):  # the storage may have recovered at the next one
                    self._fence.check()
                    self._write()
            except FencedError:
                self._slots.end()
            self._slots.ended.wait(BEAT)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._file) as file:
            file.write(json.dumps(self._account()).encode())
