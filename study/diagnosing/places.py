"""The driver and the nodes of its cluster, and what is found on each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.diagnosing.facts import Facts, gather
from study.diagnosing.storage import Storage, measure, replied, try_folder
from study.engine.parts import Part

DRIVER = "driver"
PATIENCE = 20.0
"""Seconds that a node has to answer."""
_ROUND_TRIPS = 3


@dataclass(frozen=True)
class Place:
    """The driver, or a node."""

    name: str
    facts: Facts
    storage: Storage | None = None
    """Of the studies' home; None: the home is not seen there, or was not tried."""
    home_error: str = ""
    """Why the home is seen there and cannot be used."""
    offset: float = 0.0
    """Seconds by which its clock is ahead of the driver's."""
    doubt: float = 0.0
    """Seconds by which ``offset`` may be wrong."""
    offered: float | None = None
    """Cores that Ray gives away there."""
    gpus: float = 0.0
    """GPUs that it gives away."""

    @property
    def engines(self) -> int:
        """How many engines `auto` puts there, whatever the rest of the cluster has."""
        return int(self.gpus or (self.facts.cores if self.offered is None else self.offered))


@dataclass(frozen=True)
class Silent:
    """A node of which nothing is known."""

    name: str
    why: str
    runs_no_code: bool = False
    """Whether this package cannot run there."""


def driver(parts: Iterable[Part] = (), folder: Path | None = None, *, gpus: bool = True) -> Place:
    """The driver's place; ``folder`` in the studies' home is tried if given.

    Raises:
        OSError: the folder cannot be written.
    """
    storage = None if folder is None else measure(folder)
    return Place(DRIVER, gather(parts, gpus=gpus), storage)


def nodes(
    parts: Iterable[Part], folder: Path | None = None, *, gpus: bool = True
) -> list[Place | Silent]:
    """The nodes of the connected cluster that can have engines, and the driver's node.

    Arguments as for :func:`driver`.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    found = [
        node
        for node in ray.nodes()
        if node["Alive"] and (node["Resources"].get("CPU") or node["NodeID"] == here)
    ]
    names = _names(found)
    asked = {
        _on(node, _look, tuple(parts), folder, node["NodeID"], gpus): node["NodeID"]
        for node in found
    }
    late = set(ray.wait([*asked], num_returns=len(asked), timeout=PATIENCE)[1])
    places: list[Place | Silent] = []
    for ref, node in zip(asked, found, strict=True):
        name = names[node["NodeID"]]
        if ref in late:
            ray.cancel(ref, force=True)
            places.append(Silent(name, f"no answer within {PATIENCE:g} s"))
        else:
            places.append(_answered(name, ref, node, folder))
    return places


def _answered(name: str, ref: Any, node: Mapping[str, Any], folder: Path | None) -> Place | Silent:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        facts, storage, home_error = ray.get(ref)
        offset, doubt = _clock(node)
    except RayTaskError as error:
        return Silent(name, _last_line(error), runs_no_code=True)
    except RayError as error:
        return Silent(name, _last_line(error))
    if folder is not None and storage is not None and not replied(folder, node["NodeID"]):
        home_error = "what is written there is not seen by the driver"
    cores, gpus = (float(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
    return Place(name, facts, storage, home_error, offset, doubt, cores, gpus)


def _look(
    parts: tuple[Part, ...], folder: Path | None, reply: str, gpus: bool
) -> tuple[Facts, Storage | None, str]:
    """On a node: what is found, what the home does, why the home cannot be used."""
    storage, error = None, ""
    try:
        storage = None if folder is None else try_folder(folder, reply)
    except OSError as refused:
        error = str(refused.strerror)
    return gather(parts, gpus=gpus), storage, error


def _clock(node: Mapping[str, Any]) -> tuple[float, float]:
    """By how many seconds a node's clock is ahead, and the doubt: half of a round trip."""
    import ray

    tries = []
    for _ in range(_ROUND_TRIPS):
        asked = time.time()
        there = ray.get(_on(node, _now), timeout=PATIENCE)
        answered = time.time()
        tries.append(((answered - asked) / 2, there - (asked + answered) / 2))
    doubt, offset = min(tries)
    return offset, doubt


def _now() -> float:
    return time.time()


def _on(node: Mapping[str, Any], function: Any, *arguments: Any) -> Any:
    """Call ``function`` on a node, beside all that runs there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
    return ray.remote(function).options(**options).remote(*arguments)


def _names(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Names of nodes by their ids: the host's, with a port where there are several on one."""
    found = list(found)
    several = Counter(node["NodeManagerHostname"] for node in found)
    return {
        node["NodeID"]: host
        if several[host := node["NodeManagerHostname"]] == 1
        else f"{host}:{node['NodeManagerPort']}"
        for node in found
    }


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:300] if lines else type(error).__name__
