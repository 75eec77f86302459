"""A first look at images of a user's own, before anything is decided on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vae_core.data.decode import BACKGROUNDS
from vae_core.data.source import DataRoot, Pixels, build_source
from vae_core.data.sources.folder import Folder
from vae_core.data.sources.parquet import Parquet
from vae_core.errors import ContractError

SAMPLE = 200
"""Images of train that are decoded, spread evenly."""


@dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        counts: Images of each split, validation only where the data bring it.
        smallest: Of the decoded images, the least (height, width).
        largest: Likewise, the greatest.
        typical_side: The median of their smaller sides, in pixels.
        grey: Whether no decoded image has colour.
        transparent: Whether one shows what is behind it.
    """

    counts: dict[str, int]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    typical_side: int
    grey: bool
    transparent: bool

    @property
    def square_side(self) -> int | None:
        """The side of the decoded images, in pixels; None: they differ, or are no squares."""
        height, width = self.smallest
        return height if self.smallest == self.largest and height == width else None

    def __str__(self) -> str:
        sizes = [f"{height}x{width}" for height, width in (self.smallest, self.largest)]
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        return f"{counts} images, {'grey' if self.grey else 'colour'}, " + " to ".join(
            dict.fromkeys(sizes)
        )


def look(settings: Mapping[str, Any], data_root: Path | None = None) -> Look:
    """Look at the images of dataset ``folder`` or ``parquet`` that ``settings`` describe.

    Args:
        settings: ``name`` and the source's own settings; how images are converted is ignored.
        data_root: a folder that the settings' path is relative to; None: the current one.

    Raises:
        ContractError: another dataset, or as :func:`vae_core.data.build_source`.
        DataError: there are no such files, or one cannot be read.
    """
    own = {**settings, "resize": None, "channels": None, "background": BACKGROUNDS[0]}
    source = build_source(own)
    if not isinstance(source, Folder | Parquet):
        raise ContractError(
            f"dataset '{settings['name']}' is not looked at", remedy="give folder or parquet"
        )
    root = DataRoot(data_root or Path(), download=data_root is None)
    counts = {split: source.image_count(split, root) for split in source.split_names(root)}
    step = max(1, -(-counts["train"] // SAMPLE))
    found = list(source.sample(root, step))
    sizes = [image.pixels.shape[1:] for image in found]
    heights, widths = zip(*sizes, strict=True)
    return Look(
        counts=counts,
        smallest=(min(heights), min(widths)),
        largest=(max(heights), max(widths)),
        typical_side=round(median(map(min, sizes))),
        grey=all(_is_grey(image.pixels) for image in found),
        transparent=any("laid over" in done for image in found for done in image.converted),
    )


def _is_grey(pixels: Pixels) -> bool:
    """Whether all channels of pixels [C, H, W] are equal."""
    return bool(np.all(pixels == pixels[:1]))
