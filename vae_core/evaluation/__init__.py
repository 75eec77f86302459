"""Evaluation: likelihood, latent use and pictures, as deterministic functions of a model."""

from vae_core.evaluation.aggregate import AGGREGATED, Aggregate, aggregate
from vae_core.evaluation.likelihood import (
    Batch,
    EvaluationSet,
    ImageTerms,
    Measurement,
    calibrated,
    discretised_bits_per_dim,
    fitted_variance,
    iwae,
    measure,
    measure_images,
)
from vae_core.evaluation.pictures import grid, interpolations, reconstructions, samples
from vae_core.evaluation.smoothness import midpoints, smoothness
from vae_core.evaluation.uncertainty import (
    Calibration,
    calibration,
    sample_maps,
    variance_maps,
)

__all__ = [
    "AGGREGATED",
    "Aggregate",
    "Batch",
    "Calibration",
    "EvaluationSet",
    "ImageTerms",
    "Measurement",
    "aggregate",
    "calibrated",
    "calibration",
    "discretised_bits_per_dim",
    "fitted_variance",
    "grid",
    "interpolations",
    "iwae",
    "measure",
    "measure_images",
    "midpoints",
    "reconstructions",
    "sample_maps",
    "samples",
    "smoothness",
    "variance_maps",
]
