"""The study file as pydantic models: every key, its default and its values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from study.journal.home import NAME, NAME_RULE, RESERVED
from study.metrics import FORMER_NAMES, OBJECTIVES, depends_on_beta
from study.spec.arms import ArmSpec
from study.spec.base import Named, Number, Section, Whole
from study.spec.collapse import CollapseSpec
from study.spec.distributions import section_of
from study.spec.errors import Source, fault, spec_error
from study.spec.evaluation import EvaluationSpec
from study.spec.seeds import MOST, Seeds, own_seeds, read_seeds, read_until
from study.statistics import FEWEST_LOOKED
from vae_core.errors import nearest


class DataSpec(Named):
    """The dataset, how it is split, and its source's own settings."""

    name: str = Field(description="a dataset's name, or 'package.module:Name' of your own")
    validation: int | float = Field(
        default=0.1, description="validation images out of train: a fraction below 1, or a count"
    )

    @field_validator("validation")
    @classmethod
    def _split(cls, value: int | float) -> int | float:
        if value <= 0 or (isinstance(value, float) and value >= 1):
            remedy = "give a fraction between 0 and 1, or 2 images or more"
            raise fault(f"{value} does not split the training images", remedy)
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """Name and settings of the source."""
        return {"name": self.name, **self.extras}


class ModelSpec(Named):
    """The VAE and its settings."""

    name: str = Field(description="a model's name, or 'package.module:Name' of your own")
    latent: Whole = Field(ge=1, description="latent size, 1 or more")

    @property
    def settings(self) -> dict[str, Any]:
        """Name, latent size and settings of the model."""
        return {"name": self.name, "latent": self.latent, **self.extras}


class TrainingSpec(Section):
    """How long and how every trial trains; its ``reports`` are evenly spaced."""

    epochs: Number = Field(gt=0, description="passes over the training images, above 0")
    batch_size: Whole = Field(default=128, ge=1, description="images per step, 1 or more")
    lr: Number = Field(default=1e-3, gt=0, description="Adam's learning rate, above 0")
    halve_every: Number | None = Field(
        default=None, gt=0, description="epochs after which lr is halved, above 0, or leave it out"
    )
    reports: Whole = Field(default=10, ge=1, description="reports per trial, 1 or more")
    dequantize: bool = Field(
        default=False, description="true to add uniform noise to the bytes in training, or false"
    )


