"""Writing a file whole or not at all, so that it survives a crash and a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, alone: bool = True) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once all of it is on disk.

    It is written beside ``path`` under one fixed name, which the next writer uses again if this one
    is killed: of one path there may be one writer at a time.

    Args:
        path: the file's.
        alone: False: there may be several writers; each has a name of its own for what it writes,
            and the last to end is the one that counts.

    Raises:
        OSError: it cannot be written; ``path`` is as it was.
    """
    partial = path.with_name(f".{path.name}{'' if alone else f'.{secrets.token_hex(4)}'}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # a full disk needs the space back
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the entries of ``folder`` durable: a new or renamed file is found after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
