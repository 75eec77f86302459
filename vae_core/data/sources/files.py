"""Shared by the sources that read a user's own files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from vae_core.errors import DataError

#: One image in ten is test where the files have no test split of their own.
TEST_SHARE = 0.1


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """A short digest of the files' names, sizes and times: it changes when they do."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def held_out_count(n: int) -> int:
    """How many of ``n`` images without a test split of their own are held out as test."""
    return max(1, round(n * TEST_SHARE))


def existing_folder(folder: Path, kind: str) -> Path:
    """``folder``, if it is one.

    Raises:
        DataError: it is not there.
    """
    if not folder.is_dir():
        raise DataError(
            "no such folder",
            where=str(folder),
            remedy=f"set data.path to the folder of the {kind} dataset",
        )
    return folder


def checked_resize(resize: int | None, kind: str) -> int | None:
    """``resize``, if it is a number of pixels or None.

    Raises:
        DataError: it is neither.
    """
    if resize is not None and (
        isinstance(resize, bool) or not isinstance(resize, int) or resize < 1
    ):
        raise DataError(
            f"resize is {resize!r}",
            where=f"dataset '{kind}'",
            remedy="give the side in pixels, a whole number above 0",
        )
    return resize
