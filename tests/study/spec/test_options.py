"""The options a spec may give are options that Optuna's classes have, and construct them."""

import inspect

import optuna
import pytest

from study.spec.options import PRUNER_OPTIONS, PRUNERS, SAMPLER_OPTIONS, SAMPLERS

SAMPLER_CLASSES = {
    "random": optuna.samplers.RandomSampler,
    "grid": optuna.samplers.GridSampler,
    "qmc": optuna.samplers.QMCSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
}
PRUNER_CLASSES = {
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "patient": optuna.pruners.PatientPruner,
    "threshold": optuna.pruners.ThresholdPruner,
}


def test_the_tables_name_what_is_tested_here():
    assert set(SAMPLERS) == set(SAMPLER_CLASSES)
    assert set(PRUNERS) == set(PRUNER_CLASSES)


@pytest.mark.parametrize("name", [*SAMPLERS, *PRUNERS])
def test_each_option_is_a_parameter(name):
    table = SAMPLER_OPTIONS if name in SAMPLERS else PRUNER_OPTIONS
    kind = {**SAMPLER_CLASSES, **PRUNER_CLASSES}[name]
    parameters = inspect.signature(kind).parameters
    assert set(table[name]) <= set(parameters)
    for option, words in table[name].items():
        default = parameters[option].default
        if default is not inspect.Parameter.empty and default not in {None, "auto"}:
            assert words.holds(default), f"{option}'s own default {default!r} is not allowed"
