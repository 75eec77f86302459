"""The relay under storms: its process and engines die, calls are lost, late, and made twice.

All is in one process and takes milliseconds: the relay is the product's, the rest simulates Ray,
Tune, the fleet's watch and the engines. Whole studies under the same storms, less often, are in
test_faults.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorDiedError

from study.scheduling.pool import Occupancy
from study.scheduling.relay import Relay

STEPS = 6
STUDIES = 40
PATIENCE = 60.0


@dataclass
class Held:
    """A trial in an engine: how far it is, what it delivers, and whether that is all."""

    until: int | None
    step: int
    reports: list[dict[str, Any]]

    @property
    def over(self) -> bool:
        return self.step == STEPS or (self.until is not None and self.step >= self.until)


class Engine:
    """Keeps the contract of :class:`study.engine.engine.Engine`; trains in no time."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.dead = name, False
        self._world, self._held = world, dict[str, Held]()
        self._change = asyncio.Condition()
        self._training = asyncio.create_task(self._train())

    def die(self) -> None:
        self.dead = True
        self._training.cancel()

    async def admit(self, request: dict[str, Any]) -> None:
        trial = request["trial"]
        if trial in self._held:
            return
        step = self._world.disk[trial]
        saved = range(request["after"] + 1, step + 1)
        async with self._change:
            self._held[trial] = Held(request["until"], step, [report(made) for made in saved])
            self._change.notify_all()

    async def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        async with self._change:
            held = self._held.get(trial)
            while held is not None and held is self._held.get(trial):
                if held.over or len(held.reports) > after:
                    return held.reports[after:]
                await self._change.wait()
            return []

    async def release(self, trial: str) -> None:
        async with self._change:
            self._held.pop(trial, None)
            self._change.notify_all()

    async def occupancy(self) -> list[str]:
        return list(self._held)

    async def _train(self) -> None:
        while True:
            await self._world.while_()
            training = [trial for trial, held in self._held.items() if not held.over]
            for trial in training[: self._world.width]:
                async with self._change:
                    held = self._held[trial]
                    held.step += 1
                    held.reports.append(report(held.step))
                    self._world.disk[trial] = held.step
                    self._change.notify_all()


def report(step: int) -> dict[str, Any]:
    return {"step": step, "end": {}} if step == STEPS else {"step": step}


class Handle:
    """An engine as the relay calls it."""

    def __init__(self, engine: Engine, world: World) -> None:
        self._engine, self._world = engine, world

    def __getattr__(self, name: str) -> Any:
        class Method:
            remote = staticmethod(lambda *given: self._world.sent(self._answer(name, *given)))

        return Method

    async def _answer(self, name: str, *given: Any) -> Any:
        await self._world.while_()
        work = asyncio.ensure_future(getattr(self._engine, name)(*given))
        while not work.done():
            if self._engine.dead:
                work.cancel()
                raise ActorDiedError
            await asyncio.wait([work], timeout=0.005)
        await self._world.while_()
        return work.result()


@dataclass
class Trial:
    """What the study knows of a trial."""

    synchronous: bool
    """It is released at each report, and requested again."""
    step: int = 0
    running: bool = False


