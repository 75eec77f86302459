"""A folder of studies: whether two machines share it, what its file system can do, how fast."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_BLOCK, _BLOCKS = 2**20, 16
"""What is written to measure the rate: bytes at a time, and at most how many times."""
_LINE, _LINES = 512, 10
"""Likewise for the time of a sync, about a line of the journal."""
_BRIEF = 2.0  # seconds for each of the two
_SPREAD = 3.0  # seconds that a file of another machine may take to be seen here
_TOKEN = "token"


@dataclass(frozen=True)
class Storage:
    """What a folder's file system does for one machine."""

    rate: float
    """MiB/s of writing a file, with its sync at the end."""
    sync: float
    """Milliseconds of writing a line and a sync, the median."""
    replaces: bool
    """Whether a rename replaces a file."""
    links: bool
    """Whether a hard link can be made, and not in place of a file: a study's lease is one."""


@contextmanager
def trial_folder(home: Path) -> Iterator[Path]:
    """A folder in ``home`` to try things in, with a token for others to find; nothing is left.

    Raises:
        OSError: it cannot be made.
    """
    missing = [path for path in (home, *home.parents) if not path.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".doctor-", dir=home, ignore_cleanup_errors=True
        ) as made:
            os.chmod(made, 0o777)  # an engine may run as another user
            folder = Path(made)
            (folder / _TOKEN).write_text(secrets.token_hex())
            yield folder
    finally:
        for path in missing:
            try:
                path.rmdir()
            except OSError:  # never made, or a launch has begun in it
                break


def try_folder(folder: Path, name: str) -> Storage | None:
    """On a node: try the driver's ``folder``, and leave it a reply; None: it is not seen here.

    ``name`` is the reply's.

    Raises:
        OSError: it is seen, and cannot be written.
    """
    try:
        token = (folder / _TOKEN).read_text()
    except FileNotFoundError:
        return None
    (folder / name).write_text(token)
    return measure(folder)


def replied(folder: Path, name: str) -> bool:
    """On the driver: whether the reply ``name`` is seen here."""
    token, end = (folder / _TOKEN).read_text(), time.monotonic() + _SPREAD
    while time.monotonic() < end:
        if name in os.listdir(folder) and (folder / name).read_text() == token:
            return True
        time.sleep(0.1)
    return False


def measure(folder: Path) -> Storage:
    """Try renames and hard links in ``folder``, and time writing there.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as made:
        place = Path(made)
        taken = _written(place / "blocks", _BLOCK, _BLOCKS, each=False)
        lines = _written(place / "lines", _LINE, _LINES, each=True)
        return Storage(
            rate=len(taken) * _BLOCK / 2**20 / sum(taken),
            sync=1000 * median(lines),
            replaces=_replaces(place),
            links=_links(place),
        )


def _written(path: Path, size: int, count: int, *, each: bool) -> list[float]:
    """Seconds of so many writes, as far as there is time; a sync after ``each`` or the last."""
    data = secrets.token_bytes(size)
    taken: list[float] = []
    with path.open("wb", buffering=0) as file:
        while len(taken) < count and sum(taken) < _BRIEF:
            begun = time.perf_counter()
            file.write(data)
            if each:
                os.fsync(file)
            taken.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        os.fsync(file)
        if not each:
            taken[-1] += time.perf_counter() - begun
    return taken


def _replaces(place: Path) -> bool:
    new, old = place / "new", place / "old"
    new.write_text("new")
    old.write_text("old")
    try:
        new.replace(old)
    except OSError:
        return False
    return old.read_text() == "new" and not new.exists()


def _links(place: Path) -> bool:
    file, link = place / "file", place / "link"
    file.write_text("")
    try:
        os.link(file, link)
    except OSError:
        return False
    try:
        os.link(file, link)
    except FileExistsError:
        return file.stat().st_nlink == 2
    return False
