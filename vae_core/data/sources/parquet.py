"""Parquet files of images, as Hugging Face's libraries, polars and pandas write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.data.decode import CHUNK, decoded
from vae_core.data.source import Chunk, DataRoot, Pixels, Source
from vae_core.data.sources.files import (
    Conversion,
    existing_folder,
    fingerprint,
    held_out_count,
    split_of,
    unclear_split,
)
from vae_core.data.splits import hold_out
from vae_core.errors import DataError, nearest

LABELS = ("label", "labels", "class", "target")
"""Names under which labels are looked for, in this order."""
_SHARD = re.compile(r"[-_.]\d+(?:-of-\d+(?:-[0-9a-f]+)?)?$")


class _Row(NamedTuple):
    image: Any
    where: str


class Parquet(Source):
    """The Parquet files of ``path``, each split's in order of name.

    A file belongs to the split it is named after (train-00000-of-00002.parquet), or its folder
    (train/0000.parquet); where no name says so, to train. Without test files validation is the test
    split; without these too, one image of train in ten, chosen by the hash of its row, is.
    ``image`` names the column of images, found by its type if there is only one. ``label`` names a
    column of whole numbers or text, found by its name (label, labels, class, target); text is
    numbered in alphabetical order, null is -1; without such a column all labels are 0.
    ``resize``, ``channels`` and ``background`` as in :class:`Folder`.
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
        files = [path for paths in _splits(folder).values() for path in paths]
        return (
            f"Parquet images in {folder}{self.conversion} "
            f"(files {fingerprint(sorted(files), folder)})"
        )

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        folder = existing_folder(root.resolve(self.path), "parquet")
        files = _splits(folder)
        train = files.get("train", [])
        test = files.get("test") or files.get("validation", [])
        if not train:
            raise DataError(
                "no file train-*.parquet",
                where=str(folder),
                remedy="name the folder that holds train-*.parquet and test-*.parquet itself",
            )
        rows = self._rows(test if test and split == "test" else train, self._numbers(train + test))
        if not test:
            n = sum(_opened(path).metadata.num_rows for path in train)
            wanted = np.zeros(n, bool)
            wanted[hold_out(n, min(held_out_count(n), n))[split == "test"]] = True
            rows = (row for row, want in zip(rows, wanted, strict=True) if want)
        return decoded(rows, self._image, lambda row: row.where, remedy="set data.resize")

    def _image(self, row: _Row) -> Pixels:
        image = row.image["bytes"] if isinstance(row.image, dict) else row.image
        if image is None:
            by_path = row.image is not None
            raise DataError(
                "the image is given by path only" if by_path else "the image is null",
                where=row.where,
                remedy="write the dataset with its images embedded (struct field 'bytes')"
                if by_path
                else "leave this row out",
            )
        return self.conversion.image(image, row.where)

    def _rows(self, files: list[Path], numbers: dict[str, int]) -> Iterator[tuple[_Row, int]]:
        for path in files:
            file = _opened(path)
            image, label = self._columns(path, file.schema_arrow)
            row = 0
            try:
                for batch in file.iter_batches(CHUNK, columns=[image, *([label] if label else [])]):
                    images = batch.column(image).to_pylist()
                    labels = batch.column(label).to_pylist() if label else [0] * len(images)
                    for data, value in zip(images, labels, strict=True):
                        yield _Row(data, f"{path}, row {row}"), _number(value, numbers)
                        row += 1
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error

    def _numbers(self, files: list[Path]) -> dict[str, int]:
        """The number of each label that is text, over all ``files``."""
        found: set[str] = set()
        for path in files:
            file = _opened(path)
            _, label = self._columns(path, file.schema_arrow)
            if label is None or not _is_text(file.schema_arrow.field(label).type):
                continue
            try:
                # Not unique(): PyArrow 25 makes null an empty string there (string_view).
                values = file.read(columns=[label]).column(label).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error
            found.update(value for value in values if value is not None)
        return {value: number for number, value in enumerate(sorted(found))}

    def _columns(self, path: Path, schema: Any) -> tuple[str, str | None]:
        """The names of the image and the label column of the file at ``path``."""
        images = [f.name for f in schema if pa.types.is_struct(f.type) and _has_bytes(f.type)]
        images = images or [f.name for f in schema if _is_binary(f.type)]
        named = next((name for name in LABELS if name in schema.names), None)
        for key, given, known in (
            ("image", self.image, images),
            ("label", self.label, schema.names),
        ):
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
                else "an image column holds files' bytes, or structs with a binary field 'bytes'; "
                "this file has " + ", ".join(f"{f.name} ({f.type})" for f in schema),
            )
        label = self.label or named
        if label is not None and not _is_label(schema.field(label).type):
            raise DataError(
                f"labels of column '{label}' are {schema.field(label).type}",
                where=str(path),
                remedy="set data.label to a column of whole numbers or text",
            )
        return self.image or images[0], label


def _splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, in order of name.

    Raises:
        DataError: a name that may be a split's and is not understood.
    """
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet"))
    found: dict[str, list[Path]] = {}
    for path in files:
        named = path if path.parent == folder else path.parent
        name = _SHARD.sub("", path.stem) if named is path else named.name
        found.setdefault(split_of(name, named) or "", []).append(path)
    unnamed = found.pop("", [])
    if unnamed and found:
        raise unclear_split(unnamed[0], f" beside {next(iter(found.values()))[0].name}")
    return found or {"train": unnamed}


def _number(label: Any, numbers: dict[str, int]) -> int:
    """A label's number, with Hugging Face's -1 where there is none."""
    if label is None:
        return -1
    return numbers[label] if isinstance(label, str) else int(label)


def _is_binary(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _has_bytes(kind: Any) -> bool:
    return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_label(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind)) or _is_text(kind)


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"damaged: {error}", where=str(path), remedy="fetch the file again")
