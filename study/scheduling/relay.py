"""The relay: one light process that passes reports from engines to the driver.

It also passes files between the study's home and engines on nodes that do not see it.
It imports neither torch nor the core. An engine's death is no failure here: it is reported to the
study, and the trial takes another slot and resumes from its checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from study.engine.home import HomeFiles
from study.scheduling.pool import Pool

PAUSE = 1.0
"""Seconds before an engine that is unreachable is called again."""


@dataclass
class _Stay:
    """A trial's stay in a slot of an engine."""

    engine: str
    handle: Any
    taken: int | None = None
    """Deliverables fetched; None: the engine has not admitted the trial yet."""
    died: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the driver says that the engine has died."""


class _DiedError(Exception):
    """The engine that was called has died, as the driver knows."""


@dataclass
class _Delivery:
    """How far a trial's reports are delivered."""

    after: int
    """Its last report that was passed on."""
    stay: _Stay | None = None
    """None: the trial holds no slot."""


class Relay(Pool):
    """The pool, and the calls of Tune's actor stubs, which wait here for the engines' reports.

    One process serves all slots of a study. Every call contains all that the relay must know of
    its trial, so that calls may be repeated: after the relay's death by its successor, or beside
    the first call where a connection broke. The study ignores a report that it has already.

    Args:
        files: the study's home, as this node sees it.
    """

    def __init__(self, files: HomeFiles | None = None) -> None:
        super().__init__()
        self._files = files
        self._deliveries: dict[str, _Delivery] = {}

    async def home(self, verb: str, arguments: Sequence[Any], *parts: bytes) -> Any:
        """What a method of the study's home returns (see :class:`study.engine.home.HomeFiles`).

        Its last argument may be given in ``parts`` (see :func:`study.engine.home.in_parts`).
        """
        whole = [b"".join(parts)] if parts else []
        return await asyncio.to_thread(getattr(self._files, verb), *arguments, *whole)

    async def follow(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait for the next reports of a trial (see :class:`study.search.Request`).

        Returns:
            ``trial``; its ``reports``; ``over``, with the last of them, or when the study ends;
            ``died``, the engine whose death ended the wait, if one did.
        """
        trial = request["trial"]
        delivery = self._deliveries.setdefault(trial, _Delivery(request["after"]))
        stay = await self._stay(trial, delivery)
        if stay is None:
            return {"trial": trial, "reports": [], "over": True, "died": ""}
        reports: list[dict[str, Any]] = []
        over, died = False, ""
        try:
            await _admit(request, delivery, stay)
            reports = await _reports(trial, delivery, stay)
            over = _ends(reports, request["until"])
        except (RayActorError, _DiedError):
            died = stay.engine
            if delivery.stay is stay:  # else a repeated call has found the death, and went on
                delivery.stay = None
            await self.lost(died)
        except RayTaskError as error:
            reports, over = [_crashed(delivery.after, stay.engine, str(error))], True
        if over:
            await self.release(trial)
        return {"trial": trial, "reports": reports, "over": over, "died": died}

    async def died(self, engine: str) -> None:
        """Forget an engine that has died; waits for its reports end.

        Ray ends them too, but only when the process is gone: one whose node has died without it
        takes ten seconds more to notice, and trains on for nobody meanwhile.
        """
        for delivery in self._deliveries.values():
            if delivery.stay is not None and delivery.stay.engine == engine:
                delivery.stay.died.set()
        await self.lost(engine)

    async def release(self, trial: str) -> None:
        """Free the slot that ``trial`` holds, and deliver none of its reports any more."""
        self._deliveries.pop(trial, None)
        await super().release(trial)

    async def _stay(self, trial: str, delivery: _Delivery) -> _Stay | None:
        """The trial's stay, which begins now if it holds no slot; None once the study ends."""
        if delivery.stay is None:
            found = await self.acquire(trial)
            if found is None:
                return None
            if delivery.stay is None:  # else a repeated call has got the same slot
                delivery.stay = _Stay(*found)
        return delivery.stay


async def _admit(request: dict[str, Any], delivery: _Delivery, stay: _Stay) -> None:
    """Have the engine admit the trial, unless it has."""
    if stay.taken is None:
        await _call(stay, stay.handle.admit, {**request, "after": delivery.after})
        stay.taken = stay.taken or 0


async def _reports(trial: str, delivery: _Delivery, stay: _Stay) -> list[dict[str, Any]]:
    """The next reports of the stay."""
    assert stay.taken is not None
    taken = stay.taken
    reports: list[dict[str, Any]] = await _call(stay, stay.handle.reports, trial, taken)
    if stay.taken == taken:  # else a repeated call fetched the same
        stay.taken += len(reports)
    delivery.after = max([delivery.after, *(r["step"] for r in reports if "step" in r)])
    return reports


async def _call(stay: _Stay, method: Any, *arguments: Any) -> Any:
    """Call the engine of a stay, and retry while it is unreachable.

    Raises:
        _DiedError: the driver says that the engine has died, before it or Ray answers.
    """
    while True:
        answer = asyncio.ensure_future(method.remote(*arguments))
        told = asyncio.ensure_future(stay.died.wait())
        await asyncio.wait((answer, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not answer.done():
            answer.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise _DiedError
        try:
            return answer.result()
        except ActorUnavailableError:
            await asyncio.sleep(PAUSE)


def _ends(reports: list[dict[str, Any]], until: int | None) -> bool:
    """Whether ``reports`` are a trial's last here: none means that it has left its slot."""
    last = reports[-1] if reports else {}
    return "step" not in last or "end" in last or last["step"] == until


def _crashed(after: int, engine: str, traceback: str) -> dict[str, Any]:
    """The report next to ``after`` of a trial that ``engine`` failed to admit."""
    end = {"state": "failed", "reason": "crashed", "traceback": traceback}
    nothing = {"images": 0, "metrics": {}, "seconds": {"training": 0.0, "evaluation": 0.0}}
    return {"step": after + 1, **nothing, "engine": engine, "end": end}
