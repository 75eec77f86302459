"""Who is charged what, in images, billed and standard device seconds.

*Billed* seconds sum to the engines' time; *standard* seconds are images times the frozen seconds
per image of the trial's bank shape, free of neighbours and of crashes: the ones to compare by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import pyarrow as pa

#: What a trial's reports say their device seconds were spent on.
REPORTED = ("training", "evaluation", "second_stage")

#: What a trial's billed device seconds were spent on; each is a column `<purpose>_seconds`.
PURPOSES = (*REPORTED, "startup", "redone", "lost", "pilot")

#: What training seconds were spent on, by what became of the trial.
USES = ("useful", "pruned", "failed", "unfinished")
_USE = {"complete": "useful", "pruned": "pruned", "failed": "failed"}

_ROUNDING = 1e-9  # of an engine's time: a smaller difference is the arithmetic's, not work


@dataclass
class EngineClock:
    """One engine's time while the journal is read, and who used it.

    ``clock`` is the engine's own account, purpose -> device seconds without the start-up, known
    once it stopped or was lost; ``charged`` what the trials it trained were charged for it;
    ``unreported`` what each of them had trained here, by that account, since its last report;
    ``aboard`` the trials in its slots when it ended.
    """

    engine: str
    device: str = ""
    width: int = 0
    state: str = "started"
    startup: float = 0.0
    clock: dict[str, float] | None = None
    charged: dict[str, float] = field(default_factory=dict)
    unreported: dict[str, float] = field(default_factory=dict)
    aboard: list[str] = field(default_factory=list)

    def charge(self, trial: str, seconds: float) -> None:
        """Note that ``trial`` used ``seconds`` of this engine."""
        self.charged[trial] = self.charged.get(trial, 0.0) + seconds

    def settle(self) -> Settlement:
        """Share out the engine's time: no share is negative, and they sum to its total.

        Start-up goes to the trials in proportion to the seconds they used here. Work that was
        begun and never reported is *lost*: by the engine's word on whose it was, and what that
        leaves evenly by those aboard at the end; with nobody aboard it is *unreported*, like idle
        time charged to nobody. The account of an engine that died is as old as its last
        heartbeat: where its trials were charged for more, the engine's time is that.
        """
        used = fsum(self.charged.values())
        startup = {t: self.startup * s / used for t, s in self.charged.items()} if used else {}
        clock = self.clock if self.clock is not None else {"training": used}
        nobody = {p: s for p, s in clock.items() if p not in REPORTED}
        own = fsum([self.startup, *clock.values()])
        accounted = fsum([self.startup, used, *nobody.values()])
        total = max(own, accounted)
        lost = self._lost(total - accounted, _ROUNDING * total)
        nobody["unused start-up"] = 0.0 if used else self.startup
        nobody["unreported"] = max(0.0, fsum([total, -accounted, *(-s for s in lost.values())]))
        return Settlement(
            EngineTime(
                engine=self.engine,
                device=self.device,
                width=self.width,
                state=self.state,
                total=total,
                nobody=nobody,
                closed=self.clock is not None,
                beyond=total - own,
            ),
            startup,
            lost,
        )

    def _lost(self, seconds: float, rounding: float) -> dict[str, float]:
        """Whose the ``seconds`` are that nobody was charged for."""
        if seconds <= rounding:
            return {}
        known = fsum(self.unreported.values())
        part = min(1.0, seconds / known) if known > 0 else 0.0  # a part may be reported since
        lost = {trial: s * part for trial, s in self.unreported.items() if s * part > 0}
        rest = fsum([seconds, *(-s for s in lost.values())])
        if rest > rounding:
            for trial in self.aboard:
                lost[trial] = lost.get(trial, 0.0) + rest / len(self.aboard)
        return lost


@dataclass(frozen=True)
class EngineTime:
    """One engine's device seconds: ``total``, and the part ``nobody`` is charged, by purpose.

    ``closed`` is False while its own account is not in the journal: idle time is then unknown.
    ``beyond`` is the part of the total that is in the reports only and not in that account.
    """

    engine: str
    device: str
    width: int
    state: str
    total: float
    nobody: Mapping[str, float]
    closed: bool
    beyond: float


@dataclass(frozen=True)
class Settlement:
    """An engine's time shared out: ``startup`` and ``lost`` map trials to device seconds."""

    time: EngineTime
    startup: Mapping[str, float]
    lost: Mapping[str, float]


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
    """What it takes an arm to get to one model: one search and one final run.

    Attributes:
        search: One search, pruned and failed trials included: the mean over finished replicates.
        final: One confirm run: the mean over the complete ones.
        measurement: All else the arm was charged (further seeds, replicates, superseded
            choices): not part of the cost to one model.
        why: Why ``total`` is None, or "".
    """

    search: Amount | None
    final: Amount | None
    measurement: Amount
    why: str

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
    """The study's account: what the arms paid and ``nobody`` paid sums to the engines' time.

    ``lost_engines`` is how many engines died; ``beyond`` what the others' trials were charged
    that is in no engine's account: seconds that should not be there.
    """

    arms: Sequence[ArmPaid]
    nobody: Mapping[str, float]
    engines: float
    closed: bool
    lost_engines: int
    beyond: float


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
    spent = _sum(rows)
    if one_search is None or one_final is None:
        return CostToOneModel(one_search, one_final, NOTHING, why)
    total = one_search + one_final
    measurement = Amount(
        spent.images - total.images,
        fsum([spent.billed, -total.billed]),
        None
        if spent.standard is None or total.standard is None
        else spent.standard - total.standard,
    )
    return CostToOneModel(one_search, one_final, measurement, why)


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
                if _USE.get(row["state"], "unfinished") == use
            )
            for use in USES
        },
        billed=spent.billed,
        standard=spent.standard,
        by_state=by_state,
    )


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
