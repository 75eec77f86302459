"""An engine as the driver holds it, and what is asked of several at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from study.engine.actor import EngineActor
from study.engine.config import EngineConfig
from study.journal.events import EngineChanged, TrialSuspended
from study.journal.heartbeats import Account, closing, last_account
from study.scheduling.nodes import Place, place_of
from study.scheduling.pool import Occupancy

SPARE_CALLS = 8
"""Calls an engine serves beside one waiting call for each slot."""
GONE = (RayActorError, RayTaskError, GetTimeoutError)
"""What a call to an actor raises that has died, has failed, or does not answer in time."""


@dataclass(eq=False)
class Held:
    """An engine of the fleet."""

    config: EngineConfig
    actor: Any
    alive: Any
    """Resolves only when the actor dies."""
    asked: float
    """When it was asked for, on the monotonic clock."""
    place: Place | None = None
    """Where Ray has placed it, at the last look; None while it waits for resources."""
    placed: float = 0.0
    """When that was seen."""
    up: bool = False
    """Whether its process answers."""
    node: str | None = None
    """Where it runs; None until it is ready."""

    @property
    def name(self) -> str:
        """The engine's."""
        return self.config.name

    def locate(self) -> bool:
        """See where Ray has placed it; whether that, or its process, is new."""
        place, before = place_of(self.actor), self.place
        if place == before:
            return False
        self.place, self.placed = place, time.monotonic()
        return True

    def died(self) -> bool:
        """Whether Ray knows that its process is gone."""
        return bool(ray.wait([self.alive], timeout=0)[0])

    def account(self) -> Account:
        """Its time account, as of its last heartbeat."""
        return last_account(Path(self.config.home), self.name)


def ask_for(config: EngineConfig, slots: int, barred: Sequence[str]) -> Held:
    """Have Ray make an engine of up to ``slots`` slots, on none of the nodes ``barred``."""
    options: dict[str, Any] = {
        "name": config.name,
        "num_cpus": 1,
        "num_gpus": 1 if config.device == "cuda" else 0,
        "max_concurrency": slots + SPARE_CALLS,
    }
    if barred:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(barred)})"}
    actor = ray.remote(EngineActor).options(**options).remote(config)
    return Held(config, actor, actor.serve.remote(), time.monotonic())


def occupancies(engines: Iterable[Held], patience: float) -> list[Occupancy]:
    """Occupancies of the engines that answer within ``patience`` seconds."""
    asked = {held.actor.occupancy.remote(): held for held in engines}
    found = []
    for ref in ray.wait([*asked], num_returns=len(asked), timeout=patience)[0] if asked else ():
        with suppress(*GONE):  # its `alive` resolves too
            found.append(Occupancy(asked[ref].name, asked[ref].actor, *ray.get(ref)))
    return found


def suspend(engines: Iterable[Held], patience: float) -> Iterator[TrialSuspended]:
    """Have engines suspend their trials, within ``patience`` seconds in all."""
    asked = [(held, held.actor.suspend.remote()) for held in engines]
    deadline = time.monotonic() + patience
    for held, answer in asked:
        with suppress(*GONE):  # its trials resume from their last checkpoints
            found = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
            for trial, seconds in found.items():
                yield TrialSuspended(trial, held.name, {"training": seconds})


def close(engines: Iterable[Held], patience: float, cause: str = "") -> Iterator[EngineChanged]:
    """Stop engines, within ``patience`` seconds in all; their last events, with their accounts."""
    asked = [(held, held.actor.stop.remote()) for held in engines]
    deadline = time.monotonic() + patience
    for held, answer in asked:
        try:
            account = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
            event = closing(account, "stopped", cause)
        except GONE:
            event = closing(held.account(), "lost", "process")
        yield event
