"""What an engine leaves when it ends, at any moment, and how another resumes from it."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_bench import (
    Bench,
    fetch,
    follow,
    makers,
    numbers,
    request,
    slow_down,
    spent,
    until_trained,
)
from waiting import until

from study.engine import checkpoints
from study.engine import heartbeat as heartbeat_module
from study.engine.engine import Engine


def cut(bench: Bench, count: int, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Have an engine train up to a report, then stop; return its reports."""
    engine = bench.engine()
    engine.admit(asked | {"until": count})
    found = fetch(engine, asked["trial"], count)
    engine.stop()
    return found


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [tear, flip, empty])
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_costs_a_segment_and_no_number(
    bench: Bench, damage: Callable[[Path], None], both: bool
) -> None:
    whole = follow(bench.engine(), request("whole"))
    known = cut(bench, 3, request("cut"))
    files = [bench.folder("cut") / name for name in bench.checkpoints("cut")]
    assert [file.name[:9] for file in files] == ["000000020", "000000030"]
    for file in files if both else files[1:]:
        damage(file)
    lost = 1 if not both else 3
    fetched = follow(bench.engine(epoch=2), request("cut", after=3))
    assert numbers(fetched) == numbers(whole[3 - lost :])
    assert makers(fetched) == ["engine-2"] * (lost + 1), "what was known and is done again, too"
    assert numbers(fetched[:lost]) == numbers(known[3 - lost :])
    assert bench.checkpoints("cut") == ["000000030-000002.ckpt", "000000040-000002.ckpt"]


def test_undelivered_reports_come_from_the_checkpoint_with_their_maker(
    bench: Bench,
) -> None:
    whole = follow(bench.engine(), request("whole"))
    known = cut(bench, 3, request("cut"))
    engine = bench.engine()
    fetched = follow(engine, request("cut", after=1))
    assert numbers(fetched) == numbers(whole[1:])
    assert makers(fetched) == ["engine-1", "engine-1", "engine-2"]
    assert {report["start"]["engine"] for report in fetched} == {"engine-2"}
    assert [r["seconds"] for r in fetched[:2]] == [r["seconds"] for r in known[1:]]
    account = engine.stop()["seconds"]
    assert account["training"] + account["evaluation"] == pytest.approx(spent(fetched[2:]))


def test_an_undelivered_end_is_not_trained_for_again(bench: Bench) -> None:
    for trial, changes in {
        "complete": {},
        "failed": {"training": {"lr": 1e30}},
        "confirmed": {"phase": "confirm"},
    }.items():
        first, second = bench.engine(), bench.engine()
        first.admit(request(trial, **changes))
        made = fetch(first, trial, 1)
        while "end" not in made[-1]:
            made += first.reports(trial, len(made))
        first.stop()
        for after in (0, len(made) - 1):
            fetched = follow(second, request(trial, after=after, **changes))
            assert numbers(fetched) == numbers(made[after:])
            assert makers(fetched) == [first.config.name] * (len(made) - after)
        seconds = second.stop()["seconds"]
        assert (seconds["training"], seconds["evaluation"], seconds["pilot"]) == (0, 0, 0)


def test_reports_in_a_checkpoint_are_delivered_before_a_row_is_free(bench: Bench) -> None:
    made = cut(bench, 2, request("cut"))
    engine = bench.engine()
    engine.admit(request("endless", training={"epochs": 10_000}))
    engine.admit(request("cut", until=2, after=1))
    assert numbers(fetch(engine, "cut", 1)) == numbers(made[1:])
    assert engine.occupancy() == (1, ["endless", "cut"])
    engine.release("cut")
    assert engine.occupancy() == (1, ["endless"])


def test_a_trial_asked_up_to_a_report_it_has_passed_trains_no_further(bench: Bench) -> None:
    cut(bench, 3, request("cut"))
    engine = bench.engine()
    engine.admit(request("cut", after=1, until=2))
    assert [report["step"] for report in fetch(engine, "cut", 2)] == [2, 3]
    assert engine.stop()["seconds"]["training"] == 0


