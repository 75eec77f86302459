"""The user's own Rays among those with a node on this machine.

Ray's own `auto` takes the one that was started last, whoever started it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from study.diagnosing.limits import ray_folder

_RAYLET = b"raylet"
_ADDRESS = b"--gcs-address="
_LATEST = "ray/ray_current_cluster"
"""Where `ray start` leaves its address, below the folder for temporary files."""


def own_rays() -> list[str]:
    """Addresses of the Rays that have a node of this user here."""
    return sorted(set(_addresses()))


def latest_ray() -> str | None:
    """The address of the Ray that `ray start` started last here, whoever did; None: none did."""
    with suppress(OSError):
        return (ray_folder() / _LATEST).read_text().strip()
    return None


def _addresses() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            program, *words = (process / "cmdline").read_bytes().split(b"\0")
            if os.path.basename(program) == _RAYLET and process.stat().st_uid == os.geteuid():
                for word in words:
                    if word.startswith(_ADDRESS):
                        yield os.fsdecode(word.removeprefix(_ADDRESS))
