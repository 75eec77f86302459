"""The final evaluation: what is measured once, at a trial's end, and its pictures and tables."""

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

from study.engine.evaluation import BLOCK, SAMPLING_SEED, Evaluation, Files, checked
from study.metrics import GENERATED
from vae_core.evaluation import (
    Batch,
    EvaluationSet,
    Measurement,
    aggregate,
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
from vae_core.export import state
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
from vae_core.likelihoods import Likelihood, noise_of
from vae_core.models import VAE


def csv_file(name: str, rows: Sequence[Mapping[str, float]]) -> tuple[str, bytes]:
    """The file of a table of that name, and its content."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return f"{name}.csv", text.getvalue().encode()


class FinalMetrics(NamedTuple):
    """The result of a final evaluation."""

    metrics: dict[str, float]
    files: Files


class FinalEvaluation:
    """Measures a trained model once, with its pictures and tables.

    Args:
        evaluation: what to measure, and on which images.
        model: the trained model.
        fitted: its measurement on the images that sigma^2 is fitted to.
        likelihood: of its balancer.
        seed: the trial's, for the second stage.
        lap: charges the device seconds since its last call to a purpose.
        check: called regularly; it may raise, and the final evaluation then starts over later.
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
        self._evaluation, self._model, self._seed = evaluation, model, seed
        self._fitted, self._noise = fitted, noise_of(likelihood)
        self._lap, self._check = lap, check
        self._sigma2 = (
            None if model.head else fitted_variance(fitted, model.shape.dims, self._noise)
        )
        self._metrics: dict[str, float] = {}
        self._files: Files = {}

    def result(self) -> FinalMetrics:
        """Measure."""
        weights = io.BytesIO()
        torch.save(state(self._model), weights)
        self._files["checkpoint"] = ("model.pt", weights.getvalue())
        for step in (
            self._likelihoods,
            self._uncertainty,
            self._manifold,
            self._latent_use,
            self._samples,
        ):
            self._check()
            step()
        return FinalMetrics(self._metrics, self._files)

    def _likelihoods(self) -> None:
        mass = discretised_bits_per_dim(self._model, self._evaluation.test_subset, self._gaussian())
        self._metrics["test/discretised_bits_per_dim"] = mass
        if self._evaluation.settings.iwae:
            self._metrics["test/iwae"] = iwae(
                self._model,
                self._evaluation.test_subset,
                self._evaluation.settings.iwae,
                sigma2=self._sigma2,
                likelihood=self._noise,
                check=self._check,
            )

    def _uncertainty(self) -> None:
        found = calibration(
            self._model,
            self._batches(self._evaluation.test_subset),
            self._sigma2,
            self._noise,
        )
        self._metrics |= {f"test/{name}": value for name, value in found.scalars.items()}
        self._table("calibration_quantiles", found.quantiles)
        self._table("calibration_variances", found.variances)

    def _manifold(self) -> None:
        latents = posteriors(self._model, self._batches(self._evaluation.test_subset)).mu
        self._metrics["test/smoothness"] = smoothness(self._model, latents)
        shown = self._evaluation.settings.pictures
        if not shown:
            return
        batch = next(self._evaluation.test.batches(self._model.latent))
        first = Batch(*(part[:shown] for part in batch))
        self._picture("reconstructions", reconstructions(self._model, first.x))
        self._picture("interpolations", interpolations(self._model, latents))
        maps = variance_maps(self._model, first, self._sigma2)
        self._picture("uncertainty", maps.picture)
        z = prior_latents(self._model, shown, SAMPLING_SEED)
        maps_of_samples = sample_maps(self._model, z, maps.limit, self._sigma2)
        self._picture("samples_uncertainty", maps_of_samples)

    def _latent_use(self) -> None:
        images = self._evaluation.aggregated
        found = aggregate(self._model, self._batches(images), self._check)
        self._metrics |= {f"test/{name}": value for name, value in found.scalars.items()}
        self._table("latents", found.latents)

    def _samples(self) -> None:
        n, shown = len(self._evaluation.compared), self._evaluation.settings.pictures
        measured: dict[str, Any] = {
            name: {**about, "values": {}} for name, about in self._evaluation.features().items()
        }
        for generator in self._evaluation.settings.generators:
            latents = self._latents(generator, max(n if measured else 0, shown, 1))
            images = decode_all(self._model, latents)
            if shown:
                suffix = "" if generator == "prior" else f"_{generator}"
                self._picture(f"samples{suffix}", grid(images[:shown]))
            self._compare(images[:n], GENERATED[generator], measured)
        if measured:
            self._compare(
                reconstruct(self._model, self._batches(self._evaluation.compared)), "rec", measured
            )
            means = posteriors(self._model, self._batches(self._evaluation.compared)).mu
            self._compare(midpoints(self._model, means, n), "interpolation", measured)
            text = json.dumps(measured, indent=2, sort_keys=True)
            self._files["distances"] = ("distances.json", text.encode())

    def _compare(self, images: Tensor, compared: str, measured: dict[str, Any]) -> None:
        for name, space in self._evaluation.spaces.items():
            blocks = checked(torch.split(images, BLOCK), self._check)
            ties = self._evaluation.settings.ties
            found = distances(space.features, space.test, blocks, ties=ties)
            for distance, value in found.items():
                metric = space.metric(distance, compared)
                self._metrics[metric] = measured[name]["values"][metric] = value

    def _latents(self, generator: str, count: int) -> Tensor:
        """``count`` latents of a generator, to be decoded."""
        if generator == "prior":
            return prior_latents(self._model, count, SAMPLING_SEED)
        if generator == "mixture":
            mixture = fit_mixture(self._aggregate, self._evaluation.settings.mixture, SAMPLING_SEED)
            return mixture.sample(count, SAMPLING_SEED)
        aggregate = self._aggregate
        self._lap("evaluation")

        def check() -> None:
            self._lap("second_stage")
            self._check()

        try:
            settings = SecondStageSettings(**self._evaluation.settings.second_stage.model_dump())
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
        images = training_images(self._evaluation.training, self._model.shape)
        return posteriors(self._model, checked(images, self._check))

    def _batches(self, images: EvaluationSet) -> Iterator[Batch]:
        return checked(images.batches(self._model.latent), self._check)

    def _gaussian(self) -> float | None:
        """The noise variance of the scalar Gaussian; None: the decoder predicts its own."""
        return None if self._model.head else fitted_variance(self._fitted, self._model.shape.dims)

    def _table(self, name: str, rows: Sequence[Mapping[str, float]]) -> None:
        self._files[name] = csv_file(name, rows)

    def _picture(self, name: str, picture: Image) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, format="png")
        self._files[name] = (f"{name}.png", buffer.getvalue())
