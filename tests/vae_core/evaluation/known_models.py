"""Models whose numbers are known in closed form, and images as evaluation reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae_core.geometry import ImageShape
from vae_core.models import VAE


@dataclass
class Rows:
    """Bytes of a file and the rows of a split."""

    pixels: np.ndarray
    index: np.ndarray


class Known(VAE):
    """mu = x A^T, one logvar for all images, means z W; with a head, ln sigma^2 any function of z.

    Args:
        encoder: A [Z, D].
        logvar: [Z].
        decoder: W [Z, D]; A by default.
        head: the kind of head.
        log_sigma2: of z [B, Z], what the head predicts.
    """

    heads = frozenset({"image", "pixel"})

    def __init__(
        self,
        shape: ImageShape,
        encoder: Tensor,
        logvar: Tensor,
        decoder: Tensor | None = None,
        head: str | None = None,
        log_sigma2: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(shape, len(encoder), head)
        self.encoder = torch.nn.Parameter(encoder)
        self.logvar = torch.nn.Parameter(logvar)
        self.decoder = torch.nn.Parameter(encoder if decoder is None else decoder)
        self.log_sigma2 = log_sigma2

    def encode(self, x):
        mu = x.flatten(1) @ self.encoder.T
        return mu, self.logvar.expand_as(mu)

    def decode(self, z):
        return (z @ self.decoder).view(-1, *self.shape.chw)

    def decode_spread(self, z):
        return self.decode(z), self.log_sigma2(z)


def headed(shape: ImageShape, head: str, latent: int = 3, seed: int = 0) -> Known:
    """A model of random linear maps whose head's ln sigma^2 is linear in z too, around -4."""
    generator = torch.Generator().manual_seed(seed)
    encoder, decoder, spread = (
        torch.randn(3, latent, shape.dims, generator=generator) / shape.dims**0.5
    )

    def pixel(z: Tensor) -> Tensor:
        return (z @ spread.to(z) * 4 - 4.0).view(-1, *shape.chw)

    def image(z: Tensor) -> Tensor:
        return (z.mean(dim=1) - 4.0).view(-1, 1, 1, 1)

    logvar = torch.linspace(-1.0, 0.5, latent)
    return Known(shape, encoder, logvar, decoder, head, {"pixel": pixel, "image": image}[head])
