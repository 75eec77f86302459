"""Generation from the prior: z ~ N(0, I), decoded."""

from __future__ import annotations

from torch import Tensor

from vae_core.generation.latents import decode_all, normal
from vae_core.models.contract import VAE


def sample_prior(model: VAE, count: int, seed: int) -> Tensor:
    """Decoder means [count, C, H, W] of ``count`` >= 1 latents drawn from the prior (GEN-1).

    The i-th image depends on the model, ``seed`` and i only, and lies on the model's device.
    """
    return decode_all(model, normal(count, model.latent, seed, "prior"))
