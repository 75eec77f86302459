"""What a search's sampler and pruner would do, asked of them before anything trains.

A made-up study of the search's shape (trials, batches, reports) is played with the real sampler and
the real pruner. How many trials the sampler draws at random at the start is exact where no trial
fails; how much a pruner saves depends on learning curves nobody has seen, so that is an estimate.
That a pruner can prune none is found on trials of which each is worse than all before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from pydantic import ValidationError

from study.journal.events import TrialAsked, TrialsTold
from study.search.phases import ENQUEUED
from study.search.played import PlayedSearch, Trajectory, with_search
from study.search.samplers import RANDOM, Draw, distributions, make_pruner, make_sampler
from study.spec import PRUNERS, SAMPLERS, SamplerSpec, SearchSpec, SpecError, StudySpec
from study.spec.options import ADAPTIVE_BATCH, COUNT, PAIR, SOME

REPORTS = 10_000
"""Reports that are played at most for one made-up study: longer searches are played in part."""
REPEATS = 5
"""Made-up studies that an estimate is the mean of, where they are short."""
FEW = 32
"""Told trials that are rehearsed with, if the sampler does not take more to start."""
MORE_REPORTS = 10
"""Reports of a trial that are tried where no change of the search helps."""
LEAST = {COUNT: 0, SOME: 1, PAIR: 2}
"""The least value of options that are whole numbers."""

_START_UP = "n_startup_trials"

Curve = Callable[[int, int], list[float]]
"""From a trial's number and how many reports it makes to its objective at each."""


@dataclass(frozen=True)
class Rehearsal:
    """What one search of an arm would do.

    Attributes:
        arm: The arm's name.
        sampler: Its sampler, as in a spec.
        trials: How many trials a search makes.
        enqueued: How many of them the spec gives.
        at_random: How many of them an adaptive sampler draws at random, before it has results to
            choose by; None of a sampler that never looks at results.
        pruner: Its pruner, as in a spec; None if it has none.
        saved: The share of the search's images that the pruner saves, on made-up curves.
        remedy: Of a pruner that can prune no trial: the setting that would let it, "" if none.
        idle: Whether the pruner can prune no trial.
    """

    arm: str
    sampler: str
    trials: int
    enqueued: int
    at_random: int | None
    pruner: str | None = None
    saved: float = 0.0
    idle: bool = False
    remedy: str = ""

    @property
    def chosen(self) -> int | None:
        """How many trials an adaptive sampler chooses by the results of others."""
        return None if self.at_random is None else self.trials - self.at_random - self.enqueued

    @property
    def never_chooses(self) -> bool:
        """Whether the sampler is adaptive and yet draws every trial at random."""
        return self.chosen == 0

    def __str__(self) -> str:
        parts = []
        if self.at_random is not None and not self.never_chooses:
            parts.append(
                f"{self.sampler} chooses {self.chosen} of a search's {self.trials} trials by "
                f"earlier results{self._before}"
            )
        if self.pruner is not None and not self.idle:
            saves = f"could save about {self.saved:.0%} of a search's images"
            parts.append(
                f"{self.pruner} {saves if self.saved >= 0.005 else 'prunes no typical trial'} (on "
                "made-up learning curves)"
            )
        return f"{self.arm}: {'; '.join(parts)}" if parts else ""

    @property
    def _before(self) -> str:
        given = f"{self.enqueued} before them {_are(self.enqueued)} enqueued"
        drawn = f"{self.at_random} before them {_are(self.at_random or 0)} drawn at random"
        counts = ((self.enqueued, given), (self.at_random, drawn))
        return "".join(f"; {words}" for count, words in counts if count)

    @property
    def random_search(self) -> str:
        """That the sampler never chooses, in words."""
        why = "it has no results before the last of them"
        if self.enqueued == self.trials:
            why = "all of them are enqueued"
        return f"'{self.sampler}' would choose none of its {self.trials} trials: {why}"

    @property
    def warning(self) -> str:
        """What the sampler or the pruner can never do, "" if there is nothing."""
        if self.never_chooses:
            return f"arm '{self.arm}': {self.random_search}."
        if not self.idle:
            return ""
        what = (
            f"arm '{self.arm}': pruner '{self.pruner}' can prune none of its {self.trials} trials"
        )
        if not self.remedy:
            return f"{what}: leave it out."
        return f"{what}. With {self.remedy} it can."