class EnginesSpec(Section):
    """Where trials train: number of engines, their device, and slots of each."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto, cpu or cuda")
    count: Annotated[Whole, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="auto, or how many engines, 1 or more"
    )
    slots: Annotated[Whole, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="auto, or slots per engine, 1 or more"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="float32 or bfloat16: what training multiplies in"
    )


class CheckpointsSpec(Section):
    """Which checkpoints of an ended trial are kept; of a running one at least the 2 newest are."""

    keep: Literal["none", "last", "all"] = Field(
        default="none", description="none, last or all: what is kept of an ended trial"
    )


class PrimarySpec(Section):
    """The comparison that the study is about: one arm of each kind."""

    hand_tuned: str = Field(description="the name of a hand-tuned arm")
    automatic: str = Field(description="the name of an automatic arm")


class StudySpec(Section):
    """One question: a dataset, a model, a training budget, an objective, several arms."""

    name: str = Field(description="the study's name, which becomes a folder's")
    question: str = Field(default="", description="the question, in words")
    data: DataSpec = Field(description="a dataset's name, or its name and settings")
    model: ModelSpec = Field(description="the model: its name, latent size and settings")
    training: TrainingSpec = Field(description="how a trial trains, e.g. training: {epochs: 20}")
    objective: str = Field(
        default="calibrated_negative_elbo", description=f"one of {', '.join(OBJECTIVES)}"
    )
    # Frozen before the study runs: a margin chosen afterwards could prove anything.
    margin: Number | None = Field(
        default=None,
        gt=0,
        description="how much worse, in the objective's unit, still counts as no worse, above 0",
    )
    collapse: CollapseSpec | None = Field(
        default=None,
        description="what counts as a collapse of a confirm run, e.g. collapse: {worse_by: 50}",
    )
    primary: PrimarySpec | None = Field(
        default=None,
        description="the pair to compare, e.g. primary: {hand_tuned: tpe, automatic: learned}",
    )
    choosing_seeds: Whole | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description=f"seeds that every arm trains on before the pair is chosen, 1 to {MOST}",
    )
    seeds: Seeds = Field(
        default_factory=lambda known: own_seeds(known["name"]),
        description="a list of whole numbers, {from: 101, count: 8}, or "
        "{until: decided, at_most: 40}",
    )
    # What is left of ``seeds: {until: decided, ...}`` beside the list of all of them.
    until: Literal["decided"] | None = Field(
        default=None, description="decided, or leave it out to train on all seeds"
    )
    seeds_batch: Whole | None = Field(
        default=None, ge=1, description="seeds added at a time until it is decided, 1 or more"
    )
    arms: dict[str, ArmSpec] = Field(
        description="arms by name, e.g. arms: {learned: {balancer: learned_sigma}}"
    )
    evaluation: EvaluationSpec = Field(
        default=EvaluationSpec(), description="e.g. evaluation: {images: 2048}"
    )
    engines: EnginesSpec = Field(default=EnginesSpec(), description="e.g. engines: {device: cpu}")
    checkpoints: CheckpointsSpec = Field(
        default=CheckpointsSpec(), description="e.g. checkpoints: {keep: last}"
    )
    # Caps over all launches together: reaching one ends the study with its report.
    max_hours: Number | None = Field(
        default=None, gt=0, description="hours the study may run, above 0, or leave it out"
    )
    max_images: Whole | None = Field(
        default=None, gt=0, description="images it may train on, 1 or more, or leave it out"
    )
    max_device_hours: Number | None = Field(
        default=None, gt=0, description="hours its engines may run, above 0, or leave it out"
    )

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys that older versions did not have: the specs they froze keep their hash."""
        written: dict[str, Any] = write(self)
        optional = ("collapse", "primary", "choosing_seeds", "until", "seeds_batch")
        return {k: v for k, v in written.items() if v is not None or k not in optional}

    @model_validator(mode="before")
    @classmethod
    def _until_decided(cls, value: Any) -> Any:
        seeds = value.get("seeds") if isinstance(value, Mapping) else None
        if not isinstance(seeds, Mapping) or "until" not in seeds:
            return value
        all_of_them, batch = read_until(seeds, str(value.get("name", "")))
        return {**value, "seeds": all_of_them, "until": "decided", "seeds_batch": batch}

    @field_validator("seeds", mode="before")
    @classmethod
    def _read_seeds(cls, value: Any, info: ValidationInfo) -> Any:
        return read_seeds(value, info.data.get("name", ""))

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise fault(f"'{value}' cannot be a study's name", NAME_RULE)
        if value in RESERVED:
            raise fault(f"'{value}' is a folder beside the studies' own", "give another name")
        return value

    @field_validator("objective", mode="before")
    @classmethod
    def _independent(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in OBJECTIVES:
            if depends_on_beta(value):
                what = (
                    f"objective '{value}' depends on beta: it is a term of the loss that beta "
                    "weighs, so arms of different beta cannot be compared by it"
                )
                raise fault(
                    what, f"use one that does not depend on beta: {' or '.join(OBJECTIVES)}"
                )
            if value in FORMER_NAMES:
                what = f"objective '{value}' is called '{FORMER_NAMES[value]}', a negative ELBO"
                raise fault(what, f"write objective: {FORMER_NAMES[value]}")
            raise fault(f"unknown objective '{value}'", nearest(value, OBJECTIVES))
        return value

    @field_validator("arms")
    @classmethod
    def _some_arms(cls, value: dict[str, ArmSpec]) -> dict[str, ArmSpec]:
        if not value:
            remedy = "give at least one, e.g. arms: {learned: {balancer: learned_sigma}}"
            raise fault("no arm is given", remedy)
        for name in value:
            if not NAME.fullmatch(name):
                raise fault(f"'{name}' cannot be an arm's name", NAME_RULE, name)
        return value

    @model_validator(mode="after")
    def _reports_of_generations(self) -> Self:
        for name, arm in self.arms.items():
            generations, reports = (
                arm.search.generations if arm.search else 1,
                self.training.reports,
            )
            if reports % generations:
                what = f"{reports} reports do not divide into the {generations} generations of"
                remedy = f"give a multiple of {generations}"
                raise fault(f"{what} arm '{name}'", remedy, "training", "reports")
        return self

    @model_validator(mode="after")
    def _seeds_that_can_decide(self) -> Self:
        if self.until is None and self.seeds_batch is not None:
            what = "seeds_batch is for a study that adds seeds until it is decided"
            raise fault(what, "leave it out", "seeds_batch")
        if self.until is not None and len(self.seeds) < FEWEST_LOOKED:
            what = f"{len(self.seeds)} seeds can decide nothing"
            raise fault(what, f"give at_most: {FEWEST_LOOKED} or more", "seeds")
        return self

    @model_validator(mode="after")
    def _one_design(self) -> Self:
        if self.primary is None:
            return self
        if self.choosing_seeds is not None:
            what = "choosing_seeds choose the pair that primary names"
            raise fault(what, "leave out one of the two", "choosing_seeds")
        for kind, arm in self.primary:
            if arm not in self.arms:
                raise fault(f"there is no arm '{arm}'", nearest(arm, self.arms), "primary", kind)
        return self

    @model_validator(mode="after")
    def _measured_objective(self) -> Self:
        network = OBJECTIVES[self.objective].network
        if network is None:
            return self
        for key, needed in (("features", network), ("generators", "prior")):
            if needed not in getattr(self.evaluation, key):
                what = f"objective '{self.objective}' needs {needed} among evaluation.{key}"
                raise fault(what, f"add {needed} to evaluation.{key}", "objective")
        return self

    @model_validator(mode="after")
    def _searched_values(self) -> Self:
        """Check what a search may draw against the rules of the fixed setting."""
        for arm, spec in self.arms.items():
            for key, distribution in spec.search.space.items() if spec.search else ():
                section, name = section_of(key)
                fixed = {"training": self.training, "model": self.model}.get(section)
                if fixed is None or name not in type(fixed).model_fields:
                    continue
                for value in distribution.ends():
                    try:
                        type(fixed).model_validate({**fixed.model_dump(), name: value})
                    except ValidationError as error:
                        found = spec_error(error, type(fixed), Source())
                        path = ("arms", arm, "search", "space", key)
                        raise fault(found.what, found.remedy, *path) from None
        return self

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: Source | None = None) -> StudySpec:
        """The spec that ``data``, a file's content or :meth:`to_dict`'s result, describes.

        Names of models, balancers and datasets are not looked up: see
        :func:`study.spec.check_names`.

        Raises:
            SpecError: with the key, the value and the remedy.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise spec_error(error, cls, source or Source()) from None

    def to_dict(self) -> dict[str, Any]:
        """The whole spec, defaults included, as JSON-able values."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of the canonical JSON of the whole spec."""
        whole = self.to_dict()
        if whole["evaluation"]["draws"] == 1:  # specs that older versions froze keep their hash
            del whole["evaluation"]["draws"]
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def design(self) -> str:
        """How the compared pair comes about (:class:`study.journal.events.StudyDescribed`).

        Of a spec whose study has been launched: that settles what the file leaves open
        (:mod:`study.spec.design`).
        """
        if self.primary is not None:
            return "named"
        return "same_seeds" if self.choosing_seeds is None else "two_stages"

    def rows_alike_on(self, device: str) -> bool:
        """Whether a wide bank on ``device`` gives a trial the same last bits in every row.

        The device is ``cpu`` or ``cuda``. It does where batches are multiples of 4 images. Else
        they depend on the alignment of a row in memory: on a CPU in the matrix library, in
        float32; on a GPU in torch's own sums over a batch of 128 images or more, which are float32
        in any precision.
        """
        drawn = (a.search.space.get("training.batch_size") for a in self.arms.values() if a.search)
        searched = [v for found in drawn if found for v in found.grid() or (1,)]
        aligned = all(int(size) % 4 == 0 for size in (self.training.batch_size, *searched))
        return aligned or (device == "cpu" and self.engines.precision == "bfloat16")
