"""A Ray cluster over hosts: a head, and nodes that join and leave."""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import PATIENCE, TITLES, HarnessError, Launch, events
from hosts import Host, Hosts

from study.journal.events import EngineChanged

RAY = Path(sys.executable).with_name("ray")
TEMPORARY = Path("/tmp/ray")
PORT = 6379
HEAD = "head"
OF_STUDIES = r" -m study |^ray::(?!IDLE|DashboardAgent|RuntimeEnvAgent)"
"""Titles of what a study runs on a node, beside Ray's own processes."""


class Cluster:
    """Nodes of one CPU each, every one on its host; they authenticate by one token.

    Attributes:
        hosts: theirs, and any others on their network.
        address: the head's, for ``--address``.
        names: of the hosts, by Ray's ids of all nodes that ever were.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.names = hosts, dict[str, str]()
        self._token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        head = hosts.add(HEAD, [TEMPORARY])
        self.address = f"{head.address}:{PORT}"
        self._start(head, "--head", f"--port={PORT}", "--include-dashboard=0")

    def join(self, *names: str, private: Iterable[Path] = ()) -> None:
        """Add nodes on new hosts, one after the other, and wait until each is up.

        Args:
            names: of the hosts.
            private: folders that each has for itself.
        """
        for name in names:
            host = self.hosts.add(name, [TEMPORARY, *private])
            self._start(host, f"--address={self.address}")

    def leave(self, name: str) -> None:
        """End all of a node's processes, and its host."""
        self.hosts.remove(name)

    def tell_to_go(self, name: str) -> None:
        """What a machine that is taken away does first: SIGTERM to the node's `ray start`."""
        for node in self.hosts[name].processes("/ray start --block "):
            node.kill(signal.SIGTERM)

    def launch(self, home: Path, *arguments: str, **options: Any) -> Launch:
        """``study launch`` on the head, or with ``verb="resume"`` the other."""
        options["environment"] = self._token | options.get("environment", {})
        prefix = self.hosts[HEAD].prefix
        return Launch(home, "--address", self.address, *arguments, prefix=prefix, **options)

    def interrupt(self, run: Launch) -> None:
        """Ctrl-C for a launch, without the words before it."""
        driver = f" -m study .* --home {re.escape(str(run.home))} "
        for process in self.hosts[HEAD].processes(driver):
            process.kill(signal.SIGINT)

    def where(self, home: Path) -> dict[str, str]:
        """By engine that came up, the host that it is on, or was."""
        began = [event for event in events(home, EngineChanged) if event.state == "started"]
        return {event.engine: self.names[event.node] for event in began}

    def left_over(self) -> list[str]:
        """What of studies still runs on any host, after a while for it to end."""
        return [f"{host.name}: {title}" for host in self.hosts for title in host.left(OF_STUDIES)]

    def _start(self, host: Host, *arguments: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._starts(host, *arguments):  # Ray itself gives up early on a busy machine
            if time.monotonic() > deadline:
                said = _log(host).read_text()
                raise HarnessError(f"no node comes up on {host.name}:\n{said}")
        (raylet,) = host.processes(TITLES["raylet"])
        found = re.search(r"--node_id=(\w+)", raylet.title)
        assert found is not None, raylet.title
        self.names[found[1]] = host.name

    def _starts(self, host: Host, *arguments: str) -> bool:
        """Whether a node comes up, or ends before."""
        command = [str(RAY), "start", "--block", f"--node-ip-address={host.address}", *arguments]
        command += ["--num-cpus=1", "--object-store-memory=100000000"]
        with _log(host).open("wb") as log:
            node = host.popen(*command, stdout=log, stderr=log, env=os.environ | self._token)
        while node.poll() is None:
            if "Ray runtime started" in _log(host).read_text():
                return True
            time.sleep(0.2)
        return False


def _log(host: Host) -> Path:
    return host.folder / "node.log"
