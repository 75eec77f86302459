"""Population based training (Jaderberg et al. 2017) by generations.

A generation trains side by side for one stage. Of those that it ended with, the worst are replaced
by copies of the best (their *exploit*, by truncation), each copy with settings that are changed
(*explore*); the others go on as they are. Generations wait for one another, so that what is chosen
depends on results alone: not on which trial ended first, nor on how many ran at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from study.journal.course import Course
from study.journal.events import TrialAsked
from study.search.phases import Chosen, Search
from study.search.samplers import RANDOM
from study.spec import resolve

FACTORS = (0.8, 1.2)
"""A copy's settings are multiplied by one of these (section 4 of the paper)."""
_NAME, _PARENT = "name", "parent"
"""Attributes of an Optuna trial: its trial's name, and the number in Optuna of what it goes on from
(absent: it begins anew)."""


class PopulationSampler(RandomSampler):
    """Draws the first generation at random, and says from whom later ones go on.

    Args:
        seed: of all that is drawn.
        population: members of a generation.
        quantile: the share of them that is replaced, and that copies are made of.
        resample: the probability that a copy's setting is drawn anew instead of multiplied.
    """

    def __init__(
        self, seed: int, population: int, quantile: float = 0.25, resample: float = 0.25
    ) -> None:
        super().__init__(seed)
        self._random = np.random.default_rng(seed)
        self._resample = resample
        self._replaced = max(1, int(population * quantile))
        self._kept = population - self._replaced

    def parent(self, ranked: Sequence[FrozenTrial], own: FrozenTrial | None) -> FrozenTrial:
        """Whom a place of the population goes on from.

        Args:
            ranked: the complete trials of the generation before, the best first.
            own: the one that had the same place, if it is complete.
        """
        if own is not None and any(own is kept for kept in ranked[: self._kept]):
            return own
        best = ranked[: self._replaced]
        return best[int(self._random.integers(len(best)))]

    def explored(
        self, params: Mapping[str, float], space: Mapping[str, BaseDistribution]
    ) -> dict[str, float]:
        """Settings of a copy of a member that had ``params``, within the space: real ranges."""
        return {key: self._changed(params[key], found) for key, found in space.items()}

    def _changed(self, value: float, found: BaseDistribution) -> float:
        assert isinstance(found, FloatDistribution)
        low, high = found.low, found.high
        if self._random.random() >= self._resample:
            value *= FACTORS[self._random.integers(len(FACTORS))]
        elif found.log:
            value = math.exp(self._random.uniform(math.log(low), math.log(high)))
        else:
            value = self._random.uniform(low, high)
        return min(max(float(value), low), high)


@dataclass(frozen=True)
class _Ended:
    """A generation all of whose members have ended."""

    ranked: Sequence[FrozenTrial]
    """The complete ones, the best first."""
    by_place: Mapping[int, FrozenTrial]


class PopulationSearch(Search):
    """A search each of whose batches is a generation.

    A trial is a member's stage. It has the seed of the member of the first generation that it
    descends from, so that its course alone determines it.
    """

    def ask_batch(self) -> list[TrialAsked]:
        """The next generation; empty if none of the last is complete, too."""
        if self.asked and not self._last().ranked:
            return []
        return super().ask_batch()

    def ask(self, number: int) -> tuple[optuna.Trial, str]:
        """At random, or a child of the generation before."""
        if number < self.batch:
            return super().ask(number)[0], RANDOM
        draw, last = self.draw(number), self._last(number)
        sampler, own = draw.sampler, last.by_place.get(number % self.batch)
        assert isinstance(sampler, PopulationSampler)
        parent = sampler.parent(last.ranked, own)
        params = dict(parent.params)
        if parent is not own:
            params = sampler.explored(params, self._distributions)
        trial = self.repeat(params)
        trial.set_user_attr(_PARENT, parent.number)
        return trial, draw.by

    def ask_again(self, asked: TrialAsked, attempt: int) -> TrialAsked:
        """A new trial of the same course."""
        again = super().ask_again(asked, attempt)
        parent = self.trial(asked.optuna).user_attrs.get(_PARENT)
        if parent is not None:
            self._set(again.optuna, _PARENT, parent)
        self._set(again.optuna, _NAME, again.trial)
        return again

    def best(self) -> Chosen | None:
        """The best trial of all generations, and the course that led to it."""
        best = super().best()
        if best is None:
            return None
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        trial = next(t for t in complete if self._numbers[t.number] == best.number)
        return replace(best, course=self.course(trial.number))

    def course(self, optuna: int) -> Course:
        """The stages of a trial and of those that it goes on from."""
        *before, _ = line = self._line(optuna)
        generations = self.search.generations
        return Course(
            generations=generations,
            epochs=self.spec.training.epochs / generations,
            earlier=[self._stage(trial.params) for trial in before],
            first=len(before),
            parent=line[-2].user_attrs[_NAME] if before else "",
        )

    def _ask(self, number: int) -> TrialAsked:
        asked = super()._ask(number)
        self._set(asked.optuna, _NAME, asked.trial)
        root = self._line(asked.optuna)[0]
        return replace(asked, seed=self.seed(self._numbers[root.number]))

    def _line(self, optuna: int) -> list[FrozenTrial]:
        """A trial and those that it goes on from, the first of them first."""
        line = [self.trial(optuna)]
        while _PARENT in line[0].user_attrs:
            line.insert(0, self.trial(line[0].user_attrs[_PARENT]))
        return line

    def _stage(self, params: dict[str, Any]) -> dict[str, Any]:
        settings = resolve(self.spec, self.arm, params, self._dims)
        kept = {"training": {"lr": settings["training"]["lr"]}, "balancer": settings["balancer"]}
        return {"params": dict(params), "settings": kept}

    def _last(self, number: int | None = None) -> _Ended:
        """The generation before that of trial ``number``, by default the last that was asked."""
        end = (self.asked if number is None else number // self.batch * self.batch) - 1
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        numbers = range(end + 1 - self.batch, end + 1)
        members = [trial for trial in complete if self._numbers[trial.number] in numbers]
        ranked = sorted(members, key=lambda trial: (trial.value, trial.number))
        return _Ended(ranked, {self._numbers[t.number] % self.batch: t for t in members})

    def _set(self, optuna: int, attribute: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._ids[optuna], attribute, value)
