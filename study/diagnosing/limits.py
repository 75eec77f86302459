"""What this machine lets a process have: memory, and paths that sockets may have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

SOCKET_PATH = 107
"""Bytes that the path of a socket in the file system may have, on Linux."""
ENGINE_MEMORY, LAUNCH_MEMORY = 400 * 2**20, 1500 * 2**20
"""Bytes that an engine takes besides its banks; and a local Ray, the driver, and the process that
writes to MLflow. Measured."""
_LONGEST_SOCKET = "ray/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store"
"""Of the sockets that Ray makes below the folder for temporary files, as it names them."""


def usable_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: its control groups' least limit, or all there is.

    ``proc`` and ``cgroups`` are where the system shows itself.
    """
    total = (proc / "meminfo").read_text().partition("MemTotal:")[2].split()[0]
    return min([int(total) * 1024, *_limits(proc, cgroups)])


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Limits of the process's groups and of all groups around them, in versions 2 and 1."""
    with suppress(OSError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                mount, name = cgroups, "memory.max"
            elif "memory" in controllers.split(","):
                mount, name = cgroups / "memory", "memory.limit_in_bytes"
            else:
                continue
            path = PurePosixPath(group)
            for folder in (path, *path.parents):
                with suppress(OSError, ValueError):  # not there; "max"
                    yield int((mount / folder.relative_to("/") / name).read_text())


def ray_folder() -> Path:
    """The folder for temporary files below which Ray makes its own, as Ray chooses it."""
    return Path(os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp")))


def socket_path(folder: Path) -> int:
    """Bytes of the longest path of a socket that Ray makes below ``folder``."""
    return len(os.fsencode(folder.absolute() / _LONGEST_SOCKET))