def rehearse(
    spec: StudySpec, told: Iterable[TrialsTold] = (), *, begun: Collection[str] = ()
) -> list[Rehearsal]:
    """What the searches of ``spec`` would do: of arms with an adaptive sampler or a pruner.

    Args:
        spec: the study.
        told: the earlier searches that its searches begin with.
        begun: arms that have begun, so that their searches cannot be changed any more.

    Raises:
        SpecError: an adaptive sampler would choose no trial of an arm not begun, or a sampler or
            pruner refuses its options.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name, given in spec.arms.items():
        if given.search is not None:
            _check_options(name, given.search)
    known = {event.arm: event for event in told}
    found = [
        _rehearsed(spec, name, arm.search, known.get(name))
        for name, arm in spec.arms.items()
        if arm.search and (arm.search.pruner or SAMPLERS[arm.search.sampler.name].adaptive)
    ]
    for arm in found:
        if arm.never_chooses and arm.arm not in begun:
            search = spec.arms[arm.arm].search
            assert search is not None
            raise SpecError(
                arm.random_search,
                where=f"arms.{arm.arm}.search",
                remedy=f"give {_choosing(spec, arm.arm, search)}, or sampler: random",
            )
    return found


def _check_options(arm: str, search: SearchSpec) -> None:
    """Let Optuna look at the options of a sampler and a pruner: some exclude each other."""
    space = distributions(search.space)
    makers: dict[str, Callable[[], object]] = {
        "sampler": lambda: make_sampler(search.sampler, 0, space),
        "pruner": lambda: make_pruner(search.pruner),
    }
    for part, make in makers.items():
        try:
            make()
        except ValueError as error:
            raise SpecError(
                f"Optuna does not take these options: {error}",
                where=f"arms.{arm}.search.{part}",
                remedy="change one of them",
            ) from error


def _rehearsed(spec: StudySpec, arm: str, search: SearchSpec, told: TrialsTold | None) -> Rehearsal:
    enqueued = len(search.enqueue)
    found = Rehearsal(arm, search.sampler.name, search.trials, enqueued, at_random=None)
    if SAMPLERS[search.sampler.name].evolves:
        found = replace(found, at_random=search.batch_size)
    elif SAMPLERS[search.sampler.name].adaptive:
        found = replace(found, at_random=_at_random(spec, arm, told))
    if search.pruner is None:
        return found
    found = replace(found, pruner=search.pruner.name)
    if not _can_prune(spec, arm, search):
        return replace(found, idle=True, remedy=_remedy(spec, arm, search))
    played = search.trials * spec.training.reports
    repeats = max(1, min(REPEATS, REPORTS // (2 * played)))
    shares = [_saved(spec, arm, search, _typical(repeat)) for repeat in range(repeats)]
    return replace(found, saved=math.fsum(shares) / len(shares))


class MadeUpSearch(PlayedSearch):
    """An arm's search over made-up learning curves.

    Args:
        spec: the study.
        arm: the arm's name.
        curve: what its trials report.
        told: the earlier search that it begins with.

    Attributes:
        at_random: how many trials an adaptive sampler drew at random.
    """

    def __init__(
        self, spec: StudySpec, arm: str, curve: Curve, told: TrialsTold | None = None
    ) -> None:
        dims = 1  # of the settings that trials would train with; these train nothing
        super().__init__(optuna.storages.InMemoryStorage(), spec, dims, arm, 0, told)
        self._curve = curve
        self._adaptive = SAMPLERS[self.search.sampler.name].adaptive
        self.at_random = 0

    def ask(self, number: int) -> tuple[optuna.Trial, str]:
        """By the sampler until it first chooses; it then has results for all that follow."""
        trial, drawn_by = super().ask(number)
        self.at_random += drawn_by == RANDOM
        self._adaptive = self._adaptive and drawn_by in (RANDOM, ENQUEUED)
        return trial, drawn_by

    def draw(self, number: int) -> Draw:
        """Likewise."""
        if self._adaptive:
            return super().draw(number)
        return Draw(RandomSampler(seed=number), self.search.sampler.name)

    def trajectory(self, asked: TrialAsked) -> Trajectory:
        """The made-up curve."""
        curve = self._curve(asked.number, self.spec.training.reports)
        return Trajectory(curve, curve[-1])


def _at_random(spec: StudySpec, arm: str, told: TrialsTold | None = None) -> int:
    given = spec.arms[arm].search
    assert given is not None
    # What is pruned makes no difference, nor do more results than a start-up takes.
    few = max(FEW, given.sampler.extras.get(_START_UP, 0))
    told = told and replace(told, trials=told.trials[:few])
    shorter = spec.training.model_copy(update={"reports": 1})
    alone = with_search(spec, arm, given.model_copy(update={"pruner": None}))
    search = MadeUpSearch(alone.model_copy(update={"training": shorter}), arm, _typical(0), told)
    search.play()
    return search.at_random


def _choosing(spec: StudySpec, arm: str, search: SearchSpec) -> str:
    """The change of the search, in words, that lets its sampler choose."""
    kept = {key: value for key, value in search.sampler.extras.items() if key != _START_UP}
    sampler = {"sampler": {"name": search.sampler.name, **kept}}
    more = max(2 * search.batch_size, len(search.enqueue) + search.batch_size)
    changes: list[tuple[str, dict[str, Any]]] = [
        ("a smaller n_startup_trials", sampler),
        ("a smaller batch", {"batch": None}),
        ("a smaller batch and n_startup_trials", {"batch": None, **sampler}),
        (f"{more} trials", {"trials": more}),
    ]
    for words, change in changes:
        changed = SearchSpec.model_validate({**search.model_dump(), **change})
        at_random = _at_random(with_search(spec, arm, changed), arm)
        if changed != search and at_random + len(changed.enqueue) < changed.trials:
            return words
    return f"more trials and a smaller {_START_UP}"


def _saved(spec: StudySpec, arm: str, search: SearchSpec, curve: Curve) -> float:
    """The share of the search's reports that its pruner saves."""
    most = max(1, REPORTS // spec.training.reports)
    # Curves do not depend on parameters, and pruners do not see told trials.
    changed = search.model_copy(
        update={
            "trials": min(search.trials, most),
            "batch": search.batch_size,
            "enqueue": [],
            "warm_start": None,
            **({"sampler": SamplerSpec(name="random")} if search.space else {}),
        }
    )
    played = MadeUpSearch(with_search(spec, arm, changed), arm, curve).play()
    full = len(played) * spec.training.reports
    return 1 - sum(outcome.reports for outcome in played) / full


def _can_prune(spec: StudySpec, arm: str, search: SearchSpec) -> bool:
    return any(_saved(spec, arm, search, curve) > 0 for curve in (_typical(0), _worse, _lower))


def _remedy(spec: StudySpec, arm: str, search: SearchSpec) -> str:
    """The first change of the search, in words, that lets its pruner prune typical trials."""
    few, one = list(_changes(search)), {"batch": 1}
    pairs = [this | other for i, this in enumerate(few) for other in few[i + 1 :]]
    for change in [*few, *pairs, one, *(one | other for other in few)]:
        given = search.model_dump()
        for key, value in change.items():
            (given if key == "batch" else given["pruner"])[key] = value
        try:
            changed = SearchSpec.model_validate(given)
        except ValidationError:
            continue
        if changed != search and _saved(spec, arm, changed, _typical(0)) > 0:
            return " and ".join(f"{key}: {_yaml(value)}" for key, value in change.items())
    more = {"training": spec.training.model_copy(update={"reports": MORE_REPORTS})}
    longer = spec.model_copy(update=more)
    if spec.training.reports < MORE_REPORTS and _saved(longer, arm, search, _typical(0)) > 0:
        return f"training.reports: {MORE_REPORTS}"
    return ""


def _changes(search: SearchSpec) -> Iterator[dict[str, Any]]:
    """Single changes that may help: what is given first, each whole number halved to its least."""
    pruner = search.pruner
    assert pruner is not None
    options = PRUNERS[pruner.name].options
    for key, value in pruner.extras.items():
        least = LEAST.get(options[key])
        smaller = value
        while least is not None and smaller > least:
            smaller = max(least, smaller // 2)
            yield {key: smaller}
    if search.batch_size > ADAPTIVE_BATCH:
        yield {"batch": ADAPTIVE_BATCH}
    if pruner.synchronous:
        yield {"synchronous": False}
    for key, values in options.items():
        if values in LEAST and key not in pruner.extras:
            yield {key: LEAST[values]}


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typical(repeat: int) -> Curve:
    """Exponential decay towards a level of the trial's own, with some noise."""

    def curve(number: int, reports: int) -> list[float]:
        random = np.random.default_rng([repeat, number])
        level, speed = random.standard_normal(), random.uniform(3, 6)
        decay = 3 * np.exp(-speed * np.arange(1, reports + 1) / reports)
        values: list[float] = (level + decay + 0.05 * random.standard_normal(reports)).tolist()
        return values

    return curve


def _worse(number: int, reports: int) -> list[float]:
    """Worse than all trials before, and worse at each report, beyond any threshold."""
    return [1e30 * (number + 1) * step for step in range(1, reports + 1)]


def _lower(number: int, reports: int) -> list[float]:
    """Below any threshold."""
    return [-value for value in _worse(number, reports)]
