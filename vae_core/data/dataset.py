"""From a study file's ``data`` section to prepared, memory-mapped images and their splits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_core.data import store as arrow
from vae_core.data.files import locked
from vae_core.data.source import SPLITS, DataRoot, Labels, Pixels, Source, build_source
from vae_core.data.splits import Rows, hold_out
from vae_core.errors import DataError
from vae_core.geometry import ImageShape

_ROWS = 1024  # images compared at a time


@dataclass(frozen=True)
class PreparedData:
    """A dataset in the store: what an engine needs to open it.

    ``sha256`` (per split) identifies the content on any machine and path.
    """

    name: str
    shape: tuple[int, int, int]
    files: dict[str, str]
    sha256: dict[str, str]
    counts: dict[str, int]
    source: str

    def __str__(self) -> str:
        """How many images of which shape, and where they come from."""
        train, test = (f"{self.counts[split]:,} {split}" for split in SPLITS)
        return f"{train} and {test} images of {ImageShape(*self.shape)}: {self.source}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PreparedData:
        """The inverse of :meth:`to_dict`."""
        channels, height, width = fields["shape"]
        return cls(**{**fields, "shape": (channels, height, width)})


def prepare(
    settings: Mapping[str, Any], store: Path, data_root: Path | None = None
) -> PreparedData:
    """Prepare the dataset of ``settings`` in the folder ``store``, unless it is there already.

    Args:
        settings: ``name`` and the source's own settings.
        store: the folder of prepared images; made if absent.
        data_root: a folder of files already there, never downloaded into. None: files are
            downloaded to ``store/downloads`` if they are not there.

    Prepared files are used again when settings and source are the same and their content has
    the SHA-256 of its header (all of it is read once); otherwise they are made again. Processes
    that prepare the same dataset at once wait for the first.

    Raises:
        ContractError: an unknown source or setting, or a source that breaks its contract.
        DataError: the files are missing, damaged or not what they should be, all images of a
            split are the same, or the store cannot be written. No partial files remain.
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
    files = {s: store.resolve() / f"{label}-{request[:12]}-{s}.arrow" for s in SPLITS}
    if not (root.download or root.path.is_dir() or all(f.is_file() for f in files.values())):
        raise DataError(
            "no such folder",
            where=str(root.path),
            remedy="correct the data root, or name none to have published datasets downloaded",
        )
    with locked(store, label):
        headers = _ready(files, request)
        if headers is None:
            headers = _make(source, name, files, root, description, request)
    return PreparedData(
        name=name,
        shape=headers["train"].shape,
        files={split: str(path) for split, path in files.items()},
        sha256={split: header.sha256 for split, header in headers.items()},
        counts={split: header.count for split, header in headers.items()},
        source=description,
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
    """An opened dataset: train and validation share one file, test has its own."""

    shape: ImageShape
    train: Images
    validation: Images
    test: Images

    @classmethod
    def open(
        cls, prepared: PreparedData, validation: int | float, *, verify: bool = True
    ) -> Dataset:
        """Memory-map ``prepared`` and hold ``validation`` images out of train.

        Args:
            prepared: what :func:`prepare` returned.
            validation: how many images (int), or what share of train (float in (0, 1)). Which
                ones is a function of these two numbers only.
            verify: also read all of it and check its SHA-256, as :func:`prepare` has just done.

        Raises:
            DataError: a file is missing, damaged or another one, or ``validation`` leaves one
                of the two parts empty.
        """
        train, test = (open_split(prepared, split, verify=verify) for split in SPLITS)
        n = len(train.labels)
        kept, held = hold_out(n, validation_count(n, validation))
        return cls(
            shape=ImageShape(*prepared.shape),
            train=Images(train.pixels, kept, train.labels[kept]),
            validation=Images(train.pixels, held, train.labels[held]),
            test=Images(test.pixels, np.arange(len(test.labels)), test.labels),
        )


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


def _ready(files: Mapping[str, Path], request: str) -> dict[str, arrow.Header] | None:
    """The headers of ``files`` if all of them are sound and answer ``request``."""
    try:
        headers = {split: arrow.read(path).header for split, path in files.items()}
    except DataError:
        return None
    return headers if all(h.request == request for h in headers.values()) else None


def _make(
    source: Source,
    name: str,
    files: Mapping[str, Path],
    root: DataRoot,
    description: str,
    request: str,
) -> dict[str, arrow.Header]:
    """Write every split of ``source``; after a failure none of what was written remains."""
    headers: dict[str, arrow.Header] = {}
    try:
        for split, path in files.items():
            headers[split] = arrow.write(
                path,
                source.read(split, root),
                name=name,
                split=split,
                source=description,
                request=request,
                expected=source.sha256.get(split),
            )
            if headers[split].count > 1 and _alike(arrow.read(path, verify=False).pixels):
                raise DataError(
                    f"all {headers[split].count:,} {split} images are the same",
                    where=description,
                    remedy="look at the files: nothing can be learned from one picture",
                )
        if headers["train"].shape != headers["test"].shape:
            raise DataError(
                f"test images of shape {ImageShape(*headers['test'].shape)} beside train images "
                f"of shape {ImageShape(*headers['train'].shape)}",
                where=description,
                remedy="both splits must have one shape",
            )
    except BaseException:
        for split in headers:
            files[split].unlink()
        raise
    return headers


def _alike(pixels: Pixels) -> bool:
    """Whether all rows are equal; other ones are found in the first few as a rule."""
    starts = range(0, len(pixels), _ROWS)
    return all(bool((pixels[i : i + _ROWS] == pixels[0]).all()) for i in starts)


def open_split(prepared: PreparedData, split: str, *, verify: bool = True) -> arrow.Stored:
    """Memory-map all of "train" (validation included) or "test".

    Raises:
        DataError: the file is missing, damaged or another one.
    """
    path = prepared.files[split]
    stored = arrow.read(Path(path), verify=verify)
    if stored.header.sha256 != prepared.sha256[split]:
        raise DataError("not the images it was prepared as", where=path, remedy=arrow.REMEDY)
    return stored
