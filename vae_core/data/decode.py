"""Image files to uint8 arrays."""

from __future__ import annotations

import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps

from vae_core.data.source import Chunk, Pixels
from vae_core.errors import DataError
from vae_core.geometry import ImageShape
from vae_core.workers import Workers

T = TypeVar("T")
CHUNK = 512  # images stacked at once; as many are decoded meanwhile
FEW = 4096  # images that take less time than the start of workers
_TASK = 32  # images a worker decodes at a time: small ones cost less than the hand-over
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_GREY = ("1", "L", "LA")
BACKGROUNDS = ("white", "black")
_TIFF_SAMPLES, _TIFF_FORMAT, _UNSIGNED = 277, 339, 1


class Decoded(NamedTuple):
    """An image, and what was done to it beyond reading it."""

    pixels: Pixels
    """uint8 [C, H, W]."""
    converted: tuple[str, ...] = ()


def decode(
    data: Path | bytes | Pixels,
    where: str,
    *,
    crop: Callable[[int, int], tuple[int, int, int, int]] | None = None,
    resize: int | None = None,
    channels: int | None = None,
    background: str | None = None,
) -> Decoded:
    """Decode one image to uint8 [C, H, W], turned upright as its EXIF data say.

    ``data`` is a file, its content, or pixels [H, W] (grey) or [H, W, 3 or 4] (RGB, RGBA). C is
    ``channels``: 1 (greyscale) or 3 (RGB); None: as in the file. ``crop`` gives the box (left,
    top, right, bottom) for a (width, height); ``resize`` makes the result resize x resize
    (bilinear over the area a pixel covers). Transparency is laid over ``background``.

    Raises:
        DataError: the file at ``where`` is not one image of 8 bits a channel, or is damaged, or is
            transparent somewhere and there is no background.
    """
    converted: list[str] = []
    if isinstance(data, np.ndarray):
        picture = Image.fromarray(data)
    else:
        picture = _upright(data, where, converted)
    grey = picture.mode in _GREY
    if picture.mode == "CMYK":
        converted.append("CMYK made RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] != 255:
            picture = _over(picture, background, where)
            converted.append(f"laid over {background}")
    to_grey = grey if channels is None else channels == 1
    if to_grey != grey:
        converted.append("made grey" if to_grey else "made RGB")
    mode = "L" if to_grey else "RGB"
    if picture.mode != mode:  # else it would be copied
        picture = picture.convert(mode)
    if crop is not None:
        picture = picture.crop(crop(*picture.size))
    if resize is not None:
        picture = picture.resize((resize, resize), Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    pixels = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    return Decoded(pixels, tuple(converted))


def _upright(data: Path | bytes, where: str, converted: list[str]) -> Image.Image:
    """The picture in a file, upright; says in ``converted`` whether it had to be turned."""
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            _check_kind(image)
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
            image.load()
            picture = ImageOps.exif_transpose(image) if turned else image
    except Exception as error:  # damaged bytes may raise anything
        raise DataError(
            f"not a readable image: {error}", where=where, remedy="replace or remove it"
        ) from error
    if turned:
        converted.append("turned upright")
    return picture


def _check_kind(image: Image.Image) -> None:
    """Refuse what would be read with a loss.

    Pillow opens 16-bit colour as 8-bit RGB, so its mode does not tell; the raw pixels' layout does.
    """
    if image.mode not in _MODES:
        raise ValueError(f"pixels of mode {image.mode}, not 8 bits a channel")
    if any(_deep(tile) for tile in getattr(image, "tile", [])):
        raise ValueError("16 bits a channel, not 8")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with previews after the picture
        raise ValueError(f"{frames} images in one file")
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # a TIFF's
    if tags.get(_TIFF_SAMPLES, 1) > len(image.getbands()):
        raise ValueError(f"{tags[_TIFF_SAMPLES]} channels, of which {image.mode} is a part")
    if set(tags.get(_TIFF_FORMAT, ())) - {_UNSIGNED}:
        raise ValueError("numbers with a sign, not bytes from 0 to 255")


def _deep(tile: Any) -> bool:
    """Whether raw pixels have 16 bits a channel; BMP's ``BGR;16`` are 5 and 6 bits."""
    codec, _, _, args = tile
    if codec.startswith("ppm") and isinstance(args, tuple):
        return bool(args[1] > 255)
    return ";16" in str(args) and "BGR;16" not in str(args)


def _over(picture: Image.Image, background: str | None, where: str) -> Image.Image:
    """An RGBA ``picture`` laid over ``background``."""
    if background is None:
        raise DataError(
            "transparent in places, and what shows through is for you to say",
            where=where,
            remedy=f"set data.background to {' or '.join(BACKGROUNDS)}",
        )
    return Image.alpha_composite(Image.new("RGBA", picture.size, background), picture)


def centre_square(width: int, height: int) -> tuple[int, int, int, int]:
    """The box of the largest centred square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decoded(
    items: Iterable[tuple[T, int]],
    read: Callable[[T], Decoded],
    where: Callable[[T], str],
    remedy: str,
    notes: Counter[str] | None = None,
) -> Iterator[Chunk]:
    """Decode (item, label) pairs in order, and stack them into chunks.

    Many are decoded on all cores, for which ``read`` and the items are pickled. What was done to
    the images is counted in ``notes``.

    Raises:
        DataError: an image whose shape is not that of the first; names it by ``where``.
    """
    shape: tuple[int, ...] | None = None
    for block, images in _read_all(iter(items), read):
        shape = shape or images[0].pixels.shape
        for (item, _), image in zip(block, images, strict=True):
            found = image.pixels.shape
            if found != shape:
                mixed = found[1:] == shape[1:]
                raise DataError(
                    f"its shape is {ImageShape(*found)}, the first image's {ImageShape(*shape)}",
                    where=where(item),
                    remedy="set data.channels to 1 (grey) or 3 (RGB)" if mixed else remedy,
                )
        if notes is not None:
            notes.update(done for image in images for done in image.converted)
        pixels = np.stack([image.pixels for image in images])
        yield pixels, np.array([label for _, label in block], np.int64)


_Block = list[tuple[T, int]]


def _read_all(
    rows: Iterator[tuple[T, int]], read: Callable[[T], Decoded]
) -> Iterator[tuple[_Block[T], list[Decoded]]]:
    """The rows in blocks with their images; the next one is decoded meanwhile."""
    few, work = list(islice(rows, FEW)), partial(_each, read)
    rows = chain(few, rows)
    blocks: Iterator[_Block[T]] = iter(lambda: list(islice(rows, CHUNK)), [])
    if len(few) < FEW:
        for block in blocks:
            yield block, work([item for item, _ in block])
        return
    with Workers(work, "reads images") as workers:
        coming: deque[tuple[_Block[T], list[Future[list[Decoded]]]]] = deque()
        for block in blocks:
            parts = [block[i : i + _TASK] for i in range(0, len(block), _TASK)]
            tasks = [workers.submit([item for item, _ in part]) for part in parts]
            coming.append((block, tasks))
            if len(coming) > 1:
                yield _arrived(*coming.popleft())
        while coming:
            yield _arrived(*coming.popleft())


def _arrived(
    block: _Block[T], tasks: list[Future[list[Decoded]]]
) -> tuple[_Block[T], list[Decoded]]:
    return block, [image for task in tasks for image in task.result()]


def _each(read: Callable[[T], Decoded], items: list[T]) -> list[Decoded]:
    return [read(item) for item in items]
