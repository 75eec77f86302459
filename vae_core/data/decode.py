"""Image files to uint8 arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from vae_core.data.source import Chunk, Pixels
from vae_core.errors import DataError
from vae_core.geometry import ImageShape

T = TypeVar("T")
CHUNK = 1024  # images held in memory at once
_TASK = 64  # images a thread decodes at a time: small ones cost less than the hand-over
_GREY = ("1", "L", "LA")
_COLOUR = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def decode(
    data: Path | bytes,
    where: str,
    *,
    crop: Callable[[int, int], tuple[int, int, int, int]] | None = None,
    resize: int | None = None,
) -> Pixels:
    """Decode one image file to uint8 [C, H, W]: C is 1 for greyscale files, else 3 (RGB).

    ``crop`` gives the box (left, top, right, bottom) for a (width, height); ``resize`` makes the
    result resize x resize (bilinear over the area a pixel covers). Transparency is dropped.

    Raises:
        DataError: the file at ``where`` is not an image of 8 bits a channel, or is damaged.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            if image.mode not in _GREY + _COLOUR:
                raise ValueError(f"pixels of mode {image.mode}, not 8 bits a channel")
            picture = image.convert("L" if image.mode in _GREY else "RGB")
    except Exception as error:  # damaged bytes may raise anything
        raise DataError(
            f"not a readable image: {error}", where=where, remedy="replace or remove it"
        ) from error
    if crop is not None:
        picture = picture.crop(crop(*picture.size))
    if resize is not None:
        picture = picture.resize((resize, resize), Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def centre_square(width: int, height: int) -> tuple[int, int, int, int]:
    """The box of the largest centred square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decoded(
    items: Iterable[tuple[T, int]],
    read: Callable[[T], Pixels],
    where: Callable[[T], str],
    remedy: str,
) -> Iterator[Chunk]:
    """Decode (item, label) pairs in order, on all cores, and stack them into chunks.

    Raises:
        DataError: an image whose shape is not that of the first; names it by ``where``.
    """
    rows = iter(items)
    shape: tuple[int, ...] | None = None

    def read_all(part: list[tuple[T, int]]) -> list[Pixels]:
        return [read(item) for item, _ in part]

    with ThreadPoolExecutor() as pool:
        while block := list(islice(rows, CHUNK)):
            parts = [block[i : i + _TASK] for i in range(0, len(block), _TASK)]
            images = [image for part in pool.map(read_all, parts) for image in part]
            shape = shape or images[0].shape
            for (item, _), image in zip(block, images, strict=True):
                if image.shape != shape:
                    raise DataError(
                        f"its shape is {ImageShape(*image.shape)}, the first image's "
                        f"{ImageShape(*shape)}",
                        where=where(item),
                        remedy=remedy,
                    )
            yield np.stack(images), np.array([label for _, label in block], np.int64)
