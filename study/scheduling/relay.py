"""The relay: one light process that passes reports from engines to the driver.

It imports neither torch nor the core. An engine's death is no failure here: it is reported to the
study, and the trial takes another slot and resumes from its checkpoint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from study.scheduling.pool import Pool

PAUSE = 1.0
"""Seconds before an engine that is unreachable is called again."""


@dataclass
class _Delivery:
    """How far a trial's reports are delivered."""

    after: int
    """Its last report that was passed on."""
    engine: str = ""
    handle: Any = None
    """Of the engine where it holds a slot; None: it holds none."""
    taken: int | None = None
    """Deliverables fetched from that engine; None: it has not admitted the trial yet."""


class Relay(Pool):
    """The pool, and the calls of Tune's actor stubs, which wait here for the engines' reports.

    One process serves all slots of a study. Every call contains all that the relay must know of
    its trial, so that calls may be repeated: after the relay's death by its successor, or beside
    the first call where a connection broke. The study ignores a report that it has already.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deliveries: dict[str, _Delivery] = {}

    async def follow(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait for the next reports of a trial (see :class:`study.search.Request`).

        Returns:
            ``trial``; its ``reports``; ``over``, with the last of them, or when the study ends;
            ``died``, the engine whose death ended the wait, if one did.
        """
        trial = request["trial"]
        delivery = self._deliveries.setdefault(trial, _Delivery(request["after"]))
        reports: list[dict[str, Any]] = []
        over, died = False, ""
        try:
            if await self._admitted(request, delivery):
                reports = await self._reports(trial, delivery)
                over = _ends(reports, request["until"])
            else:
                over = True
        except RayActorError:
            died, delivery.handle = delivery.engine, None
            await self.lost(died)
        except RayTaskError as error:
            reports, over = [_crashed(delivery, str(error))], True
        if over:
            await self.release(trial)
        return {"trial": trial, "reports": reports, "over": over, "died": died}

    async def release(self, trial: str) -> None:
        """Free the slot that ``trial`` holds, and deliver none of its reports any more."""
        self._deliveries.pop(trial, None)
        await super().release(trial)

    async def _admitted(self, request: dict[str, Any], delivery: _Delivery) -> bool:
        """Have an engine admit the trial; False once the study ends."""
        if delivery.handle is None:
            found = await self.acquire(request["trial"])
            if found is None:
                return False
            (delivery.engine, delivery.handle), delivery.taken = found, None
        if delivery.taken is None:
            await _call(delivery.handle.admit, {**request, "after": delivery.after})
            delivery.taken = 0
        return True

    async def _reports(self, trial: str, delivery: _Delivery) -> list[dict[str, Any]]:
        assert delivery.taken is not None
        reports: list[dict[str, Any]]
        taken = delivery.taken
        reports = await _call(delivery.handle.reports, trial, taken)
        if delivery.taken == taken:  # else a repeated call fetched the same
            delivery.taken += len(reports)
        delivery.after = max([delivery.after, *(r["step"] for r in reports if "step" in r)])
        return reports


async def _call(method: Any, *arguments: Any) -> Any:
    """Call an engine, and retry while it is unreachable."""
    while True:
        try:
            return await method.remote(*arguments)
        except ActorUnavailableError:
            await asyncio.sleep(PAUSE)


def _ends(reports: list[dict[str, Any]], until: int | None) -> bool:
    """Whether ``reports`` are a trial's last here: none means that it has left its slot."""
    last = reports[-1] if reports else {}
    return "step" not in last or "end" in last or last["step"] == until


def _crashed(delivery: _Delivery, traceback: str) -> dict[str, Any]:
    """A report of a trial that an engine failed to admit."""
    end = {"state": "failed", "reason": "crashed", "traceback": traceback}
    nothing = {"images": 0, "metrics": {}, "seconds": {"training": 0.0, "evaluation": 0.0}}
    return {"step": delivery.after + 1, **nothing, "engine": delivery.engine, "end": end}
