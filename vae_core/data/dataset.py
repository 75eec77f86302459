"""From a study file's ``data`` section to prepared, memory-mapped images and their splits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from vae_core.data import store as arrow
from vae_core.data.content import fault_of
from vae_core.data.files import locked
from vae_core.data.source import (
    SPLITS,
    VALIDATION,
    Chunk,
    DataRoot,
    Labels,
    Pixels,
    Source,
    build_source,
)
from vae_core.data.splits import Rows, hold_out
from vae_core.errors import ContractError, DataError
from vae_core.geometry import ImageShape

Watch: TypeAlias = Callable[[str, int, int | None], None]
"""Is told of a split, its images that are prepared, and of how many, if that is known."""


@dataclass(frozen=True)
class PreparedData:
    """A dataset in the store: what an engine needs to open it.

    ``sha256`` (per split) identifies the content on any machine and path. The splits are train and
    test, and validation where the data bring it. ``notes`` are the source's, per split.
    """

    name: str
    shape: tuple[int, int, int]
    files: dict[str, str]
    sha256: dict[str, str]
    counts: dict[str, int]
    source: str
    notes: dict[str, dict[str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        """How many images of which shape, where they come from, and what was done to them."""
        *most, last = (f"{count:,} {split}" for split, count in self.counts.items())
        noted = (f"; {split}: {notes}" for split in self.counts if (notes := self.noted(split)))
        counts = f"{', '.join(most)} and {last} images of {ImageShape(*self.shape)}"
        return f"{counts}: {self.source}{''.join(noted)}"

    def noted(self, split: str) -> str:
        """The notes on a split in words; empty: there are none."""
        return ", ".join(f"{count:,} {what}" for what, count in self.notes.get(split, {}).items())

    def without_validation(self) -> PreparedData:
        """The same, without the validation images that the data bring."""
        return replace(
            self,
            files={split: self.files[split] for split in SPLITS},
            sha256={split: self.sha256[split] for split in SPLITS},
            counts={split: self.counts[split] for split in SPLITS},
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PreparedData:
        """The inverse of :meth:`to_dict`."""
        channels, height, width = fields["shape"]
        return cls(**{**fields, "shape": (channels, height, width)})


def prepare(
    settings: Mapping[str, Any],
    store: Path,
    data_root: Path | None = None,
    watch: Watch | None = None,
) -> PreparedData:
    """Prepare the dataset of ``settings`` in the folder ``store``, unless it is there already.

    Args:
        settings: ``name`` and the source's own settings.
        store: the folder of prepared images; made if absent.
        data_root: a folder of files already there, never downloaded into. None: files are
            downloaded to ``store/downloads`` if they are not there.
        watch: follows the progress.

    Prepared files are used again when settings and source are the same and their content has
    the SHA-256 of its header (all of it is read once); otherwise they are made again. Processes
    that prepare the same dataset at once wait for the first.

    Raises:
        ContractError: an unknown source or setting, or a source that breaks its contract.
        DataError: the files are missing, damaged or not what they should be, there is nothing in
            the images of a split, or the store cannot be written. No partial files remain.
    """
    source = build_source(settings)
    name = str(settings["name"])
    if data_root is None:
        root = DataRoot(store.resolve() / "downloads", download=True)
    else:
        root = DataRoot(data_root.expanduser().resolve(), download=False)
    description = source.describe(root)
    request = hashlib.sha256(
        json.dumps([dict(settings), description], sort_keys=True, default=str).encode()
    ).hexdigest()
    label = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    splits = _splits(source, name, root)
    files = {s: store.resolve() / f"{label}-{request[:12]}-{s}.arrow" for s in splits}
    if not (root.download or root.path.is_dir() or all(f.is_file() for f in files.values())):
        raise DataError(
            "no such folder",
            where=str(root.path),
            remedy="correct the data root, or name none to have published datasets downloaded",
        )
    headers = _ready(files, request)  # no lock: the store may be another user's, to be read only
    if headers is None:
        with locked(store, label):
            headers = _ready(files, request) or _make(
                source, name, files, root, description, request, watch
            )
    return PreparedData(
        name=name,
        shape=headers["train"].shape,
        files={split: str(path) for split, path in files.items()},
        sha256={split: header.sha256 for split, header in headers.items()},
        counts={split: header.count for split, header in headers.items()},
        source=description,
        notes={split: header.notes for split, header in headers.items()},
    )


@dataclass(frozen=True)
class Images:
    """One part of a dataset.

    ``pixels`` is its whole file, uint8 [n_file, D], memory-mapped and read-only;
    ``index`` the n rows of it that belong to this part, ascending; ``labels`` their labels.
    """

    pixels: Pixels
    index: Rows
    labels: Labels

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Dataset:
    """An opened dataset. Validation images are the data's own, or held out of train's file."""

    shape: ImageShape
    train: Images
    validation: Images
    test: Images

    @classmethod
    def open(
        cls, prepared: PreparedData, validation: int | float, *, verify: bool = True
    ) -> Dataset:
        """Memory-map ``prepared``; hold ``validation`` images out of train if it brings none.

        Args:
            prepared: what :func:`prepare` returned.
            validation: how many images (int), or what share of train (float in (0, 1)). Which
                ones is a function of these two numbers only. Validation images that
                ``prepared`` brings are used instead.
            verify: also read all of it and check its SHA-256, as :func:`prepare` has just done.

        Raises:
            DataError: a file is missing, damaged or another one, or ``validation`` leaves one
                of the two parts empty.
        """
        parts = {
            split: Images(stored.pixels, np.arange(len(stored.labels)), stored.labels)
            for split in prepared.files
            for stored in [open_split(prepared, split, verify=verify)]
        }
        if VALIDATION not in parts:
            train = parts["train"]
            n = len(train)
            rows = hold_out(n, validation_count(n, validation))
            parts["train"], parts[VALIDATION] = (
                Images(train.pixels, part, train.labels[part]) for part in rows
            )
        return cls(shape=ImageShape(*prepared.shape), **parts)


def validation_count(n: int, validation: int | float) -> int:
    """How many of ``n`` training images ``validation``, a count or a share, holds out.

    Raises:
        DataError: validation or train would be empty.
    """
    count = round(n * validation) if isinstance(validation, float) else validation
    if not 0 < count < n:
        raise DataError(
            f"validation {validation} takes {count:,} of the {n:,} training images",
            where="data.validation",
            remedy=f"give a number from 1 to {n - 1:,}, or a share between 0 and 1",
        )
    return count


def _splits(source: Source, name: str, root: DataRoot) -> tuple[str, ...]:
    """The splits of ``source``, those it must have and those it may have."""
    splits = tuple(source.split_names(root))
    if sorted(splits) not in (sorted(SPLITS), sorted((*SPLITS, VALIDATION))):
        raise ContractError(
            f"splits are {', '.join(map(str, splits))}",
            where=f"dataset '{name}'",
            remedy="return train and test, and validation if there is one",
        )
    return splits


def _ready(files: Mapping[str, Path], request: str) -> dict[str, arrow.Header] | None:
    """The headers of ``files`` if all of them are sound and answer ``request``.

    Raises:
        DataError: they do, and no study can be made of them.
    """
    try:
        headers = {split: arrow.read(path).header for split, path in files.items()}
    except DataError:
        return None
    if any(header.request != request for header in headers.values()):
        return None
    _check_splits(headers, files)
    return headers


def _make(
    source: Source,
    name: str,
    files: Mapping[str, Path],
    root: DataRoot,
    description: str,
    request: str,
    watch: Watch | None,
) -> dict[str, arrow.Header]:
    """Write every split of ``source``; after a failure none of what was written remains."""
    headers: dict[str, arrow.Header] = {}
    try:
        for split, path in files.items():
            chunks = source.read(split, root)
            if watch is not None:
                chunks = _watched(chunks, split, source.image_count(split, root), watch)
            headers[split] = arrow.write(
                path,
                chunks,
                name=name,
                split=split,
                source=description,
                request=request,
                expected=source.sha256.get(split),
                notes=source.reading_notes,
            )
        _check_splits(headers, files)
    except BaseException:
        for split in headers:
            files[split].unlink()
        raise
    return headers


def _watched(
    chunks: Iterator[Chunk], split: str, count: int | None, watch: Watch
) -> Iterator[Chunk]:
    done = 0
    watch(split, done, count)
    for chunk in chunks:
        yield chunk
        done += len(chunk[1])
        watch(split, done, count)


def _check_splits(headers: Mapping[str, arrow.Header], files: Mapping[str, Path]) -> None:
    """Refuse splits that no study can be made of."""
    for split, header in headers.items():
        shape = ImageShape(*header.shape)
        if fault := fault_of(arrow.read(files[split], verify=False).pixels, shape):
            what, remedy = fault
            raise DataError(
                f"all {header.count:,} {split} images {what}", where=header.source, remedy=remedy
            )
    for (split, header), (other, its) in combinations(headers.items(), 2):
        if header.shape != its.shape:
            raise DataError(
                f"{other} images of shape {ImageShape(*its.shape)} beside {split} images of shape "
                f"{ImageShape(*header.shape)}",
                where=header.source,
                remedy="all splits must have one shape: folder and parquet take data.channels "
                "(1 or 3) and data.resize",
            )
        if header.sha256 == its.sha256 and header.count > 1:
            raise DataError(
                f"the {other} images are the {split} images",
                where=header.source,
                remedy="give each split images of its own",
            )


def open_split(prepared: PreparedData, split: str, *, verify: bool = True) -> arrow.Stored:
    """Memory-map all of a split; images held out of train for validation are in "train".

    Raises:
        DataError: the file is missing, damaged or another one.
    """
    path = prepared.files[split]
    stored = arrow.read(Path(path), verify=verify)
    if stored.header.sha256 != prepared.sha256[split]:
        raise DataError("not the images it was prepared as", where=path, remedy=arrow.REMEDY)
    return stored