def test_a_run_whose_release_was_lost_ends_for_the_next_caller(
    bench: Bench,
) -> None:
    whole = follow(bench.engine(), request("whole"))
    engine = bench.engine()
    engine.admit(request("held", until=2))
    made = fetch(engine, "held", 2)
    further = request("held", after=2, until=3)
    engine.admit(further)  # the relay died with the release, and its successor asks
    assert numbers(engine.reports("held", 0)) == numbers(made)
    assert engine.reports("held", 2) == [], "the run is over, and no caller waits for ever"
    engine.release("held")
    engine.admit(further)
    assert numbers(fetch(engine, "held", 1)) == numbers(whole[2:3])


def test_all_checkpoints_stay_if_wanted_and_a_trial_resumes_from_any(bench: Bench) -> None:
    whole = follow(bench.engine(keep="all"), request())
    assert len(bench.checkpoints("a")) == 4
    for report in (1, 2, 3, 4):
        middle = checkpoints.at(bench.folder("a"), report)
        assert middle is not None
        assert len(middle.reports) == report
        name = f"from-{report}"
        checkpoints.save(bench.folder(name), middle, epoch=1, keep="none")
        assert numbers(follow(bench.engine(width=1), request(name))) == numbers(whole)


# -- suspending trials inside a segment -----------------------------------------------------------


FAMILIES = [
    {"name": "learned_sigma", "sigma_lr": 0.02},
    {"name": "running_average", "decay": 0.9},
    {"name": "asperti_trentin"},
    {"name": "fixed_beta", "beta": 0.05},
    {"name": "optimal_sigma"},
]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_trials_suspended_anywhere_resume_to_the_same_end(
    bench: Bench, width: int, seed: int
) -> None:
    """Several times over, each time in another engine, row and order of neighbours."""
    chance = random.Random(f"{width} {seed}")
    asked = {
        name: request(
            name,
            seed=10 * seed + k,
            balancer=FAMILIES[(seed + k) % len(FAMILIES)],
            training={"dequantize": seed % 2 == 1},
        )
        for k, name in enumerate("abc"[:width])
    }
    whole = bench.engine(width=width)
    undisturbed = {name: numbers(follow(whole, asked[name])) for name in asked}
    for name in asked:
        checkpoints.retire(bench.folder(name), "none")

    fetched: dict[str, list[dict[str, Any]]] = {name: [] for name in asked}
    inside, charged = 0, 0.0
    for launch in itertools.count(1):
        engine = bench.engine(width=width, epoch=launch)
        if launch <= 4:
            slow_down(engine)
        left = [n for n in asked if not fetched[n] or "end" not in fetched[n][-1]]
        chance.shuffle(left)
        for name in left:
            engine.admit(asked[name] | {"after": len(fetched[name])})
        if launch <= 4:
            time.sleep(chance.uniform(0.0, 0.12))
            received = {name: delivered_now(engine, name) for name in left}
            seconds = engine.suspend()
            charged += sum(seconds.values())
            assert set(seconds) <= set(left)
            assert all(engine.reports(name, 0) == [] for name in seconds)
            assert not set(engine.occupancy()[1]) & set(seconds)
        else:
            received = {name: follow(engine, asked[name] | at(fetched[name])) for name in left}
        for name, reports in received.items():
            fetched[name] += reports
        for name in left:
            saved = checkpoints.newest(bench.folder(name))
            inside += saved is not None and len(saved.row["history"]) > 0
        account = engine.stop()
        assert account["unreported"] == {}, "what a suspended trial did is the caller's to charge"
        if launch > 4:
            break
    assert {name: numbers(reports) for name, reports in fetched.items()} == undisturbed
    assert inside > 0
    accounts = [e.stop()["seconds"] for e in bench.engines[1:]]
    trained = sum(a["training"] + a["evaluation"] for a in accounts)
    reported = sum(spent(reports) for reports in fetched.values())
    assert trained == pytest.approx(reported + charged), "every second is charged once"


def at(fetched: list[dict[str, Any]]) -> dict[str, Any]:
    return {"after": len(fetched)}


def delivered_now(engine: Engine, trial: str) -> list[dict[str, Any]]:
    """The deliverables of ``trial`` now, without waiting."""
    run = engine._slots.runs.get(trial)
    return engine.reports(trial, 0) if run is not None and run.deliverables else []


