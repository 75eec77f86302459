"""Files of the data store: one writer at a time, whole or not there, errors for people."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vae_core.errors import DataError


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn a failure of the disk under ``folder`` into an error for people."""
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
    """Hold the lock called ``name`` in ``folder``; it goes with the process, however that ends."""
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{name}.lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once all of it is on disk.

    Under a lock: one fixed name beside it is enough then, and a killed writer's is reused.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
