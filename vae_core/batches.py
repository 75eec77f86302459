"""Batches as a pure function of (trial seed, step): the order of images, and the noise on them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vae_core.philox import normals, uniforms
from vae_core.randomness import derive, reseeded

LEVELS = 256
"""Grey levels of a byte: a byte v covers [v / 256, (v + 1) / 256) of the unit interval."""
MOST_AHEAD = 64
"""Most steps whose batches are prepared at a time."""
AHEAD_ON_HOST, AHEAD_ON_DEVICE = 2**20, 2**27
"""Bytes they may take: a core's cache, and a small share of a GPU's memory."""


class ImageRows(Protocol):
    """Images as bytes: the rows ``index`` [n] of ``pixels`` [n_file, D] uint8."""

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
        """Rows of ``pixels``, int64 [count], in the order trial ``seed`` sees them in ``epoch``.

        On the CPU, whatever the device of the images.
        """
        generator = reseeded(self._generator, seed, "order", epoch)
        return self.index[torch.randperm(self.count, generator=generator)]


class BatchOrder:
    """Which images a member sees at each step; holds the order of its current epoch only."""

    def __init__(self, images: TrainingImages, seed: int, batch_size: int) -> None:
        self._images, self._seed, self._batch_size = images, seed, batch_size
        self._per_epoch = images.count // batch_size
        self._epoch, self._order = -1, torch.empty(0)

    def rows(self, step: int) -> Tensor:
        """Rows of ``pixels`` for ``step`` (from 0), int64 [B]."""
        return self._batches(step, 1)[0]

    def fill(self, out: Tensor, step: int) -> None:
        """Write the rows of ``step`` and the steps after it to ``out``, int64 [n, B]."""
        while len(out):
            found = self._batches(step, len(out))
            out[: len(found)] = found
            out, step = out[len(found) :], step + len(found)

    def _batches(self, step: int, most: int) -> Tensor:
        """Rows for ``step`` and those after it in its epoch, at most so many, [n, B]."""
        epoch, batch = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._images.epoch_order(self._seed, epoch)
        count = min(most, self._per_epoch - batch)
        start = batch * self._batch_size
        return self._order[start : start + count * self._batch_size].view(count, self._batch_size)


def to_unit(values: Tensor, offset: Tensor | None = None) -> Tensor:
    """Bytes as x = (v + u) / 256 in [0, 1): u = 1/2 (bin midpoints) unless ``offset`` gives it.

    Midpoints keep training and dequantised evaluation (u uniform) on one scale without bias.
    """
    return torch.add(values, 0.5 if offset is None else offset).mul_(1 / LEVELS)


class StepNoise:
    """Gaussian latent noise, and uniform dequantisation noise, by (seed, step); on the CPU."""

    def __init__(self) -> None:
        self._generator = torch.Generator()

    def normal_(self, out: Tensor, seed: int, step: int) -> None:
        """Fill ``out`` [B, Z] with standard normal latent noise."""
        out.normal_(generator=reseeded(self._generator, seed, "latent", step))

    def uniform_(self, out: Tensor, seed: int, step: int) -> None:
        """Fill ``out`` [B, D] with dequantisation noise, uniform on [0, 1)."""
        out.uniform_(generator=reseeded(self._generator, seed, "dequantise", step))

    def beta_(self, out: Tensor, seed: int, step: int) -> None:
        """Fill ``out`` [B] with what the images' betas are drawn by, uniform on [0, 1)."""
        out.uniform_(generator=reseeded(self._generator, seed, "beta", step))


class Place(NamedTuple):
    """A member's order of images, seed and step."""

    order: BatchOrder
    seed: int
    step: int


class Inputs(NamedTuple):
    """What a step of K members takes."""

    picked: Tensor
    """Rows of the images, int64 [K, B]."""
    latent: Tensor
    """Standard normal noise [K, B, Z]."""
    offsets: Tensor | None
    """Dequantisation noise [K, B, D], where images are dequantised."""
    draws: Tensor | None
    """What each image's beta is drawn by, uniform on [0, 1), [K, B], where models are gated."""


