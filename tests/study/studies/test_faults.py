"""A small study, killed, frozen, interrupted and out of disk space, ends as if undisturbed."""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import pytest
import yaml
from chaos import Campaign
from harness import SPEC, Launch, MlflowServer, entries, events, judge
from waiting import until

from study.journal.events import (
    EngineChanged,
    Reported,
    SlotsChosen,
    StudyInterrupted,
    TrialSuspended,
)

ADMITTED = r"EngineActor\.reports"
"""The title of an engine that is being asked for a report that is to come."""

TIMING = r"EngineActor\.time_widths"
"""The title of an engine that times slots."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_to_kills_at_random_moments(tmp_path: Path, reference: Path) -> None:
    victims = {"engine": 10, "relay": 9, "driver": 2, "machine": 1, "raylet": 1}
    campaign = Campaign(
        tmp_path, 23, seed=5, spec=SPEC, reference=reference, victims=victims, engines=(2, 1)
    )
    outcome = campaign.run()
    assert outcome.good, outcome.troubles()
    assert sum(outcome.survived.values()) == 23
    assert outcome.equal == outcome.studies


@pytest.mark.timeout(600)
def test_a_driver_that_was_frozen_and_taken_over_changes_nothing(
    home: Path, reference: Path
) -> None:
    first = Launch(home, "--set", "engines.count=2")
    first.reports(2)
    second = Launch(home, verb="resume")
    assert second.end() == 2
    assert f"process {first.pid} on" in second.text()
    assert "--take-over" in second.text()

    first.process.send_signal(signal.SIGSTOP)
    second = Launch(home, "--take-over", verb="resume")
    second.reports(2)
    first.process.send_signal(signal.SIGCONT)
    assert first.end() == 1, first.text()
    assert f"process {second.pid} on" in first.text()
    assert second.end() == 0, second.text()
    assert not (found := judge(home, reference)), found
    assert not harness.left_over(home)


BROKEN = """
import sys
from study.scheduling.fleet import Fleet

def poll(self):
    raise LookupError("no such engine")

