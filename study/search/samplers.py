"""Optuna's samplers, pruners and distributions, from a spec's."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from study.spec import Choice, Distribution, FloatRange, PrunerSpec, SamplerSpec, SearchSpec

_SAMPLERS = {
    "random": optuna.samplers.RandomSampler,
    # A grid's points are given, not drawn; its sampler only has to leave them alone.
    "grid": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
}
_PRUNERS = {
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "threshold": optuna.pruners.ThresholdPruner,
}
SEED_PER_REPLICATE = frozenset({"qmc"})
"""Samplers whose points belong together: another seed a trial would lose their evenness."""

_QUIET: dict[str, dict[str, Any]] = {
    "qmc": {"warn_asynchronous_seeding": False, "warn_independent_sampling": False},
    "gp": {"warn_independent_sampling": False},
    "cmaes": {"warn_independent_sampling": False},
}


class StudyStorage(JournalStorage):
    """Optuna's journal storage, but that an ask does not look through all trials before it.

    At every ask Optuna goes through the study's trials for those that wait to run with parameters
    that were given. Here those are given right before the ask, and are in one group of the
    journal's lines with it: none but the newest can wait.
    """

    def __init__(self, backend: BaseJournalBackend) -> None:
        super().__init__(backend)
        self._newest: dict[int, int] = {}  # study -> trial created last, by this process

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial; return its id."""
        made: int = super().create_new_trial(study_id, template_trial)
        self._newest[study_id] = made
        return made

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """A study's trials, or those in ``states``."""
        if states != (TrialState.WAITING,):
            found: list[FrozenTrial] = super().get_all_trials(study_id, deepcopy, states)
            return found
        newest = [self.get_trial(self._newest[study_id])] if study_id in self._newest else []
        return [trial for trial in newest if trial.state is TrialState.WAITING]


def make_sampler(spec: SamplerSpec, seed: int) -> BaseSampler:
    """The sampler that draws under ``seed``, and nothing but it and the storage."""
    options = {**_QUIET.get(spec.name, {}), **spec.extras, "seed": seed % 2**32}
    with warnings.catch_warnings():  # some are marked experimental, at each making
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler: BaseSampler = _SAMPLERS[spec.name](**options)
    return sampler


def make_pruner(spec: PrunerSpec | None) -> BasePruner:
    """The pruner, or one that never prunes."""
    if spec is None:
        return optuna.pruners.NopPruner()
    options = dict(spec.extras)
    if spec.name == "percentile":
        return optuna.pruners.PercentilePruner(options.pop("percentile"), **options)
    if spec.name == "patient":
        return optuna.pruners.PatientPruner(None, **options)
    pruner: BasePruner = _PRUNERS[spec.name](**options)
    return pruner


def distributions(space: dict[str, Distribution]) -> dict[str, BaseDistribution]:
    """The space, as Optuna has it."""
    return {key: _distribution(found) for key, found in space.items()}


def grid(search: SearchSpec) -> list[dict[str, Any]]:
    """Every point of a grid search, the last key of the space changing fastest."""
    values = [distribution.grid() or [] for distribution in search.space.values()]
    return [dict(zip(search.space, point, strict=True)) for point in itertools.product(*values)]


def _distribution(found: Distribution) -> BaseDistribution:
    if isinstance(found, Choice):
        return CategoricalDistribution(found.values)
    if isinstance(found, FloatRange):
        return FloatDistribution(found.low, found.high, log=found.log, step=found.step)
    return IntDistribution(found.low, found.high, log=found.log, step=found.step or 1)
