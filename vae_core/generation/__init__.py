"""Generation of new images from a trained model: from its prior, a second stage, a mixture."""

from vae_core.generation.latents import (
    Posteriors,
    decode_all,
    posteriors,
    reconstruct,
    training_images,
)
from vae_core.generation.mixture import Mixture, fit_mixture
from vae_core.generation.prior import prior_latents, sample_prior
from vae_core.generation.second_stage import (
    SecondStage,
    SecondStageSettings,
    train_second_stage,
)

__all__ = [
    "Mixture",
    "Posteriors",
    "SecondStage",
    "SecondStageSettings",
    "decode_all",
    "fit_mixture",
    "posteriors",
    "prior_latents",
    "reconstruct",
    "sample_prior",
    "train_second_stage",
    "training_images",
]
