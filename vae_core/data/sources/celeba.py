"""CelebA (Liu et al. 2015): aligned faces, cropped and made 64x64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from vae_core.data.decode import Decoded, decode, decoded
from vae_core.data.source import Chunk, DataRoot, Source
from vae_core.data.sources.published import load
from vae_core.errors import DataError

CROPS = (128, 140, 148)
WIDTH, HEIGHT = 178, 218
SIDE = 64


class CelebA(Source):
    """CelebA's own train and test partition; its validation images are left out.

    ``crop`` is the side of the centred square cut from the 178x218 image, and changes the
    Frechet distance, so results of different crops must not be mixed: 128 is [45:173, 25:153]
    (rows, columns; Dai & Wipf 2019), 140 is [39:179, 19:159] (WAE, RAE), 148 is [35:183, 15:163].
    The square is resized to 64x64 (bilinear). Labels are the identities.
    """

    def __init__(self, crop: int = 140) -> None:
        if crop not in CROPS:
            raise DataError(
                f"crop {crop!r} is not one of {', '.join(map(str, CROPS))}",
                where="dataset 'celeba'",
                remedy="set data.crop to one of them",
            )
        self.top, self.left, self.crop = (HEIGHT - crop) // 2, (WIDTH - crop) // 2, crop

    def describe(self, root: DataRoot) -> str:
        rows = f"{self.top}:{self.top + self.crop}"
        columns = f"{self.left}:{self.left + self.crop}"
        return f"CelebA aligned, crop [{rows}, {columns}], {SIDE}x{SIDE} bilinear"

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        if not root.download and not (root.path / "celeba").is_dir():
            raise DataError(
                "CelebA is not there",
                where=str(root.path / "celeba"),
                remedy="it must hold img_align_celeba/ and CelebA's list_*.txt and "
                "identity_CelebA.txt; or name no data root to have them downloaded",
            )
        data = load("CelebA", root, split=split, target_type="identity")
        folder = root.path / "celeba" / "img_align_celeba"
        labels = data.identity[:, 0].tolist()
        items = ((folder / name, label) for name, label in zip(data.filename, labels, strict=True))
        return decoded(items, self._face, str, "fetch the images again")

    def _face(self, path: Path) -> Decoded:
        return decode(path, str(path), crop=partial(self._box, path), resize=SIDE)

    def _box(self, path: Path, width: int, height: int) -> tuple[int, int, int, int]:
        if (width, height) != (WIDTH, HEIGHT):
            raise DataError(
                f"{width}x{height} pixels, not the {WIDTH}x{HEIGHT} of an aligned CelebA image",
                where=str(path),
                remedy="use img_align_celeba, not the images in the wild",
            )
        return self.left, self.top, self.left + self.crop, self.top + self.crop
