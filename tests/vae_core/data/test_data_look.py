"""What a first look says of images of one's own, before they are prepared."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vae_core.data.look import SAMPLE, look
from vae_core.errors import ContractError, DataError


def picture(height: int, width: int, mode: str = "L", seed: int = 0) -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def write(folder: Path, count: int, *size: int, mode: str = "L") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(*size, mode=mode, seed=i).save(folder / f"{i:04}.png")
    return folder


def test_equal_squares(tmp_path):
    found = look({"name": "folder", "path": str(write(tmp_path, 20, 12, 12))})
    assert found.counts == {"train": 18, "test": 2}
    assert (found.square_side, found.typical_side) == (12, 12)
    assert found.grey
    assert not found.transparent
    assert str(found) == "18 train, 2 test images, grey, 12x12"


def test_sizes_that_differ_are_seen_through_the_splits_that_are_there(tmp_path):
    write(tmp_path / "train", 5, 30, 20, mode="RGB")
    write(tmp_path / "train" / "large", 2, 40, 60, mode="RGB")
    write(tmp_path / "val", 2, 30, 20)
    write(tmp_path / "test", 3, 30, 20)
    found = look({"name": "folder", "path": "."}, tmp_path)
    assert found.counts == {"train": 7, "validation": 2, "test": 3}
    assert (found.smallest, found.largest) == ((30, 20), (40, 60))
    assert (found.square_side, found.typical_side) == (None, 20)
    assert not found.grey
    assert str(found).endswith("colour, 30x20 to 40x60")


def test_equal_oblongs_are_no_squares(tmp_path):
    assert look({"name": "folder", "path": str(write(tmp_path, 10, 12, 8))}).square_side is None


def test_grey_stored_as_colour_is_grey(tmp_path):
    for i in range(10):
        picture(8, 8, seed=i).convert("RGB").save(tmp_path / f"{i}.png")
    assert look({"name": "folder", "path": str(tmp_path)}).grey


def test_transparency_is_seen_and_refuses_nothing(tmp_path):
    write(tmp_path, 10, 8, 8, mode="RGBA")
    assert look({"name": "folder", "path": str(tmp_path)}).transparent


def test_many_images_are_sampled_evenly(tmp_path):
    write(tmp_path / "train", 2 * SAMPLE, 4, 4)
    write(tmp_path / "test", 1, 4, 4)
    picture(6, 6).save(tmp_path / "train" / f"{2 * SAMPLE - 2:04}.png")
    assert look({"name": "folder", "path": str(tmp_path)}).largest == (6, 6)


def test_parquet(tmp_path):
    def data(size: int) -> bytes:
        buffer = io.BytesIO()
        picture(size, size, "RGB", seed=size).save(buffer, "PNG")
        return buffer.getvalue()

    pq.write_table(pa.table({"image": [data(8 + i) for i in range(10)]}), tmp_path / "a.parquet")
    found = look({"name": "parquet", "path": str(tmp_path)})
    assert found.counts == {"train": 9, "test": 1}
    assert (found.smallest, found.largest) == ((8, 8), (17, 17))


def test_what_is_not_looked_at(tmp_path):
    with pytest.raises(DataError, match="no images for the train split"):
        look({"name": "folder", "path": str(tmp_path)})
    with pytest.raises(ContractError, match="digits"):
        look({"name": "digits"})
