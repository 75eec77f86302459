"""Evaluation: likelihood, latent use and pictures, as deterministic functions of a model."""

from vae_core.evaluation.likelihood import Batch, EvaluationSet, Measurement, calibrated, measure
from vae_core.evaluation.pictures import grid, reconstructions, samples

__all__ = [
    "Batch",
    "EvaluationSet",
    "Measurement",
    "calibrated",
    "grid",
    "measure",
    "reconstructions",
    "samples",
]
