"""How many slots an engine gets where the spec leaves it open."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study.engine import timing
from study.journal import Journal
from study.journal.events import SlotsChosen
from study.scheduling.engines import frozen_width
from study.scheduling.sizing import EnginePlan, best_width, widths_to_try
from study.spec import StudySpec, arm_roles, warnings
from vae_core.bank import Bank, Member
from vae_core.data import PreparedData

BETA = {"low": 1e-3, "high": 10, "log": True}
PLAN = EnginePlan("cpu", 2)


def study(slots: int | str = "auto", **changes: Any) -> StudySpec:
    """A random search of 35 trials, and 5 confirm runs."""
    search = {"space": {"beta": BETA}, "trials": 35, **changes.pop("search", {})}
    return StudySpec.from_dict(
        {
            "name": "sized",
            "data": {"name": "digits", "validation": 220},
            "model": {"name": "mlp", "latent": 4, "width": 16},
            "training": {"epochs": 2, "batch_size": 64},
            "seeds": [0, 1, 2, 3, 4],
            "engines": {"device": "cpu", "slots": slots},
            "arms": {"random": {"balancer": "fixed_beta", "search": search}},
            **changes,
        }
    )


class OneEngine:
    """The part of a fleet that :func:`frozen_width` uses."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.asked = seconds, list[tuple[int, ...]]()

    def time_widths(self, spec: Any, data: Any, widths: tuple[int, ...]) -> dict[int, float]:
        self.asked.append(widths)
        return self.seconds


def test_widths_fill_their_rows_and_end_with_what_lets_all_trials_run_at_once() -> None:
    assert widths_to_try(study(), "cpu", 2, ()) == (1, 5, 9, 18)
    assert widths_to_try(study(), "cpu", 1, ()) == (1, 5, 9, 18, 35)
    assert widths_to_try(study(), "cpu", 16, ()) == (1, 3)
    assert widths_to_try(study(), "cpu", 64, ()) == (1,)
    assert widths_to_try(study(search={"trials": 1000}), "cpu", 2, ())[-1] == 63
    adaptive = study(search={"sampler": "tpe", "replicates": 5})
    assert widths_to_try(adaptive, "cpu", 2, ()) == (1, 4, 7, 13), "5 x 5 confirm runs at once"


def test_of_two_stages_the_pair_fills_the_rows_in_the_second() -> None:
    arms = {
        "one": {"balancer": {"name": "fixed_beta", "beta": 1}},
        "learned": {"balancer": "learned_sigma"},
        "optimal": {"balancer": "optimal_sigma"},
    }
    seeds = {"count": 12}
    stages = study(arms=arms, choosing_seeds=2, seeds=seeds)
    assert widths_to_try(stages, "cpu", 1, ())[-1] == 24, "2 x 12 comparing runs, not 3 x 2"
    # 6 choosing runs, then 24: 1 + 2 rounds of 12 slots, or 1 + 1 of 24.
    assert best_width(stages, 1, {12: 1.0, 24: 0.6}) == 24
    assert best_width(stages, 1, {12: 1.0, 24: 0.7}) == 12
    decided = study(arms=arms, choosing_seeds=2, seeds={"until": "decided", "at_most": 12})
    assert widths_to_try(decided, "cpu", 1, ())[-1] == 18, "2 x 9 until the first look"


def test_batches_that_cost_a_wide_bank_its_last_bits_get_one_row() -> None:
    odd = study(training={"epochs": 2, "batch_size": 10})
    rounded = study(training={"epochs": 2, "batch_size": 10}, engines={"precision": "bfloat16"})
    for device in ("cpu", "cuda"):
        assert widths_to_try(odd, device, 2, ()) == (1,)
    assert widths_to_try(rounded, "cuda", 2, ()) == (1,), "its sums over a batch are float32"
    assert len(widths_to_try(rounded, "cpu", 2, ())) > 1
    sizes = {"training.batch_size": [16, 30], "beta": BETA}
    assert widths_to_try(study(search={"space": sizes}), "cpu", 2, ()) == (1,)

    def warned(spec: StudySpec) -> list[str]:
        return [warning for warning in warnings(spec, arm_roles(spec)) if "slot" in warning]

    assert warned(study(4, training={"epochs": 2, "batch_size": 10}))
    assert not warned(study(4))


def test_a_model_that_cannot_share_a_bank_gets_one_row() -> None:
    assert widths_to_try(study(), "cuda", 2, (), one_row=True) == (1,)
    assert widths_to_try(study(), "cpu", 2, (), one_row=True) == (1,)


def test_what_the_spec_or_a_launch_before_says_is_not_timed_again(
    tmp_path: Path, digits: PreparedData
) -> None:
    fleet: Any = OneEngine({1: 1e-5, 9: 4e-6})
    journal = Journal(tmp_path / "j")

    def frozen(spec: StudySpec, plan: EnginePlan = PLAN) -> int:
        widths = widths_to_try(spec, plan.device, plan.count, journal.entries)
        return frozen_width(spec, plan, fleet, digits, journal, widths)

    assert frozen(study(slots=3)) == 3
    assert fleet.asked == []
    assert frozen(study()) == 9
    fleet.seconds = {1: 1e-5}
    assert frozen(study()) == 9
    assert fleet.asked == [(1, 5, 9, 18)]
    assert frozen(study(), EnginePlan("cuda", 2)) == 1, "another device"


