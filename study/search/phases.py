"""An arm's two phases as Optuna studies: searching a configuration, and confirming the chosen one.

A phase asks for its trials in whole batches: each batch before any of it starts, and Optuna is told
of it in the order of its numbers once all of it has ended. What it asks for therefore depends on
earlier batches alone: not on how many engines ran, nor on which trial ended first.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from study.journal.course import Course
from study.journal.events import TrialAsked, TrialsTold
from study.search.samplers import RANDOM, Draw, distributions, grid, make_pruner, make_sampler
from study.spec import SAMPLERS, StudySpec, resolve
from vae_core.randomness import derive

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_RETRY = "retry_of"
"""Attribute of an Optuna trial that runs another one again: the number of both."""
_TOLD = "told"
"""Attribute of an Optuna trial of an earlier search, which this one never trains or chooses."""
_NO_NUMBER = -1
"""The number of such a trial."""
CHOOSING, COMPARING = "choosing", "comparing"
"""What confirm runs of a study in two stages are for."""
ENQUEUED = "enqueue"
"""What draws a trial whose settings the spec gives."""


@dataclass(frozen=True)
class Chosen:
    """The configuration that a search chose."""

    number: int
    """Of its search trial."""
    params: dict[str, Any]
    value: float | None
    """The objective it reached on validation."""
    course: Course | None = None
    """The stages that led to it, where settings change within a training."""

    @classmethod
    def of(cls, asked: TrialAsked, value: float | None) -> Self:
        """The configuration of a search trial."""
        return cls(asked.number, dict(asked.params), value, Course.of(asked.course))


class _OwnTrials:
    """An Optuna study as its pruner sees it: without trials of an earlier search.

    They have no learning curve, and would count as trials to compare with.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        """As of the study."""
        found = self._study.get_trials(*args, **kwargs)
        return [trial for trial in found if _TOLD not in trial.user_attrs]


