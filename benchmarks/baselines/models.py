"""The ``mlp`` and ``conv`` of :mod:`vae_core.models` as written in a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vae_core.geometry import ImageShape


class PlainVAE(nn.Module):
    """An encoder to means and log variances, a decoder to images."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def plain_model(settings: Mapping[str, Any], shape: ImageShape) -> PlainVAE:
    """The model that a study's ``model`` section describes, for images of ``shape``."""
    width, latent = settings["width"], settings["latent"]
    if settings["name"] == "mlp":
        return _mlp(shape.dims, width, latent)
    return _conv(width, latent)


def loss_of(model: nn.Module, x: Tensor, beta: float) -> Tensor:
    """S/2 + beta R of images x [B, ...], nats an image: squared error and KL, each summed."""
    xhat, mu, logvar = model(x)
    error = (x - xhat.view_as(x)).square().sum() / len(x)
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum() / len(x)
    loss: Tensor = error / 2 + beta * kl
    return loss


def _mlp(dims: int, width: int, latent: int) -> PlainVAE:
    return PlainVAE(
        nn.Sequential(
            nn.Flatten(),
            nn.Linear(dims, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2 * latent),
        ),
        nn.Sequential(
            nn.Linear(latent, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, dims),
            nn.Sigmoid(),
        ),
    )


def _conv(width: int, latent: int) -> PlainVAE:
    """For grey images of 28x28."""
    return PlainVAE(
        nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 49, 2 * latent),
        ),
        nn.Sequential(
            nn.Linear(latent, 2 * width * 49),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        ),
    )
