"""A search policy replayed many times on a study's recorded trials, without training.

Every trial of a search is a recorded one: see :mod:`study.replaying.search`. This shows what
another sampler or pruner would have achieved if the recorded trials are spread over the space and
were trained to their ends; other questions are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from study.analysis.answers.arms import arm_results
from study.analysis.records.tables import tables_of
from study.journal import StudyHome
from study.replaying.recorded import Pool, Recorded, ReplayError, recorded_trials
from study.replaying.result import (
    SHARE,
    Floats,
    Point,
    ReferenceScore,
    Replay,
    pool_interval,
    sampling_interval,
)
from study.replaying.search import Played, ReplayedSearch
from study.search.played import with_search
from study.search.rehearsal import rehearse
from study.spec import SAMPLERS, Choice, Distribution, SearchSpec, StudySpec
from study.spec.errors import Source, spec_error
from study.spec.reading import read_yaml
from study.statistics.intervals import Interval, mean_interval
from study.statistics.order_statistics import chosen_weights, first_below
from vae_core.randomness import derive

WAYS = 10
"""Ways the pool is halved for its interval; a tenth of the repeats is searched on each half."""
MANY_COLLISIONS = 0.3
"""From this share of collisions on, a note warns of them."""

Policy = str | Mapping[str, Any]


def replay(
    home: StudyHome,
    spec: StudySpec,
    sampler: Policy,
    pruner: Policy | None = None,
    *,
    arm: str | None = None,
    trials: int | None = None,
    batch: int | None = None,
    repeats: int = 200,
) -> Replay:
    """Replay a policy ``repeats`` times on the search that an arm has recorded.

    Args:
        home: the study's.
        spec: the study, as it was last launched.
        sampler: as in a study file, a name or a mapping; text is read as YAML.
        pruner: likewise.
        arm: whose search; by default the only suitable hand-tuned one.
        trials: of a search; by default a fourth of those recorded, at most half of them.
        batch: as in a study file.
        repeats: number of searches, 2 or more.

    Raises:
        ReplayError: the records cannot answer that.
        SpecError: there is no such sampler, pruner or option, or the sampler would draw every trial
            at random.
    """
    if repeats < 2:
        raise ReplayError(f"{repeats} repeats give no interval", remedy="give 2 or more")
    tables = tables_of(home.path)
    arm, recorded = recorded_trials(tables, spec, arm)
    trials = _length(len(recorded), trials, arm)
    search = _search(spec, arm, _read(sampler, "sampler"), _read(pruner, "pruner"), trials, batch)
    idle = [found.warning for found in rehearse(with_search(spec, arm, search)) if found.idle]
    found = _Replayer(spec, arm, search, recorded)
    searches = [found.play(found.pool, trials, repeat) for repeat in range(repeats)]
    halves = found.halves(repeats)
    curve = found.curve(searches, halves, _random_baseline(recorded, trials))
    every = [played for one in searches for played in one]
    answer = Replay(
        study=home.name,
        arm=arm,
        objective=spec.objective,
        sampler=search.sampler.model_dump(),
        pruner=search.pruner.model_dump() if search.pruner else None,
        batch=search.batch_size,
        recorded=found.recorded,
        pool=len(recorded),
        repeats=repeats,
        halves=halves.shape[0] * halves.shape[1] * halves.shape[2],
        chosen=_chosen(search, every, repeats),
        curve=curve,
        levels=list(_levels(tables, spec, arm, [point.score.mean for point in curve])),
        pruned=sum(played.state == "pruned" for played in every) / len(every),
        moved=_moved(every),
        collisions=sum(played.collision for played in every) / len(every),
        notes=[],
    )
    return replace(answer, notes=[*idle, *_notes(answer, spec, recorded)])


class _Replayer:
    """Plays searches of one policy on one arm's pool.

    Args:
        spec: the study.
        arm: the arm whose search was recorded.
        search: the policy, as that arm's search.
        trials: the recorded trials.
    """

    def __init__(
        self, spec: StudySpec, arm: str, search: SearchSpec, trials: Sequence[Recorded]
    ) -> None:
        self.recorded = _recorded_search(spec, arm).sampler.name
        self.pool = Pool(search.space, trials)
        self._spec, self._arm, self._search = spec, arm, search
        self._exchangeable = search.sampler.name == self.recorded == "random"

    def play(self, pool: Pool, trials: int, repeat: int) -> list[Played]:
        """One search of ``trials`` trials on a pool."""
        search = self._search.model_copy(update={"trials": trials})
        spec = with_search(self._spec, self._arm, search)
        return ReplayedSearch(
            spec, self._arm, repeat, pool, exchangeable=self._exchangeable
        ).replay()

    def halves(self, repeats: int) -> Floats:
        """Scores of searches on halves of the pool: (ways, 2, searches, n)."""
        trials = min(self._search.trials, len(self.pool) // SHARE)
        each = math.ceil(repeats / WAYS)
        if self.recorded != "random":
            return np.empty((0, 2, each, trials))
        random = np.random.default_rng(derive(0, "replay", "halves", self._spec.name, self._arm))
        scores = []
        for way in range(WAYS):
            order = random.permutation(len(self.pool)).tolist()
            middle = len(order) // 2
            for half in (order[:middle], order[middle:]):
                part = self.pool.part(half)
                # The same draws on both halves, so that only the pool differs.
                ahead = repeats + way * each
                played = [self.play(part, trials, ahead + i) for i in range(each)]
                scores.append([_scores(search) for search in played])
        return np.array(scores).reshape(WAYS, 2, each, trials)

    def curve(
        self, searches: Sequence[Sequence[Played]], halves: Floats, baseline: Sequence[float]
    ) -> list[Point]:
        """The policy after each number of trials, from all its searches."""
        scores = np.array([_scores(played) for played in searches])
        images = np.cumsum([[p.images for p in played] for played in searches], axis=1).mean(axis=0)
        seconds = np.cumsum([[_seconds(p) for p in played] for played in searches], axis=1)
        return [
            Point(
                n=n,
                score=sampling_interval(scores[:, n - 1]),
                pool=self.pool_interval(scores[:, n - 1], halves, n),
                random_baseline=score,
                images=float(images[n - 1]),
                seconds=_finite(float(seconds[:, n - 1].mean())),
            )
            for n, score in enumerate(baseline, start=1)
        ]

    def pool_interval(self, scores: Floats, halves: Floats, n: int) -> Interval:
        """The mean of ``scores`` with its interval over pools, if that can be computed."""
        count = len(self.pool)
        if self.recorded != "random":
            why = f"the points of {self.recorded} are no random sample"
            return replace(sampling_interval(scores), lower=None, upper=None, why=why)
        if n > count // SHARE:
            why = f"n = {n} is more than a fourth of {count}"
            return replace(sampling_interval(scores), lower=None, upper=None, why=why)
        return pool_interval(scores, _means(halves[..., n - 1]), n, count)


def _means(scores: Floats) -> Floats:
    """Means over the last axis of what is finite, NaN where nothing is."""
    known = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, scores, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return means


def _scores(played: Sequence[Played]) -> list[float]:
    """The test score of the best trial on validation after each trial, NaN while there is none."""
    best: Recorded | None = None
    scores = []
    for trial in played:
        found = trial.recorded
        if trial.state == "complete" and (best is None or _value(found) < _value(best)):
            best = found
        scores.append(math.nan if best is None or best.test is None else best.test)
    return scores


def _value(trial: Recorded) -> float:
    return math.inf if trial.value is None else trial.value


def _chosen(search: SearchSpec, played: Sequence[Played], repeats: int) -> float | None:
    """How many trials of a search an adaptive sampler chose, on average."""
    sampler = search.sampler.name
    if not SAMPLERS[sampler].adaptive:
        return None
    return sum(one.drawn_by == sampler for one in played) / repeats


def _moved(played: Sequence[Played]) -> dict[str, float]:
    """By searched key, how far proposals were moved on average; empty if none was."""
    return {key: sum(one.moved[key] for one in played) / len(played) for key in played[0].moved}


def _seconds(played: Played) -> float:
    rate = played.recorded.seconds_per_image
    return math.nan if rate is None else rate * played.images


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _random_baseline(recorded: Sequence[Recorded], trials: int) -> list[float]:
    """The mean score of n trials drawn from the pool: exact, over draws with a model."""
    complete = sorted((trial for trial in recorded if trial.complete), key=_value)
    tests = np.array([trial.test for trial in complete], dtype=np.float64)
    weights = (chosen_weights(len(recorded), n)[: len(tests)] for n in range(1, trials + 1))
    return [float(weight @ tests[: len(weight)] / weight.sum()) for weight in weights]


# -- the policy, and what it is compared with -----------------------------------------------------


def _length(count: int, trials: int | None, where: str) -> int:
    """The number of trials of a replayed search, from a pool of ``count``."""
    trials = count // SHARE if trials is None else trials
    if trials < 1:
        raise ReplayError(f"{trials} trials are no search", where=where, remedy="give 1 or more")
    if trials > count // 2:
        raise ReplayError(
            f"{trials} trials of the {count} that are recorded: a search of most of the pool finds "
            "its best trials with any policy",
            where=where,
            remedy=f"give at most {count // 2}, half of them; {count // SHARE} are better",
        )
    return trials


def _recorded_search(spec: StudySpec, arm: str) -> SearchSpec:
    search = spec.arms[arm].search
    assert search is not None  # others are refused
    return search


def _read(policy: Policy | None, name: str) -> Any:
    return read_yaml(policy, f"--{name}", numbered=False)[0] if isinstance(policy, str) else policy


def _search(
    spec: StudySpec, arm: str, sampler: Any, pruner: Any, trials: int, batch: int | None
) -> SearchSpec:
    """The policy as a search of the arm's space.

    Raises:
        SpecError: it is invalid in a study file, too.
        ReplayError: it is a grid, or evolves.
    """
    # The number of a grid's points is not part of the range.
    space = {
        key: found if isinstance(found, Choice) else replace(found, points=None)
        for key, found in _recorded_search(spec, arm).space.items()
    }
    name = str(sampler.get("name") if isinstance(sampler, Mapping) else sampler)
    if name in SAMPLERS and SAMPLERS[name].evolves:
        raise ReplayError(
            f"a trial of '{name}' goes on from another's end, and the recorded ones did not",
            where="--sampler",
            remedy="replay another sampler",
        )
    policy = {"sampler": sampler, "pruner": pruner, "trials": trials, "batch": batch}
    if name == "grid":
        raise ReplayError(
            "a grid has points of its own, which were not trained",
            where="--sampler",
            remedy="replay another sampler; a grid's own result is in the report of its arm",
        )
    try:
        return SearchSpec.model_validate({"space": space, **policy})
    except ValidationError as error:
        raise spec_error(error, SearchSpec, Source("replay")) from None


def _levels(
    tables: Mapping[str, pa.Table], spec: StudySpec, arm: str, means: Sequence[float | None]
) -> Iterator[ReferenceScore]:
    """The score that the recorded search chose, and those of the automatic arms' confirm runs."""
    chosen = [
        row[f"test_{spec.objective}"]
        for row in tables["trials"].to_pylist()
        if row["arm"] == arm and row["phase"] == "search" and row["chosen"]
    ]
    if chosen:
        search = _recorded_search(spec, arm)
        trials = f"{search.trials} " if search.until is None else ""
        what = f"the best of its own {trials}trials, mean over {len(chosen)} searches"
        yield _level(arm, what if len(chosen) > 1 else what.partition(",")[0], chosen, means)
    for result in arm_results(tables, spec.to_dict(), spec.objective, spec.objective):
        if result.automatic and result.arm != arm and result.by_seed:
            seeds = result.by_seed
            yield _level(result.arm, f"mean of {len(seeds)} seeds", list(seeds.values()), means)