class Phase:
    """One Optuna study, asked and told in batches.

    Args:
        storage: where all of a study's Optuna studies are kept.
        spec: the study.
        dims: D, observed dimensions of an image.
        arm: the arm's name.
        replicate: which repetition of the arm's search this belongs to.
        name: the Optuna study's name, and the trials' prefix.
    """

    phase = ""
    chosen_from: int | None = None
    synchronous = False
    """Whether pruning decides once a whole batch has reached a report."""
    batch: int
    trials: int

    def __init__(
        self,
        storage: BaseStorage,
        spec: StudySpec,
        dims: int,
        arm: str,
        replicate: int,
        name: str,
    ) -> None:
        self.spec, self.arm, self.replicate, self.name = spec, arm, replicate, name
        self._storage, self._dims = storage, dims
        self._study = optuna.create_study(
            study_name=name, storage=storage, direction="minimize", load_if_exists=True
        )
        self._own: Any = _OwnTrials(self._study)
        known = self._study.get_trials(deepcopy=False)
        self._ids = [trial._trial_id for trial in known]
        first = itertools.count()
        self._numbers: list[int] = [
            next(first) if number is None else number for number in map(_number, known)
        ]
        self._asked = next(first)

    @property
    def asked(self) -> int:
        """How many of its trials have been asked."""
        return self._asked

    def seed(self, number: int) -> int:
        """Seed of trial ``number``."""
        raise NotImplementedError

    def stage(self, number: int) -> str:
        """What trial ``number`` is for, in a study of two stages."""
        return ""

    def ask(self, number: int) -> tuple[optuna.Trial, str]:
        """Create Optuna's trial ``number``; also return what drew it, "" if nothing did."""
        raise NotImplementedError

    def repeat(self, params: dict[str, Any]) -> optuna.Trial:
        """Create an Optuna trial of parameters that are given."""
        raise NotImplementedError

    def params(self, trial: optuna.Trial) -> dict[str, Any]:
        """What was searched, in the spec's keys and units."""
        return dict(trial.params)

    def course(self, optuna: int) -> Course | None:
        """The stages of a trial, where its settings change on the way."""
        return None

    def ask_batch(self) -> list[TrialAsked]:
        """The next whole batch; empty when all trials have been asked.

        To be called only when Optuna has been told of every trial asked before.
        """
        start = self._asked
        self._asked = max(start, min(start + self.batch, self.trials))
        return [self._ask(n) for n in range(start, self._asked)]

    def ask_again(self, asked: TrialAsked, attempt: int) -> TrialAsked:
        """A new trial of the configuration, the number and the seed of ``asked``."""
        trial = self.repeat(dict(asked.params))
        trial.set_user_attr(_RETRY, asked.number)
        self._ids.append(trial._trial_id)
        self._numbers.append(asked.number)
        name = f"{self.name}.{asked.number:04d}.retry{attempt}"
        return replace(asked, trial=name, optuna=trial.number, retry_of=asked.trial)

    def batches_left(self) -> int:
        """Batches still to be asked."""
        return math.ceil(max(0, self.trials - self._asked) / self.batch)

    def reported(self, optuna: int) -> int:
        """The last report of a trial that Optuna knows; 0 before the first."""
        return self.trial(optuna).last_step or 0

    def report(self, optuna: int, step: int, value: float) -> None:
        """Record the objective of a trial at report ``step``."""
        self._storage.set_trial_intermediate_value(self._ids[optuna], step, value)

    def should_prune(self, optuna: int) -> bool:
        """Whether the pruner ends a trial now."""
        return bool(self._study.pruner.prune(self._own, self.trial(optuna)))

    def told(self, optuna: int) -> bool:
        """Whether a trial is closed in Optuna."""
        return bool(self.trial(optuna).state.is_finished())

    def tell(self, optuna: int, state: str, value: float | None) -> None:
        """Close a trial in Optuna with the state it has."""
        self._study.tell(optuna, value if state == "complete" else None, STATES[state])

    def best(self) -> Chosen | None:
        """The configuration of the complete trial of lowest objective, the earliest of equals."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        own = (trial for trial in complete if _TOLD not in trial.user_attrs)
        best = min(own, key=lambda t: (t.value, t.number), default=None)
        if best is None:
            return None
        return Chosen(self._numbers[best.number], dict(best.params), best.value)

    def trial(self, optuna: int) -> FrozenTrial:
        """Optuna's record of a trial, by its number in Optuna."""
        return self._storage.get_trial(self._ids[optuna])

    def _ask(self, number: int) -> TrialAsked:
        trial, drawn_by = self.ask(number)
        self._ids.append(trial._trial_id)
        self._numbers.append(number)
        params, course = self.params(trial), self.course(trial.number)
        settings = resolve(self.spec, self.arm, params, self._dims)
        if course is not None:
            settings["training"] = course.share(settings["training"])
        return TrialAsked(
            trial=f"{self.name}.{number:04d}",
            arm=self.arm,
            phase=self.phase,
            replicate=self.replicate,
            number=number,
            seed=self.seed(number),
            params=params,
            settings=settings,
            optuna=trial.number,
            chosen_from=self.chosen_from,
            drawn_by=drawn_by,
            stage=self.stage(number),
            course={} if course is None else course.to_data(),
        )


def _number(trial: FrozenTrial) -> int | None:
    """The number in its phase that an Optuna trial has; None: the next."""
    if _TOLD in trial.user_attrs:
        return _NO_NUMBER
    number: int | None = trial.user_attrs.get(_RETRY)
    return number


