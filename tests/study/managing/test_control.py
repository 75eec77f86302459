"""Controlling a study from another terminal: valid commands, and what is printed of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import until

from study import api
from study.journal import Event, HomeError, Journal, StudyHome, read_entries
from study.journal.commands import pending, send
from study.journal.events import (
    Stopped,
    StudyFinished,
    StudyInterrupted,
    TrialAsked,
    TrialEnded,
)
from study.managing.control import CommandError, CommandTimeoutError, stop_study
from vae_core.errors import UserError

RUNNING = "random.search.r0.0002"
FAILED = "random.search.r0.0001"
COMPLETE = "random.search.r0.0000"


@pytest.fixture
def running(conducting: Callable[..., tuple[object, StudyHome]]) -> StudyHome:
    """A study that this process runs: a complete, a failed and a running trial."""
    return conducting(4)[1]


@pytest.fixture
def idle(running: StudyHome, conducting: Callable[..., object]) -> StudyHome:
    """The same, its driver gone."""
    Journal(running.path, take_over=True).close()
    return running


def commands(home: StudyHome) -> list[dict[str, str]]:
    return [command for _, command in pending(home.path)]


class TestPartsOfAStudy:
    @pytest.mark.parametrize(
        ("what", "command"),
        [
            ({"arm": "random"}, {"order": "stop", "arm": "random"}),
            ({"arm": "optimal"}, {"order": "stop", "arm": "optimal"}),
            ({"trial": RUNNING}, {"order": "stop", "trial": RUNNING}),
        ],
    )
    def test_are_stopped_within_seconds_or_at_the_next_launch(self, running, what, command):
        said = api.stop("told", **what, home=running.studies)
        assert said.startswith(
            "command sent; the study's driver executes it within seconds (process "
        )
        with pytest.raises(CommandError, match="is pending already"):
            api.stop("told", **what, home=running.studies)
        assert commands(running) == [command]
        (path, _), *_ = pending(running.path)
        path.unlink()
        Journal(running.path, take_over=True).close()
        assert api.stop("told", **what, home=running.studies) == (
            "command sent; the study is not running: it takes effect at "
            f"`study resume told --home {running.studies}`"
        )
        assert commands(running) == [command]

    @pytest.mark.parametrize("trial", [COMPLETE, FAILED])
    def test_a_trial_that_has_ended(self, running, trial):
        with pytest.raises(CommandError, match=r"has ended already: it is (complete|failed)"):
            api.stop("told", trial=trial, home=running.studies)
        assert commands(running) == []

    def test_an_arm_that_has_ended(self, told):
        with pytest.raises(CommandError, match="arm 'optimal' has ended already"):
            api.stop("told", arm="optimal", home=told.studies)

    def test_an_arm_that_has_been_stopped(self, idle):
        journal = Journal(idle.path)
        journal.append(Stopped(arm="random"))
        journal.commit()
        journal.close()
        with pytest.raises(CommandError, match="arm 'random' has been stopped already"):
            api.stop("told", arm="random", home=idle.studies)
        api.stop("told", arm="optimal", home=idle.studies)

    def test_names_that_nothing_has_bring_the_nearest(self, running):
        with pytest.raises(CommandError) as caught:
            api.stop("told", arm="randon", home=running.studies)
        assert caught.value.what == "no arm 'randon'"
        assert caught.value.remedy == "did you mean 'random'? known: optimal, random"
        for verb in (
            lambda: api.stop("told", trial="random.search.r0.002", home=running.studies),
            lambda: api.retry("told", "random.search.r0.002", home=running.studies),
        ):
            with pytest.raises(UserError, match=r"no trial 'random\.search\.r0\.002'") as seen:
                verb()
            assert seen.value.remedy.startswith(f"the nearest: {RUNNING}, ")

    def test_an_arm_and_a_trial_at_once(self, running):
        with pytest.raises(CommandError, match="an arm and a trial are given"):
            api.stop("told", arm="random", trial=RUNNING, home=running.studies)

    def test_of_a_study_whose_driver_is_gone(self, abandoned):
        said = api.stop("told", trial=RUNNING, home=abandoned.studies)
        assert said.startswith("command sent; the study is not running: it takes effect at ")


class TestRetry:
    def test_a_failed_trial(self, idle):
        said = api.retry("told", FAILED, home=idle.studies)
        assert said.startswith("command sent; the study is not running: it takes effect at ")
        assert commands(idle) == [{"order": "retry", "trial": FAILED}]

    @pytest.mark.parametrize(
        ("trial", "state"), [(COMPLETE, "complete"), (RUNNING, "(running|interrupted)")]
    )
    def test_another(self, running, trial, state):
        with pytest.raises(CommandError, match=f"trial '{trial}' is {state}"):
            api.retry("told", trial, home=running.studies)
        assert commands(running) == []

    def test_one_that_is_being_retried_until_that_has_ended(self, idle):
        events = [entry.event for entry in read_entries(idle.path)]
        asked = next(e for e in events if isinstance(e, TrialAsked) and e.trial == FAILED)
        again = f"{FAILED}.retry1"
        journal = Journal(idle.path)
        journal.append(replace(asked, trial=again, retry_of=FAILED))
        journal.commit()
        with pytest.raises(CommandError, match="is being retried already") as caught:
            api.retry("told", FAILED, home=idle.studies)
        assert again in caught.value.remedy
        journal.append(TrialEnded(again, "failed", 0, reason="crashed"))
        journal.commit()
        journal.close()
        with pytest.raises(CommandError, match="has been retried already") as caught:
            api.retry("told", FAILED, home=idle.studies)  # its driver would refuse it
        assert caught.value.remedy == f"retry `{idle.command('retry')} {again}`"
        api.retry("told", again, home=idle.studies)


class Driver:
    """Holds a study as its driver would, and executes a command to stop."""

    def __init__(self, home: StudyHome, last: Event | None) -> None:
        self.journal, self.home, self.last = Journal(home.path), home, last
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            for path, command in pending(self.home.path):
                assert command == {"order": "stop"}
                path.unlink()
                if self.last is not None:
                    self.journal.append(self.last)
                    self.journal.commit()
                    self.journal.close()
                return
            time.sleep(0.02)


class TestStudy:
    def test_is_stopped_by_its_driver_and_can_be_resumed(self, idle, monkeypatch):
        monkeypatch.setenv("STUDY_HOME", str(idle.studies))
        driver = Driver(idle, StudyInterrupted())
        said = api.stop("told")
        driver.thread.join()
        assert said == "stopped; nothing is lost. Resume with: study resume told"
        assert commands(idle) == []

    def test_that_ended_meanwhile(self, idle):
        driver = Driver(idle, StudyFinished())
        assert api.stop("told", home=idle.studies) == "the study has finished"
        driver.thread.join()

    def test_that_is_not_running(self, idle):
        with pytest.raises(CommandError, match="the study is not running"):
            api.stop("told", home=idle.studies)
        assert commands(idle) == []

    def test_whose_driver_is_gone(self, abandoned):
        with pytest.raises(CommandError, match="sends no heartbeat any more: process 1 on") as e:
            api.stop("told", home=abandoned.studies)
        assert e.value.remedy.startswith(f"`study resume told --home {abandoned.studies}` takes")
        assert commands(abandoned) == []

    def test_whose_driver_executes_no_command_in_time(self, running):
        with pytest.raises(
            CommandTimeoutError, match=r"has not executed the command.*: process "
        ) as caught:
            stop_study(running, patience=0.5)
        assert f"`study resume told --home {running.studies} --take-over`" in caught.value.remedy
        assert caught.value.exit_code == 1
        assert commands(running) == [], "else it would stop the next launch"

    def test_whose_driver_executes_the_command_and_still_holds_it(self, idle):
        driver = Driver(idle, None)
        with pytest.raises(
            CommandTimeoutError, match="is stopping it and still holds it"
        ) as caught:
            stop_study(idle, patience=1.0)
        driver.thread.join()
        driver.journal.close()
        assert caught.value.exit_code == 1

    def test_whose_driver_is_killed_instead(self, idle):
        code = (
            "import sys, time; from pathlib import Path; from study.journal import Journal; "
            "Journal(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
        )
        command = [sys.executable, "-c", code, str(idle.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "held\n"

            def kill() -> None:
                until(lambda: pending(idle.path), "the command")
                driver.kill()

            killer = threading.Thread(target=kill, daemon=True)
            killer.start()
            said = api.stop("told", home=idle.studies)
            killer.join()
        assert said.startswith("its driver ended without a last event in the journal")
        assert commands(idle) == []


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    for verb in (lambda: api.stop("told", home=tmp_path), lambda: api.retry("t", "x", home=".")):
        with pytest.raises(HomeError, match="no study"):
            verb()


def test_commands_of_a_study_are_no_other_studys(idle, told):
    send(idle.path, {"order": "stop", "arm": "random"})
    assert commands(told) == []
