"""The pool: which trial holds a slot of which engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Occupancy(NamedTuple):
    """An engine and the trials that hold its slots."""

    engine: str
    handle: Any
    slots: int
    trials: Sequence[str] = ()


@dataclass
class _Engine:
    """What the pool knows of an engine."""

    handle: Any
    slots: int
    trials: set[str] = field(default_factory=set)
    reserved: str | None = None
    """The trial that has the engine to itself, or waits until it is empty."""

    @property
    def free(self) -> int:
        return max(0, self.slots - len(self.trials)) if self.reserved is None else 0


class Pool:
    """Assigns slots. Part of an actor, so that trials outlive engines; calls may be repeated.

    Its state can be rebuilt: if its process dies, Ray starts another, and the driver adds the
    engines again.
    """

    def __init__(self) -> None:
        self._engines: dict[str, _Engine] = {}
        self._lost = set[str]()  # one may be added late, by who has not heard
        self._change = asyncio.Condition()
        self._closed = False
        self._alone = set[str]()
        self._waiting: dict[object, str] = {}  # waiting call -> its trial

    async def serve(self) -> None:
        """Never return: a caller that waits for this sees the pool's death."""
        await asyncio.Event().wait()

    async def add(self, *engines: Occupancy) -> None:
        """Add engines with the trials in their slots, or update how many slots they have.

        A pool that was just started must get all of them in one call: else it might give a trial
        of the second a slot of the first. A trial in a slot that is not its own leaves it: an
        earlier pool sent it there as it died, or its release was lost, or another engine has it.
        """
        async with self._change:
            for engine, handle, slots, trials in engines:
                if engine in self._lost:
                    continue
                if engine not in self._engines:
                    new = {trial for trial in trials if self._engine_of(trial) is None}
                    self._engines[engine] = _Engine(handle, slots, new)
                held = self._engines[engine]
                held.slots = slots
                for stray in set(trials) - held.trials:
                    handle.release.remote(stray)
            self._change.notify_all()

    async def isolate(self, trials: Sequence[str]) -> None:
        """From now on each of ``trials``, and no other, has an engine to itself."""
        async with self._change:
            self._alone = set(trials)
            for held in self._engines.values():
                if held.reserved not in self._alone:
                    held.reserved = None
            self._change.notify_all()

    async def acquire(self, trial: str) -> tuple[str, Any] | None:
        """Wait for a slot for ``trial``: the one it holds, else one of the emptiest engine.

        Returns:
            The engine's name and handle; None once the pool is closed, or the trial released.
        """
        async with self._change:
            call = object()
            self._waiting[call] = trial
            try:
                while not self._closed and call in self._waiting:
                    name = self._place(trial)
                    if name is not None:
                        return name, self._engines[name].handle
                    await self._change.wait()
            finally:
                self._waiting.pop(call, None)
            return None

    async def release(self, trial: str) -> None:
        """Free the slot that ``trial`` holds, here and at the engine, or end its wait for one."""
        async with self._change:
            for other in [other for other, wanted in self._waiting.items() if wanted == trial]:
                del self._waiting[other]
            for held in self._engines.values():
                if trial in held.trials:
                    held.handle.release.remote(trial)
                    held.trials.remove(trial)
                if held.reserved == trial:
                    held.reserved = None
            self._change.notify_all()

    async def holding(self) -> list[str]:
        """The trials that hold slots."""
        return [trial for held in self._engines.values() for trial in held.trials]

    async def lost(self, engine: str) -> None:
        """Forget an engine for good that has died; its trials acquire slots again."""
        async with self._change:
            self._engines.pop(engine, None)
            self._lost.add(engine)
            self._change.notify_all()

    async def close(self) -> None:
        """End all waits."""
        async with self._change:
            self._closed = True
            self._change.notify_all()

    def _engine_of(self, trial: str) -> str | None:
        """The engine whose slot ``trial`` holds."""
        return next((name for name, held in self._engines.items() if trial in held.trials), None)

    def _place(self, trial: str) -> str | None:
        """Give ``trial`` a slot if there is one for it; return the engine's name."""
        if (mine := self._engine_of(trial)) is not None:
            return mine
        if trial in self._alone:
            return self._place_alone(trial)
        name = max(self._engines, key=lambda n: self._engines[n].free, default="")
        if not name or not self._engines[name].free:
            return None
        self._engines[name].trials.add(trial)
        return name

    def _place_alone(self, trial: str) -> str | None:
        """Reserve an engine for ``trial``; give it a slot there once the engine is empty."""
        mine = next((n for n, held in self._engines.items() if held.reserved == trial), None)
        if mine is None:
            unreserved = [n for n, held in self._engines.items() if held.reserved is None]
            mine = min(unreserved, key=lambda n: len(self._engines[n].trials), default=None)
            if mine is None:
                return None
            self._engines[mine].reserved = trial
        held = self._engines[mine]
        if held.trials:
            return None
        held.trials.add(trial)
        return mine
