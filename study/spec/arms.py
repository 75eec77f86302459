"""The arms of a study file: each a balancer and, optionally, a search."""

from __future__ import annotations

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

from study.spec.base import Named, Section, Whole
from study.spec.distributions import Choice, Distribution, number, read_distribution, whole
from study.spec.errors import fault, shown
from study.spec.options import PRUNERS, SAMPLERS, Sampler, check_options

Kind = Literal["hand_tuned", "automatic"]
Reduction = Literal["half_sum", "sum", "mean"]
REDUCTIONS: tuple[Reduction, ...] = ("half_sum", "sum", "mean")


def half_sum_beta(beta: float, reduction: Reduction, dims: int) -> float:
    """The beta of the loss ``S/2 + beta R`` that balances as ``c S + beta' R`` does.

    Args:
        beta: the weight beta' of R (KL, nats per image) in the loss as given.
        reduction: how that loss reduces the squared error S: ``half_sum`` is S/2, ``sum`` is S,
            ``mean`` is S/D.
        dims: D, observed dimensions of an image.

    Returns:
        beta' / (2c): the same, half, or D/2 times as much.
    """
    factors: dict[Reduction, float] = {"half_sum": 1.0, "sum": 0.5, "mean": dims / 2}
    return beta * factors[reduction]


class BalancerSpec(Named):
    """The balancer and its fixed hyperparameters."""

    name: str = Field(description="a balancer's name, or 'package.module:Name' of your own")
    reduction: Reduction = Field(
        default="half_sum",
        description="how the loss that beta is given for reduces the squared error: "
        "half_sum (S/2), sum (S) or mean (S/D)",
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v if k in cls.model_fields else number(v) for k, v in value.items()}

    @model_validator(mode="after")
    def _hyperparameters(self) -> Self:
        for key, value in self.extras.items():
            if not isinstance(value, float):
                meant = get_close_matches(key, type(self).model_fields, n=1)
                remedy = f"did you mean '{meant[0]}'?" if meant else f"give a number as {key}"
                raise fault(f"{shown(value)} is not a number", remedy, key)
        return self


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


class SearchSpec(Section):
    """What an arm searches, how, and for how many trials; ``replicates`` repeat the whole search.

    The space is sorted by key, so that the order in the file changes no draw.
    """

    space: dict[str, Distribution] = Field(
        description="what is searched, e.g. space: {beta: {low: 1e-3, high: 10, log: true}}"
    )
    sampler: SamplerSpec = Field(
        default=SamplerSpec(name="random"), description="a sampler's name, or its name and options"
    )
    pruner: PrunerSpec | None = Field(
        default=None, description="a pruner's name, or its name and options"
    )
    # None: the whole grid.
    trials: Whole = Field(
        default=None, validate_default=True, description="how many trials a search makes, 1 or more"
    )
    batch: Whole | None = Field(
        default=None, ge=1, description="how many trials are asked together, 1 or more"
    )
    replicates: Whole = Field(
        default=1, ge=1, description="how often the search is repeated, 1 or more"
    )

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            what = "nothing is searched" if not value else f"{shown(value)} is not a space"
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
        size = _grid_size(space)
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

    @field_serializer("space")
    def _write_space(self, space: dict[str, Distribution]) -> dict[str, Any]:
        return {key: distribution.to_json() for key, distribution in space.items()}

    @property
    def _row(self) -> Sampler:
        return SAMPLERS[self.sampler.name]

    @property
    def _population(self) -> int | None:
        population = self._row.population
        return population(len(self.space), self.sampler.extras) if population else None

    @property
    def batch_size(self) -> int:
        """How many trials are asked together, before the sampler gets a result of any of them.

        By default all of them where no trial is chosen by another's result (random, qmc, grid),
        a population for cmaes, and 4 for tpe and gp: a number of the machine's would make the
        outcome depend on it, and one that grew with ``trials`` would change on extension.
        """
        wanted = self.batch or self._population or self._row.batch or self.trials
        return min(wanted, self.trials)


class ArmSpec(Section):
    """A balancer and, optionally, a search."""

    balancer: BalancerSpec = Field(description="a balancer's name, or its name and hyperparameters")
    search: SearchSpec | None = Field(default=None, description="what to search and how")
    kind: Kind | None = Field(
        default=None,
        description="hand_tuned or automatic, or leave it out: balancer and search decide",
    )

    @model_serializer(mode="wrap")
    def _without_its_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a kind that is not given: specs that older versions froze keep their hash."""
        written: dict[str, Any] = write(self)
        if self.kind is None:
            del written["kind"]
        return written

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> Self:
        for key in self.search.space if self.search else ():
            if key in self.balancer.extras:
                what = f"'{key}' is searched, and fixed in the arm's balancer too"
                raise fault(what, "leave out one of the two", "search", "space", key)
        return self


def _either(names: list[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _grid_size(space: Mapping[str, Distribution]) -> int:
    size = 1
    for key, distribution in space.items():
        values = distribution.grid()
        if values is None:
            stepped = "" if getattr(distribution, "log", False) else "step, "
            remedy = f"give points (how many), {stepped}or a list of values"
            raise fault(f"a grid needs the values of '{key}' to visit", remedy)
        size *= len(values)
    return size
