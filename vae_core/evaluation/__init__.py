"""Evaluation: likelihood, latent use and pictures, as deterministic functions of a model."""

from vae_core.evaluation.likelihood import Batch, EvaluationSet, Measurement, calibrated, measure
from vae_core.evaluation.pictures import grid, interpolations, reconstructions, samples
from vae_core.evaluation.smoothness import midpoints, smoothness

__all__ = [
    "Batch",
    "EvaluationSet",
    "Measurement",
    "calibrated",
    "grid",
    "interpolations",
    "measure",
    "midpoints",
    "reconstructions",
    "samples",
    "smoothness",
]
