"""A search replayed on recorded trials: with the real sampler and pruner, without training.

A proposal of the sampler is moved to the nearest unused recorded trial, and the sampler gets that
trial's parameters and result. If both searches draw at random, all unused trials are equally good
draws: one of them is drawn, and nothing is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.journal.events import TrialAsked
from study.replaying.recorded import Params, Pool, Recorded
from study.search.played import PlayedSearch, Trajectory
from study.search.samplers import Draw
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
        drawn_by: What made the proposal: the sampler, or ``random`` while it had no results.
        state: complete, failed or pruned, once it has ended.
        images: Images trained on by then.
    """

    recorded: Recorded
    moved: Mapping[str, float] = field(default_factory=dict)
    collision: bool = False
    drawn_by: str = ""
    state: str = ""
    images: int = 0


class ReplayedSearch(PlayedSearch):
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

    def draw(self, number: int) -> Draw:
        """The search's own, moved to recorded trials."""
        draw = super().draw(number)
        moved = NearestRecordedSampler(draw.sampler, self._distributions, self._take)
        return replace(draw, sampler=moved)

    def trajectory(self, asked: TrialAsked) -> Trajectory:
        """What the recorded trial reported."""
        played = self._played[asked.optuna]
        played.drawn_by = asked.drawn_by
        recorded = played.recorded
        return Trajectory(recorded.curve, recorded.value, recorded.complete)

    def replay(self) -> list[Played]:
        """The whole search."""
        for played, outcome in zip(self._played, self.play(), strict=True):
            played.state = outcome.state
            played.images = played.recorded.images[outcome.reports - 1] if outcome.reports else 0
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
