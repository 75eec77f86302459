"""Steering a study from another terminal: what may be ordered, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study import api
from study.journal import HomeError, Journal, StudyHome, read_events
from study.journal.commands import give, waiting
from study.managing import control as ordering
from study.managing.control import NotObeyedError, OrderError
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


def orders(home: StudyHome) -> list[dict[str, str]]:
    return [order for _, order in waiting(home.path)]


class TestPartsOfAStudy:
    @pytest.mark.parametrize(
        ("what", "order"),
        [
            ({"arm": "random"}, {"order": "stop", "arm": "random"}),
            ({"arm": "optimal"}, {"order": "stop", "arm": "optimal"}),
            ({"trial": RUNNING}, {"order": "stop", "trial": RUNNING}),
        ],
    )
    def test_are_stopped_within_seconds_or_at_the_next_launch(self, running, what, order):
        said = api.stop("told", **what, home=running.studies)
        assert said.startswith("ordered; the study's driver takes it within seconds (process ")
        with pytest.raises(OrderError, match="ordered already"):
            api.stop("told", **what, home=running.studies)
        assert orders(running) == [order]
        (path, _), *_ = waiting(running.path)
        path.unlink()
        Journal(running.path, take_over=True).close()
        assert api.stop("told", **what, home=running.studies) == (
            "ordered; nobody is running the study: it takes effect at "
            f"`study resume told --home {running.studies}`"
        )
        assert orders(running) == [order]

    @pytest.mark.parametrize("trial", [COMPLETE, FAILED])
    def test_a_trial_that_has_ended(self, running, trial):
        with pytest.raises(OrderError, match=r"has ended already: it is (complete|failed)"):
            api.stop("told", trial=trial, home=running.studies)
        assert orders(running) == []

    def test_an_arm_that_has_ended(self, told):
        with pytest.raises(OrderError, match="arm 'optimal' has ended already"):
            api.stop("told", arm="optimal", home=told.studies)

    def test_an_arm_that_has_been_stopped(self, idle):
        journal = Journal(idle.path)
        journal.append("stop", {"arm": "random"})
        journal.close()
        with pytest.raises(OrderError, match="arm 'random' has been stopped already"):
            api.stop("told", arm="random", home=idle.studies)
        api.stop("told", arm="optimal", home=idle.studies)

    def test_names_that_nothing_has_bring_the_nearest(self, running):
        with pytest.raises(OrderError) as caught:
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
        with pytest.raises(OrderError, match="an arm and a trial are given"):
            api.stop("told", arm="random", trial=RUNNING, home=running.studies)


class TestRetry:
    def test_a_failed_trial(self, idle):
        said = api.retry("told", FAILED, home=idle.studies)
        assert said.startswith("ordered; nobody is running the study: it takes effect at ")
        assert orders(idle) == [{"order": "retry", "trial": FAILED}]

    @pytest.mark.parametrize(
        ("trial", "state"), [(COMPLETE, "complete"), (RUNNING, "(running|interrupted)")]
    )
    def test_another(self, running, trial, state):
        with pytest.raises(OrderError, match=f"trial '{trial}' is {state}"):
            api.retry("told", trial, home=running.studies)
        assert orders(running) == []

    def test_one_that_is_being_retried_until_that_has_ended(self, idle):
        asked = next(e.data for e in read_events(idle.path) if e.data.get("trial") == FAILED)
        again = f"{FAILED}.retry1"
        journal = Journal(idle.path)
        journal.append("trial", {**asked, "trial": again, "retry_of": FAILED})
        journal.commit()
        with pytest.raises(OrderError, match="is being retried already") as caught:
            api.retry("told", FAILED, home=idle.studies)
        assert again in caught.value.remedy
        end = {"state": "failed", "reason": "crashed", "step": 0, "value": None}
        journal.append("end", {"trial": again, **end})
        journal.close()
        api.retry("told", FAILED, home=idle.studies)
        api.retry("told", again, home=idle.studies)


class Driver:
    """Holds a study as its driver would, and takes an order to stop."""

    def __init__(self, home: StudyHome, last: str, *, takes: bool = True) -> None:
        self.journal, self.home, self.last, self.takes = Journal(home.path), home, last, takes
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while self.takes:
            for path, order in waiting(self.home.path):
                assert order == {"order": "stop"}
                path.unlink()
                if self.last:
                    self.journal.append(self.last, {})
                    self.journal.close()
                return
            time.sleep(0.02)


class TestStudy:
    def test_is_stopped_by_its_driver_and_can_be_resumed(self, idle, monkeypatch):
        monkeypatch.setenv("STUDY_HOME", str(idle.studies))
        driver = Driver(idle, "interrupted")
        said = api.stop("told")
        driver.thread.join()
        assert said == "stopped; nothing is lost. Go on with: study resume told"
        assert orders(idle) == []

    def test_that_ended_meanwhile(self, idle):
        driver = Driver(idle, "finish")
        assert api.stop("told", home=idle.studies) == "the study has come to its end by itself"
        driver.thread.join()

    def test_that_nobody_runs(self, idle):
        with pytest.raises(OrderError, match="nobody is running the study"):
            api.stop("told", home=idle.studies)
        assert orders(idle) == []

    def test_whose_driver_takes_no_order_in_time(self, running):
        with pytest.raises(NotObeyedError, match=r"has not taken the order.*: process ") as caught:
            ordering.stop_study(running, patience=0.5)
        assert f"`study resume told --home {running.studies} --take-over`" in caught.value.remedy
        assert caught.value.exit_code == 1
        assert orders(running) == [], "left lying, it would stop whoever goes on"

    def test_whose_driver_takes_the_order_and_does_not_let_go(self, idle):
        driver = Driver(idle, "")
        with pytest.raises(NotObeyedError, match="is stopping it and has not let go") as caught:
            ordering.stop_study(idle, patience=1.0)
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
            killer = threading.Timer(0.5, driver.kill)
            killer.start()
            said = api.stop("told", home=idle.studies)
            killer.join()
        assert said.startswith("its driver is gone, without a word in the journal")
        assert orders(idle) == []


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    for verb in (lambda: api.stop("told", home=tmp_path), lambda: api.retry("t", "x", home=".")):
        with pytest.raises(HomeError, match="no study"):
            verb()


def test_orders_of_a_study_are_no_other_studys(idle, told):
    give(idle.path, {"order": "stop", "arm": "random"})
    assert orders(told) == []
