"""A real MLflow server that dies in the middle and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.tracking import MlflowWriter, TrackingError, check

if TYPE_CHECKING:
    from .conftest import Journal, Store

_UI = """
import sys
from pathlib import Path
from study.tracking import ui
sys.exit(ui(Path(sys.argv[1]), port=int(sys.argv[2])))
"""


class Server:
    """``study ui`` on the studies' home, on a port of its own."""

    def __init__(self, studies: Path) -> None:
        self.studies = studies
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", _UI, str(self.studies), str(self.port)]
        # A session of its own, so that all of its processes can be killed by its id.
        self.process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                return check(self.uri)
            except TrackingError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(studies: Path) -> Iterator[Server]:
    server = Server(studies)
    server.start()
    yield server
    server.kill()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_is_lost_when_the_server_dies_and_returns(
    journal: Journal, server: Server, store_at: Callable[[str], Store]
) -> None:
    journal.begin()
    for number in range(2):
        journal.train(journal.ask(number))
    trials = [journal.ask(number) for number in (2, 3)]
    for trial in trials:
        journal.start(trial)
        journal.report(trial, 1)
    before = len(journal.events)
    for trial in trials:
        journal.report(trial, 2)
        journal.end(trial, 2)
    confirm = journal.ask(0, seed=101, chosen_from=0)
    journal.train(confirm, artifacts=journal.pictures(confirm))
    journal.add("choice", arm="tpe", replicate=0, number=0, value=1.0)
    journal.add("finish")

    server.wait()
    writer = MlflowWriter(server.uri, journal.home)
    for event in journal.events[:before]:
        writer.send(event)
    until(lambda: writer.unsent == 0)
    server.kill()
    for event in journal.events[before:]:
        writer.send(event)
    until(lambda: writer.problem)
    assert 0 < writer.unsent <= len(journal.events) - before
    server.start()
    server.wait()
    assert writer.close(60) == 0

    store = store_at(server.uri)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for number in range(4):
        run = found[f"trial/tpe.search.r0.{number:04d}"]
        expected = [1, 2] if number >= 2 else [1, 2, 3]
        assert store.steps(run)["validation/calibrated_elbo"] == expected
        assert all(len(steps) == len(set(steps)) for steps in store.steps(run).values())
    run = found[f"trial/{confirm}"]
    assert len(store.artifacts(run)) == 3
    version = store.client.get_model_version_by_alias("digits-beta-tpe", "best")
    assert version.run_id == run.info.run_id

    # The page a person opens shows the run's pictures too.
    path = f"samples/{confirm}.samples.png"
    url = f"{server.uri}/get-artifact?path={path}&run_uuid={run.info.run_id}"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == f"samples of {confirm}".encode()

    server.signal(signal.SIGINT)  # as Ctrl-C in `study ui` would
    assert server.process is not None
    assert server.process.wait(30) == 0


def test_closing_without_a_server_says_what_is_left(journal: Journal) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        writer = MlflowWriter(f"http://127.0.0.1:{unused.getsockname()[1]}", journal.home)
        journal.begin()
        journal.train(journal.ask(0))
        for event in journal.events:
            writer.send(event)
        until(lambda: writer.problem)
        assert writer.close(0.5) == len(journal.events)
