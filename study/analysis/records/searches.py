"""An arm's searches as arrays, from the trials table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.records.tables import recorded_roles, study_facts
from study.journal.events import STATED
from study.spec.trials import most_trials
from study.statistics.order_statistics import Floats

ENDED = ("complete", "pruned", "failed")
_COLUMNS = ("arm", "phase", "stage", "replicate", "number", "state", "chosen", "trial", "retry_of",
            "seed", "params", "settings", "images", "standard_seconds")  # fmt: skip


@dataclass(frozen=True)
class SearchTrials:
    """Trials in the order of their numbers, (N,) each: one search, or the seeds of an arm.

    ``validation`` is the objective they are chosen by and ``test`` what they score, both infinite
    of a trial that was pruned, failed, or was not measured; ``images`` and standard device
    ``seconds`` (nan: rate not known) are what each took, retries included.
    """

    validation: Floats
    test: Floats
    images: Floats
    seconds: Floats
    beta: Floats

    def __len__(self) -> int:
        return len(self.validation)

    @property
    def scores(self) -> Floats:
        """``test`` in the order the trials are chosen by, the earliest of equals first."""
        return self.test[np.argsort(self.validation, kind="stable")]

    @property
    def found(self) -> Floats:
        """What the best trial so far on validation scores on test, after each trial."""
        best = np.minimum.accumulate(self.validation)
        better = best < np.append(inf, best[:-1])
        first = np.maximum.accumulate(np.where(better, np.arange(len(self)), 0))
        return np.where(np.isfinite(best), self.test[first], inf)

    def inside(self, low: float, high: float) -> SearchTrials:
        """The trials whose beta (k sigma^2) lies in [low, high]."""
        keep = (self.beta >= low) & (self.beta <= high)
        return SearchTrials(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    @staticmethod
    def pooled(searches: Sequence[SearchTrials]) -> SearchTrials:
        """All their trials as one, which independent trials are."""
        names = SearchTrials.__dataclass_fields__
        return SearchTrials(*(np.concatenate([getattr(s, n) for s in searches]) for n in names))


@dataclass(frozen=True)
class ArmSearches:
    """What an arm tried, by one objective.

    Attributes:
        arm: The arm's name.
        automatic: Whether its balancer sets beta itself.
        searched: Whether it has a search; if not, its one "search" are its confirm runs, of which
            those that only chose the arm do not count if there are others.
        independent: Whether its trials are: of random search without a pruner or enqueued
            settings, or seeds.
        how: Its sampler and pruner, as in "tpe with hyperband"; "seeds" of runs of other seeds.
        searches: One a replicate, those whose first trial has ended.
        budget: How many trials the spec gives one search, at most.
        prior: The range beta is drawn from as k sigma^2, log-uniformly; None where it isn't.
        looks: Trials after which its break-even was looked at, to go on until it is bounded; None
            of a search whose number of trials did not depend on what they found.
        elsewhere: Images and standard device seconds (nan: not known) spent before its first trial:
            on the search it was told of, and on the pilot that chose its settings.
    """

    arm: str
    automatic: bool
    searched: bool
    independent: bool
    how: str
    searches: Sequence[SearchTrials]
    budget: int
    prior: tuple[float, float] | None
    looks: Sequence[int] | None = None
    elsewhere: tuple[float, float] = (0.0, 0.0)

    @property
    def of_seeds(self) -> bool:
        """Whether its trials are runs of one configuration under other seeds."""
        return self.how == "seeds"

    @property
    def pool(self) -> SearchTrials | None:
        """All trials together, if they are independent."""
        return SearchTrials.pooled(self.searches) if self.independent and self.searches else None


def spent_elsewhere(facts: Mapping[str, Any], *arms: str) -> list[Mapping[str, Any]]:
    """What was spent on ``arms`` in other studies, each time once: images, billed, standard.

    That is the searches they began with and the pilots of their settings. Several may have one
    study's; a pilot is a whole study, with a search in it that an arm began with; costs that the
    spec states are each arm's own.
    """
    told, piloted = (facts.get(key) or {} for key in ("told", "piloted"))
    found = dict[tuple[str, ...], Mapping[str, Any]]()
    whole = {piloted[arm]["source"] for arm in arms if arm in piloted}
    for key, spent in (("told", told), ("piloted", piloted)):
        for arm, cost in ((arm, spent[arm]) for arm in arms if arm in spent):
            if key == "told" and cost["source"].partition(", arm ")[0] in whole:
                continue
            source = (key, arm) if cost["source"] == STATED else (key, "", cost["source"])
            # The study may have grown between the launches that two arms began at.
            found[source] = max(found.get(source, cost), cost, key=lambda one: one["images"])
    return [*found.values()]


def arm_searches(
    trials: pa.Table, spec: Mapping[str, Any], objective: str
) -> dict[str, ArmSearches]:
    """What each arm of ``spec`` tried, chosen by and scored by ``objective``, by arm."""
    measured = [f"{split}_{objective}" for split in ("validation", "test")]
    known = [name for name in measured if name in trials.column_names]
    table, roles = trials.select([*_COLUMNS, *known]), recorded_roles(trials)
    facts = study_facts(trials)
    looks = facts.get("search_looks") or {}
    found = {}
    for name, arm in spec["arms"].items():
        rows = table.filter(pc.equal(table["arm"], name)).to_pylist()
        search = arm.get("search") or {}
        if search:
            rows = [row for row in rows if row["phase"] == "search"]
            sampler, pruner = search["sampler"]["name"], (search.get("pruner") or {}).get("name")
        else:
            rows = [row for row in rows if row["phase"] == "confirm" and row["chosen"]]
            # Runs that chose the arm made it look better than it is.
            rows = [row for row in rows if row["stage"] != "choosing"] or rows
            sampler, pruner = "seeds", None
        by_replicate: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_replicate.setdefault(row["replicate"], []).append(row)
        searches = [
            made
            for replicate in sorted(by_replicate)
            if len(made := _search(by_replicate[replicate], *measured))
        ]
        before = spent_elsewhere(facts, name)
        found[name] = ArmSearches(
            arm=name,
            automatic=not roles[name].hand_tuned,
            searched=bool(search),
            independent=sampler == "seeds"
            or (sampler == "random" and pruner is None and not search.get("enqueue")),
            how=f"{sampler} with {pruner}" if pruner else sampler,
            searches=searches,
            budget=most_trials(search) if search else len(spec["seeds"]),
            prior=_prior(search, rows),
            looks=[look["trials"] for look in looks.get(name, ())]
            if isinstance(search.get("trials"), Mapping)
            else None,
            elsewhere=(
                float(sum(cost["images"] for cost in before)),
                fsum(nan if cost["standard"] is None else cost["standard"] for cost in before),
            ),
        )
    return found


def _search(rows: Sequence[Mapping[str, Any]], validation: str, test: str) -> SearchTrials:
    """One search: its trials up to the first that has not ended, retries in their place."""
    attempts: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        attempts.setdefault(row["number"], []).append(row)
    columns: list[tuple[float, ...]] = []
    for number in sorted(attempts):
        tried = attempts[number]
        last = tried[-1]
        if last["state"] not in ENDED:
            break
        good = last["state"] == "complete"
        seconds = [row["standard_seconds"] for row in tried]
        columns.append(
            (
                _number(last.get(validation)) if good else inf,
                _number(last.get(test)) if good else inf,
                float(sum(row["images"] for row in tried)),
                nan if None in seconds else sum(seconds),
                json.loads(last["settings"]).get("balancer", {}).get("beta", nan),
            )
        )
    return SearchTrials(*np.array(columns, np.float64).reshape(-1, 5).T)


def _prior(
    search: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[float, float] | None:
    """The searched range of beta as k sigma^2, whatever loss the file gives it for."""
    space = (search.get("space") or {}).get("beta")
    if not isinstance(space, Mapping) or not space.get("log") or not rows:
        return None
    drawn = [[json.loads(row[name]) for name in ("settings", "params")] for row in rows]
    factors = [settings["balancer"]["beta"] / params["beta"] for settings, params in drawn]
    if not np.allclose(factors, factors[0], rtol=1e-9):
        return None  # converted by each trial's own latent or batch size
    return factors[0] * space["low"], factors[0] * space["high"]


def _number(value: float | None) -> float:
    return inf if value is None or not np.isfinite(value) else value
