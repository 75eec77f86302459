from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from study.scheduling.pool import Occupancy, Pool


class Handle:
    """Stands for an engine's actor handle: records what is released."""

    def __init__(self) -> None:
        self.released: list[str] = []

    @property
    def release(self) -> Any:
        class Method:
            remote: Callable[[str], None] = self.released.append

        return Method


async def waits(pool: Pool, trial: str) -> asyncio.Task[Any]:
    task = asyncio.create_task(pool.acquire(trial))
    await asyncio.sleep(0.01)
    assert not task.done()
    return task


def test_trials_spread_over_engines_and_wait_when_all_slots_are_taken() -> None:
    async def play() -> None:
        pool, first, second = Pool(), Handle(), Handle()
        early = await waits(pool, "t0")
        await pool.add(Occupancy("a", first, 2))
        await pool.add(Occupancy("b", second, 1))
        assert await early == ("a", first)
        assert {(await pool.acquire("t1"))[0], (await pool.acquire("t2"))[0]} == {"a", "b"}
        late = await waits(pool, "t3")
        await pool.release("t0")
        assert await late == ("a", first)
        assert first.released == ["t0"]

    asyncio.run(play())


def test_a_trial_gets_a_slot_of_the_engine_with_most_free() -> None:
    async def play() -> None:
        pool, least, most = Pool(), Handle(), Handle()
        await pool.add(Occupancy("a", least, 2), Occupancy("b", most, 4, ["t0"]))
        assert await pool.acquire("t1") == ("b", most)

    asyncio.run(play())


def test_a_trial_that_acquires_again_keeps_its_slot_and_releasing_twice_is_a_no_op() -> None:
    async def play() -> None:
        pool, handle = Pool(), Handle()
        await pool.add(Occupancy("a", handle, 1))
        assert await pool.acquire("t") == await pool.acquire("t")
        await pool.release("t")
        await pool.release("t")
        assert handle.released == ["t"]

    asyncio.run(play())


def test_a_lost_engine_takes_no_more_and_its_trials_find_another() -> None:
    async def play() -> None:
        pool, dead, alive = Pool(), Handle(), Handle()
        await pool.add(Occupancy("dead", dead, 1))
        assert await pool.acquire("t") == ("dead", dead)
        await pool.lost("dead")
        again = await waits(pool, "t")
        await pool.add(Occupancy("alive", alive, 1))
        assert await again == ("alive", alive)

    asyncio.run(play())


def test_an_engine_that_is_lost_is_not_added_again_by_who_has_not_heard() -> None:
    async def play() -> None:
        pool, dead = Pool(), Handle()
        await pool.add(Occupancy("dead", dead, 1, ["t"]))
        await pool.lost("dead")
        await pool.add(Occupancy("dead", dead, 1, ["t"]))
        assert await pool.holding() == []
        await waits(pool, "t")

    asyncio.run(play())


def test_a_released_trial_waits_no_longer() -> None:
    async def play() -> None:
        pool = Pool()
        waiting, other = await waits(pool, "t"), await waits(pool, "u")
        await pool.release("t")
        assert await waiting is None
        await pool.add(Occupancy("a", Handle(), 1))
        found = await other
        assert found is not None
        assert found[0] == "a"

    asyncio.run(play())


def test_an_isolated_trial_waits_for_an_empty_engine_and_has_it_to_itself() -> None:
    async def play() -> None:
        pool, wide = Pool(), Handle()
        await pool.add(Occupancy("wide", wide, 3))
        await pool.acquire("t0")
        await pool.isolate(["suspect"])
        alone = await waits(pool, "suspect")
        newcomer = await waits(pool, "t1")  # there are slots, but the engine is to be emptied
        await pool.release("t0")
        assert await alone == ("wide", wide)
        assert not newcomer.done()
        await pool.isolate([])  # it has made a report since
        assert await newcomer == ("wide", wide)

    asyncio.run(play())


def test_an_isolated_trial_whose_engine_dies_takes_another() -> None:
    async def play() -> None:
        pool = Pool()
        await pool.isolate(["suspect"])
        await pool.add(Occupancy("a", Handle(), 2))
        assert (await pool.acquire("suspect") or [""])[0] == "a"
        await pool.lost("a")
        again = await waits(pool, "suspect")
        await pool.add(Occupancy("b", Handle(), 2))
        assert (await again)[0] == "b"

    asyncio.run(play())


def test_a_restarted_pool_gets_the_occupancy_of_engines() -> None:
    async def play() -> None:
        pool, engine = Pool(), Handle()
        await pool.add(Occupancy("a", engine, 2, ["t0"]))
        await pool.add(Occupancy("a", engine, 2))  # repeated: nothing is forgotten
        assert await pool.acquire("t0") == ("a", engine)
        assert await pool.acquire("t1") == ("a", engine)
        await waits(pool, "t2")
        await pool.release("t0")
        assert engine.released == ["t0"]

    asyncio.run(play())


def test_a_pool_that_gets_all_engines_at_once_moves_no_trial() -> None:
    async def play() -> None:
        pool, free, home = Pool(), Handle(), Handle()
        early = await waits(pool, "t")
        await pool.add(Occupancy("free", free, 2), Occupancy("home", home, 1, ["t"]))
        assert await early == ("home", home)

    asyncio.run(play())


def test_a_trial_leaves_a_slot_that_is_not_its_own() -> None:
    async def play() -> None:
        pool, slow, other = Pool(), Handle(), Handle()
        await pool.add(Occupancy("other", other, 1))
        assert await pool.acquire("t") == ("other", other)
        await pool.add(Occupancy("slow", slow, 1, ["t"]), Occupancy("other", other, 1, ["t"]))
        assert (slow.released, other.released) == (["t"], [])
        await pool.add(Occupancy("other", other, 1, ["t", "late"]))  # sent by a pool that has died
        assert other.released == ["late"]
        assert await pool.acquire("next") == ("slow", slow)
        assert await pool.acquire("t") == ("other", other)

    asyncio.run(play())


def test_a_restarted_pool_adopts_a_trial_of_two_engines_in_one() -> None:
    async def play() -> None:
        pool, first, second = Pool(), Handle(), Handle()
        await pool.add(Occupancy("a", first, 1, ["t"]), Occupancy("b", second, 1, ["t"]))
        assert (first.released, second.released) == ([], ["t"])
        assert await pool.acquire("t") == ("a", first)
        assert await pool.acquire("next") == ("b", second)

    asyncio.run(play())


def test_an_engine_with_fewer_slots_than_before_takes_no_more_until_it_is_below() -> None:
    async def play() -> None:
        pool, engine = Pool(), Handle()
        await pool.add(Occupancy("a", engine, 2))
        await pool.acquire("t0")
        await pool.acquire("t1")
        await pool.add(Occupancy("a", engine, 1))
        late = await waits(pool, "t2")
        await pool.release("t0")
        await asyncio.sleep(0.01)
        assert not late.done()
        await pool.release("t1")
        assert await late == ("a", engine)

    asyncio.run(play())


def test_closing_ends_all_waits() -> None:
    async def play() -> None:
        pool = Pool()
        waiting = await waits(pool, "t")
        await pool.close()
        assert await waiting is None

    asyncio.run(play())
