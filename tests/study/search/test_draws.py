"""What the draws of a search depend on, and what a pruner is given of its trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from simulation import Simulation, hand, outcome, spec

from study.search import Request


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
