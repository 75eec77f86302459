"""An engine whose device's memory is short: it goes on in narrower banks, and nothing is lost."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engine_bench import (
    REPORTS,
    Bench,
    fetch,
    fetch_all,
    follow,
    numbers,
    request,
    slow_down,
    spent,
)
from torch import Tensor

from study.engine import banks
from study.engine.engine import Engine
from study.engine.evaluation import Evaluation
from vae_core.bank import Bank
from vae_core.models.mlp import MLP


class Room(torch.autograd.Function):
    """The identity, in memory that holds banks of so many rows."""

    rows = math.inf
    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        if Room.rows < 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient

    @staticmethod
    def vmap(info: Any, dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        if info.batch_size > Room.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")
        return x.clone(), dims[0]


class Roomy(MLP):
    """A user's model that needs the memory."""

    def decode(self, z: Tensor) -> Tensor:
        found: Tensor = super().decode(Room.apply(z))  # type: ignore[no-untyped-call]
        return found


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    Room.rows = math.inf
    yield
    Room.rows = math.inf


def roomy(trial: str, seed: int = 1, **changes: Any) -> dict[str, Any]:
    return request(trial, seed, model={"name": f"{__name__}:Roomy"}, **changes)


def gather(engine: Engine, *trials: str) -> dict[str, list[dict[str, Any]]]:
    """All reports of trials that have been admitted."""
    return {trial: fetch_all(engine, trial) for trial in trials}


def widths(reports: list[dict[str, Any]]) -> list[int]:
    return [report["start"]["key"]["width"] for report in reports]


def changing(bench: Bench, asked: dict[str, Any], narrow: int) -> list[str]:
    """The trial's numbers, its last ``narrow`` reports from banks of two rows, others from four."""
    if narrow < REPORTS:
        first = bench.engine(width=4)
        first.admit(asked | {"until": REPORTS - narrow})
        fetch(first, asked["trial"], REPORTS - narrow)
        first.stop()
    return numbers(follow(bench.engine(width=2), asked))


def test_banks_are_halved_until_they_fit_and_trials_go_on_where_they_were(bench: Bench) -> None:
    names = [*"abcd"]
    engine = slow_down(bench.engine(width=4), 0.01)
    for seed, name in enumerate(names):
        engine.admit(roomy(name, seed))
    fetch(engine, "a", 1)
    Room.rows = 2
    found = gather(engine, *names)
    assert engine.occupancy()[0] == 2
    for seed, name in enumerate(names):
        reports = found[name]
        assert [report["step"] for report in reports] == [1, 2, 3, 4]
        assert reports[-1]["end"]["state"] == "complete"
        assert widths(reports) == sorted(widths(reports), reverse=True)
        assert widths(reports)[-1] == 2
        narrow = widths(reports).count(2)
        assert numbers(reports) == changing(bench, roomy(f"{name}-again", seed), narrow)
    assert widths(found["a"])[0] == 4
    account = engine.stop()
    worked = account["seconds"]["training"] + account["seconds"]["evaluation"]
    assert worked == pytest.approx(sum(spent(reports) for reports in found.values()))
    assert account["unreported"] == {}
    assert account["width"] == 2


def test_a_width_that_never_fitted_is_in_no_key(bench: Bench) -> None:
    Room.rows = 1
    engine = bench.engine(width=5)
    for seed, name in enumerate("ab"):
        engine.admit(roomy(name, seed))
    found = gather(engine, *"ab")
    assert {width for reports in found.values() for width in widths(reports)} == {1}
    assert all(reports[-1]["end"]["state"] == "complete" for reports in found.values())
    assert engine.occupancy()[0] == 1