def test_a_model_that_cannot_be_timed_freezes_nothing(tmp_path: Path, digits: PreparedData) -> None:
    fleet: Any = OneEngine({})
    journal = Journal(tmp_path / "j")
    assert frozen_width(study(), PLAN, fleet, digits, journal, (1, 5)) == 1
    assert not [entry for entry in journal.entries if isinstance(entry.event, SlotsChosen)]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        # 35 trials then 5 on 2 engines: 21 rounds of 1, 5 of 5, 3 of 9, 2 of 18
        ({1: 1.0, 5: 0.56, 9: 0.4, 18: 0.3}, 9),
        ({1: 1.0, 5: 0.56, 9: 0.4, 18: 0.2}, 18),
        ({1: 1.0, 5: 0.9}, 1),
        ({1: 1.0}, 1),
    ],
)
def test_the_best_width_is_the_one_of_the_shortest_study(
    seconds: dict[int, float], best: int
) -> None:
    assert best_width(study(), 2, seconds) == best


def test_rows_that_stay_empty_count() -> None:
    """Where shapes differ, each has a bank of its own; where batches are small, few rows train."""
    fast = {1: 1.0, 5: 0.4, 9: 0.3, 18: 0.25}
    assert best_width(study(), 2, fast) == 9
    shapes = study(search={"space": {"beta": BETA, "model.latent": {"low": 2, "high": 9}}})
    assert best_width(shapes, 2, fast) == 1
    two = study(search={"space": {"beta": BETA, "model.latent": [2, 4]}})
    assert best_width(two, 2, {1: 1.0, 5: 0.8}) == 1
    assert best_width(two, 2, {1: 1.0, 5: 0.2}) == 5
    small = study(search={"batch": 2})
    assert best_width(small, 2, {1: 1.0, 5: 0.7}) == 1


@pytest.fixture
def seconds_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], list[int]]:
    """Have banks of K rows take so many seconds per image; returns the widths that are timed."""

    def fix(seconds: Callable[[int], float]) -> list[int]:
        timed: list[int] = []

        def taken(bank: Bank, member: Member, steps: int) -> float:
            timed.append(bank.width)
            return seconds(bank.width)

        monkeypatch.setattr(Bank, "seconds_per_image", taken)
        return timed

    return fix


def test_timing_ends_where_a_wider_bank_is_not_clearly_faster(
    digits: PreparedData, seconds_of: Callable[[Callable[[int], float]], list[int]]
) -> None:
    timed = seconds_of({1: 1e-5, 5: 5e-6, 9: 4.5e-6, 18: 1e-6}.__getitem__)
    found = timing.time_widths(study().to_dict(), digits.to_dict(), "cpu", (1, 5, 9, 18))
    assert found == {1: 1e-5, 5: 5e-6, 9: 4.5e-6}
    assert timed == [1] * timing.TIMES + [1, 5] * timing.TIMES + [5, 9] * timing.TIMES


def test_no_wider_bank_is_tried_where_a_step_is_long(
    digits: PreparedData, seconds_of: Callable[[Callable[[int], float]], list[int]]
) -> None:
    timed = seconds_of(lambda width: timing.LONG_STEP / 64 * 1.01)
    timing.time_widths(study().to_dict(), digits.to_dict(), "cpu", (1, 5))
    assert timed == [1]


def test_a_width_that_does_not_fit_is_left_out(
    digits: PreparedData, seconds_of: Callable[[Callable[[int], float]], list[int]]
) -> None:
    def seconds(width: int) -> float:
        if width == 9:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return 1e-5 / width

    seconds_of(seconds)
    found = timing.time_widths(study().to_dict(), digits.to_dict(), "cpu", (1, 5, 9, 18))
    assert set(found) == {1, 5}


def test_banks_are_really_timed(digits: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(timing, "LONG_STEP", math.inf)  # a busy machine is slow
    found = timing.time_widths(study().to_dict(), digits.to_dict(), "cpu", (1, 8))
    assert set(found) == {1, 8}
    assert all(seconds > 0 for seconds in found.values())


def test_the_frozen_width_says_what_was_timed(tmp_path: Path, digits: PreparedData) -> None:
    fleet: Any = OneEngine({1: 1e-5, 5: 4e-6})
    journal = Journal(tmp_path / "j")
    frozen_width(study(), PLAN, fleet, digits, journal, (1, 5))
    (event,) = (e.event for e in journal.entries if isinstance(e.event, SlotsChosen))
    assert event == SlotsChosen("cpu", 5, {"1": 1e-5, "5": 4e-6})
