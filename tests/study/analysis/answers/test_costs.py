from __future__ import annotations

import json
from math import fsum
from typing import Any

import pyarrow as pa
import pytest

from study.analysis.answers.costs import Amount, cost_to_one_model, paid, ratio
from study.analysis.records.engine_time import PURPOSES, EngineClock, EngineTime


def row(arm: str, phase: str, images: int, **other: Any) -> dict[str, Any]:
    spent = {f"{p}_seconds": 0.0 for p in PURPOSES} | {"training_seconds": images / 100}
    return {
        "arm": arm, "phase": phase, "replicate": 0, "chosen_from": None, "number": 0,
        "state": "complete", "chosen": False, "images": images, "redone_images": 0,
        "billed_seconds": images / 100, "standard_seconds": images / 200, **spent, **other,
    }  # fmt: skip


TRIALS = pa.Table.from_pylist(
    [
        row("tpe", "search", 400, replicate=0, chosen=True),
        row("tpe", "search", 100, replicate=0, state="pruned"),
        row("tpe", "search", 0, replicate=0, state="failed"),
        row("tpe", "search", 700, replicate=1, chosen=True),
        row("tpe", "search", 5000, replicate=2),
        row("tpe", "confirm", 400, chosen=True),
        row("tpe", "confirm", 200, chosen=True),
        row("tpe", "confirm", 999, chosen=False),
        row("tpe", "confirm", 50, chosen=True, state="failed"),
        row("sigma", "confirm", 300, chosen=True),
        row("sigma", "confirm", 500, chosen=True),
    ]
)


def test_cost_is_one_finished_search_and_one_current_final_run() -> None:
    cost = cost_to_one_model(TRIALS, "tpe")
    # Replicate 2 has not chosen yet; pruned and failed trials are part of replicate 0's price.
    assert cost.search == Amount(600, 6.0, 3.0)
    assert cost.final == Amount(300, 3.0, 1.5)
    assert cost.total == Amount(900, 9.0, 4.5)
    spent = TRIALS.filter(pa.compute.equal(TRIALS["arm"], "tpe"))["images"].to_pylist()
    assert cost.measurement.images == sum(spent) - 900


def test_an_arm_that_searches_nothing_costs_one_run() -> None:
    cost = cost_to_one_model(TRIALS, "sigma")
    assert cost.search == Amount(0, 0.0, 0.0)
    assert cost.total == Amount(400, 4.0, 2.0)
    assert cost.measurement == Amount(400, 4.0, 2.0)
    tpe = cost_to_one_model(TRIALS, "tpe")
    assert ratio(tpe, cost) == 900 / 400
    assert ratio(tpe, cost, "standard") == 4.5 / 2.0


def test_an_unknown_cost_says_why() -> None:
    no_choice = pa.Table.from_pylist([row("a", "search", 10), row("b", "search", 1, chosen=True)])
    assert cost_to_one_model(no_choice, "a").total is None
    assert cost_to_one_model(no_choice, "a").why == "no search of it has chosen a configuration"
    assert cost_to_one_model(no_choice, "b").why == "none of its confirm runs is complete"
    assert ratio(cost_to_one_model(no_choice, "a"), cost_to_one_model(TRIALS, "sigma")) is None


def test_a_shape_without_a_timed_rate_has_no_standard_cost() -> None:
    rows = [row("a", "confirm", 10, chosen=True), row("a", "confirm", 10, chosen=True)]
    rows[1]["standard_seconds"] = None
    cost = cost_to_one_model(pa.Table.from_pylist(rows), "a")
    assert cost.total == Amount(10, 0.1, None)
    assert ratio(cost, cost, "standard") is None
    assert ratio(cost, cost) == 1.0


def test_an_engine_s_time_is_shared_out_whole() -> None:
    clock = EngineClock("e", startup=4.0, clock={"training": 8.0, "evaluation": 2.0, "idle": 3.0})
    clock.charge("a", 6.0)
    clock.charge("b", 2.0)
    clock.occupants = ["a", "b"]
    settled = clock.settle()
    assert settled.startup == {"a": 3.0, "b": 1.0}
    assert settled.lost == {"a": 1.0, "b": 1.0}
    assert settled.time.nobody == {"idle": 3.0, "unused start-up": 0.0, "unreported": 0.0}
    assert settled.time.total == 17.0
    charged = [8.0, *settled.startup.values(), *settled.lost.values()]
    assert fsum([*charged, *settled.time.nobody.values()]) == settled.time.total


def test_lost_work_is_charged_as_the_engine_s_account_says() -> None:
    clock = EngineClock("e", clock={"training": 9.0, "idle": 1.0})
    clock.charge("a", 3.0)
    clock.unreported = {"a": 1.0, "gone": 2.0}
    clock.occupants = ["a", "b"]
    settled = clock.settle()
    # 6 s are in no report: 3 of them by the engine's account, the rest of its occupants at the end.
    assert settled.lost == {"a": 2.5, "gone": 2.0, "b": 1.5}
    assert settled.time.total == 10.0
    assert settled.time.nobody["unreported"] == 0.0
    clock.occupants = []
    settled = clock.settle()
    assert settled.lost == {"a": 1.0, "gone": 2.0}
    assert settled.time.nobody["unreported"] == 3.0


