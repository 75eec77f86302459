"""What a trial's model is measured on: at every report, and in its final evaluation.

No measurement depends on the trial's neighbours. Two depend on its seed: the second stage is
trained from it, and the latents that test images are measured with are drawn by it. Two trials of
one seed, and on validation any two, are measured under the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from study.engine.config import EngineConfig
from study.image_scores import ImageScores
from study.metrics import Network, distance_name, metric
from study.spec import EvaluationSpec
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.evaluation import (
    AGGREGATED,
    EvaluationSet,
    Measurement,
    calibrated,
    fitted_variance,
    measure,
    measure_images,
)
from vae_core.evaluation.distances import Reference, Statistics, frechet
from vae_core.evaluation.features import Features, classifier, inception
from vae_core.evaluation.references import References
from vae_core.generation import sample_prior
from vae_core.likelihoods import Likelihood, calibrated_negative_elbo
from vae_core.models import VAE

T = TypeVar("T")
Files = dict[str, tuple[str, bytes]]
"""By artifact: its file's name in the trial's folder, and the content."""

SAMPLING_SEED = 0
BLOCK = 256
"""Images whose features are computed between two checks."""


@dataclass(frozen=True)
class FeatureSpace:
    """A network's features, and the real images that distances in them are measured against."""

    network: Network
    features: Features
    validation: Reference
    test: Reference

    def metric(self, distance: str, compared: str) -> str:
        """The name of a ``distance`` on test of what is ``compared``."""
        return f"test/{distance_name(self.network, distance, compared)}"

    def features_of(self, images: Tensor, check: Callable[[], None]) -> Tensor:
        """Features [n, F] of images [n, C, H, W]."""
        blocks = checked(torch.split(images, BLOCK), check)
        return torch.cat([self.features(block) for block in blocks])

    def describe(self) -> dict[str, Any]:
        """What is recorded beside a distance: network, SHA-256, preprocessing, n."""
        return {**self.features.describe(), "n": self.test.statistics.n}


def no_check() -> None:
    """A check that never interrupts."""


def checked(parts: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """``parts``, with a call of ``check`` before each."""
    for part in parts:
        check()
        yield part


@dataclass(frozen=True)
class Evaluation:
    """The fixed images every trial of a study is measured on, on one device."""

    settings: EvaluationSpec
    objective: str
    training: TrainingImages
    """All training images: a second stage and a mixture learn their latents."""
    train: EvaluationSet
    """A seed-independent part of the training split: sigma^2 is refitted on it."""
    validation: EvaluationSet
    test: EvaluationSet
    test_subset: EvaluationSet
    """As many test images as a report measures, for slower measurements."""
    aggregated: EvaluationSet
    """The test images whose aggregate posterior is measured: as many in every study."""
    compared: EvaluationSet
    """As many test images as distances compare, for their reconstructions."""
    spaces: Mapping[Network, FeatureSpace]

    @classmethod
    def of(
        cls, data: Dataset, prepared: PreparedData, training: TrainingImages, config: EngineConfig
    ) -> Evaluation:
        """The evaluation that ``config`` describes, on the images ``data`` of dataset ``prepared``.

        Networks and reference features are computed once per dataset, and kept in its store.

        Raises:
            DataError: a network or the store cannot be used.
        """
        settings = EvaluationSpec.model_validate(config.evaluation)
        device = torch.device(config.device)

        def part(split: str, count: int) -> EvaluationSet:
            rows = getattr(data, split)
            return EvaluationSet(rows, split, count=count, shape=data.shape, device=device)

        store = Path(prepared.files["train"]).parent
        references = References(prepared, store, device)
        spaces: dict[Network, FeatureSpace] = {}
        for name in settings.features:
            features: Features = (
                classifier(prepared, store, device)
                if name == "classifier"
                else inception(Path(config.weights) if config.weights else None, device)
            )
            of = (
                references.of(features, getattr(data, split), split, settings.samples)
                for split in ("validation", "test")
            )
            spaces[name] = FeatureSpace(name, features, *of)
        return cls(
            settings=settings,
            objective=config.objective,
            training=training,
            train=part("train", settings.images),
            validation=part("validation", settings.images),
            test=part("test", len(data.test)),
            test_subset=part("test", settings.images),
            aggregated=part("test", AGGREGATED),
            compared=part("test", settings.samples),
            spaces=spaces,
        )

    def features(self) -> dict[str, dict[str, Any]]:
        """The networks that distances are measured with, by name, and how."""
        ties = {"ties_of_precision_and_recall": self.settings.ties}
        return {name: {**space.describe(), **ties} for name, space in self.spaces.items()}

    def on_validation(
        self, model: VAE, fitted: Measurement, likelihood: Likelihood
    ) -> dict[str, float]:
        """Likelihood and latent use; sigma^2 is fitted to the measurement ``fitted``."""
        measured = measure(model, self.validation.batches(model.latent), likelihood)
        found = calibrated(fitted, measured, model.shape.dims, likelihood)
        return {f"validation/{name}": value for name, value in found.items()}

    def on_test(
        self,
        model: VAE,
        fitted: Measurement,
        likelihood: Likelihood,
        seed: int,
        check: Callable[[], None],
    ) -> tuple[dict[str, float], ImageScores]:
        """The same on test, the mean over draws of latents keyed by ``seed``, and each image's."""
        draws = self.settings.draws_of(len(self.test))
        batches = checked(self.test.drawn(model.latent, seed, draws), check)
        measured, terms = measure_images(model, batches, likelihood)
        found = calibrated(fitted, measured, model.shape.dims, likelihood)
        sigma2 = torch.tensor(fitted_variance(fitted, model.shape.dims), dtype=torch.float64)
        nats = calibrated_negative_elbo(
            terms.S, terms.R, sigma2.to(terms.S.device), model.shape.dims
        ).cpu()
        scores = ImageScores(nats.mean(dim=0).numpy(), nats.mean(dim=1).numpy())
        return {f"test/{name}": value for name, value in found.items()}, scores

    def objective_on(self, split: str, model: VAE, check: Callable[[], None]) -> dict[str, float]:
        """The study's objective on ``split``, where it is a distance of samples; else nothing."""
        network = metric(self.objective).network
        if network is None:
            return {}
        space = self.spaces[network]
        reference: Reference = getattr(space, split)
        images = sample_prior(model, reference.statistics.n, SAMPLING_SEED)
        name = f"{split}/{self.objective}"
        if not bool(images.isfinite().all()):  # as bytes, which networks see, they would be black
            return {name: math.nan}
        statistics = Statistics.of(space.features_of(images, check))
        return {name: frechet(reference.statistics, statistics)}
