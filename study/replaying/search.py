"""A search replayed on trials that were trained before: real sampler, real pruner, no training.

What the sampler proposes is moved to the nearest recorded trial that is left, and the sampler is
told that trial's own place. Where both searches draw at random, any trial that is left is as good
a draw as any other: one of them is drawn, and nothing is moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.search.phases import Ask, Search
from study.spec import Choice, Distribution, StudySpec
from vae_core.randomness import derive

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """A trial of the search that is replayed on.

    Attributes:
        params: What it tried.
        complete: Whether it came to its end; else it failed, and fails again.
        curve: Objective on validation at reports 1, 2, ...; None where it was no number.
        images: Images trained on by each of them.
        value: The objective of a complete trial on validation, else None.
        test: Likewise on test.
        seconds_per_image: Standard device seconds, None where the rate is not known.
    """

    params: Params
    complete: bool
    curve: Sequence[float | None]
    images: Sequence[int]
    value: float | None
    test: float | None
    seconds_per_image: float | None


@dataclass
class Played:
    """A trial of a replayed search.

    Attributes:
        recorded: The recorded trial that stands for it.
        moved: By searched key, how far that is from what was proposed: in decades of a log range,
            as a share of a linear one, 0 or 1 of choices; nothing where nothing was moved.
        crowded: Whether the nearest recorded trial was taken already.
        state: complete, failed or pruned, once it has ended.
        images: Images trained on by then.
    """

    recorded: Recorded
    moved: Mapping[str, float] = field(default_factory=dict)
    crowded: bool = False
    state: str = ""
    images: int = 0


class Pool:
    """Recorded trials, found by their place in the space they were drawn from.

    Args:
        space: what was searched, by key.
        trials: the recorded trials.
    """

    def __init__(self, space: Mapping[str, Distribution], trials: Sequence[Recorded]) -> None:
        self.space, self.trials = space, trials
        self._apart = {key: _apart(found) for key, found in space.items()}
        self._places = {key: [trial.params[key] for trial in trials] for key in space}

    def __len__(self) -> int:
        return len(self.trials)

    def part(self, numbers: Sequence[int]) -> Pool:
        """The pool of some of the trials."""
        return Pool(self.space, [self.trials[number] for number in numbers])

    def distances(self, params: Params) -> NDArray[np.float64]:
        """How far each trial is from ``params``, squared, every range scaled to 1: (N,)."""
        squares = np.zeros(len(self))
        for key, places in self._places.items():
            apart, here = self._apart[key], params[key]
            squares += np.square([apart(here, place) for place in places])
        return squares

    def moved(self, params: Params, trial: Recorded) -> dict[str, float]:
        """How far ``trial`` is from ``params``, by key, as :class:`Played` has it."""
        return {
            key: self._apart[key](params[key], trial.params[key]) * _decades(found)
            for key, found in self.space.items()
        }


class ReplayedSearch(Search):
    """An arm's search, asked and told as ever, whose trials are taken from a pool.

    Args:
        spec: the study, its arm's search being the one to replay.
        arm: the arm's name.
        repeat: which repetition this is. All draws derive from the study's and the arm's name
            and this.
        pool: the recorded trials, no fewer than the search's.
        exchangeable: whether the pool was drawn as the search draws.
    """

    def __init__(
        self, spec: StudySpec, arm: str, repeat: int, pool: Pool, *, exchangeable: bool
    ) -> None:
        # A name that no study can have: else the first repeats would draw what the recorded
        # search drew.
        spec = spec.model_copy(update={"name": f"{spec.name}.replay"})
        super().__init__(optuna.storages.InMemoryStorage(), spec, arm, repeat)
        self._pool, self._left = pool, np.ones(len(pool), dtype=bool)
        self._random = np.random.default_rng(derive(0, "replay", spec.name, arm, repeat))
        self._exchangeable = exchangeable
        self._played: list[Played] = []

    def sampler(self, number: int) -> BaseSampler:
        """The search's own, moved to recorded trials."""
        return _Taking(super().sampler(number), self._distributions, self._take)

    def play(self) -> list[Played]:
        """The whole search, in the order of its trials.

        A batch trains side by side, report by report, where pruning is synchronous; else one
        trial after another, as in a study with one slot.
        """
        while batch := self.ask_batch():
            for group in [batch] if self.synchronous else [[ask] for ask in batch]:
                self._train(group)
            for ask in batch:
                played = self._played[ask.optuna]
                self.tell(ask.optuna, played.state, played.recorded.value)
        return self._played

    def _take(self, proposed: Params) -> Params:
        """Take a trial out of the pool for what was proposed; return what it tried."""
        if self._exchangeable:
            number = int(self._random.choice(np.flatnonzero(self._left)))
            played = Played(self._pool.trials[number])
        else:
            distances = self._pool.distances(proposed)
            number = int(np.where(self._left, distances, np.inf).argmin())
            recorded = self._pool.trials[number]
            crowded = bool(distances.min() < distances[number])
            played = Played(recorded, self._pool.moved(proposed, recorded), crowded)
        self._left[number] = False
        self._played.append(played)
        return played.recorded.params

    def _train(self, group: Sequence[Ask]) -> None:
        living = [ask.optuna for ask in group]
        step = 0
        while living:
            step += 1
            going = [number for number in living if self._reach(number, step)]
            pruned = [number for number in going if self.should_prune(number)]
            for number in pruned:
                self._played[number].state = "pruned"
            living = [number for number in going if number not in pruned]

    def _reach(self, number: int, step: int) -> bool:
        """Let a trial make a report; return whether it goes on after it."""
        played = self._played[number]
        recorded = played.recorded
        ended = step >= len(recorded.curve)
        if step <= len(recorded.curve):
            played.images = recorded.images[step - 1]
            value = recorded.curve[step - 1]
            if value is not None and not (ended and self.synchronous):
                self.report(number, step, value)
        if ended:
            played.state = "complete" if recorded.complete else "failed"
        return not ended


class _Taking(BaseSampler):
    """Draws as another sampler does, and takes something known for it.

    Args:
        inner: the other sampler.
        space: the whole space.
        take: returns what to take for a point of it.
    """

    def __init__(
        self,
        inner: BaseSampler,
        space: dict[str, BaseDistribution],
        take: Callable[[Params], Params],
    ) -> None:
        self._inner, self._space, self._take = inner, space, take

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        together = self._inner.infer_relative_search_space(study, trial)
        point = self._inner.sample_relative(study, trial, together)
        for key, found in search_space.items():
            if key not in point:
                point[key] = self._inner.sample_independent(study, trial, key, found)
        return dict(self._take(point))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"a recorded trial has no {name} of the space")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


def _apart(found: Distribution) -> Callable[[Any, Any], float]:
    """The distance of two values of a range, as a share of it; 0 or 1 of choices."""
    if isinstance(found, Choice):
        return lambda a, b: float(a != b)
    if found.log:
        whole = math.log(found.high / found.low)
        return lambda a, b: abs(math.log(a / b)) / whole
    whole = found.high - found.low
    return lambda a, b: abs(a - b) / whole


def _decades(found: Distribution) -> float:
    """How many decades a log range has; 1 of anything else."""
    if isinstance(found, Choice) or not found.log:
        return 1.0
    return math.log10(found.high / found.low)
