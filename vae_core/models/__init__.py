"""Encoders and decoders as ordinary modules, by name or by import path."""

from vae_core.models.building import MODELS, build, check_model_settings
from vae_core.models.contract import VAE, Head, Reconstruction, evaluating
from vae_core.models.initialise import initialise
from vae_core.models.start import Start, named_tensors
from vae_core.models.suite import Findings, check_model

__all__ = [
    "MODELS",
    "VAE",
    "Findings",
    "Head",
    "Reconstruction",
    "Start",
    "build",
    "check_model",
    "check_model_settings",
    "evaluating",
    "initialise",
    "named_tensors",
]
