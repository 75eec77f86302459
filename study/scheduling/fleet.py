"""The driver's side of the engines: makes them, watches them, replaces those that die."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.engine.config import EngineConfig
from study.engine.home import HomeFiles
from study.formatting import duration
from study.journal.events import EngineChanged, Event
from study.journal.heartbeats import closing
from study.scheduling.gauges import Gauges
from study.scheduling.held import GONE, Held, ask_for, close, occupancies, suspend
from study.scheduling.nodes import CHECK, Nodes, last_line, place_of
from study.scheduling.outages import SEE, Outages, say
from study.scheduling.relay import Relay

Note = Callable[[Event], None]
"""Records an event."""

RELAY_CALLS = 100_000
"""Calls the relay serves at once: more than any cluster's slots."""
WAIT = 0.1
"""Seconds that the watch waits for changes at a time: it takes no longer to end."""
PAUSE = 0.5
"""Seconds before a relay that cannot be reached is called again."""
SWEEP = 5.0
"""Seconds between searches for slots of trials that are not running."""
PATIENCE = 60.0
"""Seconds an engine has to suspend its trials (a checkpoint each, after the current steps), or to
return its occupancy to a new relay."""
STOP = 10.0
"""Seconds an engine has to stop."""
BRIEF = 2.0
"""Seconds for anything once Ray has died."""
TIMINGS = 2
"""Engines that may die while they time slots: two in a row do not die by chance."""
PROCESS = 60.0
"""Seconds that an engine's process has to start: after as many Ray tries another."""


