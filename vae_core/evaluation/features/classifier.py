"""Features of a small classifier trained on the same data, for images Inception was not made for.

A Frechet distance in these features is no FID: it compares models on one dataset, under its own
name, and never across datasets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vae_core.batches import LEVELS, byte_tensor
from vae_core.data import PreparedData, check_classes, open_split
from vae_core.data.store import Stored
from vae_core.evaluation.features.contract import in_blocks
from vae_core.evaluation.kept import kept
from vae_core.geometry import ImageShape
from vae_core.models.initialise import initialise, private_randomness
from vae_core.randomness import reseeded

DIMS = 64
"""Units of the last hidden layer. Few, since the distance's bias grows with them."""

BLOCK = 500
"""Images of one pass through the network."""

SCALED = 10_000
"""Training images, at most, that the features' scale is taken from."""


@dataclass(frozen=True)
class Recipe:
    """All that fixes a classifier beside the data; another one is kept under another name."""

    version: int = 1
    seed: int = 0
    channels: int = 32
    """Of the first layer; the others have twice as many."""
    images: int = 120_000
    """Seen in training, whatever the dataset's size ..."""
    most_epochs: int = 10
    """... but no more often than this."""
    batch_size: int = 128
    learning_rate: float = 4e-3
    """The highest, of one cycle (Smith & Topin 2019)."""
    weight_decay: float = 1e-2


RECIPE = Recipe()


class Network(nn.Module):
    """Convolutions that halve the image until its sides are under 8, a hidden layer, classes."""

    def __init__(self, shape: ImageShape, classes: int, channels: int) -> None:
        super().__init__()
        height, width = shape.height, shape.width
        strides = []
        while max(height, width) >= 8:
            strides.append(2)
            height, width = -(-height // 2), -(-width // 2)
        strides += [1] * (3 - len(strides))
        sizes = [shape.channels, channels] + [2 * channels] * (len(strides) - 1)
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise(sizes), strides, strict=True):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        layers += [nn.Flatten(), nn.Linear(sizes[-1] * height * width, DIMS), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.classes = nn.Linear(DIMS, classes)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    def features(self, values: Tensor) -> Tensor:
        """The last hidden layer [n, 64] for bytes [n, C, H, W], times ``scale``.

        The scale is free as far as classes go. It is set so that the training images' features
        have mean square 1, which makes distances of two datasets' classifiers similar in size, and
        which the kernel of the kernel distance supposes.
        """
        return self._hidden(values) * self.scale

    def forward(self, values: Tensor) -> Tensor:
        """Logits [n, classes] for bytes [n, C, H, W]."""
        logits: Tensor = self.classes(self._hidden(values))
        return logits

    def _hidden(self, values: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(values.float().mul(2 / (LEVELS - 1)).sub(1))
        return hidden


class Classifier:
    """Features of the last hidden layer of a trained :class:`Network`.

    Args:
        network: trained.
        test_error: its share of wrong answers on the test images.
        device: where the network is to run.
    """

    name = "classifier"

    def __init__(
        self, network: Network, test_error: float, device: torch.device | str = "cpu"
    ) -> None:
        self._sha256 = _sha256(network)
        self._network, self._device = network.to(device).eval(), torch.device(device)
        self._test_error = test_error

    def describe(self) -> dict[str, str | int | float]:
        return {
            "network": "a small convolutional classifier of the same data, last hidden layer, "
            "scaled to mean square 1",
            "sha256": self._sha256,
            "preprocessing": "bytes floor(256 x), 2 v/255 - 1",
            "dims": DIMS,
            "test_error": self._test_error,
        }

    def __call__(self, x: Tensor) -> Tensor:
        """Features [n, 64] of images x [n, C, H, W] in [0, 1], on the device of x."""
        return in_blocks(self._network.features, x, BLOCK, self._device)


def classifier(prepared: PreparedData, store: Path, device: torch.device | str) -> Classifier:
    """Features of the classifier of the dataset ``prepared``, trained once and kept in ``store``.

    It learns from all images of the train split, held out or not, so that it depends on nothing
    but the dataset, and always on the CPU, so that every device uses the same one. Processes
    that want it at once wait for the first.

    Raises:
        DataError: the labels teach nothing (one class, or hardly an image of each); the images
            are missing or damaged; the store cannot be written.
    """
    content = {"train": prepared.sha256["train"], "test": prepared.sha256["test"]}
    key = hashlib.sha256(json.dumps([content, vars(RECIPE)], sort_keys=True).encode()).hexdigest()
    label = re.sub(r"[^A-Za-z0-9_-]", "-", prepared.name)
    shape = ImageShape(*prepared.shape)

    def load(kept_bytes: bytes) -> Classifier:
        # Never anything but tensors and numbers: a store may be shared.
        found = torch.load(BytesIO(kept_bytes), map_location="cpu", weights_only=True)
        with private_randomness():
            network = Network(shape, int(found["classes"]), RECIPE.channels)
        network.load_state_dict(found["state"])
        return Classifier(network, float(found["test_error"]), device)

    path = store.resolve() / f"{label}-{key[:12]}-classifier.kept"
    return kept(path, lambda: _trained(prepared, shape), load)


def _trained(prepared: PreparedData, shape: ImageShape) -> bytes:
    """The file of a classifier trained on ``prepared``."""
    train, test = (open_split(prepared, split, verify=False) for split in ("train", "test"))
    known, labels = np.unique(train.labels, return_inverse=True)
    check_classes(train.labels)
    with private_randomness():
        network = Network(shape, len(known), RECIPE.channels)
    initialise(network, RECIPE.seed)
    images = _images(train, shape)
    with torch.enable_grad():
        _fit(network, images, torch.from_numpy(labels))
    network.eval()
    with torch.no_grad():
        some = images[:: -(-len(images) // SCALED)]
        squares = torch.cat([network.features(block).square() for block in _blocks(some)])
        network.scale.copy_(squares.double().mean().rsqrt())
        found = [network(block).argmax(dim=1) for block in _blocks(_images(test, shape))]
    error = float(np.mean(known[torch.cat(found).numpy()] != test.labels))
    file = BytesIO()
    fields = {"state": network.state_dict(), "classes": len(known), "test_error": error}
    torch.save(fields, file)
    return file.getvalue()


def _fit(network: Network, images: Tensor, labels: Tensor) -> None:
    """Train ``network`` on bytes [n, C, H, W] and their classes [n]: a function of RECIPE alone."""
    n = len(images)
    batch = min(RECIPE.batch_size, n)
    epochs = min(RECIPE.most_epochs, max(1, round(RECIPE.images / n)))
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=RECIPE.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RECIPE.learning_rate, total_steps=epochs * (n // batch)
    )
    generator = torch.Generator()
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(n, generator=reseeded(generator, RECIPE.seed, "classifier", epoch))
        for step in range(n // batch):
            rows = order[step * batch : (step + 1) * batch]
            optimiser.zero_grad()
            torch.autograd.backward(cross_entropy(network(images[rows]), labels[rows]))
            optimiser.step()
            cycle.step()


def _images(stored: Stored, shape: ImageShape) -> Tensor:
    return byte_tensor(stored.pixels, torch.device("cpu")).view(-1, *shape.chw)


def _blocks(images: Tensor) -> Iterator[Tensor]:
    return (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))


def _sha256(network: nn.Module) -> str:
    """Of the weights' names and bytes, in order."""
    content = hashlib.sha256()
    state: dict[str, Any] = network.state_dict()
    for name in sorted(state):
        content.update(name.encode())
        content.update(np.ascontiguousarray(state[name].cpu().numpy()).tobytes())
    return content.hexdigest()
