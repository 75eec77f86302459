"""The columns of a Parquet file: which hold images and labels, and pixels written as numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.data.source import Pixels
from vae_core.errors import DataError, nearest

LABELS = ("label", "labels", "class", "target")
"""Names under which labels are looked for, in this order."""
_SHOWN = 20  # columns that an error names


class Columns(NamedTuple):
    """The names of a file's columns."""

    image: str
    label: str | None


def columns_of(path: Path, schema: Any, image: str | None, label: str | None) -> Columns:
    """The columns of the file at ``path``: those named, else found by type and by name.

    Raises:
        DataError: a column that is named is not there or is no such column; none or several
            may be the images.
    """
    kinds = {field.name: _image_kind(field) for field in schema}
    images = [name for name, kind in kinds.items() if kind is not None]
    best = min((kind for kind in kinds.values() if kind is not None), default=None)
    likely = [name for name in images if kinds[name] == best]
    for key, given, known in (("image", image, images), ("label", label, schema.names)):
        if given is not None and given not in known:
            raise DataError(
                f"no {key} column '{given}'",
                where=str(path),
                remedy=f"correct data.{key}: {nearest(str(given), known)}",
            )
    if image is None and len(likely) != 1:
        raise DataError(
            f"{len(likely)} columns of images where one is expected",
            where=str(path),
            remedy=f"set data.image to one of: {', '.join(likely)}"
            if likely
            else "an image column holds files' bytes, structs with a binary field 'bytes', or "
            f"pixels as nested lists; this file has {_listed(schema)}",
        )
    if label is not None and not _is_label(schema.field(label).type):
        raise DataError(
            f"column '{label}' holds images, not labels",
            where=str(path),
            remedy="correct data.label",
        )
    return Columns(image or likely[0], label or _labels_in(schema))


def pixels_of(cell: Any, where: str) -> Pixels:
    """The pixels uint8 [H, W] or [H, W, C] in a cell: a nested list, or a tensor.

    Channels may come first or last; numbers in a row are a grey square.

    Raises:
        DataError: they are no picture, or it is not clear how they would be one.
    """
    try:
        values = _tensor(cell) if hasattr(cell, "to_numpy") else _nested(cell.values)
        return _picture(values)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(
            f"not a picture: {error}",
            where=where,
            remedy="write images as files' bytes, or as uint8 [height, width, channels]",
        ) from error


def _tensor(cell: Any) -> Any:
    """A fixed-shape tensor, its dimensions in the order that they are meant in.

    PyArrow 25 gives wrong strides to one whose dimensions are stored in another order.
    """
    stored = cell.value.values.to_numpy(zero_copy_only=False).reshape(cell.type.shape)
    return stored if cell.type.permutation is None else stored.transpose(cell.type.permutation)


def is_file(kind: Any) -> bool:
    """Whether cells of this type hold an image file's bytes."""
    return _is_binary(kind) or bool(pa.types.is_struct(kind))


def _is_binary(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _image_kind(field: Any) -> int | None:
    """How likely a column holds images, 0 the most; None: it does not."""
    kind = field.type
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        # Where all images are given by path, the field has no type of its own.
        known = at >= 0 and (
            _is_binary(kind.field(at).type) or pa.types.is_null(kind.field(at).type)
        )
        return 0 if known else None
    if _is_binary(kind):
        return 1
    if isinstance(kind, pa.FixedShapeTensorType):
        return 2
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    if depth > 1 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return 2
    return 3 if depth and pa.types.is_integer(kind) and field.name not in LABELS else None


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_label(kind: Any) -> bool:
    return not (is_file(kind) or isinstance(kind, pa.FixedShapeTensorType))


def _labels_in(schema: Any) -> str | None:
    """The column of a usual name, else the one that Hugging Face's metadata call classes."""
    for name in LABELS:
        if name in schema.names and _is_label(schema.field(name).type):
            return name
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        features: Mapping[str, Any] = about["info"]["features"]
        classes = [
            name
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        ]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    return classes[0] if len(classes) == 1 and classes[0] in schema.names else None


def _listed(schema: Any) -> str:
    fields = [f"{field.name} ({field.type})" for field in list(schema)[:_SHOWN]]
    more = len(schema) - len(fields)
    return ", ".join(fields) + (f" and {more:,} more" if more > 0 else "")


def _nested(values: Any) -> np.ndarray:
    """Lists in lists as an array; they must all be of one length at each depth."""
    if values.null_count:
        raise ValueError("a null among its numbers")
    if not _is_list(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    lengths = pc.unique(pc.list_value_length(values)).to_pylist()
    if len(lengths) != 1:
        raise ValueError("its rows differ in length")
    inner = _nested(values.flatten())
    return inner.reshape(len(values), lengths[0], *inner.shape[1:])


def _picture(values: np.ndarray) -> Pixels:
    """Numbers [D], [H, W], [H, W, C] or [C, H, W] as pixels [H, W] or [H, W, C]."""
    size = "x".join(map(str, values.shape))
    if values.dtype.kind not in "iu":
        raise ValueError(f"its numbers are {values.dtype}, not bytes from 0 to 255")
    if values.size == 0 or values.min() < 0 or values.max() > 255:
        raise ValueError(f"{size} numbers that are not bytes from 0 to 255")
    pixels = values.astype(np.uint8)
    if pixels.ndim == 1:
        side = isqrt(pixels.size)
        if side * side != pixels.size:
            raise ValueError(f"{size} numbers in a row are no grey square")
        return pixels.reshape(side, side)
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    if pixels.ndim != 3:
        raise ValueError(f"{size} numbers have no height, width and channels")
    first, last = pixels.shape[0] in (1, 3), pixels.shape[2] in (1, 3)
    if not first and not last:
        first, last = pixels.shape[0] == 4, pixels.shape[2] == 4
    if first == last:
        raise ValueError(f"of {size} numbers it is not clear which side are the channels")
    pixels = np.ascontiguousarray(pixels if last else pixels.transpose(1, 2, 0))
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
