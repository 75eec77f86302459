"""Generation of new images from a trained model."""

from vae_core.generation.prior import sample_prior

__all__ = ["sample_prior"]
