"""What each arm is charged, in images, billed and standard device seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.records.engine_time import PURPOSES, USE_OF_STATE, USES, EngineTime
from study.analysis.records.searches import ENDED, spent_elsewhere
from study.analysis.records.tables import study_facts
from study.spec.trials import most_trials


@dataclass(frozen=True)
class Amount:
    """A cost. ``standard`` is None where a bank shape has no timed rate yet."""

    images: float
    billed: float
    standard: float | None

    def __add__(self, other: Amount) -> Amount:
        known = self.standard is not None and other.standard is not None
        return Amount(
            self.images + other.images,
            self.billed + other.billed,
            (self.standard or 0.0) + (other.standard or 0.0) if known else None,
        )


NOTHING = Amount(0, 0.0, 0.0)


@dataclass(frozen=True)
class CostToOneModel:
    """What one model of an arm takes, if it is named in advance: one search and one final run.

    What choosing it among other arms takes is in :mod:`study.analysis.answers.sides`.

    Attributes:
        search: One search, pruned and failed trials included: the mean over replicates that chose a
            configuration, which also bear what those took that ended without one. With what was
            spent on the arm elsewhere, ``told``: the whole earlier search that it began with, and
            the pilot that chose its settings. Nothing but that where the search has no space: the
            configuration is known without it.
        final: One confirm run: the mean over the complete ones.
        measurement: All else the arm was charged (further seeds, replicates, superseded
            choices): not part of the cost to one model.
        why: Why ``total`` is None, or "".
    """

    search: Amount | None
    final: Amount | None
    measurement: Amount
    why: str
    told: Amount = NOTHING

    @property
    def total(self) -> Amount | None:
        """Search plus final run, or None while one of them is unknown."""
        return self.search + self.final if self.search and self.final else None


@dataclass(frozen=True)
class ArmPaid:
    """All an arm was charged: by phase in images, by purpose in device seconds.

    ``training`` are the training seconds of ``seconds`` again, by :data:`USES`.
    """

    arm: str
    search_images: int
    confirm_images: int
    redone_images: int
    seconds: Mapping[str, float]
    training: Mapping[str, float]
    billed: float
    standard: float | None
    by_state: Mapping[str, int]


@dataclass(frozen=True)
class Paid:
    """The study's account: seconds of the arms and those of ``nobody`` sum to the engines' time.

    ``lost_engines`` is how many engines died; ``beyond`` what the others' trials were charged
    that is in no engine's account: seconds that should not be there.
    """

    arms: Sequence[ArmPaid]
    nobody: Mapping[str, float]
    engines: float
    closed: bool
    lost_engines: int
    beyond: float


NOTHING_PAID = Paid([], {}, 0.0, closed=True, lost_engines=0, beyond=0.0)


def cost_to_one_model(trials: pa.Table, arm: str) -> CostToOneModel:
    """The cost to one model of ``arm``, from the table of `trials.parquet`."""
    rows = [row for row in _cost_rows(trials) if row["arm"] == arm]
    one_search, one_final = _one_search(trials, arm, rows), _one_final(rows)
    why = "" if one_search else "no search of it has chosen a configuration"
    if not why and one_final is None:
        why = "none of its confirm runs is complete"
    spent, told = _sum(rows), told_cost(trials, arm)
    if one_search is None or one_final is None:
        return CostToOneModel(one_search, one_final, NOTHING, why, told)
    total = one_search + one_final
    measurement = Amount(
        spent.images - total.images,
        fsum([spent.billed, -total.billed]),
        None
        if spent.standard is None or total.standard is None
        else spent.standard - total.standard,
    )
    return CostToOneModel(one_search + told, one_final, measurement, why, told)


def one_of_each(trials: pa.Table, arms: Sequence[str]) -> Amount | None:
    """One search and one run of each of ``arms``, and what was spent on them elsewhere, once.

    Of an arm that only fails it is a failed run with its retries: that was paid to learn it. None
    before every arm has such a run.
    """
    each = list[Amount]()
    for arm in arms:
        rows = [row for row in _cost_rows(trials) if row["arm"] == arm]
        search = _one_search(trials, arm, rows)
        final = _one_final(rows) or _one_failure(rows)
        if search is None or final is None:
            return None
        each.append(search + final)
    return sum(each, told_cost(trials, *arms))


def looked_at(trials: pa.Table, arms: Sequence[str], stage: str | None) -> Amount:
    """What there was to look at before one of ``arms`` was chosen: all of their searches and runs.

    Args:
        trials: The table of `trials.parquet`.
        arms: The arms that one was chosen among.
        stage: Which confirm runs the choice looked at; None: all.
    """
    if stage is not None:
        search = pc.equal(trials["phase"], "search")
        of_stage = pc.fill_null(pc.equal(trials["stage"], stage), fill_value=False)
        trials = trials.filter(pc.or_(search, of_stage))
    searching = {arm for arm in arms if _finds(trials, arm)}
    rows = [row for row in _cost_rows(trials) if row["arm"] in arms]
    search = (row for row in rows if row["phase"] == "search" and row["arm"] in searching)
    attempts = (row for run in _confirms(rows) for row in run)
    return _sum([*search, *attempts]) + told_cost(trials, *arms)


def ratio(cost: CostToOneModel, other: CostToOneModel, unit: str = "images") -> float | None:
    """``cost`` as a multiple of ``other`` in a unit (an attribute of `Amount`), or None."""
    return multiple(cost.total, other.total, unit)


def multiple(amount: Amount | None, other: Amount | None, unit: str = "images") -> float | None:
    """``amount`` as a multiple of ``other`` in a unit, or None."""
    above, below = getattr(amount, unit, None), getattr(other, unit, None)
    return above / below if above is not None and below else None


def paid(trials: pa.Table, arms: Sequence[str], engines: Iterable[EngineTime]) -> Paid:
    """The study's account over ``arms`` (in this order) and ``engines``."""
    rows, engines = _cost_rows(trials), list(engines)
    nobody: dict[str, list[float]] = {}
    for engine in engines:
        for purpose, seconds in engine.nobody.items():
            nobody.setdefault(purpose, []).append(seconds)
    return Paid(
        arms=[_arm_paid(arm, [row for row in rows if row["arm"] == arm]) for arm in arms],
        nobody={purpose: fsum(seconds) for purpose, seconds in nobody.items()},
        engines=fsum(engine.total for engine in engines),
        closed=all(engine.closed for engine in engines),
        lost_engines=sum(engine.state == "lost" for engine in engines),
        beyond=fsum(engine.beyond for engine in engines if engine.state != "lost"),
    )


