"""The driver's side of the engines: makes them, watches them, replaces those that die."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.engine.actor import EngineActor
from study.engine.config import EngineConfig
from study.journal.events import EngineChanged, Event
from study.journal.heartbeats import closing, last_account
from study.journal.home import command_line
from study.scheduling.pool import Occupancy
from study.scheduling.relay import Relay
from vae_core.errors import UserError

Note = Callable[[Event], None]
"""Records an event."""

SPARE_CALLS = 8
"""Calls an engine serves beside one waiting call for each slot."""
RELAY_CALLS = 1000
"""Calls the relay serves at once beside those of trials."""
WAIT = 0.1
"""Seconds that the watch waits for changes at a time: it takes no longer to end."""
CHECK = 2.0
"""Seconds between checks of Ray, and the usual limit for an engine's answer."""
ATTEMPTS = 3
"""Engines that may die during start-up before the first is ready."""
PAUSE = 0.5
"""Seconds before a relay that cannot be reached is called again."""
SWEEP = 5.0
"""Seconds between searches for slots of trials that are not running."""
PATIENCE = 60.0
"""Seconds an engine has to suspend its trials (a checkpoint each, after the current steps), or to
return its occupancy to a new relay."""
_GONE = (RayActorError, RayTaskError, GetTimeoutError)


class EngineError(UserError):
    """The engines, or the Ray under them, cannot work."""

    exit_code = 1


@dataclass
class _Held:
    """An engine of this fleet."""

    config: EngineConfig
    actor: Any
    alive: Any
    """Resolves only when the actor dies."""
    node: str | None = None
    """Where it runs; None until it is ready."""


