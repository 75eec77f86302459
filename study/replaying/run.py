"""A search policy tried on what a study has recorded, over and over, with nothing trained.

Every trial of a search is one that was trained: see :mod:`study.replaying.search`. That answers
what another sampler or pruner would have come to, as long as the recorded trials are spread as the
space is and were trained to their ends; what they can't answer is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from pydantic import ValidationError

from study.analysis import build_tables
from study.analysis.answers.arms import arm_results
from study.analysis.records.tables import study_facts
from study.analysis.statistics.intervals import Interval, mean_interval
from study.analysis.statistics.order_statistics import chosen_weights, first_below
from study.journal import StudyHome, read_events
from study.replaying.result import SHARE, Floats, Level, Point, Replay, lucky, pool_interval
from study.replaying.search import Played, Pool, Recorded, ReplayedSearch
from study.spec import Choice, Distribution, SearchSpec, StudySpec
from study.spec.errors import Source, spec_error
from study.spec.options import SAMPLERS
from study.spec.reading import read_yaml
from vae_core.errors import UserError, nearest
from vae_core.randomness import derive

FEWEST = 8
"""Complete trials a pool has at least: with fewer there is no curve to speak of."""
WAYS = 10
"""Ways the pool is halved for its luck; a tenth of the repeats is searched on each half."""
CROWDED = 0.3
"""From this share of proposals on whose nearest trial was taken, a note says so."""

Policy = str | Mapping[str, Any]


class ReplayError(UserError):
    """A question that a study's records can't answer."""


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
        arm: whose search; by default the only hand-tuned one that can answer.
        trials: of a search; by default a fourth of those recorded, at most half of them.
        batch: as in a study file.
        repeats: how many searches, 2 or more.

    Raises:
        ReplayError: the records can't answer that.
        SpecError: there is no such sampler, pruner or option.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if repeats < 2:
        raise ReplayError(f"{repeats} repeats show no luck", remedy="give 2 or more")
    tables = build_tables(read_events(home.path))
    arm, recorded = _pool(tables, spec, arm)
    trials = _length(len(recorded), trials, arm)
    search = _search(spec, arm, _read(sampler, "sampler"), _read(pruner, "pruner"), trials, batch)
    found = _Replayer(spec, arm, search, recorded)
    searches = [found.play(found.pool, trials, repeat) for repeat in range(repeats)]
    scores = np.array([_scores(played) for played in searches])
    halves = found.halves(repeats)
    drawn = _drawn(recorded, trials)
    images = np.cumsum([[p.images for p in played] for played in searches], axis=1).mean(axis=0)
    seconds = np.cumsum([[_seconds(p) for p in played] for played in searches], axis=1)
    curve = [
        Point(
            n=n,
            score=lucky(scores[:, n - 1]),
            pool=found.pool_luck(scores[:, n - 1], halves, n),
            drawn=drawn[n - 1],
            images=float(images[n - 1]),
            seconds=_finite(float(seconds[:, n - 1].mean())),
        )
        for n in range(1, trials + 1)
    ]
    every = [played for one in searches for played in one]
    keys = every[0].moved
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
        curve=curve,
        levels=list(_levels(tables, spec, arm, [point.score.mean for point in curve])),
        pruned=sum(played.state == "pruned" for played in every) / len(every),
        moved={key: sum(played.moved[key] for played in every) / len(every) for key in keys},
        crowded=sum(played.crowded for played in every) / len(every),
        notes=[],
    )
    failed = sum(not trial.complete for trial in recorded)
    return replace(answer, notes=list(_notes(answer, spec, failed)))


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
        """One search of so many trials on a pool."""
        search = self._search.model_copy(update={"trials": trials})
        arm = self._spec.arms[self._arm].model_copy(update={"search": search})
        spec = self._spec.model_copy(update={"arms": {**self._spec.arms, self._arm: arm}})
        return ReplayedSearch(spec, self._arm, repeat, pool, exchangeable=self._exchangeable).play()

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
                # The same draws on both halves: what is left to differ is the pool.
                ahead = repeats + way * each
                played = [self.play(part, trials, ahead + i) for i in range(each)]
                scores.append([_scores(search) for search in played])
        return np.array(scores).reshape(WAYS, 2, each, trials)

    def pool_luck(self, scores: Floats, halves: Floats, n: int) -> Interval:
        """The mean of ``scores`` with the pool's luck, where that can be said."""
        count = len(self.pool)
        if self.recorded != "random":
            why = f"the points of {self.recorded} are no random sample"
            return replace(lucky(scores), lower=None, upper=None, why=why)
        if n > count // SHARE:
            why = f"n = {n} is more than a fourth of {count}"
            return replace(lucky(scores), lower=None, upper=None, why=why)
        return pool_interval(scores, _means(halves[..., n - 1]), n, count)


def _means(scores: Floats) -> Floats:
    """Means over the last axis of what is there, NaN where nothing is."""
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