class Tape:
    """The inputs of the next steps of K members, prepared ahead, so that a step draws nothing.

    On a CPU the noise is :class:`StepNoise`'s; elsewhere Philox's, of all members and steps in a
    few kernels. Rows without a member keep their old values.

    Attributes:
        picked: rows of the images, int64 [N, K, B].
        latent: standard normal noise [N, K, B, Z].
        offsets: dequantisation noise [N, K, B, D], or None.
        draws: what betas are drawn by, uniform on [0, 1), [N, K, B], or None.
    """

    def __init__(
        self,
        width: int,
        batch_size: int,
        latent: int,
        dims: int | None,
        device: torch.device,
        *,
        gated: bool = False,
    ) -> None:
        self._on_host = drawn_on_host(device)
        bytes_a_step = width * batch_size * (8 + 4 * latent + 4 * (dims or 0) + 4 * gated)
        ahead = AHEAD_ON_HOST if self._on_host else AHEAD_ON_DEVICE
        self.steps = max(1, min(MOST_AHEAD, ahead // bytes_a_step))
        shape = (self.steps, width, batch_size)
        self._picked = torch.zeros(shape, dtype=torch.int64)
        self.picked = self._picked.to(device)
        self.latent = torch.zeros(*shape, latent, device=device)
        self.offsets = None if dims is None else torch.zeros(*shape, dims, device=device)
        self.draws = torch.zeros(shape, device=device) if gated else None
        self._noise = StepNoise()

    def fill(self, places: Mapping[int, Place], steps: int) -> None:
        """Prepare the inputs of the next ``steps`` steps of the members, by their rows."""
        for row, (order, _, step) in places.items():
            order.fill(self._picked[:steps, row], step)
        if self.picked is not self._picked:  # all rows in one copy
            self.picked[:steps].copy_(self._picked[:steps])
        if self._on_host:
            self._draw(places, steps)
        else:
            self._draw_together(places, steps)

    def at(self, step: int | Tensor) -> Inputs:
        """One prepared step.

        ``step`` is its number, or the same as a tensor [1], which stays on the device.
        """

        def one(values: Tensor) -> Tensor:
            return values[step] if isinstance(step, int) else values.index_select(0, step)[0]

        offsets = None if self.offsets is None else one(self.offsets)
        draws = None if self.draws is None else one(self.draws)
        return Inputs(one(self.picked), one(self.latent), offsets, draws)

    def _draw(self, places: Mapping[int, Place], steps: int) -> None:
        for row, (_, seed, first) in places.items():
            for n in range(steps):
                self._noise.normal_(self.latent[n, row], seed, first + n)
                if self.offsets is not None:
                    self._noise.uniform_(self.offsets[n, row], seed, first + n)
                if self.draws is not None:
                    self._noise.beta_(self.draws[n, row], seed, first + n)

    def _draw_together(self, places: Mapping[int, Place], steps: int) -> None:
        device, width = self.latent.device, self.latent.shape[1]

        def by_row(values: Mapping[int, int]) -> Tensor:
            host = torch.tensor([values.get(row, 0) for row in range(width)])
            return host.to(device, non_blocking=True)

        at = torch.arange(steps, device=device).unsqueeze(1)
        at = at + by_row({row: place.step for row, place in places.items()})
        keys = by_row({row: derive(place.seed, "latent") for row, place in places.items()})
        latent = self.latent[:steps]
        latent.copy_(normals(keys, at, latent[0, 0].numel()).view_as(latent))
        for name, values in (("dequantise", self.offsets), ("beta", self.draws)):
            if values is not None:
                keys = by_row({row: derive(p.seed, name) for row, p in places.items()})
                drawn = values[:steps]
                drawn.copy_(uniforms(keys, at, drawn[0, 0].numel()).view_as(drawn))


def drawn_on_host(device: torch.device) -> bool:
    """Whether noise for ``device`` is drawn by torch's own generator, stream by stream."""
    return device.type == "cpu"
