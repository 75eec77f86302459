"""Parquet files of images, as Hugging Face's libraries, polars and pandas write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.data.decode import CHUNK, Decoded, decoded
from vae_core.data.source import SPLITS, VALIDATION, Chunk, DataRoot, Source
from vae_core.data.sources.columns import Columns, columns_of, is_file, pixels_of
from vae_core.data.sources.files import (
    Conversion,
    by_split,
    existing_folder,
    files_under,
    fingerprint,
    held_out_count,
    split_name,
    unclear_split,
)
from vae_core.data.splits import hold_out
from vae_core.errors import DataError

UNLABELLED = -1
"""Hugging Face's number of a label that is null."""
_SHARD = re.compile(r"[-_.]\d+(?:-of-\d+(?:-[0-9a-f]+)?)?$")


_Value: TypeAlias = str | float
"""A label that is no whole number."""


class _Row(NamedTuple):
    image: Any
    """A file's bytes, alone or in a struct; or a cell of numbers."""
    where: str
    labelled: str
    """The note on its label."""


class Parquet(Source):
    """The Parquet files of ``path``, each split's in order of name.

    A file belongs to the split that it or a folder on the way to it is named after
    (train-00000-of-00002.parquet, train/0000.parquet, cifar_test.parquet); where no name says so,
    to train. Validation files are the study's validation split, or without test files its test
    split; without these too, one image of train in ten, chosen by the hash of its row, is test.

    ``image`` names the column of images, found by its type if there is only one: files' bytes, or
    pixels as nested lists or tensors of bytes. ``label`` names the column of labels, found by its
    name (label, labels, class, target) or as the one that Hugging Face's metadata call classes.
    Whole numbers stay as they are; other values are numbered in their order, those of train and
    test first; null is -1; without such a column all labels are 0. ``resize``, ``channels`` and
    ``background`` as in :class:`Folder`. The files are looked for once.
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
        self._files = cache(_files)
        self._notes: Counter[str] = Counter()

    def describe(self, root: DataRoot) -> str:
        folder = root.resolve(self.path)
        files = self._files(folder)
        plain = all(path.name.startswith(split) for split, paths in files.items() for path in paths)
        named = [
            f", {split} from {paths[0].relative_to(folder)}"
            + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
            for split, paths in files.items()
        ]
        every = sorted(path for paths in files.values() for path in paths)
        return (
            f"Parquet images in {folder}{self.conversion}{'' if plain else ''.join(named)} "
            f"(files {fingerprint(every, folder)})"
        )

    def split_names(self, root: DataRoot) -> tuple[str, ...]:
        files = self._files(root.resolve(self.path))
        return ("train", VALIDATION, "test") if VALIDATION in files else SPLITS

    def image_count(self, split: str, root: DataRoot) -> int:
        files = self._files(root.resolve(self.path))
        own = files.get(split)
        if own is not None and (split != "train" or "test" in files):
            return _rows_in(own)
        n = _rows_in(files["train"])
        held = min(held_out_count(n), n)
        return held if split == "test" else n - held

    def sample(self, root: DataRoot, step: int) -> Iterator[Decoded]:
        """Every ``step``-th image of train's files."""
        files = self._files(root.resolve(self.path))
        rows = self._rows(files["train"], self._numbers(files))
        return (_image(self.conversion, row) for row, _ in islice(rows, 0, None, step))

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        files = self._files(root.resolve(self.path))
        self._notes = Counter()
        rows = self._rows(files.get(split) or files["train"], self._numbers(files))
        if "test" not in files:
            n = _rows_in(files["train"])
            wanted = np.zeros(n, bool)
            wanted[hold_out(n, min(held_out_count(n), n))[split == "test"]] = True
            rows = (row for row, want in zip(rows, wanted, strict=True) if want)
        read = partial(_image, self.conversion)
        return decoded(rows, read, lambda row: row.where, "set data.resize", self._notes)

    def reading_notes(self) -> Mapping[str, int]:
        return self._notes

    def _columns(self, path: Path) -> tuple[Any, Columns]:
        file = _opened(path)
        return file, columns_of(path, file.schema_arrow, self.image, self.label)

    def _rows(
        self, files: Iterable[Path], numbers: Mapping[_Value, int]
    ) -> Iterator[tuple[_Row, int]]:
        """The rows of ``files`` and the number of each one's label."""
        for path in files:
            row = 0
            file, (image, label) = self._columns(path)
            in_files = is_file(file.schema_arrow.field(image).type)
            named = "without a label" if label is None else f"labelled by column '{label}'"
            try:
                for batch in file.iter_batches(CHUNK, columns=[image, *([label] if label else [])]):
                    images = batch.column(image).to_pylist() if in_files else batch.column(image)
                    labels = batch.column(label).to_pylist() if label else [0] * len(images)
                    for data, value in zip(images, labels, strict=True):
                        where = f"{path}, row {row}"
                        number = _number(value, numbers, where)
                        note = "without a label" if number is None else named
                        yield _Row(data, where, note), UNLABELLED if number is None else number
                        row += 1
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error

    def _numbers(self, files: Mapping[str, list[Path]]) -> dict[_Value, int]:
        """The number of each label that is no whole number, over all ``files``.

        Raises:
            DataError: other labels are whole numbers.
        """
        known = self._values([*files["train"], *files.get("test", ())])
        new = self._values(files.get(VALIDATION, [])) - known
        if all(isinstance(value, float) and value.is_integer() for value in known | new):
            return {value: int(value) for value in known | new}  # of a column with nulls, as a rule
        for path in (path for paths in files.values() for path in paths):
            _, label, kind = self._label(path)
            if label is not None and pa.types.is_integer(kind):
                raise DataError(
                    f"labels of column '{label}' are {kind}, and in other files they are not",
                    where=str(path),
                    remedy="write the same labels to all files, or name another in data.label",
                )
        return {value: i for i, value in enumerate((*_sorted(known), *_sorted(new)))}

    def _values(self, files: Iterable[Path]) -> set[_Value]:
        """The labels in ``files`` that are neither whole numbers nor null."""
        found: set[_Value] = set()
        for path in files:
            file, label, kind = self._label(path)
            if label is None or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
                continue
            try:
                # Not unique(): PyArrow 25 makes null an empty string there (string_view).
                values = file.read(columns=[label]).column(label).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error
            keys = (_key(value) for value in values)
            found.update(key for key in keys if key is not None and not isinstance(key, int))
        return found

    def _label(self, path: Path) -> tuple[Any, str | None, Any]:
        """The opened file, and name and type of its column of labels."""
        file, (_, label) = self._columns(path)
        return file, label, None if label is None else file.schema_arrow.field(label).type


