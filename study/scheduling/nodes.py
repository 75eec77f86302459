"""The cluster's nodes: what Ray knows of them, and how engines fare there."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray._private.state import state
from ray.util import list_named_actors

CHECK = 2.0
"""Seconds between looks at the cluster, and for a connection to one of its processes."""
TRIES = 3
"""Times in a row that engines may fail to start on a node; then it gets no more."""
LONGEST = 30.0
"""Seconds between tries at most: they double."""
_UNKNOWN = ""  # a node that Ray does not name
_ENGINE = re.compile(r"(.+)-engine-\d+-\d+")
"""The name of an engine, after its study's (see :meth:`EnginePlan.config` and :class:`Fleet`)."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2 begins: its preface, and settings that change nothing (RFC 9113, 3.4)."""
_CODES = re.compile(r"\x1b\[[0-9;]*m")


class Place(NamedTuple):
    """Where Ray has placed an actor."""

    node: str
    """The node's id."""
    pid: int
    """Its process; 0 while that does not run yet."""


@dataclass
class _Failures:
    """Engines in a row that did not start on a node."""

    times: int
    last: float
    error: str


class Nodes:
    """What is known of the nodes on which engines may be.

    Ray is asked by :meth:`look` only, and only where its head answers: Ray's own calls wait without
    a limit for a head that has died.

    Args:
        device: the engines', ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self.resource = "GPU" if device == "cuda" else "CPU"
        self.head: str = ray.get_runtime_context().gcs_address
        self.here: str = ray.get_runtime_context().get_node_id()
        self._known: dict[str, Mapping[str, Any]] = {}
        self._draining: set[str] = set()
        self._failures: dict[str, _Failures] = {}
        self.look()

    def look(self) -> None:
        """Ask Ray for its nodes anew."""
        self._known = {node["NodeID"]: node for node in ray.nodes()}
        self._draining = set(state.get_draining_nodes())

    def head_answers(self) -> bool:
        """Whether the process on Ray's head that knows the cluster (the GCS) can be reached."""
        host, _, port = self.head.rpartition(":")
        return _answers(host.strip("[]"), int(port))

    def is_up(self, node: str) -> bool:
        """Whether a node's raylet can be reached: Ray notices its death half a minute later."""
        found = self._known.get(node)
        if found is None or not found["Alive"]:
            return False
        return _answers(found["NodeManagerAddress"], found["NodeManagerPort"])

    def drains(self, node: str) -> bool:
        """Whether a node is about to go, and Ray places nothing there any more."""
        return node in self._draining

    def rooms(self) -> dict[str, int]:
        """How many engines each node is for, of those where engines may be."""
        barred = self.barred()
        return {node: room for node, room in self._able().items() if node not in barred}

    def studies(self) -> list[str]:
        """Studies that have or want engines, of all that use the cluster."""
        names = (actor["name"] for actor in list_named_actors(all_namespaces=True))
        return sorted({found[1] for name in names if (found := _ENGINE.fullmatch(name))})

    def barred(self) -> list[str]:
        """Nodes where no engine may be placed: they drain, or engines do not start there."""
        return sorted(self._given_up() | self._draining)

    @property
    def none_left(self) -> bool:
        """Whether engines do not start on any node that is for engines."""
        able = self._able().keys()
        return bool(able) and able <= self._given_up()

    def name(self, node: str) -> str:
        """A node by its host's name and address."""
        found = self._known.get(node)
        if found is None:
            return "a node that Ray does not name"
        return f"{found['NodeManagerHostname']} ({found['NodeManagerAddress']})"

    # -- how engines fare ------------------------------------------------------------------------

    def started(self, node: str) -> None:
        """Note that an engine has started on a node."""
        self._failures.pop(node, None)
        self._failures.pop(_UNKNOWN, None)

    def failed(self, node: str | None, asked: float, error: str) -> str:
        """Note that an engine did not start on a node; return what is news for a person, if any.

        Engines that were asked for before the last failure there failed with it.

        Args:
            node: where Ray placed it; None where it does not say.
            asked: when the engine was asked for, on the monotonic clock.
            error: what happened, in a line.
        """
        node = node or _UNKNOWN
        before = self._failures.get(node)
        if before is not None and (asked < before.last or node in self._given_up()):
            return ""
        times = before.times + 1 if before else 1
        self._failures[node] = _Failures(times, time.monotonic(), error)
        if before is None:
            return f"an engine does not start on {self.name(node)}: {error}"
        if node in self._given_up():
            return f"no more engines are placed on {self.name(node)}: {times} tries there failed"
        return ""

    @property
    def in_doubt(self) -> bool:
        """Whether engines have failed to start somewhere where they may be tried again."""
        return bool(self._failures.keys() - self._given_up())

    @property
    def next_try(self) -> float:
        """When engines may be asked for again, on the monotonic clock."""
        failures = self._failures.values()
        return max((f.last + min(LONGEST, 2 ** (f.times - 1)) for f in failures), default=0.0)

    def failure(self) -> tuple[str, str] | None:
        """The last failure of an engine to start: the node's id, and what happened."""
        node = max(self._failures, key=lambda node: self._failures[node].last, default=None)
        return None if node is None else (node, self._failures[node].error)

    def _able(self) -> dict[str, int]:
        rooms = {
            node: int(found["Resources"].get(self.resource, 0))
            for node, found in self._known.items()
            if found["Alive"]
        }
        return {node: room for node, room in rooms.items() if room}

    def _given_up(self) -> set[str]:
        return {node for node, found in self._failures.items() if node and found.times >= TRIES}


def place_of(actor: Any) -> Place | None:
    """Where Ray has placed an actor; None while it waits for resources."""
    found = state.actor_table(actor._actor_id.hex())
    if not found or not found["Address"]["Port"]:  # the node is its owner's until it is placed
        return None
    return Place(found["Address"]["NodeID"], found["Pid"])


def last_line(error: Exception) -> str:
    """What happened, of a traceback or a message over many lines, without colours."""
    lines = [line.strip() for line in _CODES.sub("", str(error)).splitlines()]
    return next((line[:300] for line in reversed(lines) if line), type(error).__name__)


def _answers(host: str, port: int) -> bool:
    """Whether a gRPC server speaks there: of a frozen process, connections are still accepted."""
    try:
        with socket.create_connection((host, port), timeout=CHECK) as asked:
            asked.sendall(_PREFACE)
            return bool(asked.recv(1))  # its settings, before anything is asked
    except OSError:
        return False