@dataclass
class World:
    """A study of a few trials, and the weather."""

    dice: random.Random
    width: int
    count: int
    twice: float
    """How often a call to the relay is made twice."""
    relay_dies: float
    """How often, of every 5 ms."""
    engine_dies: float
    disk: dict[str, int] = field(default_factory=dict)
    """Checkpoints: the last report of each trial."""
    deaths: int = 0

    def __post_init__(self) -> None:
        self.trials = {f"t{n}": Trial(synchronous=n % 2 == 0) for n in range(5)}
        self.disk = dict.fromkeys(self.trials, 0)
        self._engines, self._made = list[Engine](), 0
        self._relay, self._death = Relay(), asyncio.Event()
        self._inside, self._around = set[asyncio.Task[Any]](), set[asyncio.Task[Any]]()
        self._leaving: list[asyncio.Task[Any]] = []
        self._idle = set[str]()

    async def while_(self) -> None:
        """A moment."""
        await asyncio.sleep(self.dice.random() * 0.003)

    def sent(self, message: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something the relay's process sends; what leaves as it dies may be lost."""
        task = asyncio.create_task(message)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._leaving = [*self._leaving[-3:], task]
        return task

    async def study(self) -> None:
        """Run all trials to their end, whatever happens meanwhile."""
        self._engines = [self._engine() for _ in range(self.count)]
        for work in (self._watch, self._storm):
            _keep(work(), self._around)
        try:
            await asyncio.wait_for(self._trials(), PATIENCE)
        finally:
            for task in (*self._around, *self._inside):
                task.cancel()
            for engine in self._engines:
                engine.die()

    async def _trials(self) -> None:
        going = set[asyncio.Task[None]]()
        while left := [name for name, trial in self.trials.items() if trial.step < STEPS]:
            for name in left:
                if not self.trials[name].running and len(going) < self.width * self.count:
                    self.trials[name].running = True
                    going.add(asyncio.create_task(self._trial(name)))
            await self.while_()
            going = {task for task in going if not task.done()}

    async def _trial(self, name: str) -> None:
        """A trial's held, as the scheduler has it."""
        trial = self.trials[name]
        until = trial.step + 1 if trial.synchronous else None
        request = {"trial": name, "after": trial.step, "until": until}
        over = False
        while not over:
            found = await self._call("follow", request)
            new = [r["step"] for r in found["reports"] if r["step"] == trial.step + 1]
            trial.step = max([trial.step, *new])
            over = found["over"] or bool(new and trial.synchronous) or trial.step == STEPS
        for _ in range(2):  # Tune and the scheduler both do, and wait for neither
            _keep(self._call("release", name), self._around)
        await self.while_()
        trial.running = False

    async def _call(self, name: str, *given: Any) -> Any:
        """Call the relay as Ray does: again whenever it dies, and sometimes twice."""
        while True:
            await self.while_()
            death = self._death
            method: Callable[..., Any] = getattr(self._relay, name)
            twice = self.dice.random() < self.twice
            call = self.dice.choice([_keep(method(*given), self._inside) for _ in range(1 + twice)])
            died = asyncio.ensure_future(death.wait())
            await asyncio.wait([call, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if call.done() and not call.cancelled():
                await self.while_()
                return call.result()

    async def _watch(self) -> None:
        """As the fleet's: add new engines, release idle trials, replace dead engines."""
        while True:
            await self._sweep()
            for _ in range(5):
                death = self._death
                await self.while_()
                for n, engine in enumerate(self._engines):
                    if engine.dead:
                        await self._call("lost", engine.name)
                        self._engines[n] = self._engine()
                        await self._sweep()
                if death.is_set():
                    await self._sweep()

    async def _sweep(self) -> None:
        living = [engine for engine in self._engines if not engine.dead]
        occupancies = [
            Occupancy(engine.name, Handle(engine, self), self.width, await engine.occupancy())
            for engine in living
        ]
        await self._call("add", *occupancies)
        running = {name for name, trial in self.trials.items() if trial.running}
        idle = set(await self._call("holding")) - running
        for name in idle & self._idle:
            _keep(self._call("release", name), self._around)
        self._idle = idle

    async def _storm(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if self.dice.random() < self.relay_dies:
                self._kill_relay()
            if self.dice.random() < self.engine_dies:
                self.dice.choice(self._engines).die()

    def _kill_relay(self) -> None:
        self.deaths += 1
        for task in self._leaving:
            if self.dice.random() < 0.5:
                task.cancel()
        for task in list(self._inside):
            task.cancel()
        self._death.set()
        self._relay, self._death = Relay(), asyncio.Event()

    def _engine(self) -> Engine:
        self._made += 1
        return Engine(f"engine-{self._made}", self)


def _keep(work: Coroutine[Any, Any, Any], tasks: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """Begin ``work``, one of ``tasks`` until it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def world(seed: int) -> World:
    dice = random.Random(seed)
    return World(
        dice,
        width=dice.choice([1, 1, 2, 3]),
        count=dice.choice([1, 2, 3]),
        twice=dice.choice([0, 0.4]),
        relay_dies=dice.choice([0.05, 0.2]),
        engine_dies=dice.choice([0, 0.08]),
    )


def test_every_trial_comes_to_its_end_in_any_storm() -> None:
    async def play() -> int:
        worlds = [world(seed) for seed in range(STUDIES)]
        ended = await asyncio.gather(*(w.study() for w in worlds), return_exceptions=True)
        assert [seed for seed, error in enumerate(ended) if error is not None] == []
        return sum(w.deaths for w in worlds)

    assert asyncio.run(play()) > STUDIES
