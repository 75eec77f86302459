"""Results made once and kept in the data store: written atomically, checked when they are read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vae_core.errors import DataError

T = TypeVar("T")

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What readers of numpy's and torch's formats raise about bytes that are not what they expect."""

_MAGIC = b"vae_core kept 1 "


def kept(path: Path, make: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
    """What ``load`` reads out of ``path``, whose content ``make`` gives if there is none.

    Processes that want the same file at once wait for the first. A file that is damaged (its
    content has not the SHA-256 it begins with, or ``load`` raises one of :data:`UNREADABLE`) is
    made anew.

    Raises:
        DataError: the folder cannot be written.
    """
    found = _found(path, load)
    if found is None:
        with _locked(path):
            found = _found(path, load)
            if found is None:
                content = make()
                _write(path, content)
                found = (load(content),)
    return found[0]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``; it goes with the process, however that ends."""
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn a failure of the disk under ``path`` into an error for people."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="free some space there, or choose another home folder that can be written",
        ) from error


def _found(path: Path, load: Callable[[bytes], T]) -> tuple[T] | None:
    """What ``path`` holds, if it can be read and is sound."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head, _, body = content.partition(b"\n")
    if head != _head(body):
        return None
    try:
        return (load(body),)
    except UNREADABLE:
        return None


def _head(body: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(body).hexdigest().encode()


def _write(path: Path, body: bytes) -> None:
    # The lock is held, so one fixed name is enough and a killed writer's is written over.
    partial = path.with_name(f".{path.name}.partial")
    with _disk(path):
        try:
            with partial.open("wb") as file:
                file.write(_head(body) + b"\n")
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
