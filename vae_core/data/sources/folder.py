"""A folder of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vae_core.data.decode import decoded
from vae_core.data.source import SPLITS, Chunk, DataRoot, Pixels, Source
from vae_core.data.sources.files import (
    Conversion,
    existing_folder,
    fingerprint,
    held_out_count,
    split_of,
    unclear_split,
)
from vae_core.data.splits import hold_out
from vae_core.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


class Folder(Source):
    """Every image under ``path``/train and ``path``/test, at any depth, in order of name.

    These two may be spelt in any usual way (Training, test_set); where there is no test but a
    validation folder, that is the test split. Without such folders, every image under ``path``, of
    which one in ten, chosen by the hash of its number, is test. The first folder below names the
    class: labels number these names in order. Hidden files and folders are no images; links are
    followed. ``resize`` cuts the centred square and makes it resize x resize (bilinear);
    without it, all images must have one shape. ``channels`` 1 makes all images grey, 3 RGB;
    ``background``, white or black, is what transparent ones are laid over.
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

    def describe(self, root: DataRoot) -> str:
        folder = existing_folder(root.resolve(self.path), "folder")
        files = _files(folder)
        images = [path for path in files if _is_image(path)]
        splits = _splits(folder)
        plain = all(name == path.name for name, path in splits.items())
        named = [f"{name} from {path.name}/" for name, path in splits.items() if not plain]
        used = [path for path in images if not splits or _under(path, splits.values())]
        left = Counter(path.suffix or "no suffix" for path in files if not _is_image(path))
        left["images outside them"] = len(images) - len(used)
        missed = [f"{count} ({kind})" for kind, count in sorted(left.items()) if count]
        return (
            f"images in {folder}{self.conversion}"
            + "".join(f", {text}" for text in named)
            + (f", left out: {', '.join(missed)}" if missed else "")
            + f" (files {fingerprint(images, folder)})"
        )

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        folder = existing_folder(root.resolve(self.path), "folder")
        files = _labelled(folder, split)
        if not files:
            raise DataError(
                f"no images for the {split} split",
                where=str(folder),
                remedy=f"put images there ({', '.join(sorted(SUFFIXES))}), or correct data.path",
            )
        return decoded(files, self._image, str, remedy="remove it, or set data.resize")

    def _image(self, path: Path) -> Pixels:
        return self.conversion.image(path, str(path))


def _files(folder: Path) -> list[Path]:
    """Every file under ``folder``, in order of name, through links, hidden ones left out."""
    found: list[Path] = []
    for at, folders, names in os.walk(folder, followlinks=True):
        # A leading dot marks a system's own files, such as macOS's copies of the metadata.
        # A link to a folder above would be walked for ever.
        real = Path(at).resolve()
        above = {real, *real.parents}
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (Path(at) / name).resolve() not in above
        ]
        found += [Path(at) / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _images(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if _is_image(path)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _under(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _splits(folder: Path) -> dict[str, Path]:
    """The folder of each split; empty where ``folder`` has none.

    Raises:
        DataError: there is one without the other, or a name that does not say which it is.
    """
    found: dict[str, Path] = {}
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        role = split_of(child.name, child)
        if role in found:
            raise unclear_split(child, f" beside {found[role].name}")
        if role is not None:
            found[role] = child
    if not found:
        return {}
    if "test" not in found and "validation" in found and "train" in found:
        found["test"] = found["validation"]
    for name, other in (SPLITS, SPLITS[::-1]):
        if other not in found:
            own = found.get(name) or found["validation"]
            raise DataError(
                f"there is {own.name}/ but no {other}/",
                where=str(folder),
                remedy=f"add {folder / other}, or name {own} itself to have one image in ten "
                "held out as test",
            )
    return {name: found[name] for name in SPLITS}


def _labelled(folder: Path, split: str) -> list[tuple[Path, int]]:
    """The files of ``split`` and the number of each one's class."""
    splits = _splits(folder)
    bases = splits or {"": folder}
    files = [(name, base, path) for name, base in bases.items() for path in _images(base)]
    classes = sorted({_class(base, path) for _, base, path in files})
    number = {name: label for label, name in enumerate(classes)}
    labelled = [(name, (path, number[_class(base, path)])) for name, base, path in files]
    if splits:
        return [item for name, item in labelled if name == split]
    rows = hold_out(len(files), min(held_out_count(len(files)), len(files)))[split == "test"]
    return [labelled[row][1] for row in rows]


def _class(base: Path, path: Path) -> str:
    """The name of the first folder below ``base`` on the way to ``path``, if there is one."""
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else ""
