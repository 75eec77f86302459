"""What a launch does before and after any engine runs, without one."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage

from study.journal import Journal, StudyHome
from study.journal.backend import ReadOnlyBackend
from study.journal.commands import pending, send
from study.journal.events import StudyFinished, TrialsTold
from study.launching import driver
from study.launching.signals import Signals
from study.launching.supervisor import execute_commands
from study.search import Conductor
from study.spec import StudySpec
from vae_core.errors import UserError

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


def test_a_retry_as_the_last_trial_ends_is_left_to_a_resume(
    finished: StudyHome,
    told_spec: StudySpec,
    follow_up: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
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
    with closing(Journal(finished.path)) as journal, pytest.raises(driver.StudyInterruptedError):
        driver._conduct(prepared, [], journal, finished, Signals())
    assert "a resume trains it" in capsys.readouterr().err
    with closing(Journal(finished.path)) as journal:
        driver._conduct(prepared, [], journal, finished, Signals())
    assert ran == [[f"{CRASHED}.retry1"], [f"{CRASHED}.retry2"]]
    assert isinstance(journal.entries[-1].event, StudyFinished)


def test_a_command_whose_decision_is_cut_short_ends_the_launch_and_stays(
    finished: StudyHome, told_spec: StudySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(conductor: Conductor) -> None:
        raise UserError("a moment's error of the disk")

    with closing(Journal(finished.path)) as journal:
        conductor = Conductor(told_spec, journal, 64, slots=1)
        conductor.retry(CRASHED)
        monkeypatch.setattr(Conductor, "_compare", unreadable)
        send(finished.path, {"order": "stop", "trial": f"{CRASHED}.retry1"})
        with pytest.raises(UserError, match="of the disk"):
            execute_commands(conductor, finished.path)
    assert len(pending(finished.path)) == 1


def test_a_search_begins_with_what_the_launch_tells_it(
    told_spec: StudySpec, follow_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_trials(prepared: driver.Prepared, conductor: Conductor, home: StudyHome) -> None:
        conductor.slots = 1
        follow_up(conductor)

    home = StudyHome(tmp_path, "told")
    home.make()
    monkeypatch.setattr(driver, "_run_trials", run_trials)
    prepared: Any = SimpleNamespace(spec=told_spec, data=SimpleNamespace(shape=(1, 8, 8)))
    earlier = [{"params": {"beta": 0.1 * n}, "value": -float(n)} for n in (1, 2)]
    told = TrialsTold("random", "study 'before'", earlier, 0, 1000, billed=1.0, standard=None)
    with closing(Journal(home.path)) as journal:
        driver._conduct(prepared, [told], journal, home, Signals())
    storage = JournalStorage(ReadOnlyBackend(home.path))
    search = optuna.load_study(study_name="random.search.r0", storage=storage)
    assert [trial.value for trial in search.trials[:2]] == [-1.0, -2.0]
    assert len(search.trials) == 2 + 3


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
