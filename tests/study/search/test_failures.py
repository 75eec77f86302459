"""What the study makes of engines that die, work done twice, and trials suspended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from entries import of_kind
from simulation import ARMS, REPORTS, Simulation, hand, outcome, spec

from study.journal import Journal
from study.journal.events import OptunaOperation, Reported, TrialEnded, TrialSuspended
from study.journal.trial import SUSPECT
from study.search import Conductor, Request
from study.search.conductor import FATAL

ONE = spec({"auto": ARMS["auto"]})


@pytest.fixture
def conductor(tmp_path: Path) -> Iterator[Conductor]:
    journal = Journal(tmp_path / "j")
    yield Conductor(ONE, journal, 64, slots=2)
    journal.close()


def begun(conductor: Conductor) -> Request:
    request = conductor.next()
    assert request is not None
    return request


def test_a_report_made_again_by_another_engine_is_recorded_as_redone(conductor: Conductor) -> None:
    request = begun(conductor)
    conductor.report(request.trial, outcome(request, 1, "first"))
    conductor.report(request.trial, outcome(request, 2, "first"))
    for _ in range(2):  # the second time it is only heard again
        assert not conductor.report(request.trial, outcome(request, 2, "second"))
    assert not conductor.report(request.trial, outcome(request, 1, "first"))
    reports = of_kind(conductor.journal.entries, Reported)
    found = [(report.step, report.engine, report.redone) for report in reports]
    assert found == [(1, "first", False), (2, "first", False), (2, "second", True)]
    assert conductor.trials[request.trial].trial.step == 2


def test_work_done_again_is_known_after_a_restart(tmp_path: Path) -> None:
    first = Conductor(ONE, Journal(tmp_path / "j"), 64, slots=1)
    request = begun(first)
    first.report(request.trial, outcome(request, 1, "first"))
    first.report(request.trial, outcome(request, 1, "second"))
    again = Conductor(ONE, Journal(tmp_path / "j", take_over=True), 64, slots=1)
    assert again.trials[request.trial].trial.step == 1
    before = len(again.journal.entries)
    heard = outcome(request, 1, "first")
    del heard["start"]
    again.report(request.trial, heard)
    assert not of_kind(again.journal.entries[before:], Reported)


def test_engines_that_die_fail_no_trial_that_reports_in_between(conductor: Conductor) -> None:
    request = begun(conductor)
    for step in range(1, REPORTS):
        for death in range(FATAL - 1):
            assert not conductor.died(request.trial, f"e{step}.{death}")
            assert conductor.trials[request.trial].trial.alone == (death + 1 >= SUSPECT)
        conductor.report(request.trial, outcome(request, step, f"e{step}"))
        assert not conductor.trials[request.trial].trial.alone
    conductor.report(request.trial, outcome(request, REPORTS, "last"))
    assert conductor.trials[request.trial].trial.state == "complete"


def test_a_trial_that_takes_engines_down_runs_alone_and_then_fails(conductor: Conductor) -> None:
    request, other = begun(conductor), begun(conductor)
    assert [conductor.died(request.trial, f"e{i}") for i in range(FATAL)] == [
        *[False] * (FATAL - 1),
        True,
    ]
    end = of_kind(conductor.journal.entries, TrialEnded)[-1]
    assert (end.trial, end.state, end.reason) == (request.trial, "failed", "crashed")
    assert f"{FATAL} times in a row" in end.traceback
    assert not conductor.trials[other.trial].ended


def test_suspicion_outlives_the_driver(tmp_path: Path) -> None:
    first = Conductor(ONE, Journal(tmp_path / "j"), 64, slots=1)
    request = begun(first)
    assert not request.alone
    for i in range(SUSPECT):
        first.died(request.trial, f"e{i}")
    again = Conductor(ONE, Journal(tmp_path / "j", take_over=True), 64, slots=1)
    assert begun(again).alone
    assert [again.died(request.trial, f"f{i}") for i in range(FATAL - SUSPECT)][-1]


def test_a_batch_goes_on_without_the_trial_that_took_engines_down(tmp_path: Path) -> None:
    pruner = {"name": "median", "n_startup_trials": 1, "synchronous": True}
    study = spec({"hand": hand("random", trials=2, batch=2, pruner=pruner), "auto": ARMS["auto"]})
    conductor = Conductor(study, Journal(tmp_path / "j"), 64, slots=2)
    good, bad = begun(conductor), begun(conductor)
    assert conductor.report(good.trial, outcome(good, 1))  # held until the other is as far
    conductor.returned(good.trial)
    for i in range(FATAL):
        conductor.died(bad.trial, f"e{i}")
    conductor.returned(bad.trial)
    assert not conductor.trials[good.trial].held
    assert begun(conductor).trial == good.trial


def test_a_trial_that_its_engine_suspended_goes_on_elsewhere(conductor: Conductor) -> None:
    request = begun(conductor)
    conductor.report(request.trial, outcome(request, 1))
    conductor.note(TrialSuspended(request.trial, "e", {"training": 0.5}))
    conductor.returned(request.trial)
    again = begun(conductor)
    assert (again.trial, again.after) == (request.trial, 1)
    conductor.interrupt()
    conductor.returned(request.trial)
    assert conductor.drained
    assert not conductor.all_ended


def test_a_study_that_cannot_go_on_hands_out_no_more(conductor: Conductor) -> None:
    request = begun(conductor)
    conductor.fail(OSError("no space"))
    assert conductor.next() is None
    assert conductor.report(request.trial, outcome(request, 1))  # the slot is given up
    assert isinstance(conductor.failure, OSError)


def test_no_choice_is_made_twice(tmp_path: Path) -> None:
    arms = {"hand": hand("random", trials=2), "auto": ARMS["auto"]}
    done = Simulation(tmp_path / "j", spec(arms), slots=2).run(order=1)
    before = [e for e in done.journal.entries if not isinstance(e.event, OptunaOperation)]
    done.journal.close()
    again = Conductor(spec(arms), Journal(tmp_path / "j"), 64, slots=2)
    assert again.all_ended
    after = [e for e in again.journal.entries if not isinstance(e.event, OptunaOperation)]
    assert after == before
