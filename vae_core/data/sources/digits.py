"""scikit-learn's handwritten digits: 1,797 real images of 1x8x8, embedded in the package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

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
        table = np.loadtxt(_file(), np.int64, delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1]
        images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        rows = hold_out(len(images), TEST_COUNT)[split == "test"]
        yield images[rows], labels[rows]


def _file() -> Path:
    """The table that scikit-learn brings; importing the package would take seconds."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("dataset 'digits' needs scikit-learn", remedy="pip install scikit-learn")
    table = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not table.is_file():
        raise DataError(
            "scikit-learn brings no table of the digits here",
            where=str(table),
            remedy="install the version of scikit-learn that requirements.txt names",
        )
    return table
