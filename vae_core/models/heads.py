"""Likelihood heads: the layers by which a decoder predicts its own noise variance.

A head gives a raw ln sigma, for the whole image or for every pixel, from the decoder's last
features. It starts at zero, so that every model starts at sigma = 1 (bar the clip, 0.2 %), and
it is clipped softly from below (Rybkin, Daniilidis & Levine 2021, "sigma-VAE", section 3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_core.models.layers import Double, GlorotConv

LOG_SIGMA_MIN = -6.0
"""Where ln sigma is clipped: e^-6 is about half the distance between two grey levels."""


def soft_clip(raw: Tensor) -> Tensor:
    """Ln sigma^2 of a raw ln sigma: 2 (m + softplus(raw - m)), m = :data:`LOG_SIGMA_MIN`.

    That is sigma = e^raw + e^m. Softplus itself rounds the last entries of a tensor differently
    from the rest (vector and scalar code), so a member's last bits would depend on its row.
    """
    raw = raw.float()
    clipped = torch.log(torch.exp(raw.clamp(max=20.0)) + math.exp(LOG_SIGMA_MIN))
    return 2 * torch.where(raw > 20.0, raw, clipped)


class ImageHead(nn.Linear):
    """One ln sigma^2 an image, [B, 1, 1, 1], from [B, C] or the spatial mean of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1)

    def reset_parameters(self) -> None:
        """Zero the weights and the bias."""
        _zero(self)

    def forward(self, features: Tensor) -> Tensor:
        """Ln sigma^2 of each image."""
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        return soft_clip(super().forward(features)).view(-1, 1, 1, 1)


class PixelLinear(nn.Linear):
    """A raw ln sigma of every pixel by a linear layer."""

    def reset_parameters(self) -> None:
        """Zero the weights and the biases."""
        _zero(self)


class PixelConv(GlorotConv):
    """A raw ln sigma of every pixel by a convolution that keeps the side."""

    def reset_parameters(self) -> None:
        """Zero the weights and the biases."""
        _zero(self)


class PixelDouble(Double):
    """A raw ln sigma of every pixel by a transposed convolution that doubles the side."""

    def reset_parameters(self) -> None:
        """Zero the weights and the biases."""
        _zero(self)


class PixelHead(nn.Sequential):
    """Ln sigma^2 of every pixel, [B, C, H, W], by layers that give a raw ln sigma."""

    def forward(self, features: Tensor) -> Tensor:
        """Ln sigma^2 of each pixel."""
        for layer in self:
            features = layer(features)
        return soft_clip(features)


def _zero(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
