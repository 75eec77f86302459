"""Drivers as processes: killed, frozen, restarted, with an MLflow server that comes and goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from waiting import until

from study.journal import read_entries
from study.journal.events import Reported

if TYPE_CHECKING:
    from study.journal import Entry

    from .conftest import Journal, Server, Store

pytestmark = pytest.mark.studies

_DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
from study.journal import Journal, LeaseLostError, StudyHome
from study.journal.events import FORMAT, read_event
from study.launching.mlflow_process import MlflowProcess

home, uri = Path(sys.argv[1]), sys.argv[2]
journal = Journal(home, take_over=True)
mlflow = MlflowProcess()
mlflow.follow(uri, StudyHome(home.parent, home.name), journal.epoch)
print(mlflow.pid, flush=True)
for line in sys.stdin:
    word, group = json.loads(line)
    try:
        for kind, data in group:
            journal.append(read_event(kind, data, FORMAT))
        journal.commit()
    except LeaseLostError:
        print(f"lost, {mlflow.close(30).problem}", flush=True)
        break
    if word == "freeze":  # well before the writer has gathered the events
        for pid in (mlflow.pid, os.getpid()):
            os.kill(pid, signal.SIGSTOP)
        os.kill(mlflow.pid, signal.SIGCONT)
    while word == "settle" and mlflow.state().unsent:
        time.sleep(0.02)
    while word == "away" and not mlflow.state().problem:
        time.sleep(0.02)
    if word == "end":
        print(f"ended, {mlflow.close(60).unsent} unsent", flush=True)
        journal.close()
        break
    print(word, flush=True)
"""