_COST_COLUMNS = (
    "arm", "phase", "replicate", "chosen_from", "number", "state", "chosen", "images",
    "redone_images", "billed_seconds", "standard_seconds",
    *(f"{purpose}_seconds" for purpose in PURPOSES),
)  # fmt: skip


def _cost_rows(trials: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = trials.select(list(_COST_COLUMNS)).to_pylist()
    return rows


def _arm_paid(arm: str, rows: Sequence[Mapping[str, Any]]) -> ArmPaid:
    spent, by_state = _sum(rows), dict[str, int]()
    for row in rows:
        by_state[row["state"]] = by_state.get(row["state"], 0) + row["images"]
    return ArmPaid(
        arm=arm,
        search_images=sum(row["images"] for row in rows if row["phase"] == "search"),
        confirm_images=sum(row["images"] for row in rows if row["phase"] == "confirm"),
        redone_images=sum(row["redone_images"] for row in rows),
        seconds={p: fsum(row[f"{p}_seconds"] for row in rows) for p in PURPOSES},
        training={
            use: fsum(
                row["training_seconds"]
                for row in rows
                if USE_OF_STATE.get(row["state"], "unfinished") == use
            )
            for use in USES
        },
        billed=spent.billed,
        standard=spent.standard,
        by_state=by_state,
    )


def told_cost(trials: pa.Table, *arms: str) -> Amount:
    """What was spent on arms elsewhere (:func:`spent_elsewhere`), together."""
    spent = spent_elsewhere(study_facts(trials), *arms)
    return sum((Amount(c["images"], c["billed"], c["standard"]) for c in spent), NOTHING)


def _one_search(trials: pa.Table, arm: str, rows: Sequence[Mapping[str, Any]]) -> Amount | None:
    """What a search takes until one chooses; None where none has, nothing where there is no search.

    That is all that those have taken that chose, or found nothing to the end, by how many chose.
    """
    search = [row for row in rows if row["phase"] == "search" and _finds(trials, arm)]
    if not search:
        return NOTHING
    searches = defaultdict[int, list[Mapping[str, Any]]](list)
    for row in search:
        searches[row["replicate"]].append(row)
    chose = [rows for rows in searches.values() if any(row["chosen"] for row in rows)]
    in_vain = [rows for rows in searches.values() if _ended_in_vain(trials, arm, rows)]
    return _mean([_sum(rows) for rows in (*chose, *in_vain)], over=len(chose))


def _ended_in_vain(trials: pa.Table, arm: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a search is over, and chose none: it made all of its trials, or could not go on."""
    if [arm, rows[0]["replicate"]] in study_facts(trials).get("in_vain", ()):
        return True
    search = study_facts(trials).get("spec", {}).get("arms", {}).get(arm, {}).get("search")
    if not search or any(row["chosen"] for row in rows):
        return False
    return len({row["number"] for row in rows if row["state"] in ENDED}) == most_trials(search)


def _one_final(rows: Iterable[Mapping[str, Any]]) -> Amount | None:
    """The mean over complete confirm runs."""
    confirms = (row for row in rows if row["phase"] == "confirm" and row["chosen"])
    return _mean([_amount(row) for row in confirms if row["state"] == "complete"])


def _one_failure(rows: Sequence[Mapping[str, Any]]) -> Amount | None:
    """The mean over confirm runs that failed, with what they retry."""
    return _mean([_sum(run) for run in _confirms(rows) if run[-1]["state"] == "failed"])


def _confirms(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Each confirm run of the chosen configurations: all attempts at it, that which stands last."""
    runs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["phase"] == "confirm":
            key = tuple(row[name] for name in ("arm", "replicate", "chosen_from", "number"))
            runs.setdefault(key, []).append(row)
    standing = [sorted(run, key=lambda row: row["chosen"]) for run in runs.values()]
    return [run for run in standing if run[-1]["chosen"]]


def _finds(trials: pa.Table, arm: str) -> bool:
    """Whether a search of ``arm`` can find a configuration: it has a space."""
    search = study_facts(trials).get("spec", {}).get("arms", {}).get(arm, {}).get("search")
    return search is None or bool(search.get("space"))


def _amount(row: Mapping[str, Any]) -> Amount:
    return Amount(row["images"], row["billed_seconds"], row["standard_seconds"])


def _sum(rows: Iterable[Mapping[str, Any]]) -> Amount:
    amounts = [_amount(row) for row in rows]
    standard = [a.standard for a in amounts if a.standard is not None]
    return Amount(
        sum(a.images for a in amounts),
        fsum(a.billed for a in amounts),
        fsum(standard) if len(standard) == len(amounts) else None,
    )


def _mean(amounts: Sequence[Amount], over: int | None = None) -> Amount | None:
    """Their sum by their number, or ``over`` another; None where that is 0."""
    n = len(amounts) if over is None else over
    if not n:
        return None
    standard = [a.standard for a in amounts if a.standard is not None]
    return Amount(
        fsum(a.images for a in amounts) / n,
        fsum(a.billed for a in amounts) / n,
        fsum(standard) / n if len(standard) == len(amounts) else None,
    )
