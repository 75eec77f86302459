"""Generation from the prior: z ~ N(0, I), decoded."""

from __future__ import annotations

from torch import Tensor

from vae_core.generation.latents import decode_all, normal
from vae_core.models.contract import VAE


def prior_latents(model: VAE, count: int, seed: int) -> Tensor:
    """``count`` >= 1 draws [count, Z] from the prior of ``model``, on the CPU.

    The i-th depends on Z, ``seed`` and i only.
    """
    return normal(count, model.latent, seed, "prior")


def sample_prior(model: VAE, count: int, seed: int) -> Tensor:
    """Decoder means [count, C, H, W] of :func:`prior_latents`, on the model's device (GEN-1)."""
    return decode_all(model, prior_latents(model, count, seed))
