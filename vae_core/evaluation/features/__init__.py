"""Networks that turn images into the features distances are measured in."""

from vae_core.evaluation.features.classifier import Classifier, classifier
from vae_core.evaluation.features.contract import Features, as_bytes
from vae_core.evaluation.features.inception import (
    WEIGHTS_VARIABLE,
    Inception,
    inception,
    weights_file,
)

__all__ = [
    "WEIGHTS_VARIABLE",
    "Classifier",
    "Features",
    "Inception",
    "as_bytes",
    "classifier",
    "inception",
    "weights_file",
]