Fleet._poll = poll
from study.cli import main
main()
"""


@pytest.mark.timeout(300)
def test_an_engine_that_dies_while_it_times_slots_has_a_successor_that_times_them(
    home: Path,
) -> None:
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, seeds=[0, 1, 2, 3, 4, 5])
    spec["engines"] = {"device": "cpu", "count": 1}
    run = Launch(home, spec=spec)
    run.until(lambda: kill_those(home, TIMING), "slots being timed")
    assert run.end() == 0, run.text()
    trained = {event.engine for event in events(home, EngineChanged)}
    assert trained == {"small-engine-1-1"}, "the first was not killed"
    assert "slots cannot be timed" not in run.text()
    assert len(events(home, SlotsChosen)) == 1


@pytest.mark.timeout(300)
def test_a_fault_in_the_watch_over_engines_ends_the_study(home: Path) -> None:
    """Engine deaths would go unnoticed from then on: the study must not wait forever."""
    home.parent.mkdir(parents=True, exist_ok=True)
    file = home.parent / "endless.yaml"
    file.write_text(yaml.safe_dump(long_spec()))
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, "launch", str(file), "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        timeout=harness.PATIENCE,
        env={**os.environ, harness.MARK: str(home)},
    )
    assert done.returncode == 1
    assert "LookupError: no such engine" in done.stderr
    assert entries(home)[-1].event == StudyInterrupted(error="LookupError: no such engine")
    assert not harness.left_over(home)


def kill_those(home: Path, title: str) -> bool:
    """Kill the processes of that title, if there are any now; whether there were."""
    found = harness.processes(home, title)
    for process in found:
        process.kill()
    return bool(found)


def long_spec() -> dict[str, Any]:
    """One trial whose segments last far longer than a user waits after Ctrl-C."""
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]})
    spec["training"] |= {"epochs": 1000, "reports": 2}
    spec["seeds"] = [0]
    return spec


@pytest.mark.timeout(600)
def test_ctrl_c_and_sigterm_suspend_trials_inside_a_segment(home: Path, tmp_path: Path) -> None:
    spec = long_spec()
    undisturbed = Launch(tmp_path / "reference", spec=spec)

    run = Launch(home, spec=spec)
    training(run)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 130, run.text()
    assert "Resume with: study launch" in run.text()
    assert not events(home, Reported)
    (suspended,) = events(home, TrialSuspended)
    assert suspended.seconds["training"] > 0
    assert isinstance(entries(home)[-1].event, StudyInterrupted)

    harness.tear(harness.journal_files(run.study)[-1], random.Random(0))
    run = Launch(home, verb="resume", spec=spec)
    training(run)
    assert "no complete entries: they are ignored" in run.text()
    frozen = harness.processes(home, harness.TITLES["engine"])
    for process in frozen:  # so that no trial can be suspended
        process.kill(signal.SIGSTOP)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the foreground process group
    run.until(lambda: "once more" in run.text(), "the answer to the first Ctrl-C")
    assert run.code is None
    os.killpg(run.pid, signal.SIGINT)
    assert run.end() == 130, run.text()
    for process in frozen:
        process.kill(signal.SIGCONT)

    harness.finish(home, verb="resume", spec=spec)
    assert undisturbed.end() == 0, undisturbed.text()
    assert not (found := judge(home, tmp_path / "reference")), found
    assert not harness.left_over(home)


@pytest.mark.timeout(300)
def test_a_study_whose_terminal_closes_is_suspended(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    file = home.parent / "endless.yaml"
    file.write_text(yaml.safe_dump(long_spec()))
    terminal, driver_side = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-m", "study", "launch", str(file)]
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup a child would ignore it
    try:
        run = subprocess.Popen(
            [*command, "--home", str(home)],
            stdin=driver_side,
            stdout=driver_side,
            stderr=driver_side,
            env={**os.environ, harness.MARK: str(home)},
        )
    finally:
        signal.signal(signal.SIGHUP, former)
    os.close(driver_side)

    def trains() -> bool:
        while select.select([terminal], [], [], 0)[0]:  # else it fills up
            os.read(terminal, 4096)
        return bool(harness.processes(home, ADMITTED))

    until(trains, "a trial's start", patience=harness.PATIENCE, pause=0.1)
    os.close(terminal)
    assert run.wait(harness.PATIENCE) == 130
    assert events(home, TrialSuspended)
    assert entries(home)[-1].event == StudyInterrupted()
    assert not harness.left_over(home)


def training(run: Launch) -> None:
    """Wait until a trial of this launch is well inside a segment."""
    run.until(lambda: bool(harness.processes(run.home, ADMITTED)), "a trial's start")
    time.sleep(1.5)
    assert run.code is None, run.text()


@pytest.mark.slow  # its parts are in the default suite: the journal's, the engine's, the tracking's
@pytest.mark.timeout(600)
def test_an_mlflow_server_that_goes_away_and_a_full_disk_lose_nothing(
    tmp_path: Path, reference: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk, MlflowServer(tmp_path / "mlflow") as server:
        home = disk.folder / "studies"
        environment = {"MLFLOW_TRACKING_URI": server.uri}
        run = Launch(home, "--set", "engines.count=2", environment=environment)
        run.reports(2)
        server.kill()
        run.reports(8)  # nothing waits for MLflow
        disk.fill(run)
        assert run.end() == 1, run.text()
        assert os.strerror(disk.fault) in run.text()
        assert "study resume" in run.text()
        disk.free()
        server.start()
        harness.finish(home, verb="resume", environment=environment)
        assert not (found := judge(home, reference, database=server.database)), found
        assert not harness.left_over(home)


class Disk:
    """A small disk of its own, or, where mounting is not allowed, limits of file sizes."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder, self._mounted = folder, mounted
        self.fault = errno.ENOSPC if mounted else errno.EFBIG

    def fill(self, run: Launch) -> None:
        """Leave no room for another byte."""
        if self._mounted:
            with (self.folder / "ballast").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return
        limit = harness.journal_files(run.study)[-1].stat().st_size
        for process in harness.processes(run.home, "EngineActor|-m study"):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))

    def free(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield Disk(folder, mounted=mounted)
    finally:
        harness.end_all(folder / "studies")
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
