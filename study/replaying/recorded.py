"""The recorded trials that a search is replayed on, by their place in the searched space."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.analysis.records.tables import recorded_roles
from study.search.phases import ENQUEUED
from study.spec import Choice, Distribution, StudySpec
from study.spec.options import SAMPLERS
from vae_core.errors import UserError, nearest

Params = Mapping[str, Any]

FEWEST = 8
"""Complete trials that a pool needs: with fewer the curve is meaningless."""


class ReplayError(UserError):
    """A question that a study's records cannot answer."""


@dataclass(frozen=True)
class Recorded:
    """A trial of the search that is replayed on.

    Attributes:
        params: Its searched parameters.
        complete: Whether it is complete; else it failed, and fails again.
        curve: Objective on validation at reports 1, 2, ...; None where it was not finite.
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


class Pool:
    """Recorded trials, in the space that they were drawn from.

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


def recorded_trials(
    tables: Mapping[str, pa.Table], spec: StudySpec, arm: str | None
) -> tuple[str, list[Recorded]]:
    """The arm to replay on and its recorded trials, a configuration's retries as one."""
    searching = [name for name, found in spec.arms.items() if found.search]
    if arm is not None:
        if arm not in spec.arms:
            raise ReplayError(f"no arm '{arm}'", where=spec.name, remedy=nearest(arm, spec.arms))
        return arm, _recorded(tables, spec, arm)
    roles = recorded_roles(tables["trials"])
    hand = [name for name in searching if roles[name].hand_tuned]
    if not searching:
        raise ReplayError(
            "no arm searches anything", where=spec.name, remedy="replay another study"
        )
    if not hand:
        raise ReplayError(
            "no hand-tuned arm searches anything",
            where=spec.name,
            remedy=f"name an arm that does with --arm: {', '.join(searching)}",
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
        what = f"the searches of {' and '.join(pools)} can all be used"
        raise ReplayError(what, where=spec.name, remedy="name one of them with --arm")
    if len(errors) == 1:
        raise errors[0]
    raise ReplayError(
        "no arm's search can be used",
        where=spec.name,
        remedy="\n  ".join(f"{error.where}: {error.what}" for error in errors),
    )


def _recorded(tables: Mapping[str, pa.Table], spec: StudySpec, arm: str) -> list[Recorded]:
    """The trials of an arm's search, all replicates' together.

    Raises:
        ReplayError: they do not show what another search would have found.
    """
    where, search = f"{spec.name}: arm {arm}", spec.arms[arm].search
    if search is None:
        raise ReplayError("the arm searches nothing", where=where, remedy="name another one")
    if SAMPLERS[search.sampler.name].adaptive:
        raise ReplayError(
            f"its trials were chosen by {search.sampler.name}, which concentrates them: they do "
            "not show what another search would have found",
            where=where,
            remedy="use an arm that was searched by random, qmc or grid",
        )
    test = f"test_{spec.objective}"
    drawn = (row for row in _search_trials(tables["trials"], arm) if not _enqueued(row))
    rows = list(drawn)
    pruned = [row["trial"] for row in rows if row["state"] == "pruned"]
    if pruned:
        raise ReplayError(
            f"{len(pruned)} of its {len(rows)} trials were pruned, {pruned[0]} the first: they "
            "were not trained to their ends",
            where=where,
            remedy="fork the study without the pruner; `study retry` runs a trial again that was "
            "stopped by command",
        )
    complete = [row for row in rows if row["state"] == "complete"]
    if len(complete) < FEWEST:
        raise ReplayError(
            f"{len(complete)} complete trials are too few to replay a search",
            where=where,
            remedy=f"{FEWEST} are needed: launch the study with more trials, or resume it",
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


def _enqueued(row: Mapping[str, Any]) -> bool:
    """Whether the spec gave the trial's settings: it is no draw of the sampler."""
    return bool(row["drawn_by"] == ENQUEUED)


def _search_trials(trials: pa.Table, arm: str) -> list[dict[str, Any]]:
    """Rows of an arm's search, of a trial and its retries one: the complete one, else the last."""
    attempts: dict[tuple[int, int], dict[str, Any]] = {}
    for row in trials.to_pylist():
        if row["arm"] == arm and row["phase"] == "search":
            key = row["replicate"], row["number"]
            if key not in attempts or attempts[key]["state"] != "complete":
                attempts[key] = row
    return list(attempts.values())


def _curves(records: pa.Table, column: str) -> dict[str, list[tuple[int, float | None]]]:
    """By trial, images and the objective on validation at each of its reports."""
    curves: dict[str, list[tuple[int, float | None]]] = {}
    columns = (records[name].to_pylist() for name in ("trial", "images", column))
    for trial, images, value in zip(*columns, strict=True):
        known = value is not None and math.isfinite(value)
        curves.setdefault(trial, []).append((images, value if known else None))
    return curves


def _within(found: Distribution, value: Any) -> Any:
    """A searched value within its range: a grid's ends may be outside by a rounding error."""
    return value if isinstance(found, Choice) else min(max(value, found.low), found.high)


def _rate(row: Mapping[str, Any]) -> float | None:
    seconds, images = row["standard_seconds"], row["images"]
    return None if seconds is None else float(seconds / max(1, images))


def _apart(found: Distribution) -> Callable[[Any, Any], float]:
    """The distance of two values of a range, as a share of it; 0 or 1 for choices."""
    if isinstance(found, Choice):
        return lambda a, b: float(a != b)
    if found.log:
        whole = math.log(found.high / found.low)
        return lambda a, b: abs(math.log(a / b)) / whole
    whole = found.high - found.low
    return lambda a, b: abs(a - b) / whole


def _decades(found: Distribution) -> float:
    """The number of decades of a log range; 1 for anything else."""
    if isinstance(found, Choice) or not found.log:
        return 1.0
    return math.log10(found.high / found.low)
