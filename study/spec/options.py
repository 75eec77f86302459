"""The samplers and pruners known by name, and the options a spec may give each.

Names and options are Optuna's own. Seeds are not options: they derive from the study, the arm,
the replicate and, where a sampler allows it, the trial's number. Optuna's Wilcoxon pruner is left
out: it pairs its steps as independent problem instances, which points of one learning curve are
not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from study.spec.errors import fault, shown
from vae_core.errors import nearest


@dataclass(frozen=True)
class Kind:
    """The values an option takes, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)


FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number, 0 or more", lambda value: _is_int(value) and value >= 0)
SOME = Kind("a whole number, 1 or more", lambda value: _is_int(value) and value >= 1)
PAIR = Kind("a whole number, 2 or more", lambda value: _is_int(value) and value >= 2)
NUMBER = Kind("a number", _is_number)
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
PERCENT = Kind("a number from 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100)
QMC_TYPE = Kind("sobol or halton", lambda value: value in {"sobol", "halton"})

Options = Mapping[str, Kind]

_CURVES: Options = {
    "n_startup_trials": COUNT,
    "n_warmup_steps": COUNT,
    "interval_steps": SOME,
    "n_min_trials": SOME,
}

SAMPLER_OPTIONS: Mapping[str, Options] = {
    "random": {},
    "grid": {},
    "qmc": {"qmc_type": QMC_TYPE, "scramble": FLAG},
    "tpe": {
        "n_startup_trials": COUNT,
        "n_ei_candidates": SOME,
        "multivariate": FLAG,
        "group": FLAG,
        "constant_liar": FLAG,
    },
    "gp": {"n_startup_trials": COUNT, "deterministic_objective": FLAG},
    "cmaes": {
        "sigma0": POSITIVE,
        "n_startup_trials": COUNT,
        "popsize": PAIR,
        "use_separable_cma": FLAG,
        "with_margin": FLAG,
        "lr_adapt": FLAG,
        "consider_pruned_trials": FLAG,
    },
}

PRUNER_OPTIONS: Mapping[str, Options] = {
    "median": _CURVES,
    "percentile": {"percentile": PERCENT, **_CURVES},
    "successive_halving": {
        "min_resource": SOME,
        "reduction_factor": PAIR,
        "min_early_stopping_rate": COUNT,
        "bootstrap_count": COUNT,
    },
    "hyperband": {
        "min_resource": SOME,
        "max_resource": SOME,
        "reduction_factor": PAIR,
        "bootstrap_count": COUNT,
    },
    "patient": {"patience": COUNT, "min_delta": NUMBER},
    "threshold": {
        "lower": NUMBER,
        "upper": NUMBER,
        "n_warmup_steps": COUNT,
        "interval_steps": SOME,
    },
}

SAMPLERS = tuple(SAMPLER_OPTIONS)
PRUNERS = tuple(PRUNER_OPTIONS)
ADAPTIVE_SAMPLERS = ("tpe", "gp", "cmaes")

# At least one of these has to be given.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "percentile": ("percentile",),
    "patient": ("patience",),
    "threshold": ("lower", "upper"),
}


def check_options(
    kind: str, table: Mapping[str, Options], name: str, options: Mapping[str, Any]
) -> None:
    """Check a sampler's or pruner's name and options.

    Raises:
        PydanticCustomError: an unknown name or option, or a value an option does not take.
    """
    if name not in table:
        raise fault(f"unknown {kind} '{name}'", nearest(name, table), "name")
    allowed = table[name]
    for key, value in options.items():
        if key not in allowed:
            what = f"{kind} '{name}' has no option '{key}'"
            raise fault(what, nearest(key, allowed), key)
        if not allowed[key].holds(value):
            raise fault(f"{shown(value)} is not {allowed[key].words}", f"change {key}", key)
    needed = _NEEDED.get(name, ())
    if needed and not any(key in options for key in needed):
        what = f"{kind} '{name}' needs {' or '.join(needed)}"
        raise fault(what, f"give {needed[0]}: {allowed[needed[0]].words}")