class Fleet:
    """The engines, and the relay, which assigns their slots.

    A watch over both follows the cluster: it makes engines where nodes join, ends them where nodes
    drain, and ends the study where none can run. An engine's name has a number of its own: a dead
    actor's name stays taken for a while. The relay runs on the driver's node: the death of another
    node does not affect it.

    Args:
        template: configuration of every engine; each gets a name of its own.
        count: engines to keep alive; None: one for each GPU, or core, of the nodes there are.
        widest: the most slots an engine may have.
        heed: called while the first engines are waited for; what it raises ends the wait.

    Attributes:
        relay: the relay's handle.
    """

    def __init__(
        self,
        template: EngineConfig,
        count: int | None,
        widest: int,
        heed: Callable[[], None] = lambda: None,
    ) -> None:
        self._template, self._count, self._widest, self._heed = template, count, widest, heed
        self._nodes = Nodes(template.device)
        self._outages = Outages(self._nodes, Path(template.home), growing=count is not None)
        self._gauges = Gauges(Path(template.home).name)
        self._checked = self._looked = 0.0
        self._swept = time.monotonic()
        self._running: Callable[[], set[str]] = set
        self._isolated: set[str] = set()
        self._idle: set[str] = set()  # in a slot though not running, at the last sweep
        self._made = 0
        self._homes: dict[str, str] = {}  # engine -> its node
        self._engines: list[Held] = []
        self._starting: dict[Any, Held] = {}  # what an engine answers next, until it is ready
        self._note: Note = lambda event: None
        self._data: tuple[Mapping[str, Any], float, int] | None = None
        self._resized: Callable[[int], None] = lambda engines: None
        # Engines first: Ray has a process ready for each core, and engines take longer to start.
        self._fill()
        here = NodeAffinitySchedulingStrategy(self._nodes.here, soft=False)
        options = {
            "num_cpus": 0,
            "max_concurrency": RELAY_CALLS,
            "scheduling_strategy": here,
            "max_restarts": -1,
            "max_task_retries": -1,
        }
        files = HomeFiles(Path(template.home), template.epoch, template.keep, template.mark)
        self.relay = ray.remote(Relay).options(**options).remote(files)
        self._serving: Any = None  # resolves when the relay dies; None until it is up
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._problem: Exception | None = None

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int]
    ) -> dict[int, float]:
        """Seconds per image in banks of ``widths`` rows; nothing if they cannot be timed, and why.

        Raises:
            EngineError: no engine starts.
        """
        why = ""
        for _ in range(TIMINGS):
            engine = self._first_up()
            try:
                answer = engine.actor.time_widths.remote(spec, data, widths, self.relay)
                return dict(ray.get(answer))
            except (RayActorError, RayTaskError) as error:
                why = last_line(error)
                if isinstance(error, RayTaskError):  # not a death, which may be by chance
                    break
            self._outages.progressed()  # there was an engine until now
            while engine in self._engines:  # another takes its place
                self._wait()
        say(f"warning: slots cannot be timed, so each engine has one ({why})")
        return {}

    def open(
        self,
        data: Mapping[str, Any],
        validation: float,
        width: int,
        note: Note,
        running: Callable[[], set[str]],
        resized: Callable[[int], None],
    ) -> None:
        """Give the engines their data; each joins the relay as soon as it is ready.

        From now on they are watched, and :meth:`check` raises what ends the study.

        Args:
            data: the prepared images, as a mapping.
            validation: how they are split.
            width: slots an engine.
            note: records the engines' events.
            running: returns the trials that may hold slots.
            resized: called with the number of engines, now and when it changes.

        Raises:
            EngineError: the relay does not start, or no engine does.
        """
        self._note, self._running, self._resized = note, running, resized
        resized(self._wanted())
        self._outages.progressed()
        relay = self.relay.holding.remote()
        while not ray.wait([relay], timeout=0)[0]:
            self._wait()
        try:
            ray.get(relay)
        except RayActorError as error:
            raise self._outages.fails("the relay", self._nodes.here, last_line(error)) from error
        self._serving, self._data = self._watch_relay(), (data, validation, width)
        for held in self._engines:
            if held.up:
                self._starting[self._prepare(held)] = held
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def release(self, trial: str) -> None:
        """Free a trial's slot, without waiting."""
        self.relay.release.remote(trial)

    def isolate(self, trial: str, alone: bool) -> None:
        """Give ``trial`` an engine to itself, or let it share one again."""
        if alone != (trial in self._isolated):
            self._isolated ^= {trial}
            ray.get(self.relay.isolate.remote(list(self._isolated)))

    def died_with_its_node(self, engine: str) -> bool:
        """Whether the node of a dead engine is gone too: then no trial is to blame."""
        node = self._homes.get(engine)
        return node is not None and not self._nodes.is_up(node)

    def check(self) -> None:
        """Check that Ray is alive, at most every :data:`CHECK` seconds.

        Raises:
            EngineError: Ray has died, on this machine or on its head.
            Exception: the error that ended the watch over the engines.
        """
        now = time.monotonic()
        if now < self._checked + CHECK and self._problem is None:
            return
        self._checked = now
        self._outages.check_ray()
        if self._problem is not None:
            raise self._problem

    @property
    def ray_died(self) -> bool:
        """Whether Ray has, as far as :meth:`check` has seen: calls may then wait without an end."""
        return self._outages.ray_died

    def suspend(self) -> None:
        """Have every engine save its trials in checkpoints, inside a segment if need be."""
        self._stopping.set()  # an engine that dies from now on needs no successor
        self._close_relay()
        self._suspend(self._ready())

    def stop(self) -> None:
        """Stop all engines, and record their time accounts."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(self._patience(PATIENCE))
        self._close_relay()
        self._close(self._ready())
        for held in self._engines:
            ray.kill(held.actor)
        ray.kill(self.relay)

    # -- which engines there are -------------------------------------------------------------------

    def _wanted(self) -> int:
        """How many engines there should be."""
        if self._count is not None:
            return self._count
        rooms = self._nodes.rooms()
        # A node may have engines, and get no more.
        others = sum(held.node is not None and held.node not in rooms for held in self._engines)
        return max(1, sum(rooms.values()) + others)  # one to wait for a node

    def _fill(self) -> None:
        """Ask for the engines that are missing, and take back those that are too many."""
        wanted = self._wanted()
        self._resized(wanted)
        coming = [held for held in self._engines if held.node is None]
        spare = len(self._engines) - wanted
        for held in coming[max(0, len(coming) - spare) :] if spare > 0 else ():
            self._end(held)
        if time.monotonic() < self._nodes.next_try:
            return
        missing = -spare
        if self._nodes.in_doubt:  # one at a time shows as much
            missing = 0 if coming else min(1, missing)
        for _ in range(missing):
            held = self._make()
            self._engines = [*self._engines, held]
            self._starting[held.actor.__ray_ready__.remote()] = held

    def _make(self) -> Held:
        config = replace(self._template, name=f"{self._template.name}-{self._made}")
        self._made += 1
        return ask_for(config, self._widest, self._nodes.barred())

    def _forget(self, *gone: Held) -> None:
        self._engines = [held for held in self._engines if held not in gone]
        self._starting = {ref: held for ref, held in self._starting.items() if held not in gone}

    def _end(self, held: Held) -> None:
        """End an engine that has not joined."""
        self._forget(held)
        ray.kill(held.actor)
        account = held.account()
        if "seconds" in account:
            self._note(closing(account, "lost", "process"))

    def _first_up(self) -> Held:
        """An engine whose process answers, once there is one."""
        while not (up := [held for held in self._engines if held.up and not held.died()]):
            self._wait()
        return up[0]

    def _wait(self) -> None:
        """Let a moment pass until the first engines run."""
        self._heed()
        self.check()
        self._poll()

    def _prepare(self, held: Held) -> Any:
        assert self._data is not None
        return held.actor.prepare.remote(*self._data, self.relay)

    def _join(self, held: Held, info: dict[str, Any]) -> None:
        held.node = self._homes[held.name] = info["node"]
        self._nodes.started(held.node)
        self._note(EngineChanged.read({**info, "state": "started"}))
        self._sweep()  # all of them: the relay may have been restarted a moment ago

    # -- the watch ----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Add engines to the relay when they are ready; replace those that die."""
        while not self._stopping.is_set():
            try:
                if time.monotonic() > self._swept + SWEEP:
                    self._sweep()
                self._poll()
            except RayActorError:  # the relay is gone, for now, or Ray: `check` says which
                self._stopping.wait(PAUSE)
            except Exception as error:
                if self._nodes.head_answers():
                    self._problem = error
                    return
                self._stopping.wait(PAUSE)  # likewise

    def _poll(self) -> None:
        """Handle what became ready, or died; at times look at the cluster."""
        if time.monotonic() > self._looked + CHECK and self._nodes.head_answers():
            self._looked = time.monotonic()
            self._look()
        watched = [*self._starting, *(held.alive for held in self._engines)]
        if self._serving is not None:
            watched.append(self._serving)
        if not watched:
            time.sleep(WAIT)
        for ref in ray.wait(watched, num_returns=1, timeout=WAIT)[0] if watched else ():
            if ref == self._serving:
                self._serving = self._watch_relay()
                # Restores its state. A slow engine must be in it: else its trials train twice.
                self._sweep(PATIENCE)
            elif ref in self._starting:
                self._answered(ref)
            else:
                self._died(next(held for held in self._engines if held.alive == ref))

    def _answered(self, ref: Any) -> None:
        """Go on with an engine that has taken a step of its start."""
        held = self._starting.pop(ref)
        try:
            answer = ray.get(ref)
        except (RayActorError, RayTaskError) as error:
            self._failed(held, last_line(error))
            return
        self._outages.progressed()
        if held.up:
            self._join(held, answer)
        else:
            held.up = True
            if self._data is not None:
                self._starting[self._prepare(held)] = held

    def _died(self, held: Held) -> None:
        if held.node is not None:
            self._lost(held)
        else:
            try:
                ray.get(held.alive)
                error = "it has ended"
            except (RayActorError, RayTaskError) as found:
                error = last_line(found)
            self._failed(held, error)
        self._fill()

    def _failed(self, held: Held, error: str) -> None:
        """Drop an engine that is not going to join."""
        place = held.place or place_of(held.actor)
        self._end(held)
        if place is None or self._nodes.is_up(place.node):  # else nothing but the node is to blame
            node = None if place is None else place.node
            if news := self._nodes.failed(node, held.asked, error):
                say(f"{news}. {SEE}")

    def _lost(self, held: Held) -> None:
        """Drop an engine that trained."""
        ray.get(self.relay.died.remote(held.name))
        ray.kill(held.actor)  # one that is cut off, and trains for nobody
        cause = "node" if self.died_with_its_node(held.name) else "process"
        self._note(closing(held.account(), "lost", cause))
        self._forget(held)

    def _look(self) -> None:
        """Follow the cluster."""
        self._nodes.look()
        for held in self._engines:
            if not held.up:
                self._locate(held)
        self._leave_draining_nodes()
        self._fill()
        self._outages.check_engines(self._engines)

    def _locate(self, held: Held) -> None:
        """See where Ray has placed an engine, and whether its process starts."""
        new = held.locate()
        if held.place is None:
            return
        if held.place.pid:
            if new:
                self._outages.progressed()
        elif time.monotonic() > held.placed + PROCESS:
            self._failed(held, f"its process does not start within {duration(PROCESS)}")

    def _leave_draining_nodes(self) -> None:
        """Have engines save their trials where nodes are about to go; others take them over."""
        for held in self._engines:
            if held.node is None and held.place and self._nodes.drains(held.place.node):
                self._end(held)
        leaving = [held for held in self._engines if held.node and self._nodes.drains(held.node)]
        for held in leaving:  # first: no trial may come any more
            ray.get(self.relay.lost.remote(held.name))
        self._forget(*leaving)
        self._suspend(leaving)
        self._close(leaving, cause="drain")
        for held in leaving:
            ray.kill(held.actor)

    # -- the relay, and calls to engines ------------------------------------------------------

    def _close_relay(self) -> None:
        with suppress(*GONE):  # with Ray itself
            ray.get(self.relay.close.remote(), timeout=self._patience(10))

    def _watch_relay(self) -> Any:
        return self.relay.serve.options(max_task_retries=0).remote()

    def _sweep(self, patience: float = CHECK) -> None:
        """Tell the relay of every engine, and free slots of trials that are not running.

        That is news for a relay that was just restarted, if an engine has fewer slots now, or a
        trial that is not its own. A trial that is not running in two sweeps has lost its release
        with a process; in one, it may be on its way.
        """
        self._swept = time.monotonic()
        ray.get(self.relay.isolate.remote(list(self._isolated)))
        engines = occupancies(self._ready(), patience)
        self._gauges.set(engines)
        ray.get(self.relay.add.remote(*engines))
        idle = set(ray.get(self.relay.holding.remote())) - self._running()
        for trial in idle & self._idle:
            self.relay.release.remote(trial)
        self._idle = idle

    def _ready(self) -> list[Held]:
        return [held for held in self._engines if held.node is not None]

    def _suspend(self, engines: list[Held]) -> None:
        for event in suspend(engines, self._patience(PATIENCE)):
            self._note(event)

    def _close(self, engines: list[Held], cause: str = "") -> None:
        for event in close(engines, self._patience(STOP), cause):
            self._note(event)

    def _patience(self, usual: float) -> float:
        return BRIEF if self.ray_died else usual
