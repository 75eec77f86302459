"""Who is blamed for an exception: the trial whose code raised it, and no other."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_bench import Bench, fetch, fetch_all, follow, numbers, request, slow_down, spent
from torch import Tensor
from waiting import until

from study.engine.engine import Engine
from vae_core.balancers import State, Terms
from vae_core.balancers.contract import Hyperparameter, Scalars
from vae_core.balancers.running_average import RunningAverage
from vae_core.geometry import ImageShape
from vae_core.models.mlp import MLP


class Fused(RunningAverage):
    """A user's balancer that goes wrong at a certain step of a certain trial."""

    name = "fused"
    hyperparameters = {
        **RunningAverage.hyperparameters,
        "fuse": Hyperparameter(1e9, 0.0, 1e10, "the step (from 1) that raises"),
    }

    def initial_state(self, hyper: Scalars) -> State:
        return {**super().initial_state(hyper), "count": torch.ones_like(hyper["fuse"])}

    def loss(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Tensor:
        if (state["count"] == hyper["fuse"]).any():
            raise OSError("the fuse has blown")
        return super().loss(terms, state, learned, hyper)

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {**super().next_state(terms, state, learned, hyper), "count": state["count"] + 1}


class FailsAtReports(MLP):
    """A user's model that trains, and cannot be measured."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            raise FileNotFoundError("no table of constants")
        return super().encode(x)


class Hungry(MLP):
    """A model of which a device holds one bank, and no second."""

    alive: weakref.WeakSet[Hungry] = weakref.WeakSet()

    def __init__(self, shape: ImageShape, latent: int, **settings: Any) -> None:
        super().__init__(shape, latent, **settings)
        self.alive.add(self)

    def decode(self, z: Tensor) -> Tensor:
        if len(self.alive) > 3:  # a bank makes three
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")
        return super().decode(z)


class Exits(MLP):
    """A model that ends the process it is in."""

    def decode(self, z: Tensor) -> Tensor:
        raise SystemExit(3)


def fused(trial: str, seed: int, fuse: float = 1e9, **changes: Any) -> dict[str, Any]:
    balancer = {"name": f"{__name__}:Fused", "decay": 0.9, "fuse": fuse}
    return request(trial, seed, balancer=balancer, **changes)


def gather(engine: Engine, *trials: str) -> dict[str, list[dict[str, Any]]]:
    """All reports of trials that have been admitted; their slots are given back at the end."""
    found = {trial: fetch_all(engine, trial) for trial in trials}
    for trial in trials:
        engine.release(trial)
    return found


def alone(bench: Bench, asked: dict[str, Any], width: int) -> list[str]:
    engine = bench.engine(width=width)
    found = numbers(follow(engine, {**asked, "trial": f"{asked['trial']}-alone"}))
    engine.stop()
    return found


@pytest.mark.parametrize("fuse", [9, 15, 38])
@pytest.mark.parametrize("before", [0, 2])
def test_only_the_trial_that_raises_alone_crashes_and_the_others_numbers_are_as_ever(
    bench: Bench, fuse: int, before: int
) -> None:
    """One balancer for all three, so that the exception could be anybody's."""
    calm = [fused("one", 1), fused("three", 3)]
    expected = {asked["trial"]: alone(bench, asked, 3) for asked in calm}
    healthy = alone(bench, fused("two", 2), 3)
    engine = slow_down(bench.engine(width=3), 0.0)
    engine.admit(calm[0])
    if before:  # the others are ahead, with a checkpoint each
        fetch(engine, "one", before)
    engine.admit(fused("two", 2, fuse))
    engine.admit(calm[1])
    found = gather(engine, "one", "two", "three")
    assert {name: numbers(found[name]) for name in expected} == expected
    bad = found["two"]
    assert numbers(bad[:-1]) == healthy[: (fuse - 1) // 10]
    assert (bad[-1]["end"]["state"], bad[-1]["end"]["reason"]) == ("failed", "crashed")
    assert "the fuse has blown" in bad[-1]["end"]["traceback"]
    assert f"in {Fused.loss.__name__}" in bad[-1]["end"]["traceback"]
    assert bad[-1]["step"] == len(bad)
    account = engine.stop()
    worked = account["seconds"]["training"] + account["seconds"]["evaluation"]
    assert worked == pytest.approx(sum(spent(reports) for reports in found.values()))
    assert account["unreported"] == {}


def test_two_that_raise_are_both_found(bench: Bench) -> None:
    expected = alone(bench, fused("good", 3), 3)
    engine = bench.engine(width=3)
    for asked in (fused("bad", 1, 12), fused("worse", 2, 33), fused("good", 3)):
        engine.admit(asked)
    found = gather(engine, "bad", "worse", "good")
    assert numbers(found["good"]) == expected
    assert [found[name][-1]["step"] for name in ("bad", "worse")] == [2, 4]
    assert all(found[name][-1]["end"]["reason"] == "crashed" for name in ("bad", "worse"))


def test_a_crash_that_was_not_delivered_is_lost_work(bench: Bench) -> None:
    engine = bench.engine()
    engine.admit(fused("bad", 1, 9))
    until(lambda: engine._slots.runs["bad"].over, "the crash")
    account = engine.stop()
    assert account["unreported"] == {"bad": pytest.approx(account["seconds"]["training"])}
    assert account["unreported"]["bad"] > 0


def test_a_trial_that_raises_while_its_shape_is_timed_leaves_that_to_the_next(
    bench: Bench,
) -> None:
    engine = bench.engine(width=2)
    engine.admit(fused("bad", 1, 3))
    engine.admit(fused("good", 2))
    found = gather(engine, "bad", "good")
    assert found["bad"][-1]["end"]["reason"] == "crashed"
    assert [report["step"] for report in found["bad"]] == [1]
    assert found["good"][-1]["end"]["state"] == "complete"
    assert found["good"][0]["start"]["seconds_per_image"] > 0


def until_suspected(engine: Engine) -> None:
    until(lambda: any(run.suspect for run in engine._slots.waiting), "a suspect", pause=0.001)


def test_a_suspect_may_be_released_or_suspended_while_another_is_tried(bench: Bench) -> None:
    expected = alone(bench, fused("c", 3), 3)
    for leaving in ("release", "suspend"):
        engine = slow_down(bench.engine(width=3), 0.005)
        trials = {name: f"{name}-{leaving}" for name in "abc"}
        engine.admit(fused(trials["a"], 1, 9))
        engine.admit(fused(trials["b"], 2))
        engine.admit(fused(trials["c"], 3))
        until_suspected(engine)
        if leaving == "release":
            engine.release(trials["b"])
            found = gather(engine, trials["a"], trials["c"])
            assert numbers(found[trials["c"]]) == expected
        else:
            seconds = engine.suspend()
            assert set(seconds) | {t for t in trials.values() if t in engine.occupancy()[1]} == set(
                trials.values()
            )
            found = {trials["c"]: follow(bench.engine(width=3), fused(trials["c"], 3))}
            assert numbers(found[trials["c"]]) == expected


def test_newcomers_wait_until_it_is_known_whose_fault_it_was(bench: Bench) -> None:
    expected = alone(bench, fused("late", 4), 3)
    engine = slow_down(bench.engine(width=3), 0.002)
    engine.admit(fused("bad", 1, 9))
    engine.admit(fused("good", 2))
    until_suspected(engine)
    engine.admit(fused("late", 4))
    found = gather(engine, "bad", "good", "late")
    assert found["bad"][-1]["end"]["reason"] == "crashed"
    assert found["good"][-1]["end"]["state"] == "complete"
    assert numbers(found["late"]) == expected


def test_a_model_that_cannot_be_measured_crashes_its_trial_and_the_bank_goes_on(
    bench: Bench,
) -> None:
    """Its exception is an OSError, and yet its own: not the storage's."""
    name = f"{__name__}:FailsAtReports"
    engine = bench.engine(width=2)
    for seed, trial in enumerate(("a", "b")):
        engine.admit(request(trial, seed, model={"name": name}))
    found = gather(engine, "a", "b")
    for reports in found.values():
        assert [report["step"] for report in reports] == [1]
        assert "no table of constants" in reports[0]["end"]["traceback"]
    account = engine.stop()["seconds"]
    assert account["training"] + account["evaluation"] == pytest.approx(
        sum(spent(reports) for reports in found.values())
    )


def test_trials_that_do_not_fit_beside_each_other_take_turns(bench: Bench) -> None:
    """A neighbour's hunger is no failure; what does not fit even alone has crashed."""
    shapes = {"small": {"width": 16}, "large": {"width": 24}}
    asked = {
        trial: request(trial, model={"name": f"{__name__}:Hungry", **shape})
        for trial, shape in shapes.items()
    }
    expected = {}
    for trial, wanted in asked.items():
        expected[trial] = alone(bench, wanted, 1)
        bench.engines.clear()
        while Hungry.alive:  # the engine's threads are about to end
            gc.collect()
    engine = bench.engine(width=1)
    for wanted in asked.values():
        engine.admit(wanted)
    found = gather(engine, *asked)
    assert {trial: numbers(reports) for trial, reports in found.items()} == expected

    hoarder = [Hungry(ImageShape(1, 8, 8), 4) for _ in range(4)]
    engine.admit(request("too-large", model={"name": f"{__name__}:Hungry"}))
    end = gather(engine, "too-large")["too-large"][-1]["end"]
    assert end["reason"] == "crashed"
    assert "out of memory" in end["traceback"]
    del hoarder


def test_an_engine_whose_device_fails_ends_and_blames_no_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(RuntimeError):
        pass

    real = torch.ones

    def ones(*args: Any, **kwargs: Any) -> Tensor:
        if "device" in kwargs:
            raise Gone("CUDA error: unspecified launch failure")
        return real(*args, **kwargs)

    engine = bench.engine(width=2)
    engine.admit(fused("a", 1, 15))
    engine.admit(fused("b", 2))
    fetch(engine, "a", 1)
    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(RuntimeError, match=engine.config.name) as failure:
        engine.serve()
    assert "fuse" in str(failure.value.__cause__)
    assert engine.reports("a", 0) == engine.reports("b", 0) == []
    monkeypatch.undo()
    rest = follow(bench.engine(width=2), fused("b", 2))
    assert rest[-1]["end"]["state"] == "complete"


def test_code_that_ends_its_process_ends_the_engine_and_not_silently(bench: Bench) -> None:
    engine = bench.engine()
    model = f"{__name__}:Exits"
    engine.admit({**request("exits"), "settings": {**request(model={"name": model})["settings"]}})
    with pytest.raises(RuntimeError) as failure:
        engine.serve()
    assert isinstance(failure.value.__cause__, SystemExit)


def test_a_full_disk_is_a_storage_error_and_never_a_trials_failure(bench: Bench) -> None:
    """A process of its own under a limit on file sizes, which fails writes as a full disk does: at
    a report, at a suspension, at a confirm run's artifacts. Then the limit is lifted."""
    code = f"""
import json, os, resource, sys
sys.path[:0] = {[str(Path(__file__).parents[level]) for level in (0, 2)]!r}
from pathlib import Path
from engine_bench import Bench, follow, fetch, request, slow_down
from vae_core.data import PreparedData
home = Path({str(bench.home)!r})
bench = Bench(home, PreparedData.from_dict(json.loads({json.dumps(bench.data.to_dict())!r})))
UNLIMITED = resource.RLIM_INFINITY
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, UNLIMITED))
def files(trial): return sorted(path.name for path in bench.folder(trial).glob("*"))
found = {{}}

engine = bench.engine()
engine.admit(request("a", until=1))
fetch(engine, "a", 1)
engine.release("a")
limit(4000)
engine.admit(request("a", after=1))
found["report"] = engine.reports("a", 0)
found["left"] = files("a")
engine.release("a")

slowly = slow_down(bench.engine())
slowly.admit(request("b", training={{"epochs": 1000}}))
while not slowly._account()["unreported"]: pass
found["suspended"] = slowly.suspend()
found["lost"] = slowly.stop()["unreported"]["b"]

engine.admit(request("c", phase="confirm", training={{"reports": 1}}))
found["artifacts"] = engine.reports("c", 0)
found["artifacts left"] = files("c")
engine.release("c")
found["account"] = engine.stop()

limit(UNLIMITED)
again = bench.engine()
found["a"] = follow(again, request("a", after=1))
found["c"] = follow(again, request("c", phase="confirm", training={{"reports": 1}}))
print(json.dumps(found), flush=True)
os._exit(0)  # torch may abort an exit that comes soon after one of its threads has ended
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    for key, trial in (("report", "a"), ("artifacts", "c")):
        (delivered,) = found[key]
        assert "end" not in delivered
        assert "File too large" in delivered["storage_error"]
        assert f"/trials/{trial}" in delivered["storage_error"]
    assert found["left"] == ["000000010-000001.ckpt"]
    assert found["artifacts left"] == []
    assert found["suspended"] == {}
    assert found["lost"] > 0
    assert set(found["account"]["unreported"]) == {"a", "c"}
    whole = follow(bench.engine(), request("whole"))
    assert numbers(found["a"]) == numbers(whole[1:])
    assert found["c"][-1]["end"]["state"] == "complete"
    account = found["account"]["seconds"]
    first = account["training"] + account["evaluation"]
    assert first > sum(found["account"]["unreported"].values())
