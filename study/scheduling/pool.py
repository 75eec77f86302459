"""The pool: who trains where. An actor of its own, so that trials outlive engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 20.0
"""Seconds the first trials wait for each other's processes."""


TURN = 20.0
"""Seconds a call waits for a slot: one that is lost with a process is then not waited for long."""


@dataclass
class _Seat:
    """An engine and the trials that hold its slots."""

    handle: Any
    slots: int
    trials: set[str] = field(default_factory=set)
    reserved: str | None = None
    """The trial that has the engine to itself, or waits for it to be empty."""

    @property
    def free(self) -> int:
        return self.slots - len(self.trials) if self.reserved is None else 0


class Pool:
    """Hands out slots; made into an actor by the driver. Every call may be repeated.

    What it knows it can be told again: should its process die, Ray starts another, and the driver
    adds its engines once more.

    Once told to :meth:`gather`, it lends nothing until so many trials have asked, or for
    :data:`PATIENCE` at most. Were the first trial to end before the others' processes are up, Tune
    would give its process to one of them, throw the one that was starting away, and start the
    next, again and again.
    """

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}
        self._change = asyncio.Condition()
        self._closed = False
        self._alone = set[str]()
        self._waiting: dict[object, str] = {}  # who waits, and for which trial
        self._gather, self._asked = 0, set[str]()
        self._deadline: float | None = None

    async def serve(self) -> None:
        """Never return; whoever waits for this learns of the pool's death."""
        await asyncio.Event().wait()

    async def gather(self, count: int) -> None:
        """Let the first ``count`` trials start together."""
        self._gather = count

    async def add(self, engine: str, handle: Any, slots: int, aboard: Sequence[str] = ()) -> None:
        """Take an engine in, with the trials that are in its slots."""
        async with self._change:
            self._seats.setdefault(engine, _Seat(handle, slots, set(aboard)))
            self._change.notify_all()

    async def isolate(self, trials: Sequence[str]) -> None:
        """From now on ``trials``, and no others, each have an engine to themselves."""
        async with self._change:
            self._alone = set(trials)
            for seat in self._seats.values():
                if seat.reserved not in self._alone:
                    seat.reserved = None
            self._change.notify_all()

    async def acquire(self, trial: str) -> tuple[str, Any] | None:
        """A slot for ``trial``: the one it holds, else one of the emptiest engine. Waits for it.

        Returns:
            The engine's name and handle; no name after :data:`TURN` s without a slot: ask again;
            None once the pool is closed, or the trial released.
        """
        async with self._change:
            await self._gathered(trial)
            me = object()
            self._waiting[me] = trial
            try:
                while not self._closed and me in self._waiting:
                    name = self._place(trial)
                    if name is not None:
                        return name, self._seats[name].handle
                    try:
                        await asyncio.wait_for(self._change.wait(), TURN)
                    except TimeoutError:
                        return "", None
            finally:
                self._waiting.pop(me, None)
            return None

    async def release(self, trial: str) -> None:
        """Free the slot ``trial`` holds, here and at the engine; let it go if it waits for one."""
        async with self._change:
            for other in [other for other, wanted in self._waiting.items() if wanted == trial]:
                del self._waiting[other]
            for seat in self._seats.values():
                if trial in seat.trials:
                    seat.handle.release.remote(trial)
                    seat.trials.remove(trial)
                if seat.reserved == trial:
                    seat.reserved = None
            self._change.notify_all()

    async def seated(self) -> list[str]:
        """The trials that hold slots."""
        return [trial for seat in self._seats.values() for trial in seat.trials]

    async def lost(self, engine: str) -> None:
        """Forget an engine that has died; its trials ask again."""
        async with self._change:
            self._seats.pop(engine, None)
            self._change.notify_all()

    async def close(self) -> None:
        """Let everybody who waits go."""
        async with self._change:
            self._closed = True
            self._change.notify_all()

    def _place(self, trial: str) -> str | None:
        """Seat ``trial`` if it can be, and name the engine."""
        for name, seat in self._seats.items():
            if trial in seat.trials:
                return name
        if trial in self._alone:
            return self._place_alone(trial)
        name = max(self._seats, key=lambda n: self._seats[n].free, default="")
        if not name or not self._seats[name].free:
            return None
        self._seats[name].trials.add(trial)
        return name

    def _place_alone(self, trial: str) -> str | None:
        """Keep others off an engine until it is empty, then seat ``trial`` there."""
        mine = next((n for n, seat in self._seats.items() if seat.reserved == trial), None)
        if mine is None:
            open_to_all = [n for n, seat in self._seats.items() if seat.reserved is None]
            mine = min(open_to_all, key=lambda n: len(self._seats[n].trials), default=None)
            if mine is None:
                return None
            self._seats[mine].reserved = trial
        seat = self._seats[mine]
        if seat.trials:
            return None
        seat.trials.add(trial)
        return mine

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
