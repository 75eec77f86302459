"""What a trial's model is measured by: at every report, and closely at the end of some trials.

Nothing here depends on the trial's neighbours, and but for the second stage, which is trained from
the trial's seed, nothing depends on its seed: two trials differ by what they learned.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL.Image import Image
from torch import Tensor

from study.scheduling.engine_actor import EngineConfig
from study.spec import DISTANCES, EvaluationSpec
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.evaluation import (
    Batch,
    EvaluationSet,
    Measurement,
    calibrated,
    calibration,
    discretised_bits_per_dim,
    fitted_variance,
    grid,
    interpolations,
    iwae,
    measure,
    midpoints,
    reconstructions,
    sample_maps,
    smoothness,
    variance_maps,
)
from vae_core.evaluation.distances import Reference, Statistics, distances, frechet
from vae_core.evaluation.features import Features, classifier, inception
from vae_core.evaluation.references import References
from vae_core.generation import (
    Posteriors,
    SecondStageSettings,
    decode_all,
    fit_mixture,
    posteriors,
    prior_latents,
    reconstruct,
    sample_prior,
    train_second_stage,
    training_images,
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


class Close(NamedTuple):
    """What a trial's end was found to be, closely."""

    metrics: dict[str, float]
    files: Files


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
        network = DISTANCES.get(self.objective)
        if network is None:
            return {}
        gauge = self.gauges[network]
        reference: Reference = getattr(gauge, split)
        images = sample_prior(model, reference.statistics.n, SAMPLING_SEED)
        seen = Statistics.of(gauge.seen(images, check))
        return {f"{split}/{self.objective}": frechet(reference.statistics, seen)}


class Closely:
    """Everything that is measured once, and the pictures and tables that go with it.

    Args:
        evaluation: what to measure, and on what.
        model: the trained model.
        fitted: its measurement on the images sigma^2 is refitted on.
        likelihood: of its balancer.
        seed: the trial's: of the second stage.
        lap: told what the device seconds since the last call went into.
        check: called every now and then; may raise, and all of it then begins again.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        model: VAE,
        fitted: Measurement,
        likelihood: Likelihood,
        seed: int,
        lap: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._of, self._model, self._seed = evaluation, model, seed
        self._fitted, self._likelihood = fitted, likelihood
        self._lap, self._check = lap, check
        self._sigma2 = None if model.head else fitted_variance(fitted, model.shape.dims, likelihood)
        self._metrics: dict[str, float] = {}
        self._files: Files = {}

    def result(self) -> Close:
        """Measure."""
        weights = io.BytesIO()
        torch.save(self._model.state_dict(), weights)
        self._files["checkpoint"] = ("model.pt", weights.getvalue())
        for step in (self._likelihoods, self._uncertainty, self._manifold, self._samples):
            self._check()
            step()
        return Close(self._metrics, self._files)

    def _likelihoods(self) -> None:
        mass = discretised_bits_per_dim(self._model, self._of.closer, self._gaussian())
        self._metrics["test/discretised_bits_per_dim"] = mass
        if self._of.settings.iwae:
            self._metrics["test/iwae"] = iwae(
                self._model,
                self._of.closer,
                self._of.settings.iwae,
                sigma2=self._sigma2,
                likelihood=self._likelihood,
                check=self._check,
            )

    def _uncertainty(self) -> None:
        found = calibration(
            self._model,
            self._batches(self._of.closer),
            self._sigma2,
            self._likelihood,
        )
        self._metrics |= {f"test/{name}": value for name, value in found.scalars.items()}
        self._table("calibration_quantiles", found.quantiles)
        self._table("calibration_variances", found.variances)

    def _manifold(self) -> None:
        latents = posteriors(self._model, self._batches(self._of.closer)).mu
        self._metrics["test/smoothness"] = smoothness(self._model, latents)
        shown = self._of.settings.pictures
        if not shown:
            return
        first = Batch(*(part[:shown] for part in next(self._of.test.batches(self._model.latent))))
        self._picture("reconstructions", reconstructions(self._model, first.x))
        self._picture("interpolations", interpolations(self._model, latents))
        maps = variance_maps(self._model, first, self._sigma2)
        self._picture("uncertainty", maps.picture)
        z = prior_latents(self._model, shown, SAMPLING_SEED)
        maps_of_samples = sample_maps(self._model, z, maps.limit, self._sigma2)
        self._picture("samples_uncertainty", maps_of_samples)

    def _samples(self) -> None:
        n, shown = len(self._of.compared), self._of.settings.pictures
        measured: dict[str, Any] = {
            name: {**about, "values": {}} for name, about in self._of.features().items()
        }
        for generator in self._of.settings.generators:
            latents = self._latents(generator, max(n if measured else 0, shown, 1))
            images = decode_all(self._model, latents)
            if shown:
                suffix = "" if generator == "prior" else f"_{generator}"
                self._picture(f"samples{suffix}", grid(images[:shown]))
            self._compare(images[:n], GENERATED[generator], measured)
        if measured:
            self._compare(
                reconstruct(self._model, self._batches(self._of.compared)), "rec", measured
            )
            means = posteriors(self._model, self._batches(self._of.compared)).mu
            self._compare(midpoints(self._model, means, n), "interpolation", measured)
            text = json.dumps(measured, indent=2, sort_keys=True)
            self._files["distances"] = ("distances.json", text.encode())

    def _compare(self, images: Tensor, what: str, measured: dict[str, Any]) -> None:
        for name, gauge in self._of.gauges.items():
            blocks = checked(torch.split(images, BLOCK), self._check)
            for distance, value in distances(gauge.features, gauge.test, blocks).items():
                metric = gauge.metric(distance, what)
                self._metrics[metric] = measured[name]["values"][metric] = value

    def _latents(self, generator: str, count: int) -> Tensor:
        """``count`` latents to decode, from what the generator has learned."""
        if generator == "prior":
            return prior_latents(self._model, count, SAMPLING_SEED)
        if generator == "mixture":
            mixture = fit_mixture(self._aggregate, self._of.settings.mixture, SAMPLING_SEED)
            return mixture.sample(count, SAMPLING_SEED)
        aggregate = self._aggregate
        self._lap("evaluation")

        def check() -> None:
            self._lap("second_stage")
            self._check()

        try:
            settings = SecondStageSettings(**self._of.settings.second_stage.model_dump())
            stage = train_second_stage(aggregate, settings, self._seed, check=check)
        finally:
            self._lap("second_stage")
        weights = io.BytesIO()
        torch.save(stage.state_dict(), weights)
        self._files["second_stage"] = ("second_stage.pt", weights.getvalue())
        return stage.sample(count, SAMPLING_SEED)

    @cached_property
    def _aggregate(self) -> Posteriors:
        """The posteriors of all training images."""
        images = training_images(self._of.training, self._model.shape)
        return posteriors(self._model, checked(images, self._check))

    def _batches(self, images: EvaluationSet) -> Iterator[Batch]:
        return checked(images.batches(self._model.latent), self._check)

    def _gaussian(self) -> float | None:
        """The noise variance of the scalar Gaussian; None: the decoder predicts its own."""
        return None if self._model.head else fitted_variance(self._fitted, self._model.shape.dims)

    def _table(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._files[name] = (f"{name}.csv", text.getvalue().encode())

    def _picture(self, name: str, picture: Image) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, format="png")
        self._files[name] = (f"{name}.png", buffer.getvalue())
