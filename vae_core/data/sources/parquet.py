"""Parquet files in the Hugging Face image layout: a column struct<bytes, path>."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.data.decode import CHUNK, decoded
from vae_core.data.source import Chunk, DataRoot, Pixels, Source
from vae_core.data.sources.files import Conversion, existing_folder, fingerprint, held_out_count
from vae_core.data.splits import hold_out
from vae_core.errors import DataError, nearest


class _Row(NamedTuple):
    data: bytes | None
    where: str


class Parquet(Source):
    """The files ``path``/train-*.parquet and ``path``/test-*.parquet, in order of name.

    Without test files, validation-*.parquet is the test split; without these too, one image of
    train in ten, chosen by the hash of its row, is. ``image`` names the column of images, which
    is found by its type if there is only one; ``label`` names a column of integers ("label", if
    it is there), without one all labels are 0. ``resize``, ``channels`` and ``background`` as in
    :class:`Folder`.
    """

    def __init__(
        self,
        path: str,
        image: str | None = None,
        label: str | None = None,
        resize: int | None = None,
        channels: int | None = None,
        background: str | None = None,
    ) -> None:
        self.path, self.image, self.label = path, image, label
        self.conversion = Conversion("parquet", resize, channels, background)

    def describe(self, root: DataRoot) -> str:
        folder = existing_folder(root.resolve(self.path), "parquet")
        files = sorted(folder.glob("*.parquet"))
        return f"Parquet images in {folder}{self.conversion} (files {fingerprint(files, folder)})"

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        folder = existing_folder(root.resolve(self.path), "parquet")
        train = sorted(folder.glob("train-*.parquet"))
        test = sorted(folder.glob("test-*.parquet")) or sorted(folder.glob("validation-*.parquet"))
        if not train:
            raise DataError(
                "no file train-*.parquet",
                where=str(folder),
                remedy="name the folder that holds train-*.parquet and test-*.parquet itself",
            )
        rows = self._rows(test if test and split == "test" else train)
        if not test:
            n = sum(_opened(path).metadata.num_rows for path in train)
            wanted = np.zeros(n, bool)
            wanted[hold_out(n, min(held_out_count(n), n))[split == "test"]] = True
            rows = (row for row, want in zip(rows, wanted, strict=True) if want)
        return decoded(rows, self._image, lambda row: row.where, remedy="set data.resize")

    def _image(self, row: _Row) -> Pixels:
        if row.data is None:
            raise DataError(
                "the image is given by path only",
                where=row.where,
                remedy="write the dataset with its images embedded (struct field 'bytes')",
            )
        return self.conversion.image(row.data, row.where)

    def _rows(self, files: list[Path]) -> Iterator[tuple[_Row, int]]:
        for path in files:
            file = _opened(path)
            image, label = self._columns(path, file.schema_arrow)
            row = 0
            try:
                for batch in file.iter_batches(CHUNK, columns=[image, *([label] if label else [])]):
                    images = batch.column(image).field("bytes").to_pylist()
                    labels = _integers(batch.column(label)) if label else [0] * len(images)
                    for data, value in zip(images, labels, strict=True):
                        yield _Row(data, f"{path}, row {row}"), value
                        row += 1
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error

    def _columns(self, path: Path, schema: Any) -> tuple[str, str | None]:
        """The names of the image and the label column of the file at ``path``."""
        images = [f.name for f in schema if _holds_images(f.type)]
        labels = [f.name for f in schema if pa.types.is_integer(f.type)]
        for key, given, known in (("image", self.image, images), ("label", self.label, labels)):
            if given is not None and given not in known:
                raise DataError(
                    f"no {key} column '{given}'",
                    where=str(path),
                    remedy=f"correct data.{key}: {nearest(str(given), known)}",
                )
        if self.image is None and len(images) != 1:
            raise DataError(
                f"{len(images)} columns of images where one is expected",
                where=str(path),
                remedy=f"set data.image to one of: {', '.join(images)}"
                if images
                else "an image column is a struct with a binary field 'bytes'; this file has "
                + ", ".join(f"{f.name} ({f.type})" for f in schema),
            )
        return self.image or images[0], self.label or ("label" if "label" in labels else None)


def _holds_images(kind: Any) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    data = kind.field("bytes").type
    return bool(pa.types.is_binary(data) or pa.types.is_large_binary(data))


def _integers(column: Any) -> list[int]:
    """The labels, with Hugging Face's -1 where there is none."""
    values: list[int] = column.fill_null(-1).to_pylist()
    return values


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"damaged: {error}", where=str(path), remedy="fetch the file again")
