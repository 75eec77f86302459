"""What images must not be: a study of them would end with a verdict over nothing."""

from __future__ import annotations

import numpy as np

from vae_core.data.source import Labels, Pixels
from vae_core.errors import DataError
from vae_core.geometry import ImageShape

_ROWS = 1024  # images looked at a time
LEAST_LEVELS = 8
"""Grey levels, of 256, that the images of a split span at least: fewer look all black, like masks
whose values number classes."""


LEAST_PER_CLASS = 25
"""Training images a class has on average where labels can teach anything (not the identities of
thousands of persons)."""


def check_classes(labels: Labels) -> None:
    """Check that a classifier can learn the labels of training images.

    Raises:
        DataError: they are of one class, or hardly an image of each.
    """
    n, classes = len(labels), len(np.unique(labels))
    if classes < 2 or n < LEAST_PER_CLASS * classes:
        raise DataError(
            f"{n:,} training images of {classes:,} {'class' if classes == 1 else 'classes'} teach "
            "a classifier nothing",
            remedy="use the features of inception, which need no labels; or give classes: parquet "
            "takes them from column data.label, folder from a folder for each",
        )


def fault_of(pixels: Pixels, shape: ImageShape) -> tuple[str, str] | None:
    """Why nothing can be learned from images uint8 [n, D], and the remedy; None: something can.

    As a rule the first few images show that.
    """
    same = len(pixels) > 1
    plain = shape.height * shape.width > 1
    low, high = 255, 0
    for start in range(0, len(pixels), _ROWS):
        block = pixels[start : start + _ROWS]
        flat = block.reshape(len(block), shape.channels, -1)
        same = same and bool((block == pixels[0]).all())
        plain = plain and bool((flat == flat[:, :, :1]).all())
        low, high = min(low, int(block.min())), max(high, int(block.max()))
        if not same and not plain and high - low >= LEAST_LEVELS:
            return None
    if same:
        return "are the same", "look at the files: nothing can be learned from one picture"
    if plain:
        return "are of a single colour each", "look at the files: there is nothing in the pictures"
    if high - low < LEAST_LEVELS:
        return (
            f"have pixels from {low} to {high} only, of 0 to 255",
            "look at the files, and scale the pixels to the whole range",
        )
    return None
