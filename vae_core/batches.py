"""Batches as a pure function of (trial seed, step): the order of images, and the noise on them."""

from __future__ import annotations

import warnings
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vae_core.randomness import reseeded

LEVELS = 256
"""Grey levels of a byte: a byte v covers [v / 256, (v + 1) / 256) of the unit interval."""


class ImageRows(Protocol):
    """Images as bytes: ``pixels`` [n_file, D] uint8, of which ``index`` [n] are meant."""

    @property
    def pixels(self) -> np.ndarray: ...

    @property
    def index(self) -> np.ndarray: ...


def byte_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """``pixels`` on ``device``; on the CPU the memory map itself, without a copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(pixels).to(device)


class TrainingImages:
    """The training images on a device, served by row and step.

    Attributes:
        pixels: uint8 [n_file, D] on the device.
        count: images in the split; an epoch visits ``count // B`` batches of B.
    """

    def __init__(self, images: ImageRows, device: torch.device) -> None:
        self.pixels = byte_tensor(images.pixels, device)
        self.index = torch.from_numpy(np.ascontiguousarray(images.index))
        self.count, self.device = len(images.index), device
        self._generator = torch.Generator()

    def epoch_order(self, seed: int, epoch: int) -> Tensor:
        """Rows of ``pixels``, int64 [count], in the order trial ``seed`` sees them in ``epoch``."""
        generator = reseeded(self._generator, seed, "order", epoch)
        return self.index[torch.randperm(self.count, generator=generator)].to(self.device)


class BatchOrder:
    """Which images a member sees at each step; holds the order of its current epoch only."""

    def __init__(self, images: TrainingImages, seed: int, batch_size: int) -> None:
        self._images, self._seed, self._batch_size = images, seed, batch_size
        self._per_epoch = images.count // batch_size
        self._epoch, self._order = -1, torch.empty(0)

    def rows(self, step: int) -> Tensor:
        """Rows of ``pixels`` for ``step`` (from 0), int64 [B]."""
        epoch, batch = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._images.epoch_order(self._seed, epoch)
        start = batch * self._batch_size
        return self._order[start : start + self._batch_size]


def to_unit(values: Tensor, offset: Tensor | None = None) -> Tensor:
    """Bytes as x = (v + u) / 256 in [0, 1): u = 1/2 (bin midpoints) unless ``offset`` gives it.

    Midpoints keep training and dequantised evaluation (u uniform) on one scale without bias.
    """
    return torch.add(values, 0.5 if offset is None else offset).mul_(1 / LEVELS)


class StepNoise:
    """Gaussian latent noise, and uniform dequantisation noise, by (seed, step)."""

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.Generator(device=device)

    def normal_(self, out: Tensor, seed: int, step: int) -> None:
        """Fill ``out`` [B, Z] with standard normal latent noise."""
        out.normal_(generator=reseeded(self._generator, seed, "latent", step))

    def uniform_(self, out: Tensor, seed: int, step: int) -> None:
        """Fill ``out`` [B, D] with dequantisation noise, uniform on [0, 1)."""
        out.uniform_(generator=reseeded(self._generator, seed, "dequantise", step))
