"""Each engine's device seconds: which trials used them, and what no trial did.

*Billed* seconds sum to the engines' time; *standard* seconds are images times the frozen seconds
per image of the trial's bank shape, free of neighbours and of crashes: the ones to compare by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import fsum

#: What a trial's reports say their device seconds were spent on.
REPORTED = ("training", "evaluation", "second_stage")

#: What a trial's billed device seconds were spent on; each is a column `<purpose>_seconds`.
PURPOSES = (*REPORTED, "startup", "redone", "lost", "pilot")

#: What training seconds were spent on, by the state in which the trial ended.
USES = ("useful", "pruned", "failed", "unfinished")
USE_OF_STATE = {"complete": "useful", "pruned": "pruned", "failed": "failed"}

_ROUNDING = 1e-9  # of an engine's time: a smaller difference is the arithmetic's, not work


@dataclass
class EngineClock:
    """One engine's time while the journal is read, and the trials that used it.

    ``clock`` is the engine's own account, purpose -> device seconds without the start-up, known
    once it stopped or was lost; ``charged`` what the trials it trained were charged for it;
    ``unreported`` what each of them had trained here, by that account, since its last report;
    ``occupants`` the trials in its slots when it ended.
    """

    engine: str
    device: str = ""
    width: int = 0
    state: str = "started"
    startup: float = 0.0
    clock: dict[str, float] | None = None
    charged: dict[str, float] = field(default_factory=dict)
    unreported: dict[str, float] = field(default_factory=dict)
    occupants: list[str] = field(default_factory=list)

    def charge(self, trial: str, seconds: float) -> None:
        """Note that ``trial`` used ``seconds`` of this engine."""
        self.charged[trial] = self.charged.get(trial, 0.0) + seconds

    def settle(self) -> Settlement:
        """Share out the engine's time: no share is negative, and they sum to its total.

        Start-up goes to the trials in proportion to the seconds they used here. Work that was
        begun and never reported is *lost*: charged as the engine's account says, and the rest of
        it evenly to the occupants at the end. Without occupants it is *unreported* and, like idle
        time, charged to no trial. The account of an engine that died is as old as its last
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
        """By trial, what it is charged of the ``seconds`` that no report accounts for."""
        if seconds <= rounding:
            return {}
        known = fsum(self.unreported.values())
        part = min(1.0, seconds / known) if known > 0 else 0.0  # a part may be reported since
        lost = {trial: s * part for trial, s in self.unreported.items() if s * part > 0}
        rest = fsum([seconds, *(-s for s in lost.values())])
        if rest > rounding:
            for trial in self.occupants:
                lost[trial] = lost.get(trial, 0.0) + rest / len(self.occupants)
        return lost


@dataclass(frozen=True)
class EngineTime:
    """One engine's device seconds: ``total``, and the part charged to ``nobody``, by purpose.

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
