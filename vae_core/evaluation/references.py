"""Features and statistics of real images, computed once per dataset and network, and kept."""

from __future__ import annotations

import hashlib
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from vae_core.data import Images, PreparedData
from vae_core.evaluation.distances import Reference, Statistics
from vae_core.evaluation.features.contract import Features
from vae_core.evaluation.kept import kept
from vae_core.likelihoods import LEVELS

BLOCK = 500
"""Images turned from bytes to numbers at a time."""


class References:
    """References of one dataset, in the folder ``store`` and, once used, in memory.

    Args:
        prepared: the dataset.
        store: the folder of its images.
        device: where features and statistics are wanted.
    """

    def __init__(
        self, prepared: PreparedData, store: Path, device: torch.device | str = "cpu"
    ) -> None:
        self._prepared, self._store, self._device = prepared, store, torch.device(device)
        self._kept: dict[Path, Reference] = {}

    def of(self, features: Features, images: Images, split: str, n: int) -> Reference:
        """The reference of at most ``n`` images of a split, spread evenly over it.

        Args:
            features: the network.
            images: the split's images, of this dataset.
            split: "train", "validation" or "test".
            n: the most images to use; ``statistics.n`` is how many were used.

        It is found by what it is made of: the dataset's SHA-256, the rows, the network and its
        preprocessing. Processes that want it at once wait for the first; a damaged file is made
        again.

        Raises:
            DataError: the store cannot be written.
        """
        count = min(n, len(images))
        rows = images.index[np.arange(count) * len(images) // max(count, 1)]
        sha256 = self._prepared.sha256
        made_of = {
            "images": sha256.get(split, sha256["train"]),  # validation may be held out of train
            "rows": hashlib.sha256(np.ascontiguousarray(rows, "<i8").data).hexdigest(),
            "features": features.describe(),
        }
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        label = re.sub(r"[^A-Za-z0-9_-]", "-", self._prepared.name)
        name = f"{label}-{split}-{count}-{features.name}-{key[:12]}.kept"
        path = self._store.resolve() / name
        if path not in self._kept:
            self._kept[path] = kept(path, lambda: self._made(features, images, rows), self._load)
        return self._kept[path]

    def _made(self, features: Features, images: Images, rows: np.ndarray) -> bytes:
        blocks = []
        for start in range(0, len(rows), BLOCK):
            values = torch.from_numpy(images.pixels[rows[start : start + BLOCK]])
            x = values.view(-1, *self._prepared.shape).to(self._device) / LEVELS
            blocks.append(features(x))
        found = torch.cat(blocks)
        statistics = Statistics.of(found)
        file = BytesIO()
        np.savez(
            file,
            features=found.cpu().numpy(),
            mean=statistics.mean.cpu().numpy(),
            cov=statistics.cov.cpu().numpy(),
        )
        return file.getvalue()

    def _load(self, content: bytes) -> Reference:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            features, mean, cov = (
                torch.from_numpy(arrays[name]).to(self._device)
                for name in ("features", "mean", "cov")
            )
        return Reference(features, Statistics(mean, cov, len(features)))
