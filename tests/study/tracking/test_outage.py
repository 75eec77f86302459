"""A real MLflow server that dies in the middle and comes back."""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from waiting import until

from study.tracking import MlflowWriter, writer

if TYPE_CHECKING:
    from .conftest import Journal, Server, Store


@pytest.mark.studies
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
    before = len(journal.entries)
    for trial in trials:
        journal.report(trial, 2)
        journal.end(trial, 2)
    confirm = journal.ask(0, seed=101, chosen_from=0)
    journal.train(confirm, artifacts=journal.pictures(confirm))
    journal.choose(0, 1.0)
    journal.finish()

    server.wait()
    writer = MlflowWriter(server.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries[:before]:
        writer.send(entry)
    until(lambda: writer.unsent == 0, "all to be sent")
    server.kill()
    for entry in journal.entries[before:]:
        writer.send(entry)
    until(lambda: writer.problem, "a problem")
    assert 0 < writer.unsent <= len(journal.entries) - before
    server.start()
    server.wait()
    assert writer.close(60) == 0

    store = store_at(server.uri)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for number in range(4):
        run = found[f"trial/tpe.search.r0.{number:04d}"]
        expected = [1, 2] if number >= 2 else [1, 2, 3]
        assert store.steps(run)["validation/calibrated_negative_elbo"] == expected
        assert all(len(steps) == len(set(steps)) for steps in store.steps(run).values())
    run = found[f"trial/{confirm}"]
    assert len(store.artifacts(run)) == 4
    version = store.client.get_model_version_by_alias("digits-beta.tpe", "best")
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
        writer = MlflowWriter(
            f"http://127.0.0.1:{unused.getsockname()[1]}", journal.home, lambda: True, journal.pack
        )
        journal.begin()
        journal.train(journal.ask(0))
        for entry in journal.entries:
            writer.send(entry)
        until(lambda: writer.problem, "a problem")
        assert writer.close(0.5) == len(journal.entries)


def test_what_waits_for_a_server_is_in_the_journal_not_in_memory(
    journal: Journal,
    store: Store,
    store_at: Callable[[str], Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = 40
    monkeypatch.setattr(writer, "_BATCH", batch)
    monkeypatch.setattr(writer, "_GATHER", 0.01)
    monkeypatch.setattr(writer, "_LONGEST_PAUSE", 0.02)
    journal.begin()
    trials = [journal.ask(number) for number in range(3)]
    for trial in trials:
        journal.start(trial)
    for step in range(1, 101):
        for trial in trials:
            journal.report(trial, step)
    for trial in trials:
        journal.end(trial, 100)
    journal.finish()
    copies, refused = [], 0

    def held() -> bool:
        nonlocal refused
        refused += 1
        copies.append(sum(len(change.points) for change in there._projection.pending.values()))
        if refused < 60:
            raise OSError("the store is away")
        return True

    there = MlflowWriter(store.uri, journal.home, held, journal.pack)
    for entry in journal.entries:
        there.send(entry)
    until(lambda: refused >= 60, "refusals")
    assert max(copies[:60]) < batch * 4  # metrics a report
    assert there.close(60) == 0
    run = store.runs()[f"trial/{trials[2]}"]
    assert store.steps(run)["train/S"] == list(range(1, 101))
