"""Encoders and decoders as ordinary modules, by name or by import path."""

from vae_core.models.building import MODELS, build
from vae_core.models.contract import VAE, Reconstruction, evaluating
from vae_core.models.initialise import initialise
from vae_core.models.suite import check_model

__all__ = [
    "MODELS",
    "VAE",
    "Reconstruction",
    "build",
    "check_model",
    "evaluating",
    "initialise",
]
