"""What a trial's model is measured by: at every report, and closely at the end of some trials.

Nothing here depends on the trial's neighbours, and but for the second stage, which is trained from
the trial's seed, nothing depends on its seed: two trials differ by what they learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from study.engine.config import EngineConfig
from study.metrics import metric
from study.spec import EvaluationSpec
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.evaluation import (
    EvaluationSet,
    Measurement,
    calibrated,
    measure,
)
from vae_core.evaluation.distances import Reference, Statistics, frechet
from vae_core.evaluation.features import Features, classifier, inception
from vae_core.evaluation.references import References
from vae_core.generation import (
    sample_prior,
)
from vae_core.likelihoods import Likelihood
from vae_core.models import VAE

T = TypeVar("T")
Files = dict[str, tuple[str, bytes]]
"""What a file holds -> its name in the trial's folder, and its content."""

SAMPLING_SEED = 0
BLOCK = 256
"""Images whose features are taken before the next look whether to go on."""
GENERATED = {"prior": "gen1", "second_stage": "gen2", "mixture": "mixture"}
"""Generators, and what metrics of their samples end in: GEN-1 and GEN-2 are the papers' words."""


@dataclass(frozen=True)
class Gauge:
    """A network, and the real images that distances in its features are measured against."""

    features: Features
    validation: Reference
    test: Reference

    def metric(self, distance: str, what: str) -> str:
        """The name of a distance of ``what`` on test; FID and KID are Inception's alone."""
        if self.features.name == "inception":
            named = {"frechet": "fid", "kid": "kid"}.get(distance, f"{distance}_inception")
        else:
            named = f"{distance}_{self.features.name}"
        return f"test/{named}_{what}"

    def seen(self, images: Tensor, check: Callable[[], None]) -> Tensor:
        """Features [n, F] of images [n, C, H, W]."""
        return torch.cat(
            [self.features(part) for part in checked(torch.split(images, BLOCK), check)]
        )

    def describe(self) -> dict[str, Any]:
        """What has to be known beside a number: network, SHA-256, preprocessing, n."""
        return {**self.features.describe(), "n": self.test.statistics.n}


def never_mind() -> None:
    """A check that lets everything go on."""


def checked(parts: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    """``parts``, with a call of ``check`` before each."""
    for part in parts:
        check()
        yield part


def scores(
    model: VAE,
    fitted: Measurement,
    images: EvaluationSet,
    likelihood: Likelihood,
    check: Callable[[], None],
) -> dict[str, float]:
    """Likelihood and latent use on ``images``, sigma^2 refitted on what ``fitted`` measured."""
    measured = measure(model, checked(images.batches(model.latent), check))
    found = calibrated(fitted, measured, model.shape.dims, likelihood)
    return {f"{images.split}/{name}": value for name, value in found.items()}


@dataclass(frozen=True)
class Evaluation:
    """The fixed images every trial of a study is measured on, on one device."""

    settings: EvaluationSpec
    objective: str
    training: TrainingImages
    """All of them: what a second stage and a mixture learn the latents of."""
    train: EvaluationSet
    """A seed-independent part of the training split: sigma^2 is refitted on it."""
    validation: EvaluationSet
    test: EvaluationSet
    closer: EvaluationSet
    """As many test images as are measured at a report, for what takes longer."""
    compared: EvaluationSet
    """As many test images as distances compare, for their reconstructions."""
    gauges: Mapping[str, Gauge]

    @classmethod
    def of(
        cls, data: Dataset, prepared: PreparedData, training: TrainingImages, config: EngineConfig
    ) -> Evaluation:
        """What ``config`` asks for, of the images ``data`` of the dataset ``prepared``.

        Networks and reference features are made once per dataset, and found in its store.

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
        gauges: dict[str, Gauge] = {}
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
            gauges[name] = Gauge(features, *of)
        return cls(
            settings=settings,
            objective=config.objective,
            training=training,
            train=part("train", settings.images),
            validation=part("validation", settings.images),
            test=part("test", len(data.test)),
            closer=part("test", settings.images),
            compared=part("test", settings.samples),
            gauges=gauges,
        )

    def features(self) -> dict[str, dict[str, Any]]:
        """What distances are measured with, by network."""
        return {name: gauge.describe() for name, gauge in self.gauges.items()}

    def objective_on(self, split: str, model: VAE, check: Callable[[], None]) -> dict[str, float]:
        """The study's objective on ``split``, where it is a distance of samples; else nothing."""
        network = metric(self.objective).network
        if network is None:
            return {}
        gauge = self.gauges[network]
        reference: Reference = getattr(gauge, split)
        images = sample_prior(model, reference.statistics.n, SAMPLING_SEED)
        seen = Statistics.of(gauge.seen(images, check))
        return {f"{split}/{self.objective}": frechet(reference.statistics, seen)}