def _seconds(played: Played) -> float:
    rate = played.recorded.seconds_per_image
    return math.nan if rate is None else rate * played.images


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _drawn(recorded: Sequence[Recorded], trials: int) -> list[float | None]:
    """What n trials drawn from the pool come to on average: exact, over draws with a model."""
    complete = sorted((trial for trial in recorded if trial.complete), key=_value)
    tests = np.array([trial.test for trial in complete], dtype=np.float64)
    weights = (chosen_weights(len(recorded), n)[: len(tests)] for n in range(1, trials + 1))
    return [float(weight @ tests / weight.sum()) for weight in weights]


# -- the recorded trials, and what they can't answer ----------------------------------------------


def _pool(
    tables: Mapping[str, pa.Table], spec: StudySpec, arm: str | None
) -> tuple[str, list[Recorded]]:
    """The arm to replay on and its recorded trials, each configuration's in the last attempt."""
    searching = [name for name, found in spec.arms.items() if found.search]
    if arm is not None:
        if arm not in spec.arms:
            raise ReplayError(f"no arm '{arm}'", where=spec.name, remedy=nearest(arm, spec.arms))
        return arm, _recorded(tables, spec, arm)
    roles = study_facts(tables["trials"])["roles"]
    hand = [name for name in searching if roles[name]["hand_tuned"]]
    if not hand:
        raise ReplayError(
            "no hand-tuned arm searches anything",
            where=spec.name,
            remedy=f"name another arm that does, with --arm: {', '.join(searching) or 'none does'}",
        )
    pools, errors = {}, []
    for name in hand:
        try:
            pools[name] = _recorded(tables, spec, name)
        except ReplayError as error:
            errors.append(error)
    if len(pools) == 1:
        return next(iter(pools.items()))
    if pools:
        what = f"the searches of {' and '.join(pools)} can all be replayed on"
        raise ReplayError(what, where=spec.name, remedy="name one of them with --arm")
    if len(errors) == 1:
        raise errors[0]
    raise ReplayError(
        "no arm's search can be replayed on",
        where=spec.name,
        remedy="\n  ".join(f"{error.where}: {error.what}" for error in errors),
    )


def _recorded(tables: Mapping[str, pa.Table], spec: StudySpec, arm: str) -> list[Recorded]:
    """The trials of an arm's search, all replicates' together.

    Raises:
        ReplayError: they can't say what another search would have found.
    """
    where, search = f"{spec.name}: arm {arm}", spec.arms[arm].search
    if search is None:
        raise ReplayError("the arm searches nothing", where=where, remedy="name another one")
    if SAMPLERS[search.sampler.name].adaptive:
        raise ReplayError(
            f"its trials were chosen by {search.sampler.name}, which crowds them where it looked: "
            "they can't say what another search would have seen",
            where=where,
            remedy="replay on an arm that was searched by random, qmc or grid",
        )
    test = f"test_{spec.objective}"
    attempts: dict[tuple[int, int], dict[str, Any]] = {}
    for row in tables["trials"].to_pylist():
        if row["arm"] == arm and row["phase"] == "search":
            key = row["replicate"], row["number"]
            if key not in attempts or attempts[key]["state"] != "complete":
                attempts[key] = row
    rows = list(attempts.values())
    pruned = [row["trial"] for row in rows if row["state"] == "pruned"]
    if pruned:
        raise ReplayError(
            f"{len(pruned)} of its {len(rows)} trials were pruned, {pruned[0]} the first: what "
            "they would have come to was never trained",
            where=where,
            remedy="fork the study without the pruner; `study retry` runs a trial again that was "
            "stopped by hand",
        )
    complete = [row for row in rows if row["state"] == "complete"]
    if len(complete) < FEWEST:
        raise ReplayError(
            f"{len(complete)} complete trials are too few to replay a search on",
            where=where,
            remedy=f"it takes {FEWEST}: launch the study with more trials, or let it go on",
        )
    if any(row.get(test) is None for row in complete):
        raise ReplayError(
            f"its trials have no {spec.objective} on test",
            where=where,
            remedy="fork the study with --set evaluation.trials=all",
        )
    curves = _curves(tables["records"], f"validation_{spec.objective}")
    return [
        Recorded(
            params={
                key: _within(search.space[key], value)
                for key, value in json.loads(row["params"]).items()
            },
            complete=row["state"] == "complete",
            curve=[value for _, value in curves.get(row["trial"], ())],
            images=[images for images, _ in curves.get(row["trial"], ())],
            value=row["objective"],
            test=row[test],
            seconds_per_image=_rate(row),
        )
        for row in rows
        if row["state"] in ("complete", "failed")
    ]


def _curves(records: pa.Table, column: str) -> dict[str, list[tuple[int, float | None]]]:
    """By trial, images and the objective on validation at each of its reports."""
    curves: dict[str, list[tuple[int, float | None]]] = {}
    columns = (records[name].to_pylist() for name in ("trial", "images", column))
    for trial, images, value in zip(*columns, strict=True):
        known = value is not None and math.isfinite(value)
        curves.setdefault(trial, []).append((images, value if known else None))
    return curves


