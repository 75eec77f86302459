"""The writer's thread: the lease, what is slow, refused or makes no sense."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from study.tracking import MlflowWriter
from study.tracking.sink import Sink

if TYPE_CHECKING:
    from .conftest import Journal, Store


def test_a_driver_that_lost_the_study_writes_nothing(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    store.write(journal.home, journal.entries)
    before = {key: run.to_dictionary() for key, run in store.runs().items()}
    writer = MlflowWriter(store.uri, journal.home, lambda: False, journal.pack)
    journal.end(trial, 2)
    journal.train(journal.ask(1))
    journal.finish()
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) > 0
    assert writer.problem == "the study was taken over by another driver"
    assert writer.close(0) > 0
    assert {key: run.to_dictionary() for key, run in store.runs().items()} == before


def test_the_lease_is_looked_at_right_before_every_write(
    journal: Journal, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(name: str, method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if "inside" not in seen[-1:]:  # MLflow's own calls of each other
                seen.append(name)
            seen.append("inside")
            answer = method(self, *args, **kwargs)
            while seen[-1] == "inside":
                seen.pop()
            return answer

        return call

    writes = ("create", "log", "set", "update", "delete", "restore")
    for name in dir(MlflowClient):
        if name.startswith(writes):
            monkeypatch.setattr(MlflowClient, name, watched(name, getattr(MlflowClient, name)))

    def held() -> bool:
        seen.append("held")
        return True

    journal.two_arms()
    writer = MlflowWriter(store.uri, journal.home, held, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) == 0
    written = {name for name in seen if name != "held"}
    assert {"create_experiment", "create_run", "log_batch", "set_terminated", "log_text"} < written
    assert {"log_artifact", "create_model_version", "log_inputs"} < written
    for before, name in itertools.pairwise(seen):
        assert name == "held" or before == "held", name


@pytest.mark.parametrize("drain", [False, True])
def test_a_store_that_is_slow_is_waited_for_if_wanted_and_one_that_is_away_is_not(
    journal: Journal, store: Store, monkeypatch: pytest.MonkeyPatch, drain: bool
) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("study.tracking.writer.time", clock)
    journal.two_arms()
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    write, calls = Sink.write, itertools.count()

    def slow(self: Sink, *arguments: Any) -> None:
        clock.now += 40  # seconds
        if next(calls) > 5:
            raise ConnectionError
        write(self, *arguments)

    monkeypatch.setattr(Sink, "write", slow)
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60, drain=drain) > 0
    assert (next(calls) > 5) == drain
    assert clock.now < 400


@pytest.fixture(scope="module")
def undisturbed(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """What a store holds of the two arms that one driver wrote to its end; made once."""
    made: dict[str, Any] = {}

    def written(journal: Journal, store_at: Callable[..., Store]) -> dict[str, Any]:
        if made:
            return made
        folder = tmp_path_factory.mktemp("undisturbed")
        shutil.copy(database, folder / "mlflow.db")
        store = store_at(f"sqlite:///{folder / 'mlflow.db'}")
        store.write(journal.home, journal.entries)
        made.update((key, store.content(run)) for key, run in store.runs().items())
        return made

    return written


@pytest.mark.parametrize("looks", [3, 17, 33, 40, 48])
def test_once_lost_nothing_more_is_written_and_the_next_driver_goes_on(
    journal: Journal,
    store: Store,
    store_at: Callable[..., Store],
    undisturbed: Callable[..., Any],
    looks: int,
) -> None:
    """Wherever it was lost: nothing is there twice, and nothing is missing."""
    journal.two_arms()
    left = iter(range(looks))
    writer = MlflowWriter(
        store.uri, journal.home, lambda: next(left, None) is not None, journal.pack
    )
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) > 0
    store.write(journal.home, journal.entries)
    found = {key: store.content(run) for key, run in store.runs().items()}
    assert found == undisturbed(journal, store_at)


def test_what_the_store_refuses_is_left_out_and_said(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1, **{"not a key!": 1.0})
    journal.train(journal.ask(1))
    store.write(journal.home, journal.entries)
    assert f"trial/{trial}" in caplog.text
    assert store.runs()["trial/tpe.search.r0.0001"].info.status == "FINISHED"


def test_an_event_that_makes_no_sense_is_said_and_passed_over(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin()
    journal.start("tpe.search.r0.0099")  # of a trial nobody asked for
    journal.train(journal.ask(0))
    store.write(journal.home, journal.entries)
    assert "tpe.search.r0.0099" in caplog.text
    assert store.runs()["trial/tpe.search.r0.0000"].info.status == "FINISHED"
