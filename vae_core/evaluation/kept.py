"""Results computed once and kept in the data store: written atomically, checked when read."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vae_core.atomic import atomic_write
from vae_core.data.files import disk, locked

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
"""Raised by readers of numpy's and torch's formats for bytes that they do not expect."""

_MAGIC = b"vae_core kept 1 "


def kept(path: Path, make: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
    """What ``load`` reads from ``path``, whose content ``make`` gives if it is missing.

    Processes that want the same file at once wait for the first. A damaged file (its content does
    not have the SHA-256 it starts with, or ``load`` raises one of :data:`UNREADABLE`) is made
    again.

    Raises:
        DataError: the folder cannot be written.
    """
    found = _found(path, load)
    if found is None:
        with locked(path.parent, path.name):
            found = _found(path, load)
            if found is None:
                content = make()
                with disk(path.parent), atomic_write(path) as file:
                    file.write(_head(content) + b"\n" + content)
                found = (load(content),)
    return found[0]


def _found(path: Path, load: Callable[[bytes], T]) -> tuple[T] | None:
    """The content of ``path``, if it can be read and is intact."""
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
