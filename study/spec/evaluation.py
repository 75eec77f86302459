"""What a study measures at every report, and in the final evaluation of some trials."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from study.metrics import Network
from study.spec.base import Number, Section, Whole
from study.spec.errors import fault

Generator = Literal["prior", "mixture", "second_stage"]

SCORES = 12_000
"""Test scores, images times draws, at which the draws' error in a difference of arms is a tenth of
the seeds': 100 w^2 / s^2, with w the draws' standard deviation in an image's paired difference and
s the seeds' in the mean difference (``docs/metrics.md``)."""


def _once(names: list[str]) -> list[str]:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise fault(f"'{name}' is given twice", "give each once", i)
    return names


class SecondStageSpec(Section):
    """The second VAE, trained on latents of the first (:mod:`vae_core.generation.second_stage`)."""

    recipe: Literal["asperti2020", "dai2019"] = Field(
        default="asperti2020", description="asperti2020 or dai2019"
    )
    width: Whole = Field(default=1024, ge=1, description="units per layer, 1 or more")
    depth: Whole = Field(default=3, ge=1, description="layers, 1 or more")
    epochs: Whole = Field(default=800, ge=1, description="passes over the latents, 1 or more")
    batch_size: Whole = Field(default=100, ge=1, description="latents per step, 1 or more")
    lr: Number = Field(default=1e-4, gt=0, description="Adam's learning rate, above 0")
    halve_every: Whole = Field(
        default=300, ge=1, description="epochs after which the learning rate is halved, 1 or more"
    )


class EvaluationSpec(Section):
    """What is evaluated at a report, and in the final evaluation of the trials that get one.

    Distances compare ``samples`` generated images, of each of the ``generators``, with as many of
    the test images, in the features of each of ``features``.
    """

    images: Whole = Field(default=2048, ge=2, description="images evaluated per split, 2 or more")
    draws: Annotated[Whole, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="draws of latents that a test image is measured with: auto, or 1 or more",
    )
    pictures: Whole = Field(default=32, ge=0, description="pictures in a grid, 0 or more")
    trials: Literal["confirm", "all"] = Field(
        default="confirm", description="which trials get a final evaluation: confirm, or all"
    )
    iwae: Whole = Field(default=0, ge=0, description="samples of the IWAE bound, 0 for none")
    features: Annotated[list[Network], AfterValidator(_once)] = Field(
        default=[], description="networks for distances, of classifier and inception"
    )
    samples: Whole = Field(
        default=10_000, ge=6, description="images a distance compares, 6 or more"
    )
    ties: Literal["inside", "outside"] = Field(
        default="inside",
        description="where precision and recall count an image at a ball's radius: inside, outside",
    )
    generators: Annotated[list[Generator], AfterValidator(_once)] = Field(
        default=["prior"], description="where samples come from: prior, mixture, second_stage"
    )
    mixture: Whole = Field(default=10, ge=1, description="Gaussians of the mixture, 1 or more")
    second_stage: SecondStageSpec = Field(
        default=SecondStageSpec(), description="e.g. second_stage: {width: 2048, epochs: 1400}"
    )

    @model_serializer(mode="wrap")
    def _without_its_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ties that are not given: specs that older versions froze keep their hash."""
        written: dict[str, Any] = write(self)
        if self.ties == "inside":
            del written["ties"]
        return written

    @model_validator(mode="after")
    def _some_generator(self) -> Self:
        if not self.generators:
            raise fault("no generator is given", "give at least one, e.g. [prior]", "generators")
        return self

    def draws_of(self, images: int) -> int:
        """Draws for each of so many test images: K.

        ``auto`` makes as many as keep the draws' error below a tenth of the seeds', and two at
        least, which show what it is. A single draw is a fixed one, the same for every trial.
        """
        return max(2, ceil(SCORES / images)) if self.draws == "auto" else self.draws
