"""The pool: who trains where. An actor of its own, so that trials outlive engines."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 20.0
"""Seconds the first trials wait for each other's processes."""


@dataclass
class _Seat:
    """An engine and the trials that hold its slots."""

    handle: Any
    slots: int
    trials: set[str] = field(default_factory=set)

    @property
    def free(self) -> int:
        return self.slots - len(self.trials)


class Pool:
    """Hands out slots; made into an actor by the driver. Every call may be repeated.

    Once told to :meth:`gather`, it lends nothing until so many trials have asked, or for
    :data:`PATIENCE` at most. Were the first trial to end before the others' processes are up, Tune
    would give its process to one of them, throw the one that was starting away, and start the
    next, again and again.
    """

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}
        self._change = asyncio.Condition()
        self._closed = False
        self._gather, self._asked = 0, set[str]()
        self._deadline: float | None = None

    async def gather(self, count: int) -> None:
        """Let the first ``count`` trials start together."""
        self._gather = count

    async def add(self, engine: str, handle: Any, slots: int) -> None:
        """Take an engine in."""
        async with self._change:
            self._seats[engine] = _Seat(handle, slots)
            self._change.notify_all()

    async def acquire(self, trial: str) -> tuple[str, Any] | None:
        """A slot for ``trial``: the one it holds, else one of the emptiest engine. Waits for it.

        Returns:
            The engine's name and handle; None once the pool is closed.
        """
        async with self._change:
            await self._gathered(trial)
            while not self._closed:
                for name, seat in self._seats.items():
                    if trial in seat.trials:
                        return name, seat.handle
                name = max(self._seats, key=lambda n: self._seats[n].free, default="")
                if name and self._seats[name].free:
                    self._seats[name].trials.add(trial)
                    return name, self._seats[name].handle
                await self._change.wait()
            return None

    async def _gathered(self, trial: str) -> None:
        """Wait until enough trials have asked, or long enough for them."""
        clock = asyncio.get_running_loop().time
        self._deadline = self._deadline or clock() + PATIENCE
        self._asked.add(trial)
        self._change.notify_all()
        while len(self._asked) < self._gather and not self._closed:
            try:
                await asyncio.wait_for(self._change.wait(), self._deadline - clock())
            except TimeoutError:
                self._gather = 0

    async def release(self, trial: str) -> None:
        """Free the slot ``trial`` holds, here and at the engine."""
        async with self._change:
            for seat in self._seats.values():
                if trial in seat.trials:
                    seat.handle.release.remote(trial)
                    seat.trials.remove(trial)
                    self._change.notify_all()

    async def lost(self, engine: str) -> None:
        """Forget an engine that has died; its trials ask again."""
        async with self._change:
            self._seats.pop(engine, None)

    async def close(self) -> None:
        """Let everybody who waits go."""
        async with self._change:
            self._closed = True
            self._change.notify_all()
