"""A study's images as the inputs of its runs. Imports MLflow, as the sink does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

_DIGEST_LENGTH = 36  # characters that MLflow takes


def inputs(data: Mapping[str, Any]) -> list[DatasetInput]:
    """The prepared files as MLflow datasets; the whole SHA-256 is in the profile."""
    found = []
    contexts = {"train": "training", "validation": "validation", "test": "testing"}
    for split in data["files"]:
        sha256 = str(data["sha256"][split])
        profile = {
            "sha256": sha256,
            "images": data["counts"][split],
            "shape": list(data["shape"]),
        }
        dataset = Dataset(
            name=f"{data['name']}-{split}",
            digest=sha256[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": str(data["files"][split])}),
            profile=json.dumps(profile),
        )
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", contexts[split])]))
    return found
