"""The arms of a study file: each a balancer and, optionally, a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from study.spec.base import Named, Number, Section, Whole
from study.spec.conventions import REDUCTION_WORDS, Convention, Reduction
from study.spec.distributions import (
    CHANGEABLE,
    Choice,
    Distribution,
    FloatRange,
    number,
    read_distribution,
    read_value,
    whole,
)
from study.spec.errors import fault, shown
from study.spec.options import PRUNERS, SAMPLERS, Sampler, check_options
from study.spec.trials import BATCH, read_until_bounded
from vae_core.errors import nearest

Kind = Literal["hand_tuned", "automatic"]


class BalancerSpec(Named):
    """The balancer and its fixed hyperparameters."""

    name: str = Field(description="a balancer's name, or 'package.module:Name' of your own")
    reduction: Reduction = Field(
        default="half_sum",
        description="how the loss that beta is given for reduces the squared error: "
        f"{REDUCTION_WORDS}",
    )
    convention: Convention | None = Field(
        default=None,
        description="the loss that beta is given for: a library's name, or its parts, e.g. "
        "{reconstruction: mean, range: [-1, 1]}",
    )

    @model_serializer(mode="wrap")
    def _said_once(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a convention that is not given: older specs keep their hash."""
        written: dict[str, Any] = write(self)
        del written["convention" if self.convention is None else "reduction"]
        return written

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v if k in cls.model_fields else number(v) for k, v in value.items()}

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if self.convention is not None and "reduction" in self.model_fields_set:
            remedy = "leave out reduction: convention.reconstruction says it"
            raise fault("reduction and convention are both given", remedy, "reduction")
        return self

    @model_validator(mode="after")
    def _hyperparameters(self) -> Self:
        for key, value in self.extras.items():
            if not isinstance(value, float):
                meant = get_close_matches(key, type(self).model_fields, n=1)
                remedy = f"did you mean '{meant[0]}'?" if meant else f"give a number as {key}"
                raise fault(f"{shown(value)} is not a number", remedy, key)
        return self

    @property
    def loss(self) -> Convention | None:
        """The loss that beta is given for; None where no other than S/2 + beta R is named."""
        if self.convention is None and self.reduction != "half_sum":
            return Convention(reconstruction=self.reduction)
        return self.convention


