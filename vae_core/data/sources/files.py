"""Shared by the sources that read a user's own files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vae_core.data.decode import BACKGROUNDS, centre_square, decode
from vae_core.data.source import Pixels
from vae_core.errors import DataError

#: One image in ten is test where the files have no test split of their own.
TEST_SHARE = 0.1

_SPLIT = re.compile(
    r"(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|dev)(?:[ _.-]*(?:set|data|images?|split))?",
    re.IGNORECASE,
)
_LIKE_A_SPLIT = re.compile(r"(?:train|test|val|valid|validation|dev)[^a-z].*", re.IGNORECASE)
_ROLES = {"tra": "train", "tes": "test", "val": "validation", "dev": "validation"}


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


def split_of(name: str, path: Path) -> str | None:
    """The split that ``name``, of the file or folder ``path``, stands for in any usual spelling.

    Returns:
        ``train``, ``test`` or ``validation``; None: the name is no split's.

    Raises:
        DataError: it may be a split's, and is none that is known.
    """
    if match := _SPLIT.fullmatch(name):
        return _ROLES[match[1].lower()[:3]]
    if _LIKE_A_SPLIT.fullmatch(name):
        raise unclear_split(path)
    return None


def unclear_split(path: Path, beside: str = "") -> DataError:
    """The error of a file or folder of which it is not clear to which split it belongs."""
    return DataError(
        f"{path.name}{beside} looks like a split, and it is not clear which",
        where=str(path.parent),
        remedy="name the two splits train and test, and move the rest elsewhere",
    )


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


@dataclass(frozen=True)
class Conversion:
    """What is done to each of a user's own image files, from the settings of dataset ``kind``.

    Attributes:
        resize: Side in pixels that the centred square gets; None: sizes stay.
        channels: 1 makes all images grey, 3 RGB; None: as they are.
        background: What transparent images are laid over; None: such images are refused.

    Raises:
        DataError: a setting has a value that it cannot have.
    """

    kind: str
    resize: int | None
    channels: int | None
    background: str | None

    def __post_init__(self) -> None:
        for key, value, holds, remedy in (
            ("resize", self.resize, _is_side, "give the side in pixels, a whole number above 0"),
            ("channels", self.channels, (1, 3).__contains__, "give 1 (grey) or 3 (RGB)"),
            ("background", self.background, BACKGROUNDS.__contains__, "give white or black"),
        ):
            if value is not None and (isinstance(value, bool) or not holds(value)):
                raise DataError(
                    f"{key} is {value!r}", where=f"dataset '{self.kind}'", remedy=remedy
                )

    def __str__(self) -> str:
        """Each setting that was given, with a comma before it."""
        parts = [
            self.resize and f", centre square at {self.resize}x{self.resize}",
            self.channels and f", {'grey' if self.channels == 1 else 'RGB'}",
            self.background and f", over {self.background}",
        ]
        return "".join(part for part in parts if part)

    def image(self, data: Path | bytes, where: str) -> Pixels:
        """The image uint8 [C, H, W] of one file's path or content."""
        return decode(
            data,
            where,
            crop=centre_square if self.resize else None,
            resize=self.resize,
            channels=self.channels,
            background=self.background,
        )


def _is_side(value: object) -> bool:
    return isinstance(value, int) and value >= 1
