"""Samplers and pruners: each row names a class, with options which that class has."""

import inspect
from importlib import import_module

import optuna
import pytest

from study.search.population import PopulationSampler
from study.search.samplers import WholeSpaceQMCSampler, make_pruner, make_sampler
from study.spec import PrunerSpec, SamplerSpec
from study.spec.options import PRUNERS, SAMPLERS

CLASSES = {
    "random": optuna.samplers.RandomSampler,
    "grid": optuna.samplers.RandomSampler,
    "qmc": WholeSpaceQMCSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "pbt": PopulationSampler,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "patient": optuna.pruners.PatientPruner,
    "threshold": optuna.pruners.ThresholdPruner,
}
ROWS = {**SAMPLERS, **PRUNERS}
NEEDED = {
    "pbt": {"population": 4},
    "percentile": {"percentile": 30.0},
    "patient": {"patience": 2},
    "threshold": {"lower": 0},
}


def class_of(name):
    module, _, attribute = ROWS[name].factory.partition(":")
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", CLASSES)
def test_a_name_means_this_class(name):
    assert class_of(name) is CLASSES[name]


@pytest.mark.parametrize("name", ROWS)
def test_each_option_is_a_parameter(name):
    parameters = inspect.signature(class_of(name)).parameters
    assert {*ROWS[name].options, *ROWS[name].arguments} <= set(parameters)
    for option, values in ROWS[name].options.items():
        default = parameters[option].default
        if default is not inspect.Parameter.empty and default not in {None, "auto"}:
            assert values.holds(default), f"{option}'s own default {default!r} is not allowed"


@pytest.mark.parametrize("name", ROWS)
def test_each_is_made_from_its_row(name):
    given = {"name": name, **NEEDED.get(name, {})}
    if name in SAMPLERS:
        made = make_sampler(SamplerSpec.model_validate(given), 2**32 + 1, {}).sampler
    else:
        made = make_pruner(PrunerSpec.model_validate(given))
    assert type(made) is class_of(name)
