"""Image scores: rounding, sizes, and files that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.image_scores import STEP, ImageScores
from vae_core.errors import DataError


def scores(n: int, sd: float = 100.0) -> ImageScores:
    random = np.random.default_rng(0)
    return ImageScores(random.normal(-10 * sd, sd, n), random.normal(-10 * sd, 1, 3))


def written(found: ImageScores, folder: Path) -> Path:
    path = folder / "image_scores.parquet"
    path.write_bytes(found.to_bytes())
    return path


@pytest.mark.parametrize("sd", [5.0, 100.0, 1500.0])
def test_what_is_read_is_what_was_written_to_half_a_step(tmp_path: Path, sd: float) -> None:
    before = scores(10_000, sd)
    after = ImageScores.read(written(before, tmp_path))
    apart = np.abs(after.values - before.values)
    assert apart.max() <= STEP / 2
    # Rounding errors are uniform and independent: their mean over images is far smaller.
    assert abs(after.values.mean() - before.values.mean()) < 5 * STEP / np.sqrt(12 * 10_000)
    assert after.draws.tolist() == before.draws.tolist()


@pytest.mark.parametrize("n", [10_000, 20_000])
def test_a_file_takes_at_most_50_kb(n: int) -> None:
    assert len(scores(n, 100.0).to_bytes()) <= 50_000
    assert len(scores(n, 5.0).to_bytes()) <= 50_000


def test_scores_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    values = np.array([1.0, np.nan, np.inf, 1e300])
    after = ImageScores.read(written(ImageScores(values, np.array([np.nan])), tmp_path))
    assert np.array_equal(after.values, [1.0, np.nan, np.inf, np.inf], equal_nan=True)
    assert np.isnan(after.draws).all()


def test_equal_scores_are_equal_bytes() -> None:
    assert scores(500).to_bytes() == scores(500).to_bytes()


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"nats": [1.0]}), path)


def without_column(path: Path) -> None:
    metadata = pq.read_schema(path).metadata
    pq.write_table(pa.table({"bits": [1.0]}).replace_schema_metadata(metadata), path)


def newer(path: Path) -> None:
    metadata = {b"image_scores": b'{"format": 2}'}
    pq.write_table(pa.table({"nats": [1.0]}).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (Path.unlink, "is not there"),
        (damaged, "no image scores that can be read"),
        (foreign, "no image scores that can be read"),
        (without_column, "no image scores that can be read"),
        (newer, "format 2; this version reads 1"),
    ],
)
def test_a_file_that_holds_no_scores_is_named(
    tmp_path: Path, damage: Callable[[Path], None], what: str
) -> None:
    path = written(scores(10), tmp_path)
    damage(path)
    with pytest.raises(DataError, match=what) as caught:
        ImageScores.read(path)
    assert str(path) in str(caught.value)