class Search(Phase):
    """Finding a configuration with the arm's sampler.

    Args:
        told: trials of an earlier search, which a new search begins with.
    """

    phase = "search"

    def __init__(
        self,
        storage: BaseStorage,
        spec: StudySpec,
        dims: int,
        arm: str,
        replicate: int,
        told: TrialsTold | None = None,
    ) -> None:
        super().__init__(storage, spec, dims, arm, replicate, f"{arm}.search.r{replicate}")
        search = spec.arms[arm].search
        assert search is not None
        self.search, self.batch, self.trials = search, search.batch_size, search.trials
        if search.until is not None:  # study.search.bounding says when it has more
            self.trials = max(self.asked, self.batch)
        self.synchronous = search.pruner is not None and search.pruner.synchronous
        self._study.pruner = make_pruner(search.pruner)
        self._distributions = distributions(search.space)
        self._given = grid(search) if SAMPLERS[search.sampler.name].grid else search.enqueue
        if told is not None and not self._ids:
            self._tell_earlier(told)

    def seed(self, number: int) -> int:
        """Derived from (replicate, number) alone: trials of equal number pair across arms."""
        return derive(self.replicate, "search", number)

    def ask(self, number: int) -> tuple[optuna.Trial, str]:
        """Draw with a sampler of the trial's own, so that a resumed search repeats its draws."""
        draw = self.draw(number)
        self._study.sampler = draw.sampler
        given = number < len(self._given)
        if given:
            self._study.enqueue_trial(self._given[number])
        results = (TrialState.COMPLETE, TrialState.PRUNED)
        blind = draw.start_up is not None and not self._study.get_trials(False, results)
        trial = self._study.ask(self._distributions)
        if given and self.search.enqueue:
            return trial, ENQUEUED
        return trial, RANDOM if blind else draw.by

    def _tell_earlier(self, told: TrialsTold) -> None:
        """Add an earlier search's trials: parameters and values, and nothing else of them."""
        for known in told.trials:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=dict(known["params"]),
                    distributions=self._distributions,
                    value=known["value"],
                    user_attrs={_TOLD: True},
                )
            )
        self._ids = [trial._trial_id for trial in self._study.get_trials(deepcopy=False)]
        self._numbers = [_NO_NUMBER] * len(self._ids)

    def draw(self, number: int) -> Draw:
        """The sampler that draws trial ``number``, under a seed that depends on nothing else."""
        seed = derive(0, "sampler", self.spec.name, self.arm, self.replicate)
        if SAMPLERS[self.search.sampler.name].seed_per == "trial":
            seed = derive(seed, number)
        return make_sampler(self.search.sampler, seed, self._distributions)

    def repeat(self, params: dict[str, Any]) -> optuna.Trial:
        """Nothing is drawn: the sampler is one that leaves given values alone."""
        self._study.sampler = optuna.samplers.RandomSampler(seed=0)
        self._study.enqueue_trial(params)
        return self._study.ask(self._distributions)


def confirm_name(arm: str, replicate: int, chosen: int | None) -> str:
    """The name of the confirm phase of search trial number ``chosen``, or of the only setting."""
    source = "fixed" if chosen is None else f"from{chosen}"
    return f"{arm}.confirm.r{replicate}.{source}"


class Confirm(Phase):
    """Training one configuration on seeds: the chosen one, or the arm's only one.

    In a study of two stages the first are its choosing seeds; the study's own follow. Which of them
    it trains on is :mod:`study.search.comparison`'s to say, by raising ``trials``.
    """

    phase = "confirm"

    def __init__(
        self,
        storage: BaseStorage,
        spec: StudySpec,
        dims: int,
        arm: str,
        replicate: int,
        chosen: Chosen | None,
    ) -> None:
        name = confirm_name(arm, replicate, None if chosen is None else chosen.number)
        super().__init__(storage, spec, dims, arm, replicate, name)
        self.chosen_from = None if chosen is None else chosen.number
        self._params = {} if chosen is None else chosen.params
        course = None if chosen is None else chosen.course
        self._course = course and replace(course, first=0, parent="")
        self._choosing = spec.choosing_seeds or 0
        self.batch = self._choosing + len(spec.seeds)
        self.trials = self.asked
        self._study.pruner = make_pruner(None)

    def seed(self, number: int) -> int:
        """The choosing or the study's seed of that position; the same for all arms."""
        if number < self._choosing:  # derived ones are none that a spec can give
            return derive(0, "choosing", self.spec.name, number)
        return self.spec.seeds[number - self._choosing]

    def stage(self, number: int) -> str:
        """By its number, where there are two."""
        if not self._choosing:
            return ""
        return CHOOSING if number < self._choosing else COMPARING

    def ask(self, number: int) -> tuple[optuna.Trial, str]:
        """A trial that draws nothing."""
        return self._study.ask(), ""

    def repeat(self, params: dict[str, Any]) -> optuna.Trial:
        """Likewise."""
        return self._study.ask()

    def params(self, trial: optuna.Trial) -> dict[str, Any]:
        """The chosen parameters."""
        return self._params

    def course(self, optuna: int) -> Course | None:
        """All stages that led to what was chosen."""
        return self._course