def test_what_was_reported_after_the_last_heartbeat_is_not_lost_too() -> None:
    clock = EngineClock("e", clock={"training": 10.0, "idle": 1.0}, startup=2.0)
    clock.unreported = {"a": 3.0, "b": 1.0}
    clock.charge("a", 6.0)
    clock.charge("b", 3.0)
    settled = clock.settle()
    assert settled.lost == {"a": 0.75, "b": 0.25}
    assert (settled.time.total, settled.time.beyond) == (13.0, 0.0)


def test_reports_may_raise_the_clock_of_an_engine_that_died() -> None:
    clock = EngineClock("e", clock={"training": 4.0, "idle": 1.0}, startup=2.0, state="lost")
    clock.unreported = {"a": 1.0}
    clock.charge("a", 6.5)
    settled = clock.settle()
    assert settled.lost == {}
    assert (settled.time.total, settled.time.beyond) == (9.5, 2.5)
    assert settled.time.nobody == {"idle": 1.0, "unused start-up": 0.0, "unreported": 0.0}


def test_work_never_reported_without_occupants_is_charged_to_no_trial() -> None:
    clock = EngineClock("e", startup=1.0, clock={"training": 5.0, "idle": 1.0, "pilot": 2.0})
    clock.charge("a", 4.0)
    settled = clock.settle()
    assert settled.lost == {}
    assert settled.time.nobody["unreported"] == 1.0
    assert settled.time.nobody["pilot"] == 2.0


def test_an_unused_engine_charges_no_trial() -> None:
    settled = EngineClock("e", startup=3.0, clock={"idle": 2.0}).settle()
    assert settled.startup == {}
    assert settled.time.nobody == {"idle": 2.0, "unused start-up": 3.0, "unreported": 0.0}


def test_an_engine_that_still_runs_has_used_what_was_charged() -> None:
    clock = EngineClock("e", startup=1.0)
    clock.charge("a", 2.0)
    clock.occupants = ["a"]
    settled = clock.settle()
    assert settled.time.total == 3.0
    assert not settled.time.closed
    assert settled.lost == {}


def test_paid_lists_every_arm_and_what_nobody_paid() -> None:
    engines = [
        EngineTime("e1", "cpu", 2, "stopped", 30.0, {"idle": 1.0}, True, 0.0),
        EngineTime("e2", "cpu", 2, "lost", 40.0, {"idle": 2.0, "pilot": 0.5}, False, 0.0),
    ]
    account = paid(TRIALS, ["sigma", "tpe", "absent"], engines)
    assert [arm.arm for arm in account.arms] == ["sigma", "tpe", "absent"]
    assert account.arms[1].search_images == 6200
    assert account.arms[1].confirm_images == 1649
    assert account.arms[1].by_state == {"complete": 7699, "pruned": 100, "failed": 50}
    assert account.arms[1].billed == pytest.approx(78.49)
    assert account.arms[1].training == {
        "useful": pytest.approx(76.99), "pruned": 1.0, "failed": 0.5, "unfinished": 0.0,
    }  # fmt: skip
    assert account.arms[2].billed == 0.0
    assert account.nobody == {"idle": 3.0, "pilot": 0.5}
    assert account.engines == 70.0
    assert account.lost_engines == 1
    assert not account.closed


def test_what_a_search_took_that_found_nothing_is_borne_by_those_that_found_something() -> None:
    """3 searches of 2 trials, of which one ends with all pruned and another has not ended."""
    arm = {"search": {"space": {"beta": {}}, "trials": 2}}
    facts = {b"study": json.dumps({"spec": {"arms": {"tpe": arm}}})}
    rows = [
        row("tpe", "search", 400, number=0, chosen=True),
        row("tpe", "search", 300, number=1, state="pruned"),
        *(row("tpe", "search", 100, number=n, replicate=1, state="pruned") for n in (0, 1)),
        row("tpe", "search", 5000, number=0, replicate=2),
        row("tpe", "search", 5000, number=1, replicate=2, state="running"),
    ]
    table = pa.Table.from_pylist(rows).replace_schema_metadata(facts)
    assert cost_to_one_model(table, "tpe").search == Amount(900, 9.0, 4.5)


def test_what_a_search_took_that_could_not_go_on_is_borne_too() -> None:
    """A population without a complete member ends before all of its trials were made."""
    arm = {"search": {"space": {"beta": {}}, "trials": 8}}
    rows = [
        *(row("tpe", "search", 100, number=n, chosen=n == 0) for n in range(8)),
        *(row("tpe", "search", 100, number=n, replicate=1, state="failed") for n in range(4)),
    ]
    for in_vain, images in (([["tpe", 1]], 1200), ([], 800)):
        facts = {"spec": {"arms": {"tpe": arm}}, "in_vain": in_vain}
        table = pa.Table.from_pylist(rows).replace_schema_metadata({b"study": json.dumps(facts)})
        search = cost_to_one_model(table, "tpe").search
        assert search is not None
        assert search.images == images
