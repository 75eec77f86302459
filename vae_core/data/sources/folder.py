"""A folder of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

from vae_core.data.decode import Decoded, decoded
from vae_core.data.source import SPLITS, VALIDATION, Chunk, DataRoot, Source
from vae_core.data.sources.files import (
    Conversion,
    by_split,
    existing_folder,
    files_under,
    fingerprint,
    held_out_count,
    split_name,
    unclear_split,
)
from vae_core.data.splits import hold_out
from vae_core.errors import DataError

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
}


class Folder(Source):
    """Every image under ``path``/train and ``path``/test, at any depth, in order of name.

    A ``path``/validation is the study's validation split, or its test split where there is no test.
    All may be spelt in any usual way (Training, test_set, seg_val). Without such folders, every
    image under ``path``, of which one in ten, chosen by the hash of its number, is test. The first
    folder below names the class: labels number these names in order, those of train and test first.
    Hidden files and folders are no images; links are followed. ``resize`` cuts the centred square
    and makes it resize x resize (bilinear); without it, all images must have one shape.
    ``channels`` 1 makes all images grey, 3 RGB; ``background``, white or black, is what transparent
    ones are laid over. The files are looked for once.
    """

    def __init__(
        self,
        path: str,
        resize: int | None = None,
        channels: int | None = None,
        background: str | None = None,
    ) -> None:
        self.path = path
        self.conversion = Conversion("folder", resize, channels, background)
        self._tree = cache(_Tree.of)
        self._notes: Counter[str] = Counter()

    def describe(self, root: DataRoot) -> str:
        tree = self._tree(root.resolve(self.path))
        plain = all(name == path.name for name, path in tree.splits.items())
        named = [f", {name} from {path.name}/" for name, path in tree.splits.items() if not plain]
        left = tree.left_out()
        return (
            f"images in {tree.folder}{self.conversion}"
            + "".join(named)
            + (f", left out: {left}" if left else "")
            + f" (files {fingerprint(tree.images, tree.folder)})"
        )

    def split_names(self, root: DataRoot) -> tuple[str, ...]:
        return tuple(self._tree(root.resolve(self.path)).splits) or SPLITS

    def image_count(self, split: str, root: DataRoot) -> int:
        return len(self._tree(root.resolve(self.path)).labelled(split))

    def sample(self, root: DataRoot, step: int) -> Iterator[Decoded]:
        """Every ``step``-th image of train."""
        return (_image(self.conversion, path) for path, _ in self._files("train", root)[::step])

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        files = self._files(split, root)
        self._notes = Counter()
        remedy = "remove it, or set data.resize"
        return decoded(files, partial(_image, self.conversion), str, remedy, self._notes)

    def reading_notes(self) -> Mapping[str, int]:
        return self._notes

    def _files(self, split: str, root: DataRoot) -> list[tuple[Path, int]]:
        tree = self._tree(root.resolve(self.path))
        files = tree.labelled(split)
        if not files:
            left = tree.left_out()
            raise DataError(
                f"no images for the {split} split" + (f", only {left}" if left else ""),
                where=str(tree.folder),
                remedy=f"put images there ({', '.join(sorted(SUFFIXES))}), or correct data.path",
            )
        return files


def _image(conversion: Conversion, path: Path) -> Decoded:
    return conversion.image(path, str(path))


@dataclass(frozen=True)
class _Tree:
    """What there is under ``folder``: image files in order of name, how many others by suffix."""

    folder: Path
    images: list[Path]
    others: Counter[str]
    splits: dict[str, Path]
    """The folder of each split, train first; empty where ``folder`` has none."""

    @classmethod
    def of(cls, folder: Path) -> _Tree:
        images: list[Path] = []
        others: Counter[str] = Counter()
        for path in files_under(existing_folder(folder, "folder")):
            suffix = path.suffix
            if suffix.lower() in SUFFIXES:
                images.append(path)
            else:
                others[suffix or "no suffix"] += 1
        splits = _splits(folder)
        if not splits:
            _refuse_hidden_splits(folder, images)
        return cls(folder, images, others, splits)

    def left_out(self) -> str:
        """How many files of which kind are in no split."""
        left = Counter(self.others)
        left["images outside them"] = len(self.images) - len(self._classes)
        return ", ".join(f"{count} ({kind})" for kind, count in sorted(left.items()) if count)

    def labelled(self, split: str) -> list[tuple[Path, int]]:
        """The files of ``split`` and the number of each one's class."""
        files = self._classes
        # Classes of validation come last, so that it changes no number of the others'.
        classes = sorted({(name == VALIDATION, label) for name, label, _ in files})
        number = {label: i for i, label in enumerate(dict.fromkeys(label for _, label in classes))}
        if self.splits:
            return [(path, number[label]) for name, label, path in files if name == split]
        n = len(files)
        rows = hold_out(n, min(held_out_count(n), n))[split == "test"]
        return [(files[row][2], number[files[row][1]]) for row in rows]

    @cached_property
    def _classes(self) -> list[tuple[str, str, Path]]:
        """Split, class and path of each image that is used: split by split, in order of name.

        The class is the name of the first folder below the split's, empty where there is none.
        """
        found: list[tuple[str, str, Path]] = []
        for split, base in (self.splits or {"": self.folder}).items():
            start = os.path.join(base, "")
            for path in self.images:
                if (text := str(path)).startswith(start):
                    first, _, further = text[len(start) :].partition(os.sep)
                    found.append((split, first if further else "", path))
        return found


def _splits(folder: Path) -> dict[str, Path]:
    """The folder of each split; empty where ``folder`` has none.

    Raises:
        DataError: there is one without the other, two for one split, or a name that does not say
            which it is.
    """
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    named = by_split((path.name, path) for path in children if not path.name.startswith("."))
    named.pop("", None)
    for first, *more in named.values():
        if more:
            raise unclear_split(more[0], f" beside {first.name}")
    found = {split: paths[0] for split, paths in named.items()}
    if not found:
        return {}
    if "test" not in found and VALIDATION in found and "train" in found:
        found["test"] = found.pop(VALIDATION)
    for name, other in (SPLITS, SPLITS[::-1]):
        if other not in found:
            own = found.get(name) or found[VALIDATION]
            raise DataError(
                f"there is {own.name}/ but no {other}/",
                where=str(folder),
                remedy=f"add {folder / other}, or name {own} itself to have one image in ten "
                f"held out as test; if {own.name} is a class, give it another name",
            )
    return {name: found[name] for name in ("train", VALIDATION, "test") if name in found}


def _refuse_hidden_splits(folder: Path, images: list[Path]) -> None:
    """Refuse splits that would be pooled: deeper folders of their names, and names of files."""
    for at in sorted({path.parent for path in images}):
        for above in reversed([at, *at.parents]):
            if above != folder and above.is_relative_to(folder) and split_name(above.name):
                raise DataError(
                    f"{above.relative_to(folder)} looks like a split, and data.path is above it",
                    where=str(folder),
                    remedy=f"set data.path to {above.parent}, or to a folder that holds train "
                    "and test",
                )
    roles: dict[tuple[str, ...], set[str]] = {}
    for path in images:
        if (split := split_name(path.stem)) is not None:
            rest = tuple(word for word in split.rest if not word.isdigit())
            roles.setdefault(rest, set()).add(split.role)
            if len(roles[rest]) > 1:
                raise DataError(
                    f"{' and '.join(sorted(roles[rest]))} in the names of images, which a folder "
                    "does not split",
                    where=str(folder),
                    remedy="move the images of each split into a folder of its name",
                )
