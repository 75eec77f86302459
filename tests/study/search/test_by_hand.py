"""Trials and arms stopped and retried by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from entries import of_kind
from optuna.trial import TrialState
from simulation import ARMS, REPORTS, Simulation, hand, outcome, spec

from study.journal import Journal
from study.journal.events import TrialEnded
from study.search import Conductor
from study.search.conductor import BY_HAND
from vae_core.errors import UserError

PRUNER = {"name": "median", "n_startup_trials": 1, "synchronous": True}


def arms(**search: Any) -> dict[str, Any]:
    return {"hand": hand("tpe", trials=4, batch=2, **search), "auto": ARMS["auto"]}


def states(conductor: Conductor) -> dict[str, str | None]:
    return {name: queued.trial.state for name, queued in conductor.trials.items()}


def ends(conductor: Conductor) -> dict[str, tuple[str, str]]:
    ends = of_kind(conductor.journal.entries, TrialEnded)
    return {end.trial: (end.state, end.reason) for end in ends}


@pytest.mark.parametrize("pruner", [{}, {"pruner": PRUNER}])
def test_a_stopped_trial_is_pruned_and_the_rest_goes_on(tmp_path: Path, pruner: Any) -> None:
    found = Simulation(tmp_path / "j", spec(arms(**pruner)), slots=3)
    requests = [found.conductor.next() for _ in range(2)]
    assert [r and r.trial for r in requests] == ["hand.search.r0.0000", "hand.search.r0.0001"]
    for request in requests:
        assert request is not None
        found.conductor.report(request.trial, outcome(request, 1))
    assert found.conductor.stop(trial="hand.search.r0.0001") == ["hand.search.r0.0001"]
    for request in requests:
        assert request is not None
        found.conductor.returned(request.trial)
    found.run(order=3)
    assert ends(found.conductor)["hand.search.r0.0001"] == ("pruned", BY_HAND)
    told = found.conductor.trials["hand.search.r0.0001"].phase.trial(1)
    assert told.state is TrialState.PRUNED
    assert found.conductor.all_ended
    assert sum(".search." in name for name in states(found.conductor)) == 4
    assert any("hand.confirm" in name for name in states(found.conductor))


def test_a_stopped_arm_asks_no_more_not_even_after_a_restart(tmp_path: Path) -> None:
    found = Simulation(tmp_path / "j", spec(arms()), slots=3)
    first = found.conductor.next()
    assert first is not None
    assert found.conductor.stop(arm="hand") == [first.trial]
    found.conductor.returned(first.trial)
    found.crash()
    found.run(order=1)
    mine = {n: state for n, state in states(found.conductor).items() if n.startswith("hand")}
    assert mine == {"hand.search.r0.0000": "pruned", "hand.search.r0.0001": "pruned"}
    assert found.conductor.all_ended


@pytest.mark.parametrize("trial", ["hand.search.r0.0000", "nothing"])
def test_what_has_ended_or_is_not_there_cannot_be_stopped(tmp_path: Path, trial: str) -> None:
    found = Simulation(tmp_path / "j", spec(arms()), slots=3).run(order=0)
    before = len(found.journal.entries)
    with pytest.raises(UserError, match=trial):
        found.conductor.stop(trial=trial)
    with pytest.raises(UserError, match="nowhere"):
        found.conductor.stop(arm="nowhere")
    assert len(found.journal.entries) == before


@pytest.mark.parametrize("pruner", [{}, {"pruner": PRUNER}])
@pytest.mark.parametrize("after", ["its batch", "the search"])
def test_a_retry_is_a_trial_of_its_own_with_the_same_number_and_seed(
    tmp_path: Path, pruner: Any, after: str
) -> None:
    found = Simulation(tmp_path / "j", spec(arms(**pruner)), slots=3)
    request = found.conductor.next()
    assert request is not None
    crash = {"state": "failed", "reason": "crashed", "traceback": "..."}
    assert found.conductor.report(request.trial, {**outcome(request, 1), "end": crash})
    found.conductor.returned(request.trial)
    if after == "the search":
        found.run(order=1)
    again = found.conductor.retry(request.trial)
    assert again == "hand.search.r0.0000.retry1"
    with pytest.raises(UserError, match="retried already"):
        found.conductor.retry(request.trial)
    found.crash()
    found.run(order=2)
    old, new = found.conductor.trials[request.trial], found.conductor.trials[again]
    assert old.trial.state == "failed"
    assert new.trial.state in ({"complete", "pruned"} if pruner else {"complete"})
    assert (new.trial.asked.number, new.trial.asked.seed, new.trial.asked.params) == (
        old.trial.asked.number,
        old.trial.asked.seed,
        old.trial.asked.params,
    )
    assert new.phase.trial(new.trial.asked.optuna).state.name.lower() == new.trial.state
    assert old.phase.trial(old.trial.asked.optuna).state is TrialState.FAIL
    numbers = [
        t.trial.asked.number for t in found.conductor.trials.values() if t.phase is new.phase
    ]
    assert sorted(numbers) == [0, 0, 1, 2, 3]
    assert found.conductor.all_ended


def test_a_confirm_run_is_retried_under_its_seed_and_seeds_can_still_be_added(
    tmp_path: Path,
) -> None:
    found = Simulation(tmp_path / "j", spec({"auto": ARMS["auto"]}), slots=1)
    request = found.conductor.next()
    assert request is not None
    crash = {"state": "failed", "reason": "crashed", "traceback": "..."}
    found.conductor.report(request.trial, {**outcome(request, 1), "end": crash})
    found.conductor.returned(request.trial)
    found.run(order=1)
    found.conductor.retry(request.trial)
    found.run(order=1)
    found.journal.close()
    more = Simulation(tmp_path / "j", spec({"auto": ARMS["auto"]}, seeds=[0, 1, 7]), slots=1)
    more.run(order=1)
    seeds = {name: queued.trial.asked.seed for name, queued in more.conductor.trials.items()}
    assert seeds == {
        "auto.confirm.r0.fixed.0000": 0,
        "auto.confirm.r0.fixed.0001": 1,
        "auto.confirm.r0.fixed.0000.retry1": 0,
        "auto.confirm.r0.fixed.0002": 7,
    }


def test_only_what_failed_or_was_pruned_is_retried(tmp_path: Path) -> None:
    conductor = Conductor(spec(arms()), Journal(tmp_path / "j"), 64, slots=1)
    request = conductor.next()
    assert request is not None
    with pytest.raises(UserError, match="not over"):
        conductor.retry(request.trial)
    for step in range(1, REPORTS + 1):
        conductor.report(request.trial, outcome(request, step))
    with pytest.raises(UserError, match="complete"):
        conductor.retry(request.trial)
