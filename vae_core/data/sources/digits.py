"""scikit-learn's handwritten digits: 1,797 real images of 1x8x8, embedded in the package."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vae_core.data.source import Chunk, DataRoot, Source
from vae_core.data.splits import hold_out
from vae_core.errors import DataError

TEST_COUNT = 297


class Digits(Source):
    """The UCI digits as ``sklearn.datasets.load_digits`` gives them, 17 grey levels to 8 bits.

    scikit-learn has no official split: 297 images, chosen by the hash of their number, are test.
    """

    def describe(self, root: DataRoot) -> str:
        return f"scikit-learn digits, round(v * 255 / 16), {TEST_COUNT} test images held out"

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise DataError(
                "dataset 'digits' needs scikit-learn", remedy="pip install scikit-learn"
            ) from error
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        rows = hold_out(len(images), TEST_COUNT)[split == "test"]
        yield images[rows], digits.target.astype(np.int64)[rows]
