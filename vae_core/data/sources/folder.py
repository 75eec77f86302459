"""A folder of image files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vae_core.data.decode import centre_square, decode, decoded
from vae_core.data.source import SPLITS, Chunk, DataRoot, Pixels, Source
from vae_core.data.sources.files import checked_resize, existing_folder, fingerprint, held_out_count
from vae_core.data.splits import hold_out
from vae_core.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


class Folder(Source):
    """Every image under ``path``/train and ``path``/test, at any depth, in order of name.

    Without these two folders, every image under ``path``, of which one in ten, chosen by the
    hash of its number, is test. The first folder below names the class: labels number these
    names in order. ``resize`` cuts the centred square and makes it resize x resize (bilinear);
    without it, all images must have one shape.
    """

    def __init__(self, path: str, resize: int | None = None) -> None:
        self.path, self.resize = path, checked_resize(resize, "folder")

    def describe(self, root: DataRoot) -> str:
        folder = existing_folder(root.resolve(self.path), "folder")
        side = f", centre square at {self.resize}x{self.resize}" if self.resize else ""
        return f"images in {folder}{side} (files {fingerprint(_images(folder), folder)})"

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
        crop = centre_square if self.resize else None
        return decode(path, str(path), crop=crop, resize=self.resize)


def _images(folder: Path) -> list[Path]:
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    # A leading dot marks a system's own files, such as macOS's copies of the metadata.
    return sorted(p for p in paths if not p.name.startswith("."))


def _labelled(folder: Path, split: str) -> list[tuple[Path, int]]:
    """The files of ``split`` and the number of each one's class."""
    own = [folder / name for name in SPLITS if (folder / name).is_dir()]
    if len(own) == 1:
        other = next(name for name in SPLITS if folder / name not in own)
        raise DataError(
            f"there is {own[0].name}/ but no {other}/",
            where=str(folder),
            remedy=f"add {folder / other}, or name {own[0]} itself to have one image in ten "
            "held out as test",
        )
    bases = own or [folder]
    files = [(base, path) for base in bases for path in _images(base)]
    classes = sorted({_class(base, path) for base, path in files})
    number = {name: label for label, name in enumerate(classes)}
    labelled = [(base, (path, number[_class(base, path)])) for base, path in files]
    if own:
        return [item for base, item in labelled if base.name == split]
    rows = hold_out(len(files), min(held_out_count(len(files)), len(files)))[split == "test"]
    return [labelled[row][1] for row in rows]


def _class(base: Path, path: Path) -> str:
    """The name of the first folder below ``base`` on the way to ``path``, if there is one."""
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else ""
