"""What each arm is charged, in images, billed and standard device seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import pyarrow as pa

from study.analysis.records.engine_time import PURPOSES, USE_OF_STATE, USES, EngineTime
from study.analysis.records.tables import study_facts


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
    """What one model of an arm takes: one search and one final run.

    Attributes:
        search: One search, pruned and failed trials included: the mean over finished replicates.
            With what was spent on the arm elsewhere, ``told``: the whole earlier search that it
            began with, and the pilot that chose its settings.
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


def cost_to_one_model(
    trials: pa.Table, arm: str, *, searches: bool | None = None
) -> CostToOneModel:
    """The cost to one model of ``arm``, from the trials table.

    Args:
        trials: The table of `trials.parquet`.
        arm: The arm's name.
        searches: Whether the arm has a search; by default, whether it has search trials.
    """
    rows = [row for row in _cost_rows(trials) if row["arm"] == arm]
    search = [row for row in rows if row["phase"] == "search"]
    finals = [
        row
        for row in rows
        if row["phase"] == "confirm" and row["chosen"] and row["state"] == "complete"
    ]
    why = ""
    one_search: Amount | None = NOTHING
    if search:
        finished = {row["replicate"] for row in search if row["chosen"]}
        one_search = _mean(
            [_sum(row for row in search if row["replicate"] == r) for r in sorted(finished)]
        )
        why = "" if one_search else "no search of it has chosen a configuration"
    one_final = _mean([_amount(row) for row in finals])
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


def ratio(cost: CostToOneModel, other: CostToOneModel, unit: str = "images") -> float | None:
    """``cost`` as a multiple of ``other`` in a unit (an attribute of `Amount`), or None."""
    if cost.total is None or other.total is None:
        return None
    above, below = getattr(cost.total, unit), getattr(other.total, unit)
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
    "arm", "phase", "replicate", "state", "chosen", "images", "redone_images", "billed_seconds",
    "standard_seconds", *(f"{purpose}_seconds" for purpose in PURPOSES),
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


def told_cost(trials: pa.Table, arm: str) -> Amount:
    """What was spent on an arm elsewhere: the search it began with, the pilot of its settings."""
    facts = study_facts(trials)
    spent = [(facts.get(key) or {}).get(arm) for key in ("told", "piloted")]
    amounts = [
        Amount(*(cost[k] for k in ("images", "billed", "standard"))) for cost in spent if cost
    ]
    return sum(amounts, NOTHING)


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


def _mean(amounts: Sequence[Amount]) -> Amount | None:
    if not amounts:
        return None
    n = len(amounts)
    standard = [a.standard for a in amounts if a.standard is not None]
    return Amount(
        fsum(a.images for a in amounts) / n,
        fsum(a.billed for a in amounts) / n,
        fsum(standard) / n if len(standard) == n else None,
    )