class SamplerSpec(Named):
    """An Optuna sampler and its options."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_options("sampler", SAMPLERS, self.name, self.extras)
        return self


class PrunerSpec(Named):
    """An Optuna pruner and its options.

    ``synchronous`` decides once the whole batch has reached a report, so that the outcome does not
    depend on the order in which trials report.
    """

    synchronous: bool = Field(default=False, description="true to decide a batch at a time")

    @model_validator(mode="after")
    def _known(self) -> Self:
        check_options("pruner", PRUNERS, self.name, self.extras, ("synchronous",))
        return self


class WarmStartSpec(Section):
    """An earlier search whose trials the sampler is told before it draws.

    They are not trained again and never chosen. What they cost where they were trained is part of
    what a model of the arm costs.
    """

    study: str = Field(description="a study of this home, or of the storage")
    arm: str | None = Field(default=None, description="its arm, where several fit the space")
    storage: str | None = Field(
        default=None, description="an Optuna storage: its URL, or the path of its journal file"
    )
    images: Whole | None = Field(
        default=None, ge=0, description="images a storage's trials were trained on, all together"
    )
    device_seconds: Number | None = Field(
        default=None, ge=0, description="device seconds that took"
    )

    @model_validator(mode="after")
    def _charged(self) -> Self:
        for key in ("images", "device_seconds"):
            given = getattr(self, key) is not None
            if self.storage is None and given:
                what = f"{key} is for trials of a storage: the studies of this home record theirs"
                raise fault(what, "leave it out", key)
            if self.storage is not None and not given:
                what = f"an Optuna storage does not record {key.replace('_', ' ')}"
                raise fault(what, f"give {key}: what all its trials took, to be charged", key)
        if self.storage is not None and self.arm is not None:
            raise fault("a study in a storage has no arms", "leave it out", "arm")
        if self.storage is not None and re.search(r"://[^/@]*:[^/@]*@", self.storage):
            what = "the storage's URL holds a password, which every record of the study would show"
            raise fault(what, "copy the storage to a file: optuna.copy_study", "storage")
        return self


class SearchSpec(Section):
    """What an arm searches, how, and for how many trials; ``replicates`` repeat the whole search.

    The space is sorted by key, so that the order in the file changes no draw.
    """

    space: dict[str, Distribution] = Field(
        default={},
        description="what is searched, e.g. space: {beta: {low: 1e-3, high: 10, log: true}}",
    )
    sampler: SamplerSpec = Field(
        default=SamplerSpec(name="random"), description="a sampler's name, or its name and options"
    )
    pruner: PrunerSpec | None = Field(
        default=None, description="a pruner's name, or its name and options"
    )
    # None: the whole grid.
    trials: Whole = Field(
        default=None,
        validate_default=True,
        description="how many trials a search makes, 1 or more, or {until: bounded, at_most: 200}",
    )
    # What is left of ``trials: {until: bounded, ...}`` beside the most there may be.
    until: Literal["bounded"] | None = Field(
        default=None, description="bounded, or leave it out to make all trials"
    )
    batch: Whole | None = Field(
        default=None, ge=1, description="how many trials are asked together, 1 or more"
    )
    replicates: Whole = Field(
        default=1, ge=1, description="how often the search is repeated, 1 or more"
    )
    enqueue: list[dict[str, Any]] = Field(
        default=[], description="settings that every search tries first, e.g. [{beta: 1}]"
    )
    warm_start: WarmStartSpec | None = Field(
        default=None, description="an earlier search whose trials the sampler is told"
    )

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not given: specs that older versions froze keep their hash."""
        written: dict[str, Any] = write(self)
        until = written.pop("until")
        if until is not None:
            written["trials"] = {"until": until, "at_most": self.trials}
        return {k: v for k, v in written.items() if v or k not in {"enqueue", "warm_start"}}

    @model_validator(mode="before")
    @classmethod
    def _until_bounded(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if "until" in value:
            remedy = "give trials: {until: bounded, at_most: 200}"
            raise fault("'until' is a key of trials", remedy, "until")
        return read_until_bounded(value) if isinstance(value.get("trials"), Mapping) else value

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            what = f"{shown(value)} is not a space"
            raise fault(what, "give settings and their ranges, or leave out search")
        return {str(k): read_distribution(str(k), value[k]) for k in sorted(value, key=str)}

    @field_validator("trials", mode="before")
    @classmethod
    def _read_trials(cls, value: Any, info: ValidationInfo) -> Any:
        space, sampler = info.data.get("space"), info.data.get("sampler")
        if space is None or sampler is None:  # they raise errors of their own
            return value or 1
        if not SAMPLERS[sampler.name].grid:
            if value is None:
                raise fault("'trials' is missing", "give how many trials a search makes")
            return value
        size = grid_size(space)
        if value is not None and isinstance(whole(value), int) and whole(value) > size:
            raise fault(f"{value} trials of a grid of {size}", "give fewer trials, or more points")
        return size if value is None else value

    @field_validator("trials")
    @classmethod
    def _some_trials(cls, value: int) -> int:
        if value < 1:
            raise fault(f"{value} trials is too few", "give 1 trial or more")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        name, row = self.sampler.name, self._row
        if row.spaceless and self.space:
            what = f"sampler '{name}' repeats the arm's own settings under other seeds"
            raise fault(what, "leave out space, or use another sampler", "space")
        if not row.spaceless and not self.space:
            remedy = "give settings and their ranges, or leave out search"
            raise fault("nothing is searched", remedy, "space")
        for key, distribution in self.space.items():
            if isinstance(distribution, Choice) and not row.choices:
                what = f"sampler '{name}' draws from ranges only, and this is a list"
                others = [other for other, found in SAMPLERS.items() if found.choices]
                raise fault(what, f"give a range, or use {_either(others)}", "space", key)
        if self._population and self.batch not in {None, self._population}:
            what = f"batch {self.batch}, but '{name}' asks one population of {self._population}"
            raise fault(what, "leave out batch, or give the sampler's popsize", "batch")
        for key, distribution in self.space.items():
            pointed = not isinstance(distribution, Choice) and distribution.points is not None
            if pointed and not row.grid:
                what = f"points are for sampler 'grid', and this is '{name}'"
                raise fault(what, "leave out points, or use grid", "space", key, "points")
        return self

    @model_validator(mode="after")
    def _generations(self) -> Self:
        if not self._row.evolves:
            return self
        name, size = self.sampler.name, self.batch_size
        for key, distribution in self.space.items():
            if "." in key and key != CHANGEABLE:
                what = f"'{name}' changes settings within a training, and '{key}' cannot change"
                remedy = f"search the balancer's hyperparameters and {CHANGEABLE} only"
                raise fault(what, remedy, "space", key)
            if not isinstance(distribution, FloatRange) or distribution.step is not None:
                what = f"'{name}' multiplies what it changes, and this is no range without steps"
                raise fault(what, "give {low: ..., high: ...}, or use tpe", "space", key)
        if self.trials % size or self.trials < 2 * size:
            what = f"{self.trials} trials are not two or more generations of {size}"
            raise fault(what, f"give a multiple of {size}, such as {5 * size}", "trials")
        for key in ("pruner", "enqueue"):
            if getattr(self, key):
                what = f"'{name}' replaces the worst of a generation, and {key} is given too"
                raise fault(what, "leave it out, or use another sampler", key)
        return self

    @model_validator(mode="after")
    def _knowledge(self) -> Self:
        row = self._row
        if self.enqueue and row.grid:
            what = "a grid visits its own points, in order"
            raise fault(what, "leave out enqueue, or use another sampler", "enqueue")
        if len(self.enqueue) > self.trials:
            what = f"{len(self.enqueue)} settings are to be tried first, and a search makes "
            raise fault(f"{what}{self.trials} trials", "give more trials", "enqueue")
        for i, given in enumerate(self.enqueue):
            if not given:
                raise fault("no setting is given", "give a value of a searched one", "enqueue", i)
            for key, raw in given.items():
                if key not in self.space:
                    what = f"'{key}' is not searched"
                    raise fault(what, nearest(key, self.space), "enqueue", i, key)
                given[key] = read_value(key, self.space[key], raw, "enqueue", i)
        if self.warm_start is not None and not row.told:
            others = _either([name for name, found in SAMPLERS.items() if found.told])
            what = f"sampler '{self.sampler.name}' learns nothing from trials it did not ask for"
            raise fault(what, f"leave out warm_start, or use {others}", "warm_start")
        return self

    @model_validator(mode="after")
    def _bounded_by_independent_trials(self) -> Self:
        if self.until is None or (self.independent and self.replicates == 1):
            return self
        name, more = self.sampler.name, "or give a number of trials"
        faults = {
            ("sampler",): (name != "random", f"sampler '{name}'", f"use sampler: random, {more}"),
            ("pruner",): (self.pruner is not None, "a pruner", f"leave out pruner, {more}"),
            ("enqueue",): (bool(self.enqueue), "given settings", f"leave out enqueue, {more}"),
            ("replicates",): (True, "replicates", "leave them out: its trials are one sample"),
        }
        path, (_, what, remedy) = next(item for item in faults.items() if item[1][0])
        rule = "trials until bounded are independent draws of one search, each trained to its end"
        raise fault(f"{rule}, and this one has {what}", remedy, *path)

    @field_serializer("space")
    def _write_space(self, space: dict[str, Distribution]) -> dict[str, Any]:
        return {key: distribution.to_json() for key, distribution in space.items()}

    @property
    def _row(self) -> Sampler:
        return SAMPLERS[self.sampler.name]

    @property
    def independent(self) -> bool:
        """Whether its trials are independent draws, all trained to their end."""
        return self.sampler.name == "random" and self.pruner is None and not self.enqueue

    @property
    def generations(self) -> int:
        """Stages of a training, each by trials of its own; 1: a trial is a whole training."""
        return self.trials // self.batch_size if self._row.evolves else 1

    @property
    def trainings(self) -> int:
        """Whole trainings that its trials come to."""
        return self.trials // self.generations

    @property
    def _population(self) -> int | None:
        population = self._row.population
        return population(len(self.space), self.sampler.extras) if population else None

    @property
    def batch_size(self) -> int:
        """How many trials are asked together, before the sampler gets a result of any of them.

        By default all of them where no trial is chosen by another's result (random, qmc, grid),
        a few where break-even is looked at after each batch, a population for cmaes, and 4 for tpe
        and gp, fewer where that would be more than a third of the search, whose first batch is
        drawn at random. A number of the machine's would make the outcome depend on it.
        """
        most = self._row.batch and max(1, min(self._row.batch, self.trials // 3))
        some = BATCH if self.until is not None else self.trials
        wanted = self.batch or self._population or most or some
        return min(wanted, self.trials)


class PilotSpec(Section):
    """What choosing an arm's settings has cost: a study of this home, or as stated."""

    study: str | None = Field(default=None, description="a study of this home")
    images: Whole | None = Field(
        default=None, ge=1, description="images that were trained on to choose them, 1 or more"
    )
    device_seconds: Number | None = Field(
        default=None, ge=0, description="device seconds that took"
    )

    @model_serializer(mode="wrap")
    def _given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if value is not None}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        stated = {key: getattr(self, key) for key in ("images", "device_seconds")}
        if self.study is not None and any(value is not None for value in stated.values()):
            what = "a study of this home records what it cost, and costs are stated too"
            raise fault(what, "leave out one of the two", "study")
        if self.study is None and None in stated.values():
            what = "nothing says what the pilot cost"
            raise fault(what, "give study, or images and device_seconds")
        return self


class ArmSpec(Section):
    """A balancer and, optionally, a search."""

    balancer: BalancerSpec = Field(description="a balancer's name, or its name and hyperparameters")
    search: SearchSpec | None = Field(default=None, description="what to search and how")
    kind: Kind | None = Field(
        default=None,
        description="hand_tuned or automatic, or leave it out: balancer and search decide",
    )
    pilot: PilotSpec | None = Field(
        default=None, description="what choosing its balancer's settings has cost"
    )

    @model_serializer(mode="wrap")
    def _without_its_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not given: specs that older versions froze keep their hash."""
        written: dict[str, Any] = write(self)
        return {k: v for k, v in written.items() if v is not None or k not in {"kind", "pilot"}}

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> Self:
        for key in self.search.space if self.search else ():
            if key in self.balancer.extras:
                what = f"'{key}' is searched, and fixed in the arm's balancer too"
                raise fault(what, "leave out one of the two", "search", "space", key)
        return self


def _either(names: list[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def grid_size(space: Mapping[str, Distribution]) -> int:
    """How many points a grid over ``space`` has.

    Raises:
        PydanticCustomError: a range does not say which values it visits.
    """
    size = 1
    for key, distribution in space.items():
        values = distribution.grid()
        if values is None:
            stepped = "" if getattr(distribution, "log", False) else "step, "
            remedy = f"give points (how many), {stepped}or a list of values"
            raise fault(f"a grid needs the values of '{key}' to visit", remedy)
        size *= len(values)
    return size
