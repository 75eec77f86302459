"""What the draws of a search depend on, and what a pruner is given of its trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import create_trial
from simulation import Simulation, hand, outcome, spec

from study.search import Request
from study.search.samplers import distributions, grid
from study.spec import SearchSpec
from study.spec.distributions import drawable


def drawn(home: Path, **changes: Any) -> dict[str, list[float]]:
    """By arm, what two random searches of equal spaces tried."""
    arms = {"a": hand("random", trials=4), "b": hand("random", trials=4)}
    conductor = Simulation(home, spec(arms, **changes), slots=4).conductor
    found: dict[str, list[float]] = {name: [] for name in arms}
    for queued in conductor.trials.values():
        found[queued.trial.asked.arm].append(queued.trial.asked.params["beta"])
    return found


def test_arms_of_equal_spaces_draw_points_of_their_own(tmp_path: Path) -> None:
    found = drawn(tmp_path)
    assert len(found["a"]) == len(found["b"]) == 4
    assert len({*found["a"], *found["b"]}) == 8


def test_a_study_of_another_name_draws_others(tmp_path: Path) -> None:
    found, again = drawn(tmp_path / "one"), drawn(tmp_path / "same")
    other = drawn(tmp_path / "other", name="other")
    assert found == again
    assert not {*found["a"], *found["b"]} & {*other["a"], *other["b"]}


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_report_that_is_not_finite_prunes_nothing(tmp_path: Path, synchronous: bool) -> None:
    """All curves are 9, 8, 7, 6. Without its 8, a trial's best at step 2 would be above the median
    there."""

    def falling(request: Request, step: int) -> dict[str, Any]:
        report = outcome(request, step)
        value = math.nan if (request.trial, step) == ("a.search.r0.0005", 2) else 10.0 - step
        report["metrics"] = {"validation/calibrated_negative_elbo": value}
        return report

    pruner = {"name": "median", "n_startup_trials": 1, "synchronous": synchronous}
    arms = {"a": hand("random", trials=8, batch=4, pruner=pruner)}
    found = Simulation(tmp_path, spec(arms), slots=4, make=falling).run(order=0)
    trials = [q.trial for q in found.conductor.trials.values() if q.trial.asked.phase == "search"]
    assert [trial.state for trial in trials] == ["complete"] * 8


@pytest.mark.parametrize(
    ("low", "high", "step", "count", "exact"),
    [
        (0, 1, 0.142857143, 7, False),
        (0, 1, 0.33333334, 3, False),
        (0, 1, 1 / 11, 11, False),
        (1e-5, 3e-4, 2.9e-4 / 7, 7, False),
        (0.1, 0.7, 0.1, 6, True),
        (0, 1, 0.333333333, 3, True),
    ],
)
def test_a_step_that_is_rounded_up_loses_no_value(
    low: float, high: float, step: float, count: int, exact: bool
) -> None:
    def read(step: float) -> SearchSpec:
        space = {"x": {"low": low, "high": high, "step": step}}
        return SearchSpec.model_validate({"space": space, "trials": count, "sampler": "grid"})

    search = read(step)
    space = distributions(search.space)
    assert space["x"].high == pytest.approx(high, abs=1e-9 * high)
    assert len(grid(search)) == count + 1
    told = drawable(search.space["x"], high)
    create_trial(params={"x": told}, distributions=space, value=1.0)  # refuses what none draws
    written = search.space["x"].to_json()["step"]
    assert read(written).space == search.space, "frozen, it reads as itself"
    assert (written == step) is exact
