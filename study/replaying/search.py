"""A search replayed on recorded trials: with the real sampler and pruner, without training.

A proposal of the sampler is moved to the nearest unused recorded trial, and the sampler gets that
trial's parameters and result. If both searches draw at random, all unused trials are equally good
draws: one of them is drawn, and nothing is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.journal.events import TrialAsked
from study.replaying.recorded import Params, Pool, Recorded
from study.search.phases import Search
from study.spec import StudySpec
from vae_core.randomness import derive


@dataclass
class Played:
    """A trial of a replayed search.

    Attributes:
        recorded: The recorded trial that is used for it.
        moved: By searched key, how far that is from the proposal: in decades of a log range, as
            a share of a linear one, 0 or 1 for choices; empty if nothing was moved.
        collision: Whether the nearest recorded trial had been used already.
        state: complete, failed or pruned, once it has ended.
        images: Images trained on by then.
    """

    recorded: Recorded
    moved: Mapping[str, float] = field(default_factory=dict)
    collision: bool = False
    state: str = ""
    images: int = 0


class ReplayedSearch(Search):
    """An arm's search whose trials come from a pool, and that is otherwise unchanged.

    Args:
        spec: the study, with the search to replay as its arm's.
        arm: the arm's name.
        repeat: which repetition this is. All draws derive from the names of the study and the
            arm, and from this.
        pool: the recorded trials, no fewer than the search's.
        exchangeable: whether the pool was drawn as the search draws.
    """

    def __init__(
        self, spec: StudySpec, arm: str, repeat: int, pool: Pool, *, exchangeable: bool
    ) -> None:
        # A name that no study can have: otherwise the first repeats would repeat the draws of the
        # recorded search.
        spec = spec.model_copy(update={"name": f"{spec.name}.replay"})
        dims = 1  # of the settings that trials would train with; these train nothing
        super().__init__(optuna.storages.InMemoryStorage(), spec, dims, arm, repeat)
        self._pool, self._unused = pool, np.ones(len(pool), dtype=bool)
        self._random = np.random.default_rng(derive(0, "replay", spec.name, arm, repeat))
        self._exchangeable = exchangeable
        self._played: list[Played] = []

    def sampler(self, number: int) -> BaseSampler:
        """The search's own, moved to recorded trials."""
        return NearestRecordedSampler(super().sampler(number), self._distributions, self._take)

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
        """Use a trial of the pool for a proposal; return its parameters."""
        if self._exchangeable:
            number = int(self._random.choice(np.flatnonzero(self._unused)))
            played = Played(self._pool.trials[number])
        else:
            distances = self._pool.distances(proposed)
            number = int(np.where(self._unused, distances, np.inf).argmin())
            recorded = self._pool.trials[number]
            collision = bool(distances.min() < distances[number])
            played = Played(recorded, self._pool.moved(proposed, recorded), collision)
        self._unused[number] = False
        self._played.append(played)
        return played.recorded.params

    def _train(self, group: Sequence[TrialAsked]) -> None:
        training = [ask.optuna for ask in group]
        step = 0
        while training:
            step += 1
            continuing = [number for number in training if self._reach(number, step)]
            pruned = [number for number in continuing if self.should_prune(number)]
            for number in pruned:
                self._played[number].state = "pruned"
            training = [number for number in continuing if number not in pruned]

    def _reach(self, number: int, step: int) -> bool:
        """Replay a trial's report ``step``; return whether it continues after it."""
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


class NearestRecordedSampler(BaseSampler):
    """Proposes as another sampler does, and replaces the proposal by a recorded trial.

    Args:
        inner: the other sampler.
        space: the whole space.
        take: returns the parameters of the trial to use for a proposal.
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
        joint = self._inner.infer_relative_search_space(study, trial)
        point = self._inner.sample_relative(study, trial, joint)
        for key, found in search_space.items():
            if key not in point:
                point[key] = self._inner.sample_independent(study, trial, key, found)
        return dict(self._take(point))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"a recorded trial has no value of {name}")

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
