"""Generation from the prior: z ~ N(0, I), decoded."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_core.models.contract import VAE, evaluating
from vae_core.randomness import reseeded

BLOCK = 256
"""Latents drawn and decoded at a time."""


def sample_prior(model: VAE, count: int, seed: int) -> Tensor:
    """Decoder means [count, C, H, W] of ``count`` >= 1 latents drawn from the prior.

    The i-th image depends on the model, ``seed`` and i only, and lies on the model's device.
    """
    device = next(model.parameters()).device
    generator = torch.Generator()
    images = []
    with evaluating(model):
        for block, start in enumerate(range(0, count, BLOCK)):
            stream = reseeded(generator, seed, "prior", block)
            z = torch.randn(BLOCK, model.latent, generator=stream)
            images.append(model.decode(z[: count - start].to(device)))
    return torch.cat(images)
