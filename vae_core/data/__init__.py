"""Images to train on: sources that fill an Arrow store, and the datasets opened from it."""

from __future__ import annotations

from vae_core.data.dataset import Dataset, Images, PreparedData, prepare, validation_count
from vae_core.data.source import SOURCES, DataRoot, Source, build_source
from vae_core.data.store import Header, headers

__all__ = [
    "SOURCES",
    "DataRoot",
    "Dataset",
    "Header",
    "Images",
    "PreparedData",
    "Source",
    "build_source",
    "headers",
    "prepare",
    "validation_count",
]
