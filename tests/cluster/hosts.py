"""Hosts on this machine: namespaces of their own, each with a cable to one switch.

A host lives as long as its first process, which lives as long as its standard input: a pipe that
only the program that made the host holds. However that program ends, the kernel then ends whatever
ran in its hosts, and the namespaces go with it. They have no names, so that two runs do not meet.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import harness

TOOLS = ("ip", "nsenter", "unshare", "ethtool")
NETWORK = "10.77.0"
Mount = tuple[Path, Path]
"""What is mounted, and over what."""
NAMESPACES = ("--net", "--mount", "--uts", "--pid")
UNSHARE = ("unshare", *NAMESPACES, "--fork", "--mount-proc")
FIRST = """
hostname "$1"; shift
while (($#)); do mount --bind "$1" "$2"; shift 2; done
ip link set lo up
echo ready
read
"""
"""The first process of a host: it buries orphans, and waits for the end of its standard input."""


def missing() -> str | None:
    """Why no hosts can be made here; None where they can."""
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(absent)} (Debian's iproute2, util-linux and ethtool)"
    if os.geteuid() != 0:
        return "only root may make namespaces"
    trial = ("ip", "link", "add", "type", "veth")
    made = subprocess.run([*UNSHARE, *trial], capture_output=True, text=True, check=False)
    return f"no namespace with a veth: {made.stderr.strip()}" if made.returncode else None


class Space:
    """Namespaces of network, mounts, host name and processes."""

    def __init__(self, name: str, mounts: Iterable[Mount] = ()) -> None:
        self.name = name
        self._started: list[subprocess.Popen[Any]] = []
        first = ["bash", "-ec", FIRST, "-", name]
        first += [str(path) for mount in mounts for path in mount]
        self._keeper = subprocess.Popen(
            [*UNSHARE, *first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the program that made it
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline(), f"{name} does not come up"
        keeper = self._keeper.pid
        self.first = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().strip()
        self._pids = os.readlink(f"/proc/{self.first}/ns/pid")

    @property
    def prefix(self) -> list[str]:
        """The words that, before a command's, have it run here, in the current folder."""
        return ["nsenter", "--target", self.first, *NAMESPACES, f"--wd={Path.cwd()}", "--"]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; what it prints is in the result.

        Raises:
            CalledProcessError: it fails, unless ``options`` say ``check=False``.
        """
        options = {"capture_output": True, "text": True} | options
        check = options.pop("check", True)
        return subprocess.run([*self.prefix, *words], check=check, **options)

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a session of its own; it ends with the host."""
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True} | options
        self._started.append(subprocess.Popen([*self.prefix, *words], **options))
        return self._started[-1]

    def ip(self, *commands: str) -> None:
        """Run commands of ``ip``, on the network here; process ids in them are the caller's."""
        enter = ["nsenter", "--target", self.first, "--net", "ip", "-batch", "-"]
        subprocess.run(enter, input="\n".join(commands), text=True, check=True)

    def processes(self, title: str = "") -> list[harness.Process]:
        """What runs here and has a title that matches ``title``, without the first process."""

        def here(folder: Path) -> bool:
            return os.readlink(folder / "ns/pid") == self._pids and folder.name != self.first

        return harness.running(here, title)

    def left(self, title: str) -> list[str]:
        """Titles that match of what still runs here, after a while for it to end."""
        return [process.title for process in harness.stay(lambda: self.processes(title))]

    def end(self) -> None:
        """End all that runs here, and the namespaces."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        for process in (self._keeper, *self._started):
            process.wait()


class Host(Space):
    """A host: an address, a cable, folders of its own.

    Attributes:
        address: its IPv4 address.
        folder: where its private folders are, seen from outside.
    """

    def __init__(
        self, name: str, number: int, switch: Space, folder: Path, mounts: Sequence[Mount]
    ) -> None:
        super().__init__(name, mounts)
        self.address, self.folder = f"{NETWORK}.{number}", folder
        self._switch, self._link = switch, None
        # By number: a name may come again while the kernel still takes the last one's cable away.
        self._port, self._slow, self._far = (f"{what}{number}" for what in ("port", "slow", "far"))
        switch.ip(f"link add {self._port} type veth peer name eth0 netns {self.first}")
        switch.ip(f"link set {self._port} master switch up")
        # Without a route a process finds no address of its own.
        up = (f"addr add {self.address}/24 dev eth0", "link set eth0 up")
        self.ip(*up, "route add default dev eth0")

    def cut(self) -> None:
        """Unplug the cable at the switch: nothing arrives any more, and nobody is told."""
        self._end_link()
        self._switch.ip(f"link set {self._port} nomaster")

    def heal(self) -> None:
        """Plug the cable in again, as good as new."""
        self._end_link()
        self._switch.ip(f"link set {self._port} master switch")

    def slow(self, milliseconds: float, percent: float) -> None:
        """Delay all packets by so much each way, and lose so many; :meth:`heal` ends it."""
        self.cut()
        self._switch.ip(f"link add {self._slow} type veth peer name {self._far}")
        # The link copies frames as they are: the kernel has to cut and sum them before.
        self.run("ethtool", "-K", "eth0", "tx", "off")
        self._switch.run("ethtool", "-K", self._slow, "tx", "off")
        self._switch.ip(f"link set {self._far} up", f"link set {self._slow} master switch up")
        program = str(Path(__file__).with_name("slow_link.py"))
        numbers = (str(milliseconds), str(percent))
        command = [sys.executable, program, self._port, self._far, *numbers]
        self._link = self._switch.popen(*command, stdout=subprocess.PIPE)
        assert self._link.stdout.readline(), f"the slow link of {self.name} does not come up"

    def end(self) -> None:
        self._end_link()
        super().end()

    def _end_link(self) -> None:
        if self._link is not None:
            os.killpg(self._link.pid, signal.SIGKILL)
            self._link.wait()
            self._link = None
            self._switch.ip(f"link del {self._slow}")


class Hosts:
    """Hosts by name, on one switch; all that runs in them ends with it.

    Args:
        folder: for their private folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._hosts, self._numbers = folder, dict[str, Host](), 0
        self._names = folder / "hosts"
        self._write_names()

    def __enter__(self) -> Hosts:
        self._switch = Space("switch")
        self._switch.ip("link add switch type bridge forward_delay 0", "link set switch up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._hosts]:
            self.remove(name)
        self._switch.end()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter([*self._hosts.values()])

    def add(self, name: str, private: Iterable[Path] = ()) -> Host:
        """A new host, which the others know by its name.

        Args:
            name: that no other host has now.
            private: folders for which it has an empty one of its own; it shares all others.
        """
        self._numbers += 1
        folder = self._folder / f"{name}-{self._numbers}"
        folder.mkdir()
        mounts = [(self._names, Path("/etc/hosts"))]
        for path in private:
            own = folder / path.relative_to("/")
            own.mkdir(parents=True)
            path.mkdir(parents=True, exist_ok=True)
            mounts.append((own, path))
        self._hosts[name] = Host(name, self._numbers, self._switch, folder, mounts)
        self._write_names()
        return self._hosts[name]

    def remove(self, name: str) -> None:
        """End all that runs in a host, and it."""
        self._hosts.pop(name).end()
        self._write_names()

    def _write_names(self) -> None:
        lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in self)]
        self._names.write_text("\n".join([*lines, ""]))  # in place: it is mounted
