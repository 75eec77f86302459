"""The pool: who trains where."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Aboard(NamedTuple):
    """What there is to know of an engine."""

    engine: str
    handle: Any
    slots: int
    trials: Sequence[str] = ()
    """Those that hold its slots."""


@dataclass
class _Engine:
    """An engine and the trials that hold its slots."""

    handle: Any
    slots: int
    trials: set[str] = field(default_factory=set)
    reserved: str | None = None
    """The trial that has the engine to itself, or waits for it to be empty."""

    @property
    def free(self) -> int:
        return max(0, self.slots - len(self.trials)) if self.reserved is None else 0


class Pool:
    """Hands out slots. Part of an actor, so that trials outlive engines; calls may be repeated.

    What it knows it can be told again: should its process die, Ray starts another, and the driver
    adds its engines once more.
    """

    def __init__(self) -> None:
        self._engines: dict[str, _Engine] = {}
        self._change = asyncio.Condition()
        self._closed = False
        self._alone = set[str]()
        self._waiting: dict[object, str] = {}  # who waits, and for which trial

    async def serve(self) -> None:
        """Never return; whoever waits for this learns of the pool's death."""
        await asyncio.Event().wait()

    async def add(self, *engines: Aboard) -> None:
        """Take engines in, with the trials in their slots; or hear how many slots they have by now.

        Who knows nothing yet must hear of all at once: else a trial of the second might be given a
        slot of the first.
        """
        async with self._change:
            for engine, handle, slots, trials in engines:
                self._engines.setdefault(engine, _Engine(handle, slots, set(trials))).slots = slots
            self._change.notify_all()

    async def isolate(self, trials: Sequence[str]) -> None:
        """From now on ``trials``, and no others, each have an engine to themselves."""
        async with self._change:
            self._alone = set(trials)
            for held in self._engines.values():
                if held.reserved not in self._alone:
                    held.reserved = None
            self._change.notify_all()

    async def acquire(self, trial: str) -> tuple[str, Any] | None:
        """A slot for ``trial``: the one it holds, else one of the emptiest engine. Waits for it.

        Returns:
            The engine's name and handle; None once the pool is closed, or the trial released.
        """
        async with self._change:
            me = object()
            self._waiting[me] = trial
            try:
                while not self._closed and me in self._waiting:
                    name = self._place(trial)
                    if name is not None:
                        return name, self._engines[name].handle
                    await self._change.wait()
            finally:
                self._waiting.pop(me, None)
            return None

    async def release(self, trial: str) -> None:
        """Free the slot ``trial`` holds, here and at the engine; let it go if it waits for one."""
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

    async def seated(self) -> list[str]:
        """The trials that hold slots."""
        return [trial for held in self._engines.values() for trial in held.trials]

    async def lost(self, engine: str) -> None:
        """Forget an engine that has died; its trials ask again."""
        async with self._change:
            self._engines.pop(engine, None)
            self._change.notify_all()

    async def close(self) -> None:
        """Let everybody who waits go."""
        async with self._change:
            self._closed = True
            self._change.notify_all()

    def _place(self, trial: str) -> str | None:
        """Seat ``trial`` if it can be, and name the engine."""
        for name, held in self._engines.items():
            if trial in held.trials:
                return name
        if trial in self._alone:
            return self._place_alone(trial)
        name = max(self._engines, key=lambda n: self._engines[n].free, default="")
        if not name or not self._engines[name].free:
            return None
        self._engines[name].trials.add(trial)
        return name

    def _place_alone(self, trial: str) -> str | None:
        """Keep others off an engine until it is empty, then seat ``trial`` there."""
        mine = next((n for n, held in self._engines.items() if held.reserved == trial), None)
        if mine is None:
            open_to_all = [n for n, held in self._engines.items() if held.reserved is None]
            mine = min(open_to_all, key=lambda n: len(self._engines[n].trials), default=None)
            if mine is None:
                return None
            self._engines[mine].reserved = trial
        held = self._engines[mine]
        if held.trials:
            return None
        held.trials.add(trial)
        return mine
