"""The image store: one Arrow IPC file a split, written atomically and memory-mapped on read."""

from __future__ import annotations

import hashlib
import json
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.atomic import atomic_write
from vae_core.data.files import disk
from vae_core.data.source import Chunk, Labels, Pixels
from vae_core.errors import ContractError, DataError
from vae_core.geometry import ImageShape

_KEY = b"vae_core"
REMEDY = "delete it and launch the study again: it is then made again"


@dataclass(frozen=True)
class Header:
    """A file's description, in its schema metadata.

    ``request`` is the key of the settings it was made from; ``sha256`` is of the image bytes
    (row by row, CHW) followed by the labels (little-endian int64); ``notes`` are the source's.
    """

    name: str
    split: str
    shape: tuple[int, int, int]
    count: int
    source: str
    request: str
    sha256: str
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """An opened file: ``pixels`` uint8 [n, D] and ``labels`` int64 [n] are views of its map."""

    header: Header
    pixels: Pixels
    labels: Labels


def write(
    path: Path,
    chunks: Iterable[Chunk],
    *,
    name: str,
    split: str,
    source: str,
    request: str,
    expected: str | None = None,
    notes: Callable[[], Mapping[str, int]] = dict,
) -> Header:
    """Write ``chunks`` of (images uint8 [n, C, H, W], labels int64 [n]) to ``path``.

    ``notes`` is asked for the header's after the last chunk.

    The images pass through an unnamed file beside ``path``, so that memory holds one chunk. The
    final name appears only once the whole file is on disk.

    Raises:
        ContractError: the chunks are not what a source yields, or hold no image.
        DataError: the content's SHA-256 is not ``expected``, or the disk cannot be written.
    """
    where = f"dataset '{name}', {split} split"
    shape: ImageShape | None = None
    labels: list[Labels] = []
    content = hashlib.sha256()
    with disk(path.parent):
        raw = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by the next line)
    with raw:
        for chunk in chunks:
            shape = _checked(chunk, shape, where)
            images, chunk_labels = chunk
            flat = np.ascontiguousarray(images).reshape(-1)
            content.update(flat.data)
            labels.append(chunk_labels.astype("<i8"))
            with disk(path.parent):
                raw.write(flat.data)
        count = sum(map(len, labels))
        if shape is None or count == 0:
            raise ContractError("no images", where=where, remedy="a split needs at least one image")
        all_labels = np.concatenate(labels)
        content.update(all_labels.data)
        sha256 = content.hexdigest()
        header = Header(name, split, shape.chw, count, source, request, sha256, dict(notes()))
        if expected is not None and header.sha256 != expected:
            raise DataError(
                f"wrong checksum: the images' SHA-256 is {header.sha256}, not {expected}",
                where=f"{where} ({source})",
                remedy="the files are not the published dataset: delete them and fetch them again",
            )
        with disk(path.parent):
            raw.flush()
            pixels = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
            _write_arrow(path, header, pa.py_buffer(pixels), all_labels)
    return header


def read(path: Path, *, verify: bool = True) -> Stored:
    """Memory-map ``path``; ``verify`` also reads all of it and checks its SHA-256.

    Raises:
        DataError: the file is missing, truncated or otherwise damaged.
    """
    try:
        batch, header = _open(path)
        # Their buffers as they are: pyarrow's own conversions to and from NumPy load pandas.
        pixels = np.frombuffer(batch.column(0).buffers()[1], np.uint8)
        pixels = pixels[: header.count * ImageShape(*header.shape).dims].reshape(header.count, -1)
        labels = np.frombuffer(batch.column(1).buffers()[1], np.int64)[: header.count]
    except FileNotFoundError:
        raise DataError(
            "the prepared images are missing",
            where=str(path),
            remedy="launch the study again, or make the store's folder visible to this machine",
        ) from None
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise DataError(f"damaged: {error}", where=str(path), remedy=REMEDY) from error
    if verify:
        found = hashlib.sha256(pixels.reshape(-1).data)
        found.update(labels.data)
        if found.hexdigest() != header.sha256:
            raise DataError("damaged: wrong checksum", where=str(path), remedy=REMEDY)
    return Stored(header, pixels, labels)


def headers(store: Path) -> Iterator[tuple[Path, Header]]:
    """Every prepared file in ``store`` that can be opened, by name, with its header."""
    for path in sorted(store.glob("*.arrow")):
        try:
            yield path, read(path, verify=False).header
        except DataError:
            continue


def _open(path: Path) -> tuple[Any, Header]:
    """The one record batch of ``path``, not copied, and its header, each checked."""
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        fields = json.loads((reader.schema.metadata or {})[_KEY])
        header = Header(**{**fields, "shape": tuple(fields["shape"])})
        expected = _schema(header)
        if not reader.schema.equals(expected) or reader.num_record_batches != 1:
            raise ValueError("not the layout of an image store")
        batch = reader.get_batch(0)
        batch.validate()
    if batch.num_rows != header.count or any(column.null_count for column in batch.columns):
        raise ValueError(f"{batch.num_rows} rows where {header.count} are promised")
    return batch, header


def _schema(header: Header) -> Any:
    image = pa.binary(ImageShape(*header.shape).dims)
    return pa.schema(
        [pa.field("image", image, nullable=False), pa.field("label", pa.int64(), nullable=False)],
        metadata={_KEY: json.dumps(asdict(header))},
    )


def _write_arrow(path: Path, header: Header, pixels: Any, labels: Labels) -> None:
    schema, buffers = _schema(header), (pixels, pa.py_buffer(labels))
    columns = [
        pa.Array.from_buffers(field.type, header.count, [None, buffer])
        for field, buffer in zip(schema, buffers, strict=True)
    ]
    batch = pa.record_batch(columns, schema=schema)
    with atomic_write(path) as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(batch)


def _checked(chunk: object, shape: ImageShape | None, where: str) -> ImageShape:
    """The shape of the chunk's images, checked against the contract and the chunks before."""
    match chunk:
        case (np.ndarray() as images, np.ndarray() as labels):
            pass
        case _:
            raise ContractError(
                f"a chunk is {type(chunk).__name__}", where=where, remedy="yield (images, labels)"
            )
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ContractError(
            f"images are {images.dtype} {images.shape}",
            where=where,
            remedy="yield uint8 arrays [n, C, H, W]",
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ContractError(
            f"labels are {labels.dtype} {labels.shape} beside {len(images)} images",
            where=where,
            remedy="yield one int64 label an image",
        )
    found = ImageShape(*images.shape[1:])
    if found.dims == 0 or (shape is not None and found != shape):
        raise ContractError(
            f"images of shape {found}" + (f" after {shape}" if shape else ""),
            where=where,
            remedy="every image must have the same shape, with at least one pixel",
        )
    return found