class Driver:
    """A process that holds a study, writes its journal and tells MLflow of it."""

    def __init__(self, home: Path, uri: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(home), uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.writes = int(self.hear())
        """The process that writes to MLflow."""

    def tell(self, word: str, entries: Sequence[Entry] = ()) -> None:
        """Have it journal ``entries``, as one group, and then do what ``word`` says."""
        assert self.process.stdin is not None
        group = [[entry.event.kind, entry.event.to_data()] for entry in entries]
        self.process.stdin.write(json.dumps([word, group]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str, entries: Sequence[Entry] = ()) -> str:
        self.tell(word, entries)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def drive(journal: Journal) -> Iterator[Callable[[str], Driver]]:
    """Starts drivers of the journal's study on a store."""
    drivers = []

    def start(uri: str) -> Driver:
        drivers.append(Driver(journal.home, uri))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()


def first_report(journal: Journal) -> str:
    """A study whose one trial has reported once; the trial."""
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    return trial


def snapshot(store: Store) -> dict[str, Any]:
    return {
        key: (run.to_dictionary(), {name: store.history(run, name) for name in run.data.metrics})
        for key, run in store.runs().items()
    }


def test_a_frozen_driver_changes_nothing_once_another_has_taken_over(
    journal: Journal, store: Store, drive: Callable[[str], Driver]
) -> None:
    trial, begun = first_report(journal), len(journal.entries)
    journal.report(trial, 2)
    journal.report(trial, 3)
    told = len(journal.entries)
    journal.report(trial, 4)
    journal.end(trial, 4, "failed", reason="what the frozen driver would have said", value=None)
    never = len(journal.entries)
    journal.launch()
    journal.start(trial)
    journal.report(trial, 4)
    journal.end(trial, 4)
    journal.finish()

    frozen = drive(store.uri)
    assert frozen.ask("settle", journal.entries[:begun]) == "settle"
    frozen.tell("freeze", journal.entries[begun:told])
    assert os.WIFSTOPPED(os.waitpid(frozen.process.pid, os.WUNTRACED)[1])
    other = drive(store.uri)
    assert other.ask("end", journal.entries[never:]) == "ended, 0 unsent"
    before = snapshot(store)
    frozen.process.send_signal(signal.SIGCONT)
    assert frozen.hear() == "freeze"
    lost = frozen.ask("settle", journal.entries[told:never])
    assert lost == "lost, the study was taken over by another driver"
    assert snapshot(store) == before

    events = [entry.event for entry in read_entries(journal.home)]
    kinds = [(event.kind, getattr(event, "step", None)) for event in events]
    assert kinds[-5:] == [
        ("launch", None),
        ("start", None),
        ("report", 4),
        ("end", 4),
        ("finish", None),
    ]
    assert len(kinds) == told + 5
    run = store.runs()[f"trial/{trial}"]
    assert (run.info.status, store.steps(run)["train/S"]) == ("FINISHED", [1, 2, 3, 4])


def test_drivers_killed_while_the_server_comes_and_goes(
    journal: Journal,
    server: Server,
    store_at: Callable[[str], Store],
    drive: Callable[[str], Driver],
) -> None:
    journal.begin()
    trials = [journal.ask(number) for number in range(3)]
    groups: list[list[Entry]] = [list(journal.entries)]

    def group(*calls: Callable[[], Any]) -> None:
        before = len(journal.entries)
        for call in calls:
            call()
        groups.append(journal.entries[before:])

    for trial in trials:
        group(
            lambda trial=trial: journal.start(trial), lambda trial=trial: journal.report(trial, 1)
        )
    for step in range(2, 6):
        group(*(lambda trial=trial, step=step: journal.report(trial, step) for trial in trials))
    group(*(lambda trial=trial: journal.end(trial, 5) for trial in trials))
    group(lambda: journal.choose(0, 20.0))
    group(journal.finish)
    launch = journal.add(journal.entries[1].event)

    server.wait()
    driver = drive(server.uri)
    assert driver.ask("settle", [*groups[0], *groups[1]]) == "settle"
    driver.ask("go on", groups[2])
    driver.kill()  # perhaps in the middle of writing
    driver = drive(server.uri)
    driver.ask("go on", [launch, *groups[3]])
    server.kill()
    assert driver.ask("away", groups[4]) == "away"
    driver.ask("go on", groups[5])
    driver.kill()  # what it had for MLflow is in the journal
    driver = drive(server.uri)
    assert driver.ask("away", [launch, *groups[6]]) == "away"
    server.start()
    server.wait()
    for entries in groups[7:-1]:
        driver.ask("go on", entries)
    assert driver.ask("end", groups[-1]) == "ended, 0 unsent"

    store = store_at(server.uri)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert set(found) == {"study", "arm/tpe", *(f"trial/{trial}" for trial in trials)}
    reports = [
        (entry.time, entry.event)
        for entry in read_entries(journal.home)
        if isinstance(entry.event, Reported)
    ]
    for trial in trials:
        run = found[f"trial/{trial}"]
        expected = [
            (report.step, report.metrics["train/S"], int(time * 1000))
            for time, report in reports
            if report.trial == trial
        ]
        assert [row[0] for row in expected] == [1, 2, 3, 4, 5]
        assert store.history(run, "train/S") == expected
        for steps in store.steps(run).values():
            assert len(steps) == len(set(steps))


def test_where_the_process_that_writes_is_killed_another_goes_on(
    journal: Journal, store: Store, drive: Callable[[str], Driver]
) -> None:
    trial, begun = first_report(journal), len(journal.entries)
    journal.report(trial, 2)
    told = len(journal.entries)
    journal.end(trial, 2)
    journal.finish()

    driver = drive(store.uri)
    assert driver.ask("settle", journal.entries[:begun]) == "settle"
    os.kill(driver.writes, signal.SIGKILL)  # where it is frozen, the driver does the same
    assert driver.ask("settle", journal.entries[begun:told]) == "settle"
    assert driver.ask("end", journal.entries[told:]) == "ended, 0 unsent"
    run = store.runs()[f"trial/{trial}"]
    assert (run.info.status, store.steps(run)["train/S"]) == ("FINISHED", [1, 2])


def test_the_process_that_writes_ends_with_a_killed_driver(
    journal: Journal, store: Store, drive: Callable[[str], Driver]
) -> None:
    journal.begin()
    driver = drive(store.uri)
    assert driver.ask("settle", journal.entries) == "settle"
    driver.kill()
    until(lambda: not _runs(driver.writes), "its end")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
