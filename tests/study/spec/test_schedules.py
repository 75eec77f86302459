"""The word at launch for schedules that a trial ends before."""

from __future__ import annotations

from typing import Any

import pytest

from study.spec import StudySpec, unfinished
from vae_core.data import PreparedData

DIGITS = PreparedData("digits", (1, 8, 8), {}, {}, {"train": 1500, "test": 297}, "")


def said(base: Any, balancer: dict[str, Any], epochs: float, **space: Any) -> list[str]:
    arm: dict[str, Any] = {"balancer": balancer}
    if space:
        named = {key.replace("__", "."): value for key, value in space.items()}
        arm["search"] = {"space": named, "trials": 4, "sampler": "random"}
    training = {"epochs": epochs, "batch_size": 50, "reports": 1}
    return [*unfinished(StudySpec.from_dict(base(training=training, arms={"a": arm})), DIGITS)]


@pytest.mark.parametrize(
    ("balancer", "share"),
    [
        ({"name": "scvi_warm_up"}, "0.0475"),  # 19 epochs of 400 are completed
        ({"name": "linear_warm_up", "beta": 0.1, "warmup_epochs": 40}, "0.499"),
        ({"name": "cyclical_beta", "beta": 0.1, "cycle_epochs": 16}, "0.495"),  # in the 2nd ramp
        ({"name": "warm_down", "beta": 0.1, "start": 100, "warmdown_epochs": 40}, "10"),
        ({"name": "frozen_average", "freeze_epochs": 40}, "0.5"),
        ({"name": "late_optimal_sigma", "start_epochs": 40}, "0.5"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_schedule_longer_than_the_training_is_announced(
    base: Any, balancer: dict[str, Any], share: str
) -> None:
    (line,) = said(base, balancer, 20)
    assert line.startswith(f"warning: arm 'a': the schedule of {balancer['name']} does not arrive")
    assert f"it is at {share} times what it ends at" in line


@pytest.mark.parametrize(
    "balancer",
    [
        {"name": "scvi_warm_up", "warmup_epochs": 15},
        *(
            {"name": name, "beta": 0.1}
            for name in ("linear_warm_up", "floored_warm_up", "cyclical_beta", "warm_down")
        ),
        {"name": "linear_warm_up", "beta": 0.1, "warmup_epochs": 20},
        {"name": "frozen_average"},
        {"name": "late_optimal_sigma"},
        {"name": "running_average"},
        {"name": "fixed_beta", "beta": 0.1},
    ],
    ids=lambda value: value["name"],
)
def test_one_that_arrives_is_not(base: Any, balancer: dict[str, Any]) -> None:
    assert said(base, balancer, 20) == []


def test_the_ends_of_a_searched_range_are_looked_at(base: Any) -> None:
    balancer = {"name": "linear_warm_up", "beta": 0.1}
    within, beyond = {"low": 2.0, "high": 20.0}, {"low": 2.0, "high": 80.0}
    assert said(base, balancer, 20, warmup_epochs=within) == []
    (line,) = said(base, balancer, 20, warmup_epochs=beyond)
    assert "0.25 times" in line
    given = balancer | {"warmup_epochs": 10}
    (line,) = said(base, given, 20, training__epochs={"low": 5.0, "high": 40.0})
    assert "in 5 epochs" in line