def test_with_one_row_a_bank_the_trial_that_does_not_fit_has_crashed(bench: Bench) -> None:
    engine = slow_down(bench.engine(width=4), 0.001)
    for seed, name in enumerate("ab"):
        engine.admit(request(name, seed))
    engine.admit(roomy("greedy", training={"batch_size": 32}))
    Room.rows = 0
    found = gather(engine, "a", "b", "greedy")
    end = found["greedy"][-1]["end"]
    assert (end["state"], end["reason"]) == ("failed", "crashed")
    assert "out of memory" in end["traceback"]
    for name in "ab":
        assert found[name][-1]["end"]["state"] == "complete"
        assert widths(found[name])[-1] == 1
    assert engine.occupancy()[0] == 1


def test_a_report_that_memory_is_short_for_is_made_again_in_narrower_banks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = Evaluation.on_validation, []

    def on_validation(*args: Any) -> dict[str, float]:
        if not failed:
            failed.append(True)
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return real(*args)

    monkeypatch.setattr(Evaluation, "on_validation", on_validation)
    engine = bench.engine(width=2)
    engine.admit(roomy("a"))
    engine.admit(roomy("b", 2))
    found = gather(engine, *"ab")
    assert [[r["step"] for r in reports] for reports in found.values()] == [[1, 2, 3, 4]] * 2
    assert engine.occupancy()[0] == 1
    again = follow(bench.engine(width=1), roomy("again"))
    assert numbers(found["a"]) == numbers(again)


class Held(Bank):
    """A bank on a device that holds ``Room.rows`` rows, of all banks that something still names."""

    alive: weakref.WeakSet[Bank] = weakref.WeakSet()

    def __init__(self, *args: Any, width: int, **settings: Any) -> None:
        if sum(bank.width for bank in Held.alive) + width > Room.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")
        super().__init__(*args, width=width, **settings)
        Held.alive.add(self)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banks, "Bank", Held)
    Held.alive.clear()


def test_a_bank_that_did_not_fit_is_gone_before_the_next_is_made(bench: Bench, held: None) -> None:
    engine = slow_down(bench.engine(width=8), 0.01)
    names = [*"abcdefgh"]
    for seed, name in enumerate(names):
        engine.admit(roomy(name, seed))
    fetch(engine, "a", 1)
    Room.rows = 4
    found = gather(engine, *names)
    assert {reports[-1]["end"]["state"] for reports in found.values()} == {"complete"}
    assert engine.occupancy()[0] == 4


def test_a_bank_that_went_for_another_is_gone_for_a_third(bench: Bench, held: None) -> None:
    """Three shapes come at once: the first has entered its bank when the second's does not fit."""
    Room.rows = 3
    engine = bench.engine(width=3)
    with engine._slots.change:  # all of them wait when the thread looks
        for name, width in zip("abc", (16, 20, 24), strict=True):
            engine.admit(request(name, model={"width": width}))
    found = gather(engine, *"abc")
    assert {reports[-1]["end"]["state"] for reports in found.values()} == {"complete"}


def test_a_bank_that_nobody_trains_in_gives_its_memory_to_the_next(
    bench: Bench, held: None
) -> None:
    """A search over shapes: its banks must not add up."""
    Room.rows = 2
    engine = bench.engine(width=2)
    for name, width in zip("abcd", (16, 20, 24, 16), strict=True):
        reports = follow(engine, request(name, model={"width": width}))
        assert reports[-1]["end"]["state"] == "complete"
    assert engine.occupancy()[0] == 2


def test_where_an_idle_bank_had_the_memory_the_width_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = Evaluation.on_validation, []
    engine = bench.engine(width=2)

    def on_validation(*args: Any) -> dict[str, float]:
        there = {run.trial for run in (*engine._slots.occupants, *engine._slots.waiting)}
        if there == {"a"} and not failed:
            failed.append(True)
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return real(*args)

    monkeypatch.setattr(Evaluation, "on_validation", on_validation)
    engine.admit(request("brief", training={"batch_size": 32}) | {"until": 1})
    engine.admit(request("a"))
    found = gather(engine, "a")
    assert failed, "brief's report came before a's last"
    assert widths(found["a"]) == [2] * REPORTS
    assert numbers(found["a"]) == numbers(follow(bench.engine(width=2), request("again")))
