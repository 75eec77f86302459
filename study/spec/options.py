"""Samplers and pruners, a row each: Optuna's class, the options a spec may give, and rules.

Names and options are Optuna's own. Seeds are not options: they derive from the study, the arm,
the replicate and, where a sampler allows it, the trial's number. Optuna's Wilcoxon pruner is left
out: it pairs its steps as independent problem instances, which points of one learning curve are
not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from study.spec.errors import fault, shown
from vae_core.errors import nearest


@dataclass(frozen=True)
class Values:
    """The values an option takes, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)


FLAG = Values("true or false", lambda value: isinstance(value, bool))
COUNT = Values("a whole number, 0 or more", lambda value: _is_int(value) and value >= 0)
SOME = Values("a whole number, 1 or more", lambda value: _is_int(value) and value >= 1)
PAIR = Values("a whole number, 2 or more", lambda value: _is_int(value) and value >= 2)
NUMBER = Values("a number", _is_number)
POSITIVE = Values("a number above 0", lambda value: _is_number(value) and value > 0)
PERCENT = Values("a number from 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100)
SHARE = Values("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
HALF = Values("a number above 0, 0.5 at most", lambda value: _is_number(value) and 0 < value <= 0.5)
QMC_TYPE = Values("sobol or halton", lambda value: value in {"sobol", "halton"})

Options = Mapping[str, Values]
Given = Mapping[str, Any]
"""Options as a spec gives them."""


@dataclass(frozen=True)
class Row:
    """What samplers and pruners have in common.

    Attributes:
        factory: Optuna's class, or ours of one of Optuna's, as an import path.
        options: What a spec may give it.
        needed: Options of which a spec must give one at least.
        arguments: What it is constructed with beside its options, and other defaults of those.
    """

    factory: str
    options: Options = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    arguments: Given = field(default_factory=dict)


@dataclass(frozen=True)
class Sampler(Row):
    """A sampler.

    Attributes:
        adaptive: Whether it chooses trials by the results of others.
        start_up: Of an adaptive one, its attribute that draws at random while results are too few.
        batch: Trials asked together by default; None: all of the search.
        population: Trials it needs asked together, from the number of searched settings and its
            options; None: any number.
        seed_per: ``replicate`` where its points form one set, which another seed for each trial
            would make uneven.
        choices: Whether it draws from lists too.
        whole_space: Whether it is constructed with the space, as ``space``.
        grid: Whether its trials are the points of a grid, in order, rather than drawn.
        told: Whether it chooses by trials that it did not ask for, too.
        spaceless: Whether it searches no setting: its trials differ in their seeds alone.
        evolves: Whether its trials go on from the ends of others, a batch after the other, and
            may change what is searched.
    """

    adaptive: bool = False
    start_up: str = ""
    batch: int | None = None
    population: Callable[[int, Given], int] | None = None
    seed_per: Literal["trial", "replicate"] = "trial"
    choices: bool = True
    whole_space: bool = False
    grid: bool = False
    told: bool = False
    spaceless: bool = False
    evolves: bool = False


@dataclass(frozen=True)
class Pruner(Row):
    """A pruner."""


ADAPTIVE_BATCH = 4
# A sampler chooses as soon as one trial has ended, so all but the first batch. Optuna's own default
# of 10 finished trials leaves a search of 12, asked in fours, to chance.
_START_UP: Given = {"n_startup_trials": 1}
_QUIET: Given = {"warn_independent_sampling": False}
_CURVES: Options = {
    "n_startup_trials": COUNT,
    "n_warmup_steps": COUNT,
    "interval_steps": SOME,
    "n_min_trials": SOME,
}

SAMPLERS: Mapping[str, Sampler] = {
    "random": Sampler("optuna.samplers:RandomSampler"),
    # Its sampler only has to leave given values alone.
    "grid": Sampler("optuna.samplers:RandomSampler", grid=True),
    # Nor has this one anything to draw: the luck of as many runs as a search has.
    "seeds": Sampler("optuna.samplers:RandomSampler", spaceless=True),
    "qmc": Sampler(
        "study.search.samplers:WholeSpaceQMCSampler",
        options={"qmc_type": QMC_TYPE, "scramble": FLAG},
        seed_per="replicate",
        whole_space=True,
    ),
    "tpe": Sampler(
        "optuna.samplers:TPESampler",
        options={
            "n_startup_trials": COUNT,
            "n_ei_candidates": SOME,
            "multivariate": FLAG,
            "group": FLAG,
            "constant_liar": FLAG,
        },
        arguments=_START_UP,
        adaptive=True,
        start_up="_random_sampler",
        batch=ADAPTIVE_BATCH,
        told=True,
    ),
    "gp": Sampler(
        "optuna.samplers:GPSampler",
        options={"n_startup_trials": COUNT, "deterministic_objective": FLAG},
        arguments={**_START_UP, **_QUIET},
        adaptive=True,
        start_up="_independent_sampler",
        batch=ADAPTIVE_BATCH,
        told=True,
    ),
    "cmaes": Sampler(
        "optuna.samplers:CmaEsSampler",
        options={
            "sigma0": POSITIVE,
            "n_startup_trials": COUNT,
            "popsize": PAIR,
            "use_separable_cma": FLAG,
            "with_margin": FLAG,
            "lr_adapt": FLAG,
            "consider_pruned_trials": FLAG,
        },
        arguments=_QUIET,
        adaptive=True,
        start_up="_independent_sampler",
        population=lambda dimensions, given: int(
            given.get("popsize", 4 + math.floor(3 * math.log(dimensions)))
        ),
        choices=False,
    ),
    "pbt": Sampler(
        "study.search.population:PopulationSampler",
        options={"population": PAIR, "quantile": HALF, "resample": SHARE},
        needed=("population",),
        adaptive=True,
        population=lambda _, given: int(given.get("population", 2)),
        choices=False,
        evolves=True,
    ),
}

PRUNERS: Mapping[str, Pruner] = {
    "median": Pruner("optuna.pruners:MedianPruner", options=_CURVES),
    "percentile": Pruner(
        "optuna.pruners:PercentilePruner",
        options={"percentile": PERCENT, **_CURVES},
        needed=("percentile",),
    ),
    "successive_halving": Pruner(
        "optuna.pruners:SuccessiveHalvingPruner",
        options={
            "min_resource": SOME,
            "reduction_factor": PAIR,
            "min_early_stopping_rate": COUNT,
            "bootstrap_count": COUNT,
        },
    ),
    "hyperband": Pruner(
        "optuna.pruners:HyperbandPruner",
        options={
            "min_resource": SOME,
            "max_resource": SOME,
            "reduction_factor": PAIR,
            "bootstrap_count": COUNT,
        },
    ),
    "patient": Pruner(
        "optuna.pruners:PatientPruner",
        options={"patience": COUNT, "min_delta": NUMBER},
        needed=("patience",),
        arguments={"wrapped_pruner": None},
    ),
    "threshold": Pruner(
        "optuna.pruners:ThresholdPruner",
        options={
            "lower": NUMBER,
            "upper": NUMBER,
            "n_warmup_steps": COUNT,
            "interval_steps": SOME,
        },
        needed=("lower", "upper"),
    ),
}


def check_options(
    kind: str, table: Mapping[str, Row], name: str, given: Given, beside: tuple[str, ...] = ()
) -> None:
    """Check a sampler's or pruner's name and options.

    Args:
        kind: ``sampler`` or ``pruner``.
        table: the rows of that kind.
        name: as given.
        given: the options.
        beside: what every one of that kind takes.

    Raises:
        PydanticCustomError: an unknown name or option, or a value an option does not take.
    """
    if name not in table:
        raise fault(f"unknown {kind} '{name}'", nearest(name, table), "name")
    options, needed = table[name].options, table[name].needed
    for key, value in given.items():
        if key not in options:
            what = f"{kind} '{name}' has no option '{key}'"
            known = [*options, *beside]
            raise fault(what, nearest(key, known) if known else "it takes none: leave it out", key)
        if not options[key].holds(value):
            raise fault(f"{shown(value)} is not {options[key].words}", f"change {key}", key)
    if needed and not any(key in given for key in needed):
        what = f"{kind} '{name}' needs {' or '.join(needed)}"
        raise fault(what, f"give {needed[0]}: {options[needed[0]].words}")