def test_suspending_ends_waiting_calls_and_admits_another_trial(bench: Bench) -> None:
    engine = bench.engine()
    engine.admit(request("endless", training={"epochs": 10_000}))
    engine.admit(request("waiting"))
    fetched: list[Any] = []
    callers = [
        threading.Thread(target=lambda trial=trial: fetched.append(engine.reports(trial, 0)))
        for trial in ("endless", "waiting")
    ]
    for caller in callers:
        caller.start()
    until_trained(engine, "endless")
    seconds = engine.suspend()
    for caller in callers:
        caller.join(20)
    assert fetched == [[], []]
    assert seconds["endless"] > 0
    assert seconds["waiting"] == 0
    assert not bench.folder("waiting").exists()
    assert engine.suspend() == {}
    assert follow(engine, request("next"))[-1]["end"]["state"] == "complete"


def test_a_trial_that_is_over_is_delivered_though_the_others_are_suspended(
    bench: Bench,
) -> None:
    engine = bench.engine(width=2)
    engine.admit(request("held", until=1))
    fetch(engine, "held", 1)
    engine.admit(request("endless", training={"epochs": 10_000}))
    until_trained(engine, "endless")
    assert set(engine.suspend()) == {"endless"}
    assert len(engine.reports("held", 0)) == 1


# -- the fence ------------------------------------------------------------------------------------