def _image(conversion: Conversion, row: _Row) -> Decoded:
    image, path = row.image, None
    if isinstance(image, dict):
        image, path = image["bytes"], image.get("path")
    elif isinstance(image, pa.Scalar):
        image = pixels_of(image, row.where) if image.is_valid else None
    if image is None and path:
        raise DataError(
            f"the image is given by path only: {path}",
            where=row.where,
            remedy="embed the images (struct field 'bytes'), or put the files that the paths "
            "name into a folder and set data.name to folder",
        )
    if image is None:
        raise DataError("the image is null", where=row.where, remedy="leave this row out")
    pixels, converted = conversion.image(image, row.where)
    return Decoded(pixels, (*converted, row.labelled))


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, in order of name: train, and those of the others that there are.

    Raises:
        DataError: a name may be a split's and is not understood; files of several datasets; there
            are none for train.
    """
    every = [
        path
        for path in files_under(existing_folder(folder, "parquet"))
        if path.suffix == ".parquet"
    ]
    files = [path for path in every if path.parent == folder] or every
    found = by_split((_named(path.relative_to(folder)), path) for path in files)
    unnamed = found.pop("", [])
    if unnamed and found:
        raise unclear_split(unnamed[0], f" beside {next(iter(found.values()))[0].name}")
    found = found or {"train": unnamed}
    folders = {_dataset(path.relative_to(folder)) for path in files}
    if len(folders) > 1:
        raise DataError(
            f"files of {len(folders)} folders: {', '.join(sorted(folders))}",
            where=str(folder),
            remedy="set data.path to the one that is meant",
        )
    if "test" not in found and VALIDATION in found:
        found["test"] = found.pop(VALIDATION)
    if not found.get("train"):
        raise DataError(
            "no file train-*.parquet",
            where=str(folder),
            remedy="name the folder that holds train-*.parquet and test-*.parquet itself",
        )
    return {split: found[split] for split in ("train", VALIDATION, "test") if split in found}


def _parts(path: Path) -> tuple[str, ...]:
    """The folders and the name of a file, without the number of its shard."""
    return (*path.parent.parts, _SHARD.sub("", path.stem))


def _named(path: Path) -> str:
    """What names the split of a file: the first of its folders that does, else itself."""
    parts = _parts(path)
    return next((part for part in parts if split_name(part)), parts[-1])


def _dataset(path: Path) -> str:
    """The folders on the way to a file that are no splits."""
    return "/".join(part for part in path.parent.parts if not split_name(part))


def _rows_in(files: Iterable[Path]) -> int:
    return sum(_opened(path).metadata.num_rows for path in files)


def _number(label: Any, numbers: Mapping[_Value, int], where: str) -> int | None:
    """A label's number; None: it is null."""
    key = _key(label)
    if not isinstance(key, int):
        return None if key is None else numbers[key]
    if not -(2**63) <= key < 2**63:
        raise DataError(
            f"label {key} is no number of 64 bits with a sign",
            where=where,
            remedy="write it as text, or name another column in data.label",
        )
    return key


def _key(label: Any) -> int | _Value | None:
    """What a label of any type is told by: int, float or text; None: it is null."""
    if label is None or (isinstance(label, float) and isnan(label)):
        return None
    if isinstance(label, int):
        return int(label)
    return label if isinstance(label, str | float) else str(label)


def _sorted(values: Iterable[_Value]) -> list[_Value]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"damaged: {error}", where=str(path), remedy="fetch the file again")
