from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from study.scheduling import relay as relay_module
from study.scheduling.pool import Occupancy
from study.scheduling.relay import Relay

REQUEST = {"trial": "t", "after": 2, "until": None}


class Engine:
    """Stands for an engine's handle: answers ``reports`` from a list; an exception is raised."""

    def __init__(self, *answers: list[dict[str, Any]] | Exception | Awaitable[Any]) -> None:
        self.answers = list(answers)
        self.admitted: list[dict[str, Any]] = []
        self.asked: list[int] = []
        self.released: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found: Callable[..., Any] = {
            "admit": self._admit,
            "reports": self._reports,
            "release": self.released.append,
        }[name]

        class Method:
            remote = staticmethod(found)

        return Method

    async def _admit(self, request: dict[str, Any]) -> None:
        self.admitted.append(request)

    async def _reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        self.asked.append(after)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, list) else await answer


def report(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, **more}


def test_reports_are_passed_on_until_the_last_which_frees_the_slot() -> None:
    async def play() -> None:
        relay, engine = Relay(), Engine([report(3), report(4)], [report(5, end={})])
        await relay.add(Occupancy("a", engine, 1))
        first = await relay.follow(REQUEST)
        assert first == {"trial": "t", "reports": [report(3), report(4)], "over": False, "died": ""}
        assert (await relay.follow(REQUEST))["over"]
        assert (engine.asked, engine.admitted) == ([0, 2], [REQUEST])
        assert (await relay.holding(), engine.released) == ([], ["t"])

    asyncio.run(play())


def test_a_trial_is_released_at_the_report_it_was_requested_for() -> None:
    async def play() -> None:
        relay, engine = Relay(), Engine([report(3)])
        await relay.add(Occupancy("a", engine, 1))
        assert (await relay.follow({**REQUEST, "until": 3}))["over"]

    asyncio.run(play())


def test_a_trial_whose_engine_dies_resumes_in_another_after_what_was_delivered() -> None:
    async def play() -> None:
        relay, alive = Relay(), Engine([report(4)])
        await relay.add(Occupancy("dead", Engine([report(3)], ActorDiedError()), 1))
        await relay.follow(REQUEST)
        lost = await relay.follow(REQUEST)
        assert lost == {"trial": "t", "reports": [], "over": False, "died": "dead"}
        await relay.add(Occupancy("alive", alive, 1))
        assert (await relay.follow(REQUEST))["reports"] == [report(4)]
        assert alive.admitted == [{**REQUEST, "after": 3}]

    asyncio.run(play())


def test_a_trial_leaves_an_engine_that_the_driver_knows_to_be_dead() -> None:
    """Its process may train on, or be silent, for as long as it does not notice."""

    async def play() -> None:
        silent = Engine(asyncio.Event().wait())
        relay, other = Relay(), Engine([report(3)])
        await relay.add(Occupancy("silent", silent, 1))
        asked = asyncio.create_task(relay.follow(REQUEST))
        await asyncio.sleep(0.01)
        await relay.died("silent")
        assert await asked == {"trial": "t", "reports": [], "over": False, "died": "silent"}
        await relay.add(Occupancy("other", other, 1))
        assert (await relay.follow(REQUEST))["reports"] == [report(3)]

    asyncio.run(play())


def test_a_trial_of_a_draining_engine_leaves_it_and_takes_a_slot_of_another() -> None:
    async def play() -> None:
        relay, draining, other = Relay(), Engine([report(3)], []), Engine([report(4)])
        await relay.add(Occupancy("draining", draining, 1))
        await relay.follow(REQUEST)
        await relay.lost("draining")
        left = await relay.follow(REQUEST)  # it was suspended there
        assert left == {"trial": "t", "reports": [], "over": True, "died": ""}
        again = asyncio.create_task(relay.follow({**REQUEST, "after": 3}))
        await asyncio.sleep(0.01)
        assert len(draining.admitted) == 1
        await relay.add(Occupancy("other", other, 1))
        assert (await again)["reports"] == [report(4)]
        assert other.admitted == [{**REQUEST, "after": 3}]

    asyncio.run(play())