def contents(home: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in home.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.mark.parametrize("ending", [False, True])
def test_a_fenced_engine_writes_nothing_and_ends(
    bench: Bench, ending: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT", 1000.0)
    journal = bench.home / "journal"
    journal.mkdir()
    (journal / "000001.log").touch()
    engine = slow_down(bench.engine(width=2, epoch=1), 0.01)
    engine.admit(request("a", phase="confirm", training={"reports": 2 if ending else 20}))
    engine.admit(request("b", seed=2, training={"reports": 2 if ending else 20}))
    fetch(engine, "a", 1)
    fetch(engine, "b", 1)
    (journal / "000002.log").touch()
    before = contents(bench.home)
    engine.serve()
    assert engine.reports("a", 0) == engine.reports("b", 0) == []
    assert engine.suspend() == {}
    engine.admit(request("late"))
    assert engine.reports("late", 0) == []
    assert engine.stop()["unreported"].keys() == {"a", "b"}
    assert contents(bench.home) == before
    assert not (bench.folder("a") / "model.pt").exists()


def test_a_fenced_engine_cannot_suspend_trials(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT", 1000.0)
    (bench.home / "journal").mkdir()
    (bench.home / "journal" / "000007.log").touch()
    engine = slow_down(bench.engine(epoch=7))
    engine.admit(request(training={"epochs": 10_000}))
    until_trained(engine, "a")
    (bench.home / "journal" / "000008.log").touch()
    assert engine.suspend() == {}
    assert bench.checkpoints("a") == []
    engine.serve()


def test_an_idle_engine_notices_the_fence_at_its_heartbeat(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT", 0.01)
    (bench.home / "journal").mkdir()
    (bench.home / "journal" / "000001.log").touch()
    engine = bench.engine()
    (bench.home / "journal" / "000002.log").touch()
    engine.serve()


# -- the account and the heartbeat ----------------------------------------------------------------


def heartbeat(bench: Bench, engine: Engine) -> dict[str, Any] | None:
    path = bench.home / "engines" / f"{engine.config.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def worked(account: dict[str, Any]) -> float:
    seconds: float = account["seconds"]["training"] + account["seconds"]["evaluation"]
    return seconds


def test_every_heartbeat_adds_up_to_whole_reports_and_what_is_unreported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT", 0.005)
    engine = slow_down(bench.engine(width=2))
    seen = []
    engine.admit(request())
    while not engine._slots.runs["a"].over:
        beat = heartbeat(bench, engine)
        if beat is not None:
            seen.append(beat)
        time.sleep(0.004)
    reports = follow(engine, request())
    totals = [0.0, *itertools.accumulate(spent([report]) for report in reports)]
    for beat in seen:
        reported = worked(beat) - sum(beat["unreported"].values())
        assert min(abs(reported - total) for total in totals) < 1e-9
        assert set(beat["unreported"]) <= {"a"}
        assert (beat["engine"], beat["device"], beat["width"]) == ("engine-0", "cpu", 2)
        assert beat["startup_seconds"] == beat["seconds"]["start_up"] > 0
    assert any(beat["unreported"] for beat in seen)


def test_the_returned_account_is_the_last_and_no_heartbeat_follows_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "BEAT", 0.001)
    engine = slow_down(bench.engine())
    engine.admit(request())
    fetch(engine, "a", 1)
    account = engine.stop()
    assert account == engine.stop()
    assert account.keys() == (heartbeat(bench, engine) or {}).keys()
    (bench.home / "engines" / "engine-0.json").unlink()
    time.sleep(0.05)
    assert heartbeat(bench, engine) is None
    reports = list(engine._slots.runs["a"].reports)
    assert worked(account) == pytest.approx(spent(reports) + account["unreported"].get("a", 0.0))


def test_a_released_trials_lost_work_stays_in_the_account(bench: Bench) -> None:
    engine = slow_down(bench.engine(width=2))
    engine.admit(request("gone", training={"epochs": 1000, "reports": 1}))
    engine.admit(request("stays", seed=2))
    fetched = fetch(engine, "stays", 2)
    engine.release("gone")
    while "end" not in fetched[-1]:
        fetched += engine.reports("stays", len(fetched))
    account = engine.stop()
    assert account["unreported"].keys() == {"gone"}
    assert account["unreported"]["gone"] > 0
    assert worked(account) == pytest.approx(spent(fetched) + account["unreported"]["gone"])


def test_reports_that_nobody_asked_for_before_a_release_are_lost_work(bench: Bench) -> None:
    engine = bench.engine()
    engine.admit(request())
    fetched = fetch(engine, "a", 1)
    until(lambda: engine._slots.runs["a"].over, "its end")
    engine.release("a")
    account = engine.stop()
    assert len(fetched) < 4
    assert worked(account) == pytest.approx(spent(fetched) + account["unreported"]["a"])


def test_waiting_time_is_in_the_account_while_it_passes(bench: Bench) -> None:
    def waited() -> float:
        seconds: float = engine._account()["seconds"]["waiting"]
        return seconds

    start = time.perf_counter()
    engine = bench.engine()
    until(lambda: waited() > 0, "a wait", pause=0.001)
    first = waited()
    assert first <= time.perf_counter() - start
    until(lambda: waited() > first, "a longer wait", pause=0.001)


def test_a_killed_engines_heartbeat_is_whole_and_its_trial_resumes(bench: Bench) -> None:
    """A process of its own, killed by the system at moments it does not choose."""
    here = bench.engine()
    whole = numbers(follow(here, request("whole")))
    here.stop()  # the other's name is the same, and so is its heartbeat file
    beat_file = bench.home / "engines" / "engine-0.json"
    code = f"""
import json, sys
sys.path[:0] = {[str(Path(__file__).parents[level]) for level in (0, 2)]!r}
from pathlib import Path
from engine_bench import Bench, request, slow_down
from study.engine import heartbeat
from vae_core.data import PreparedData
heartbeat.BEAT = 0.002
engine = slow_down(Bench(Path({str(bench.home)!r}), PreparedData.from_dict(
    json.loads({json.dumps(bench.data.to_dict())!r}))).engine(), 0.001)
engine.admit(request("killed"))
while engine.reports("killed", 0):
    print("report", flush=True)
"""
    chance = random.Random(0)
    for _ in range(2):
        beat_file.unlink()
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not beat_file.exists() or not worked(json.loads(beat_file.read_text())):
            time.sleep(0.001)  # its first heartbeat may be of former work
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process.pid, 9)
        process.wait()
        process.stdout.close()
        beat = json.loads(beat_file.read_text())
        assert worked(beat) > 0
        assert set(beat["unreported"]) <= {"killed"}
    assert numbers(follow(bench.engine(epoch=2), request("killed"))) == whole
