"""Two users of one host, with real user ids."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hosts import Host, Hosts

HOMES = Path("/srv")
TEMPORARY = Path("/tmp")
UNSET = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR", "TMPDIR", "STUDY_HOME")
NEEDED = [Path(sys.base_prefix), Path(sys.prefix).resolve(), Path(__file__).parents[2]]
COVER = """
mount -t tmpfs none /mnt
for path in $1; do mkdir -p "/mnt$path"; mount --bind "$path" "/mnt$path"; done
for path in $2; do mount -t tmpfs -o mode=1777 none "$path"; done
for path in $1; do mkdir -p "$path"; mount --bind "/mnt$path" "$path"; done
"""
"""Puts empty folders over those in the second argument, but for what is in the first."""


class User:
    """A user of a host.

    Attributes:
        number: the user's id.
        home: the user's own folder, on the host.
        seen: the same, from outside.
    """

    def __init__(self, host: Host, name: str, number: int) -> None:
        self.home, self.seen = HOMES / name, host.folder / HOMES.relative_to("/") / name
        self.number, self._host = number, host
        self.folder(".")
        ids = (f"--reuid={number}", f"--regid={number}", "--clear-groups")
        unset = (f"--unset={name}" for name in UNSET)
        here = (f"--chdir={self.home}", *unset, f"HOME={self.home}", f"USER={name}")
        path = (f"PYTHONPATH={NEEDED[-1]}", "OMP_NUM_THREADS=1")
        self._prefix = ["setpriv", *ids, "env", *here, *path]

    def folder(self, name: str) -> Path:
        """A new folder of the user's in the home, as seen from outside."""
        made = self.seen / name
        made.mkdir(mode=0o755)
        os.chown(made, self.number, self.number)
        return made

    def words(self, *words: str, **settings: str) -> list[str]:
        """A command as this user, in the user's home, with ``settings`` in its environment."""
        given = (f"{name}={value}" for name, value in settings.items())
        return [*self._prefix, *given, *words]

    def study(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command line of ``study``, to its end, whatever that is."""
        command = self.words(sys.executable, "-m", "study", *words, **settings)
        return self._host.run(*command, check=False)


class Shared:
    """A host that users share, who find on it what the tests run with, and no file of theirs."""

    def __init__(self, hosts: Hosts) -> None:
        self.host = hosts.add("shared", private=[HOMES])
        kept = " ".join(map(str, NEEDED))
        covered = " ".join(sorted({str(TEMPORARY), *map(str, closed(NEEDED))}))
        self.host.run("bash", "-ec", COVER, "-", kept, covered)
        self._number = 61000

    def user(self, name: str) -> User:
        """A new user."""
        self._number += 1
        return User(self.host, name, self._number)


def closed(paths: Iterable[Path]) -> set[Path]:
    """The outermost folders around ``paths`` that others than their owners may not enter."""
    found = set()
    for path in paths:
        around = [folder for folder in path.parents if not folder.stat().st_mode & 0o001]
        found |= {*around[-1:]}
    return found