def _level(
    arm: str, what: str, values: Sequence[float], means: Sequence[float | None]
) -> ReferenceScore:
    score = mean_interval(values)
    n = None if score.mean is None else first_below(means, score.mean)
    return ReferenceScore(arm, what, score, n)


def _notes(answer: Replay, spec: StudySpec, recorded: Sequence[Recorded]) -> Iterator[str]:
    count = answer.pool
    yield (
        f"+-: the sampling error of the mean over {answer.repeats} searches of these {count} "
        "trials, each trained once. It does not cover other trials."
    )
    if answer.recorded == "random":
        yield (
            f"[ ]: for searches of any {count} trials drawn like these, from {answer.halves} "
            f"searches of {WAYS} random pairs of halves; for n up to {count // SHARE}, a fourth of "
            "the pool."
        )
    else:
        yield (
            f"There is no interval over other trials: the points of {answer.recorded} are no "
            "random sample, and the records do not show the variation over seeds."
        )
    search = _recorded_search(spec, answer.arm)
    planned = (search.trials - len(search.enqueue)) * search.replicates
    if search.until is not None:
        yield (
            "The recorded search goes on until its break-even is bounded: what its trials score "
            "decides how many there are, which no interval here allows for."
        )
    elif count < planned:
        yield (
            f"{planned - count} of the search's {planned} trials have not ended; if trials differ "
            "in length, the missing ones are the long ones."
        )
    if answer.moved:
        space = search.space
        far = ", ".join(
            f"{key} {amount:.2g} {_unit(space[key])}" for key, amount in answer.moved.items()
        )
        yield (
            f"A proposal is moved to the nearest unused recorded trial: on average by {far}. For "
            f"{100 * answer.collisions:.0f} % of them the nearest of all was used already."
        )
    if answer.collisions >= MANY_COLLISIONS:
        yield (
            "So many collisions keep the policy from concentrating its trials: a real search may "
            "find better. More recorded trials or fewer --trials help."
        )
    if answer.pruner is not None:
        yield f"Pruned were {100 * answer.pruned:.0f} % of the trials."
    failed = sum(not trial.complete for trial in recorded)
    if failed:
        yield (
            f"{failed} of the {count} recorded trials failed: they fail again, at the same cost. A "
            "mean is over the searches that have a model by then."
        )


def _unit(found: Distribution) -> str:
    if isinstance(found, Choice):
        return "(share of other choices)"
    return "decades" if found.log else "of its range"
