"""Optuna's samplers, pruners and distributions, made from a spec's."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib import import_module
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
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from study.spec import (
    PRUNERS,
    SAMPLERS,
    Choice,
    Distribution,
    FloatRange,
    PrunerSpec,
    SamplerSpec,
    SearchSpec,
)
from study.spec.options import Row


class StudyStorage(JournalStorage):
    """Optuna's journal storage, without the search through all trials at every ask.

    At every ask Optuna searches the study's trials for those that wait to run with given
    parameters. Here parameters are given right before the ask and journalled in one group with
    it, so only the newest trial can wait.
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


class WholeSpaceQMCSampler(QMCSampler):
    """Optuna's quasi-random points, all of them of one sequence.

    Optuna learns the space from a study's first trial, which it draws at random. Scrambled unless
    told otherwise: without, ``seed`` changes nothing and the first point is every range's low end.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        *,
        seed: int,
        qmc_type: str = "sobol",
        scramble: bool = True,
    ) -> None:
        super().__init__(
            qmc_type=qmc_type,
            scramble=scramble,
            seed=seed,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
        self._space = dict(space)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole space, from the first trial on."""
        return self._space


RANDOM = "random"
"""What draws a trial of an adaptive sampler that has too few results."""


class StartUp(RandomSampler):
    """What an adaptive sampler asks for random values while it has too few results.

    Attributes:
        asked: whether it was, for any value.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.asked = False

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        self.asked = True
        return super().sample_independent(study, trial, name, distribution)


@dataclass(frozen=True)
class Draw:
    """A sampler for one trial.

    Attributes:
        sampler: Optuna's.
        name: as in a spec.
        start_up: what an adaptive one falls back on.
    """

    sampler: BaseSampler
    name: str
    start_up: StartUp | None = None

    @property
    def by(self) -> str:
        """What drew the trial: the sampler's name, or ``random`` where it fell back on that."""
        return RANDOM if self.start_up is not None and self.start_up.asked else self.name


def make_sampler(spec: SamplerSpec, seed: int, space: Mapping[str, BaseDistribution]) -> Draw:
    """The sampler of ``space``; what it draws depends on ``seed`` and the storage alone."""
    row, seed = SAMPLERS[spec.name], seed % 2**32
    given = {"space": space} if row.whole_space else {}
    sampler: BaseSampler = _made(row, {**given, **spec.extras, "seed": seed})
    if not row.start_up:
        return Draw(sampler, spec.name)
    start_up = StartUp(seed)  # draws what the one that it replaces would
    assert isinstance(getattr(sampler, row.start_up), RandomSampler)
    setattr(sampler, row.start_up, start_up)
    return Draw(sampler, spec.name, start_up)


def make_pruner(spec: PrunerSpec | None) -> BasePruner:
    """The pruner, or one that never prunes."""
    if spec is None:
        return optuna.pruners.NopPruner()
    pruner: BasePruner = _made(PRUNERS[spec.name], spec.extras)
    return pruner


def _made(row: Row, given: Mapping[str, Any]) -> Any:
    module, _, name = row.factory.partition(":")
    with warnings.catch_warnings():  # some warn that they are experimental, each time
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return getattr(import_module(module), name)(**{**row.arguments, **given})


def distributions(space: dict[str, Distribution]) -> dict[str, BaseDistribution]:
    """The space as Optuna's distributions."""
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