def test_an_unreachable_engine_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        relay = Relay()
        engine = Engine(ActorUnavailableError("away", b"1" * 16), [report(3)])
        await relay.add(Occupancy("a", engine, 1))
        assert (await relay.follow(REQUEST))["reports"] == [report(3)]

    monkeypatch.setattr(relay_module, "PAUSE", 0.01)
    asyncio.run(play())


def test_a_trial_that_an_engine_fails_to_admit_has_crashed_with_the_traceback() -> None:
    async def play() -> None:
        relay = Relay()
        await relay.add(
            Occupancy("a", Engine(RayTaskError("reports", "Traceback: no such model", None)), 1)
        )
        found = await relay.follow(REQUEST)
        assert found["over"]
        [crashed] = found["reports"]
        assert (crashed["step"], crashed["end"]["reason"]) == (3, "crashed")
        assert "no such model" in crashed["end"]["traceback"]

    asyncio.run(play())


def test_a_restarted_relay_fetches_all_that_an_engine_made() -> None:
    async def play() -> None:
        engine = Engine([report(3)], [report(3), report(4)])
        old, new = Relay(), Relay()
        await old.add(Occupancy("a", engine, 1))
        await old.follow(REQUEST)
        await new.add(Occupancy("a", engine, 1, ["t"]))
        assert (await new.follow(REQUEST))["reports"] == [report(3), report(4)]

    asyncio.run(play())


def test_a_call_made_twice_loses_no_report() -> None:
    """As where a connection breaks and Ray calls again, while the relay lives on."""

    async def play() -> None:
        relay, engine = Relay(), Concurrent()
        await relay.add(Occupancy("a", engine, 1))
        twice = await asyncio.gather(relay.follow(REQUEST), relay.follow(REQUEST))
        assert [found["reports"] for found in twice] == [[report(3)]] * 2
        await relay.follow(REQUEST)
        assert engine.asked == [0, 0, 1]

    asyncio.run(play())


class Concurrent(Engine):
    """Answers one report more to each call, the first two at once."""

    async def _reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        self.asked.append(after)
        await asyncio.sleep(0.01)
        return [report(3 + after)]


def test_a_call_whose_twin_saw_the_engine_die_goes_by_what_it_sees_itself() -> None:
    """One hears of the death at once, the other got the answer sent before it."""

    async def play() -> None:
        relay, alive = Relay(), Engine([report(3)], [report(3)])
        await relay.add(Occupancy("dying", Dying(), 1))
        calls = asyncio.gather(relay.follow(REQUEST), relay.follow(REQUEST))
        await asyncio.sleep(0.005)
        await relay.add(Occupancy("alive", alive, 1))
        third = await relay.follow(REQUEST)
        assert [found["died"] for found in await calls] == ["dying", "dying"]
        assert (third["reports"], third["died"]) == ([report(3)], "")
        assert (alive.admitted, await relay.holding()) == ([REQUEST], ["t"])

    asyncio.run(play())


class Dying(Engine):
    """Dies with the answer to its second admission on the way."""

    async def _admit(self, request: dict[str, Any]) -> None:
        await super()._admit(request)
        if len(self.admitted) == 1:
            await asyncio.sleep(0)  # until the twin's call is on its way too
            raise ActorDiedError
        await asyncio.sleep(0.05)

    async def _reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        raise ActorDiedError


def test_a_study_that_ends_also_ends_waits_for_a_slot() -> None:
    async def play() -> None:
        relay = Relay()
        waiting = asyncio.create_task(relay.follow(REQUEST))
        await asyncio.sleep(0.01)
        await relay.close()
        assert (await waiting)["over"]

    asyncio.run(play())
