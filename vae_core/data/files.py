"""Files of the data store: one writer at a time, and errors with a remedy."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae_core.errors import DataError


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn a failure of the disk under ``folder`` into an error with a remedy."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write to the data store: {error.strerror or error}",
            where=str(folder),
            remedy="free some space there, or choose another home folder that can be written",
        ) from error


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock called ``name`` in ``folder``; the end of the process releases it."""
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{name}.lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
