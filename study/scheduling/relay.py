"""The relay: one light process through which every trial hears of its engine.

It imports neither torch nor the core. An engine's death is no failure here: the study hears of it,
and the trial takes another slot and goes on from its checkpoint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from study.scheduling.pool import Pool

PAUSE = 1.0
"""Seconds before an engine that cannot be reached just now is asked again."""


@dataclass
class _Stay:
    """How far a trial is that is being followed."""

    after: int
    """Its last report that was passed on."""
    engine: str = ""
    handle: Any = None
    """Where it has a slot; None: nowhere."""
    taken: int | None = None
    """Deliverables taken from that engine; None: it has not admitted the trial yet."""


class Relay(Pool):
    """The pool, and what holds a trial's place in Tune while an engine trains it.

    Its one process serves all slots of a study. What it knows of a trial it is told with every
    call, so that a call repeated does no harm, be it after its death, by the process that follows
    it, or beside the first, where a connection broke: the study takes a report it has already for
    what it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stays: dict[str, _Stay] = {}

    async def follow(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait for the next reports of a trial (see :class:`study.search.Request`).

        Returns:
            ``trial``; its ``reports``; ``over``, with the last of them, or when the study ends;
            ``died``, the engine whose death ended the wait, if one did.
        """
        trial = request["trial"]
        stay = self._stays.setdefault(trial, _Stay(request["after"]))
        reports: list[dict[str, Any]] = []
        over, died = False, ""
        try:
            if await self._admitted(request, stay):
                reports = await self._reports(trial, stay)
                over = _ends(reports, request["until"])
            else:
                over = True
        except RayActorError:
            died, stay.handle = stay.engine, None
            await self.lost(died)
        except RayTaskError as error:
            reports, over = [_crashed(stay, str(error))], True
        if over:
            await self.release(trial)
        return {"trial": trial, "reports": reports, "over": over, "died": died}

    async def release(self, trial: str) -> None:
        """Free the slot ``trial`` holds, and follow it no further."""
        self._stays.pop(trial, None)
        await super().release(trial)

    async def _admitted(self, request: dict[str, Any], stay: _Stay) -> bool:
        """See that an engine trains the trial; False once the study ends."""
        if stay.handle is None:
            found = await self.acquire(request["trial"])
            if found is None:
                return False
            (stay.engine, stay.handle), stay.taken = found, None
        if stay.taken is None:
            await _reached(stay.handle.admit, {**request, "after": stay.after})
            stay.taken = 0
        return True

    async def _reports(self, trial: str, stay: _Stay) -> list[dict[str, Any]]:
        assert stay.taken is not None
        reports: list[dict[str, Any]]
        taken = stay.taken
        reports = await _reached(stay.handle.reports, trial, taken)
        if stay.taken == taken:  # else the same call, made twice, has heard the same
            stay.taken += len(reports)
        stay.after = max([stay.after, *(r["step"] for r in reports if "step" in r)])
        return reports


async def _reached(method: Any, *arguments: Any) -> Any:
    """Call an engine, again and again while it is out of reach: it may be there again."""
    while True:
        try:
            return await method.remote(*arguments)
        except ActorUnavailableError:
            await asyncio.sleep(PAUSE)


def _ends(reports: list[dict[str, Any]], until: int | None) -> bool:
    """Whether a trial's stay ends with ``reports``: none means that it has left its slot."""
    last = reports[-1] if reports else {}
    return "step" not in last or "end" in last or last["step"] == until


def _crashed(stay: _Stay, traceback: str) -> dict[str, Any]:
    """A report for a trial that an engine could not even take in."""
    end = {"state": "failed", "reason": "crashed", "traceback": traceback}
    nothing = {"images": 0, "metrics": {}, "seconds": {"training": 0.0, "evaluation": 0.0}}
    return {"step": stay.after + 1, **nothing, "engine": stay.engine, "end": end}
