"""Images to train on: sources that fill an Arrow store, and the datasets opened from it."""

from __future__ import annotations

from vae_core.data.content import check_classes
from vae_core.data.dataset import (
    Dataset,
    Images,
    PreparedData,
    Watch,
    open_split,
    prepare,
    validation_count,
)
from vae_core.data.source import SOURCES, VALIDATION, DataRoot, Source, build_source
from vae_core.data.store import Header, headers

__all__ = [
    "SOURCES",
    "VALIDATION",
    "DataRoot",
    "Dataset",
    "Header",
    "Images",
    "PreparedData",
    "Source",
    "Watch",
    "build_source",
    "check_classes",
    "headers",
    "open_split",
    "prepare",
    "validation_count",
]