def _within(found: Distribution, value: Any) -> Any:
    """A value that was searched; a grid's ends may be a rounding error outside of their range."""
    return value if isinstance(found, Choice) else min(max(value, found.low), found.high)


def _rate(row: Mapping[str, Any]) -> float | None:
    seconds, images = row["standard_seconds"], row["images"]
    return None if seconds is None else float(seconds / max(1, images))


# -- the policy, and what it is held against ------------------------------------------------------


def _length(count: int, trials: int | None, where: str) -> int:
    """How many trials a replayed search has, of a pool of ``count``."""
    trials = count // SHARE if trials is None else trials
    if trials < 1:
        raise ReplayError(f"{trials} trials are no search", where=where, remedy="give 1 or more")
    if trials > count // 2:
        raise ReplayError(
            f"{trials} trials of the {count} that are recorded: a search that takes most of what "
            "there is finds what there is, whatever its policy",
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
        SpecError: a study file could not have it.
        ReplayError: it is a grid.
    """
    # How many points a grid has of a range says nothing of the range.
    space = {
        key: found if isinstance(found, Choice) else replace(found, points=None)
        for key, found in _recorded_search(spec, arm).space.items()
    }
    policy = {"sampler": sampler, "pruner": pruner, "trials": trials, "batch": batch}
    if sampler == "grid" or (isinstance(sampler, Mapping) and sampler.get("name") == "grid"):
        raise ReplayError(
            "a grid visits points of its own, and they were not trained",
            where="--sampler",
            remedy="replay another sampler; an arm that was searched by a grid shows its own",
        )
    try:
        return SearchSpec.model_validate({"space": space, **policy})
    except ValidationError as error:
        raise spec_error(error, SearchSpec, Source("replay")) from None


def _levels(
    tables: Mapping[str, pa.Table], spec: StudySpec, arm: str, means: Sequence[float | None]
) -> Iterator[Level]:
    """What the recorded search chose, and where each automatic arm's confirm runs are."""
    chosen = [
        row[f"test_{spec.objective}"]
        for row in tables["trials"].to_pylist()
        if row["arm"] == arm and row["phase"] == "search" and row["chosen"]
    ]
    if chosen:
        search = _recorded_search(spec, arm)
        what = f"the best of its own {search.trials} trials, mean over {len(chosen)} searches"
        yield _level(arm, what if len(chosen) > 1 else what.partition(",")[0], chosen, means)
    for result in arm_results(tables, spec.to_dict(), spec.objective, spec.objective):
        if result.automatic and result.arm != arm and result.by_seed:
            seeds = result.by_seed
            yield _level(result.arm, f"mean of {len(seeds)} seeds", list(seeds.values()), means)


def _level(arm: str, what: str, values: Sequence[float], means: Sequence[float | None]) -> Level:
    score = mean_interval(values)
    n = None if score.mean is None else first_below(means, score.mean)
    return Level(arm, what, score, n)


def _notes(answer: Replay, spec: StudySpec, failed: int) -> Iterator[str]:
    count = answer.pool
    yield (
        f"+-: how much the mean over {answer.repeats} searches may be off for searches of these "
        f"{count} trials, each with one training behind it. It says nothing of other trials."
    )
    if answer.recorded == "random":
        yield (
            f"[ ]: for searches of any {count} trials drawn like these, from {answer.halves} "
            f"searches of {WAYS} random pairs of halves; for n up to {count // SHARE}, a fourth of "
            "the pool."
        )
    else:
        yield (
            f"There is no interval for the luck of the trials: the points of {answer.recorded} "
            "are no random sample, and the luck of their seeds can't be told from the records."
        )
    search = _recorded_search(spec, answer.arm)
    planned = search.trials * search.replicates
    if count < planned:
        yield (
            f"{planned - count} of the search's {planned} trials have not ended; where trials "
            "differ in length, those that are missing are the long ones."
        )
    if answer.moved:
        space = search.space
        far = ", ".join(
            f"{key} {amount:.2g} {_unit(space[key])}" for key, amount in answer.moved.items()
        )
        yield (
            f"A proposal is moved to the nearest recorded trial that is left: on average by {far}. "
            f"Of {100 * answer.crowded:.0f} % of them the nearest was taken."
        )
    if answer.crowded >= CROWDED:
        yield (
            "That is so often that the policy could not look as closely as it wanted to: a real "
            "search may find better. More recorded trials or fewer --trials help."
        )
    if answer.pruner is not None:
        yield f"Pruned were {100 * answer.pruned:.0f} % of the trials." + (
            ""
            if answer.pruned
            else " Most pruners wait for complete trials, and those of a batch are told together: "
            "a smaller --batch shows it some."
        )
    if failed:
        yield (
            f"{failed} of the {count} recorded trials failed: they fail again, and cost what they "
            "cost. A mean is over the searches that have a model by then."
        )


def _unit(found: Distribution) -> str:
    if isinstance(found, Choice):
        return "(share of other choices)"
    return "decades" if found.log else "of its range"
