"""What a trial's model is measured by once, at its end, and the files that go with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from study.engine.evaluation import BLOCK, GENERATED, SAMPLING_SEED, Evaluation, Files, checked
from vae_core.evaluation import (
    Batch,
    EvaluationSet,
    Measurement,
    calibration,
    discretised_bits_per_dim,
    fitted_variance,
    grid,
    interpolations,
    iwae,
    midpoints,
    reconstructions,
    sample_maps,
    smoothness,
    variance_maps,
)
from vae_core.evaluation.distances import distances
from vae_core.generation import (
    Posteriors,
    SecondStageSettings,
    decode_all,
    fit_mixture,
    posteriors,
    prior_latents,
    reconstruct,
    train_second_stage,
    training_images,
)
from vae_core.likelihoods import Likelihood
from vae_core.models import VAE


class Close(NamedTuple):
    """What a trial's end was found to be, closely."""

    metrics: dict[str, float]
    files: Files


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
