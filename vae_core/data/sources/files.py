"""Shared by the sources that read a user's own files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vae_core.data.decode import BACKGROUNDS, Decoded, centre_square, decode
from vae_core.data.source import VALIDATION, Pixels
from vae_core.errors import DataError

#: One image in ten is test where the files have no test split of their own.
TEST_SHARE = 0.1

_SPLIT = re.compile(
    r"(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|dev)(?:set|data|images?|split)?"
)
_MAYBE = re.compile(r"trainval|trainvaltest|eval|evaluation|holdout|heldout")
_BESIDE = {"set", "data", "dataset", "image", "images", "split"}
_ROLES = {"tra": "train", "tes": "test", "val": VALIDATION, "dev": VALIDATION}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """A short digest of the files' names, sizes and times: it changes when they do.

    Raises:
        DataError: one is a link to nothing, or cannot be read.
    """
    digest, base = hashlib.sha256(), os.path.join(folder, "")
    for path in map(str, files):
        try:
            status = os.stat(path)
        except OSError as error:
            linked = os.path.islink(path)
            remedy = "fetch what it links to" if linked else "make it readable"
            raise DataError(
                "a link to nothing" if linked else f"cannot be read: {error.strerror}",
                where=path,
                remedy=f"{remedy}, or remove it",
            ) from error
        name = path.removeprefix(base)
        line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return digest.hexdigest()[:16]


def held_out_count(n: int) -> int:
    """How many of ``n`` images without a test split of their own are held out as test."""
    return max(1, round(n * TEST_SHARE))


class SplitName(NamedTuple):
    """What the name of a file or folder says of its split."""

    role: str
    """``train``, ``test`` or ``validation``; empty: two of them, or none that is known."""
    rest: tuple[str, ...]
    """The other words, such as ("seg",) of seg_train."""


def split_name(name: str) -> SplitName | None:
    """The split that ``name`` stands for in any usual spelling; None: it is no split's."""
    words = [word.lower() for word in _WORD.findall(name)]
    roles = [_ROLES[match[1][:3]] for word in words if (match := _SPLIT.fullmatch(word))]
    maybe = any(_MAYBE.fullmatch(word) for word in words)
    if not roles and not maybe:
        return None
    rest = (word for word in words if word not in _BESIDE and not _SPLIT.fullmatch(word))
    return SplitName(roles[0] if len(roles) == 1 and not maybe else "", tuple(rest))


def by_split(named: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    """The paths of each split, as their names say, and under "" those whose names say none.

    Names may say more than the split (seg_train, train2017) where there are two splits at least and
    all of them say the same more.

    Raises:
        DataError: a name may be a split's, and it is not clear which.
    """
    found: dict[str, list[Path]] = {}
    rests: dict[tuple[str, ...], Path] = {}
    for name, path in named:
        split = split_name(name)
        if split is not None and not split.role:
            raise unclear_split(path)
        found.setdefault(split.role if split else "", []).append(path)
        if split is not None:
            rests.setdefault(split.rest, path)
    more = [path for rest, path in rests.items() if rest]
    if more and (len(rests) > 1 or len(found.keys() - {""}) < 2):
        raise unclear_split(more[0])
    return found


def unclear_split(path: Path, beside: str = "") -> DataError:
    """The error of a file or folder of which it is not clear to which split it belongs."""
    return DataError(
        f"{path.name}{beside} looks like a split, and it is not clear which",
        where=str(path.parent),
        remedy="name the splits train, validation and test, and move the rest elsewhere; "
        "if it is a class, give it another name; to use it alone, set data.path to it",
    )


def files_under(folder: Path) -> list[Path]:
    """Every file under ``folder``, in order of name, through links, hidden ones left out.

    Links to nothing are among them.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[str] = []
    real = os.path.realpath(folder)
    waiting = [(str(folder), real, _with_parents(real))]
    while waiting:
        at, real, above = waiting.pop()
        for entry in _listed(at):
            path, linked = entry.path, entry.is_symlink()
            # What is no link is told by the listing: asking for each of 200,000 takes seconds.
            if os.path.isdir(path) if linked else entry.is_dir():
                below = os.path.realpath(path) if linked else os.path.join(real, entry.name)
                # A folder on the way, or above one, would be walked again and again.
                if below not in above:
                    waiting.append((path, below, above | _with_parents(below)))
            elif _is_file(path) if linked else entry.is_file():
                found.append(path)
    return [Path(path) for path in sorted(found, key=lambda path: path.split(os.sep))]


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # A leading dot marks a system's own files, such as macOS's copies of the metadata.
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}",
            where=str(error.filename),
            remedy="correct its permissions, or move it elsewhere",
        ) from error


def _is_file(link: str) -> bool:
    return os.path.isfile(link) or not os.path.exists(link)


def _with_parents(folder: str) -> frozenset[str]:
    return frozenset(map(str, (Path(folder), *Path(folder).parents)))


def existing_folder(folder: Path, kind: str) -> Path:
    """``folder``, if it is one.

    Raises:
        DataError: it is not there.
    """
    if not folder.is_dir():
        raise DataError(
            "a file, not a folder" if folder.exists() else "no such folder",
            where=str(folder),
            remedy=f"set data.path to the folder of the {kind} dataset, unpacked",
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

    def image(self, data: Path | bytes | Pixels, where: str) -> Decoded:
        """The image of one file, of its content, or of pixels as :func:`decode` takes them."""
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
