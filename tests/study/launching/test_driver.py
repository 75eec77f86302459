"""What a launch does before and after any engine runs, without one."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.journal import Journal, StudyHome
from study.journal.commands import pending, send
from study.journal.events import StudyFinished
from study.launching import driver
from study.launching.signals import Signals
from study.search import Conductor
from study.spec import StudySpec

CRASHED = "random.search.r0.0001"


@pytest.fixture
def finished(told: StudyHome, tmp_path: Path) -> StudyHome:
    shutil.copytree(told.path, tmp_path / told.name)
    return StudyHome(tmp_path, told.name)


@pytest.mark.parametrize(("trial", "trained"), [(CRASHED, [f"{CRASHED}.retry1"]), ("nothing", [])])
def test_a_finished_study_takes_its_commands_and_ends(
    finished: StudyHome,
    told_spec: StudySpec,
    follow_up: Any,
    monkeypatch: pytest.MonkeyPatch,
    trial: str,
    trained: list[str],
) -> None:
    ran: list[str] = []

    def run_trials(prepared: driver.Prepared, conductor: Conductor, home: StudyHome) -> None:
        ran.extend(name for name, queued in conductor.trials.items() if not queued.ended)
        conductor.slots = 1
        follow_up(conductor)

    monkeypatch.setattr(driver, "_run_trials", run_trials)
    send(finished.path, {"order": "retry", "trial": trial})
    prepared: Any = SimpleNamespace(spec=told_spec, data=SimpleNamespace(shape=(1, 8, 8)))
    journal = Journal(finished.path)
    driver._conduct(prepared, [], journal, finished, Signals())
    journal.close()
    assert ran == trained
    assert pending(finished.path) == []
    assert isinstance(journal.entries[-1].event, StudyFinished)


def test_a_retry_as_the_last_trial_ends_is_trained_too(
    finished: StudyHome, told_spec: StudySpec, follow_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run_trials(prepared: driver.Prepared, conductor: Conductor, home: StudyHome) -> None:
        ran.append([name for name, queued in conductor.trials.items() if not queued.ended])
        conductor.slots = 1
        if len(ran) > 1:
            follow_up(conductor)
            return
        conductor.stop(trial=f"{CRASHED}.retry1")
        conductor.retry(f"{CRASHED}.retry1")  # Tune has been told that all have ended

    monkeypatch.setattr(driver, "_run_trials", run_trials)
    send(finished.path, {"order": "retry", "trial": CRASHED})
    prepared: Any = SimpleNamespace(spec=told_spec, data=SimpleNamespace(shape=(1, 8, 8)))
    journal = Journal(finished.path)
    driver._conduct(prepared, [], journal, finished, Signals())
    journal.close()
    assert ran == [[f"{CRASHED}.retry1"], [f"{CRASHED}.retry2"]]
    assert isinstance(journal.entries[-1].event, StudyFinished)


def test_nobody_need_read_what_is_printed(
    finished: StudyHome, told_spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(Exception):
        pass

    def settle(*given: object) -> None:
        raise ReachedError

    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(driver, "settle", settle)
    aside: Any = (lambda *given: None, None, None)
    with pytest.raises(ReachedError):  # behind the first that is printed
        driver.run(told_spec, driver.Options(finished), *aside)
