"""An arm's two phases as Optuna studies: searching a configuration, and confirming the chosen one.

A phase hands its trials out in whole batches, each asked before any of it starts and told in the
order of its numbers once all of it has ended. What it asks therefore depends on earlier batches
alone: not on how many engines ran, nor on who was first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from study.search.optuna_parts import (
    SEED_PER_REPLICATE,
    distributions,
    grid,
    make_pruner,
    make_sampler,
)
from study.spec import StudySpec
from vae_core.randomness import derive

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Ask:
    """A trial to be run."""

    trial: str
    """Its name, unique in the study and fit to be a file's."""
    arm: str
    phase: str
    replicate: int
    number: int
    seed: int
    params: dict[str, Any]
    """What was searched, in the spec's keys and units."""
    chosen_from: int | None
    """Number of the search trial that a confirm run repeats."""


class Phase:
    """One Optuna study, asked and told in batches.

    Args:
        storage: where all of a study's Optuna studies are kept.
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

    def __init__(self, storage: BaseStorage, spec: StudySpec, arm: str, replicate: int, name: str):
        self.spec, self.arm, self.replicate, self.name = spec, arm, replicate, name
        self._storage = storage
        self._study = optuna.create_study(
            study_name=name, storage=storage, direction="minimize", load_if_exists=True
        )
        self._ids = [trial._trial_id for trial in self._study.get_trials(deepcopy=False)]

    def seed(self, number: int) -> int:
        """Seed of trial ``number``."""
        raise NotImplementedError

    def ask(self, number: int) -> optuna.Trial:
        """Create Optuna's trial ``number``."""
        raise NotImplementedError

    def params(self, trial: optuna.Trial) -> dict[str, Any]:
        """What was searched, in the spec's keys and units."""
        return dict(trial.params)

    def ask_batch(self) -> list[Ask]:
        """The next whole batch; empty when all trials have been asked.

        Call it only when every trial asked before has been told.
        """
        start = len(self._ids)
        return [self._ask(n) for n in range(start, min(start + self.batch, self.trials))]

    def batches_left(self) -> int:
        """Batches still to be asked."""
        return math.ceil(max(0, self.trials - len(self._ids)) / self.batch)

    def reported(self, number: int) -> int:
        """The last report of trial ``number`` that Optuna knows; 0 before the first."""
        return self.trial(number).last_step or 0

    def report(self, number: int, step: int, value: float) -> None:
        """Record the objective of trial ``number`` at report ``step``."""
        self._storage.set_trial_intermediate_value(self._ids[number], step, value)

    def should_prune(self, number: int) -> bool:
        """What the pruner says of trial ``number`` now."""
        return bool(self._study.pruner.prune(self._study, self.trial(number)))

    def told(self, number: int) -> bool:
        """Whether trial ``number`` is closed in Optuna."""
        return bool(self.trial(number).state.is_finished())

    def tell(self, number: int, state: str, value: float | None) -> None:
        """Close trial ``number`` with the state it honestly has."""
        self._study.tell(number, value if state == "complete" else None, STATES[state])

    def best(self) -> FrozenTrial | None:
        """The complete trial of lowest objective, the earliest of equals; None if there is none."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return min(complete, key=lambda t: (t.value, t.number), default=None)

    def trial(self, number: int) -> FrozenTrial:
        """Optuna's record of trial ``number``."""
        return self._storage.get_trial(self._ids[number])

    def _ask(self, number: int) -> Ask:
        trial = self.ask(number)
        self._ids.append(trial._trial_id)
        return Ask(
            trial=f"{self.name}.{number:04d}",
            arm=self.arm,
            phase=self.phase,
            replicate=self.replicate,
            number=number,
            seed=self.seed(number),
            params=self.params(trial),
            chosen_from=self.chosen_from,
        )


class Search(Phase):
    """Finding a configuration with the arm's sampler."""

    phase = "search"

    def __init__(self, storage: BaseStorage, spec: StudySpec, arm: str, replicate: int) -> None:
        super().__init__(storage, spec, arm, replicate, f"{arm}.search.r{replicate}")
        search = spec.arms[arm].search
        assert search is not None
        self.search, self.batch, self.trials = search, search.batch_size, search.trials
        self.synchronous = search.pruner is not None and search.pruner.synchronous
        self._study.pruner = make_pruner(search.pruner)
        self._distributions = distributions(search.space)
        self._grid = grid(search) if search.sampler.name == "grid" else None

    def seed(self, number: int) -> int:
        """Derived from (replicate, number) alone: trials of equal number pair across arms."""
        return derive(self.replicate, "search", number)

    def ask(self, number: int) -> optuna.Trial:
        """Draw under a seed of the trial's own, so that a resumed search repeats its draws."""
        seed = derive(0, "sampler", self.spec.name, self.arm, self.replicate)
        if self.search.sampler.name not in SEED_PER_REPLICATE:
            seed = derive(seed, number)
        self._study.sampler = make_sampler(self.search.sampler, seed)
        if self._grid is not None:
            self._study.enqueue_trial(self._grid[number])
        return self._study.ask(self._distributions)


class Confirm(Phase):
    """Training one configuration on the study's seeds: the chosen one, or the arm's only one."""

    phase = "confirm"

    def __init__(
        self,
        storage: BaseStorage,
        spec: StudySpec,
        arm: str,
        replicate: int,
        chosen: FrozenTrial | None,
    ) -> None:
        source = "fixed" if chosen is None else f"from{chosen.number}"
        super().__init__(storage, spec, arm, replicate, f"{arm}.confirm.r{replicate}.{source}")
        self.chosen_from = None if chosen is None else chosen.number
        self._params = {} if chosen is None else dict(chosen.params)
        self.batch = self.trials = len(spec.seeds)
        self._study.pruner = make_pruner(None)

    def seed(self, number: int) -> int:
        """The study's seed of that position."""
        return self.spec.seeds[number]

    def ask(self, number: int) -> optuna.Trial:
        """A trial that draws nothing."""
        return self._study.ask()

    def params(self, trial: optuna.Trial) -> dict[str, Any]:
        """The chosen parameters."""
        return self._params