class Fleet:
    """``count`` engines and the relay, which assigns their slots.

    An engine's name has a number that each replacement raises: a dead actor's name stays taken for
    a while. The relay runs on the driver's node: the death of another node does not affect it.

    Args:
        template: configuration of every engine; each gets a name of its own.
        count: engines to keep alive.
        widest: the most slots an engine may have.

    Attributes:
        relay: the relay's handle.
    """

    def __init__(self, template: EngineConfig, count: int, widest: int) -> None:
        self._template, self._widest = template, widest
        self._here, self._checked = ray.get_runtime_context().get_node_id(), 0.0
        self._isolated: set[str] = set()
        self._idle: set[str] = set()  # in a slot though not running, at the last sweep
        self._replaced = 0
        self._nodes: dict[str, str] = {}  # engine -> its node
        # Engines first: Ray has a process ready for each core, and engines take longer to start.
        self._engines = [self._make(index) for index in range(count)]
        here = NodeAffinitySchedulingStrategy(self._here, soft=False)
        options = {
            "num_cpus": 0,
            "max_concurrency": count * widest + RELAY_CALLS,
            "scheduling_strategy": here,
            "max_restarts": -1,
            "max_task_retries": -1,
        }
        self.relay = ray.remote(Relay).options(**options).remote()
        self._serving = self._watch_relay()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._problem: Exception | None = None
        self._note: Note | None = None
        self._data: tuple[Mapping[str, Any], float, int] | None = None

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int]
    ) -> dict[int, float]:
        """Seconds per image in banks of ``widths`` rows; nothing if they cannot be timed."""
        with suppress(RayActorError):  # its `alive` resolves too
            found: dict[int, float]
            found = ray.get(self._engines[0].actor.time_widths.remote(spec, data, widths))
            return found
        return {}

    def open(
        self,
        data: Mapping[str, Any],
        validation: float,
        width: int,
        note: Note,
        running: Callable[[], set[str]],
    ) -> None:
        """Give the engines their data; each joins the relay as soon as it is ready.

        Args:
            data: the prepared images, as a mapping.
            validation: how they are split.
            width: slots an engine.
            note: records the engines' events.
            running: returns the trials that may hold slots.

        Raises:
            EngineError: an engine cannot begin.
        """
        self._data, self._note, self._running = (data, validation, width), note, running
        preparing = {self._prepare(held): held for held in self._engines}
        for attempt in range(ATTEMPTS):
            first = ray.wait(list(preparing), num_returns=1)[0][0]
            held = preparing.pop(first)
            try:
                self._join(held, ray.get(first))
                break
            except (RayTaskError, RayActorError) as error:
                if isinstance(error, RayTaskError) or attempt + 1 == ATTEMPTS:
                    raise EngineError(
                        f"an engine cannot begin: {error}",
                        where=held.config.name,
                        remedy="see its node's Ray logs; the studies' home must be on storage that "
                        "every node sees, and the same packages installed on each",
                    ) from error
                self._replace(held.alive, preparing)  # it was killed as it came up
        self._watcher = threading.Thread(target=self._watch, args=(preparing,), daemon=True)
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
        node = self._nodes.get(engine)
        return node is not None and not _is_up(node)

    def check(self) -> None:
        """Check that Ray is alive, at most every :data:`CHECK` seconds.

        Raises:
            EngineError: Ray has died on this machine.
            Exception: the error that ended the watch over the engines.
        """
        now = time.monotonic()
        if now < self._checked + CHECK and self._problem is None:
            return
        self._checked = now
        if not _is_up(self._here):
            raise EngineError(
                "Ray has died on this machine",
                remedy="nothing is lost. Resume with: "
                + command_line("resume", Path(self._template.home)),
            )
        if self._problem is not None:
            raise self._problem

    def suspend(self) -> dict[str, dict[str, float]]:
        """Have every engine save its trials in checkpoints, inside a segment if need be.

        Returns:
            By engine and trial, device seconds trained since the trial's last report.
        """
        self._stopping.set()  # an engine that dies from now on needs no successor
        self._close_relay()
        asked = {
            held.config.name: held.actor.suspend.remote()
            for held in self._engines
            if held.node is not None
        }
        deadline = time.monotonic() + PATIENCE
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
            except _GONE:
                continue  # its trials resume from their last checkpoints
        return found

    def stop(self) -> None:
        """Stop all engines, and record their time accounts."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(PATIENCE)
        self._close_relay()
        for held in self._engines:
            if self._note is not None and held.node is not None:
                self._close(held, self._note)
            ray.kill(held.actor)
        ray.kill(self.relay)

    def _make(self, index: int) -> _Held:
        config = replace(self._template, name=f"{self._template.name}-{index}-{self._replaced}")
        options = {
            "name": config.name,
            "num_cpus": 1,
            "num_gpus": 1 if config.device == "cuda" else 0,
            "max_concurrency": self._widest + SPARE_CALLS,
        }
        actor = ray.remote(EngineActor).options(**options).remote(config)
        return _Held(config, actor, actor.serve.remote())

    def _close_relay(self) -> None:
        with suppress(*_GONE):  # with Ray itself
            ray.get(self.relay.close.remote(), timeout=10)

    def _watch_relay(self) -> Any:
        return self.relay.serve.options(max_task_retries=0).remote()

    def _prepare(self, held: _Held) -> Any:
        assert self._data is not None
        return held.actor.prepare.remote(*self._data)

    def _join(self, held: _Held, info: dict[str, Any]) -> None:
        assert self._note is not None
        held.node = self._nodes[held.config.name] = info["node"]
        self._note(EngineChanged.read({**info, "state": "started"}))
        self._sweep()  # all of them: the relay may have been restarted a moment ago

    def _watch(self, preparing: dict[Any, _Held]) -> None:
        """Add engines to the relay when they are ready; replace those that die."""
        swept = time.monotonic()
        while not self._stopping.is_set():
            try:
                if time.monotonic() > swept + SWEEP:
                    self._sweep()
                    swept = time.monotonic()
                self._poll(preparing)
            except RayActorError:  # the relay is gone, for now, or Ray: `check` says which
                self._stopping.wait(PAUSE)
            except Exception as error:
                self._problem = error
                return

    def _poll(self, preparing: dict[Any, _Held]) -> None:
        """Handle what became ready, or died."""
        watched = [self._serving, *preparing, *(held.alive for held in self._engines)]
        ready, _ = ray.wait(watched, num_returns=1, timeout=WAIT)
        for ref in ready:
            if ref == self._serving:
                self._serving = self._watch_relay()
                # Restores its state. A slow engine must be in it: else its trials train twice.
                self._sweep(PATIENCE)
            elif ref in preparing:
                held = preparing.pop(ref)
                with suppress(RayActorError, RayTaskError):  # its `alive` resolves too
                    self._join(held, ray.get(ref))
            else:
                self._replace(ref, preparing)

    def _sweep(self, patience: float = CHECK) -> None:
        """Tell the relay of every engine, and free slots of trials that are not running.

        That is news for a relay that was just restarted, or if an engine has fewer slots now. A
        trial found in two sweeps has lost its release with a process; in one, it may be on its way.
        """
        ray.get(self.relay.isolate.remote(list(self._isolated)))
        engines = self._occupancies(patience)
        ray.get(self.relay.add.remote(*engines))
        holding = set(ray.get(self.relay.holding.remote()))
        holding.update(*(engine.trials for engine in engines))
        idle = holding - self._running()
        for trial in idle & self._idle:
            self.relay.release.remote(trial)
            for engine in engines:
                if trial in engine.trials:
                    engine.handle.release.remote(trial)
        self._idle = idle

    def _occupancies(self, patience: float) -> list[Occupancy]:
        """Occupancies of the engines that answer within ``patience`` seconds."""
        asked = {held.actor.occupancy.remote(): held for held in self._engines if held.node}
        found = []
        for ref in ray.wait([*asked], num_returns=len(asked), timeout=patience)[0] if asked else ():
            with suppress(*_GONE):  # its `alive` resolves too
                found.append(Occupancy(asked[ref].config.name, asked[ref].actor, *ray.get(ref)))
        return found

    def _replace(self, alive: Any, preparing: dict[Any, _Held]) -> None:
        assert self._note is not None
        index = next(i for i, held in enumerate(self._engines) if held.alive == alive)
        dead = self._engines[index].config
        ray.get(self.relay.lost.remote(dead.name))
        cause = "node" if self.died_with_its_node(dead.name) else "process"
        self._note(closing(last_account(Path(dead.home), dead.name), "lost", cause))
        self._replaced += 1
        self._engines[index] = self._make(index)
        preparing[self._prepare(self._engines[index])] = self._engines[index]

    def _close(self, held: _Held, note: Note) -> None:
        config = held.config
        try:
            account = ray.get(held.actor.stop.remote(), timeout=10)
        except _GONE:
            account = last_account(Path(config.home), config.name)
            note(closing(account, "lost", "process"))
            return
        note(closing(account, "stopped"))


def _is_up(node: str) -> bool:
    """Whether a node's raylet accepts connections: Ray notices its death half a minute later.

    ``node`` is the node's id.
    """
    found = next((known for known in ray.nodes() if known["NodeID"] == node), None)
    if found is None or not found["Alive"]:
        return False
    try:
        address = (found["NodeManagerAddress"], found["NodeManagerPort"])
        socket.create_connection(address, timeout=CHECK).close()
    except OSError:
        return False
    return True
