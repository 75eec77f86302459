"""How well a model explains images: one fixed measurement, the same for every balancer.

Everything here is a deterministic function of the parameters: which images are scored, how they
are dequantised and the latent noise depend on the split's name, the row and the latent size, never
on a trial's seed. Two trials differ in these numbers only by what they learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.geometry import ImageShape
from vae_core.likelihoods import (
    LEVELS,
    bits_per_dim,
    calibrated_elbo,
    calibrated_variance,
    gaussian_kl,
    squared_error,
)
from vae_core.models.contract import VAE, evaluating
from vae_core.randomness import reseeded

BLOCK = 256
"""Rows of a batch, and of one draw of noise. A constant: another one is another noise."""

KEPT_BYTES = 128 * 2**20
"""Dequantised images of one set are kept between evaluations up to this size, else drawn again."""

ACTIVE_VARIANCE = 0.01
"""A latent is active if the variance over images of its posterior mean exceeds this
(Burda et al. 2016)."""


class ImageRows(Protocol):
    """The part of :class:`vae_core.data.Images` that evaluation reads."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Bytes [n_file, D] of all images of a file."""

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """Rows [n] of ``pixels`` that belong to the split."""


class Batch(NamedTuple):
    """Images and the latent noise they are always evaluated with."""

    x: Tensor
    """[B, C, H, W], dequantised: (v + u)/256"""
    noise: Tensor
    """[B, Z]"""


@dataclass(frozen=True)
class Measurement:
    """What one model does on one set of images, averaged over them in float64."""

    S: float
    """Squared error, summed over pixels, of a posterior sample's decoding (units of x^2)."""
    mse: float
    """S/D"""
    R: float
    """KL to the prior, nats per image"""
    active_units: float
    """Number of latents d with Var_x(E[z_d | x]) > 0.01; nan if any variance is not finite"""
    n: int
    """Images measured"""


class EvaluationSet:
    """At most ``count`` images of a split, on a device, with their fixed noise.

    The images are spread evenly over the split, so that a source sorted by class is covered.

    Args:
        images: the split's images, bytes.
        split: its name ("train", "validation", "test"); names the noise.
        count: the most images to use.
        shape: of an image.
        device: where batches are wanted. Noise is drawn on the CPU, the same for every device.
    """

    def __init__(
        self,
        images: ImageRows,
        split: str,
        *,
        count: int,
        shape: ImageShape,
        device: torch.device | str = "cpu",
    ) -> None:
        n = min(count, len(images.index))
        rows = images.index[np.arange(n) * len(images.index) // max(n, 1)]
        self.split, self.shape, self.device = split, shape, torch.device(device)
        self._bytes = torch.from_numpy(images.pixels[rows]).view(n, *shape.chw).to(self.device)
        self._keeps = n * shape.dims * 4 <= KEPT_BYTES
        self._kept: dict[int, Tensor] = {}
        self._generator = torch.Generator()

    def __len__(self) -> int:
        return len(self._bytes)

    def batches(self, latent: int) -> Iterator[Batch]:
        """All images in order, in batches of at most 256, with noise for ``latent`` latents."""
        for block, start in enumerate(range(0, len(self), BLOCK)):
            x = self._dequantised(block, self._bytes[start : start + BLOCK])
            noise = torch.randn(BLOCK, latent, generator=self._stream("latents", latent, block))
            yield Batch(x, noise[: len(x)].to(self.device))

    def _dequantised(self, block: int, values: Tensor) -> Tensor:
        if block in self._kept:
            return self._kept[block]
        u = torch.rand(BLOCK, *self.shape.chw, generator=self._stream("pixels", block))
        x = u[: len(values)].to(self.device).add_(values).div_(LEVELS)
        if self._keeps:
            self._kept[block] = x
        return x

    def _stream(self, *names: str | int) -> torch.Generator:
        return reseeded(self._generator, 0, "evaluation", self.split, *names)


def measure(model: VAE, batches: Iterable[Batch]) -> Measurement:
    """S, MSE, R and active units of ``model``, in evaluation mode, over ``batches``.

    Values that are not finite are returned as they are: a diverged model is the caller's to judge.
    """
    S, R, means = [], [], []
    with evaluating(model):
        for x, noise in batches:
            xhat, mu, logvar = model(x, noise)
            S.append(squared_error(x, xhat).double())
            R.append(gaussian_kl(mu, logvar).double().sum(-1))
            means.append(mu.double())
    variance = torch.cat(means).var(dim=0, correction=0)
    active = (variance > ACTIVE_VARIANCE).sum() if variance.isfinite().all() else torch.nan
    mean_S = float(torch.cat(S).mean())
    return Measurement(
        S=mean_S,
        mse=mean_S / model.shape.dims,
        R=float(torch.cat(R).mean()),
        active_units=float(active),
        n=len(torch.cat(S)),
    )


def calibrated(train: Measurement, held_out: Measurement, dims: int) -> dict[str, float]:
    """The metrics of ``held_out``, with sigma^2 refitted on ``train`` images of ``dims`` pixels.

    Returns:
        S, MSE, R, calibrated_elbo (the negative ELBO, nats per image, lower is better),
        bits_per_dim (of bytes, uniform dequantisation) and active_units.
    """
    sigma2 = calibrated_variance(train.S, dims)
    elbo = calibrated_elbo(held_out.S, held_out.R, sigma2, dims)
    return {
        "S": held_out.S,
        "MSE": held_out.mse,
        "R": held_out.R,
        "calibrated_elbo": elbo,
        "bits_per_dim": bits_per_dim(elbo, dims),
        "active_units": held_out.active_units,
    }
