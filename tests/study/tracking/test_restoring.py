"""A study under the name of an experiment that was deleted in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from study.journal.events import Entry
from study.tracking.changes import NotHeldError, created_tag
from study.tracking.restoring import restore

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from .conftest import Journal, Store

RUNS = {"study", "arm/tpe", "trial/tpe.search.r0.0000", "trial/tpe.search.r0.0001"}
LATER = 86_400.0  # seconds until another study of the name begins


@pytest.fixture
def deleted(journal: Journal, store: Store) -> Store:
    """A study's experiment: a trial and a run of someone's own deleted singly, then all of it."""
    journal.begin()
    for number in range(2):
        journal.train(journal.ask(number))
    journal.finish()
    store.write(journal.home, journal.entries)
    experiment = store.client.get_experiment_by_name(journal.home.name).experiment_id
    own = store.client.create_run(experiment, tags={"study.run": "own"})
    store.client.delete_run(own.info.run_id)
    store.client.delete_run(store.runs()["trial/tpe.search.r0.0000"].info.run_id)
    store.client.delete_experiment(experiment)
    return store


def begun_later(journal: Journal) -> list[Entry]:
    return [Entry(e.sequence, e.time + LATER, e.event) for e in journal.entries]


def test_another_study_of_the_name_shows_its_own_runs_only(
    journal: Journal, deleted: Store, caplog: pytest.LogCaptureFixture
) -> None:
    later = begun_later(journal)
    deleted.write(journal.home, later)
    assert set(deleted.runs()) == RUNS
    assert {run.data.tags["study.created"] for run in deleted.runs().values()} == {
        created_tag(later[0].time)
    }
    assert "5 runs in it that are not this study's stay deleted" in caplog.text


def test_the_same_study_resumed_is_whole_again(journal: Journal, deleted: Store) -> None:
    deleted.write(journal.home, journal.entries)
    found = deleted.runs()  # `own` is not among them
    assert set(found) == RUNS
    assert deleted.steps(found["trial/tpe.search.r0.0000"])["train/S"] == [1, 2, 3]


def test_an_interrupted_restoration_is_completed(journal: Journal, deleted: Store) -> None:
    writes = 0

    def writable() -> MlflowClient:
        nonlocal writes
        writes += 1
        if writes > 5:  # restored, marked, runs read, two of them deleted
            raise NotHeldError
        return deleted.client

    experiment = deleted.client.get_experiment_by_name(journal.home.name)
    with pytest.raises(NotHeldError):
        restore(writable, experiment, "another")
    assert len(deleted.runs()) == 3
    later = begun_later(journal)
    deleted.write(journal.home, later)
    assert {run.data.tags["study.created"] for run in deleted.runs().values()} == {
        created_tag(later[0].time)
    }


def test_what_is_restored_by_hand_later_is_left_alone(journal: Journal, deleted: Store) -> None:
    later = begun_later(journal)
    deleted.write(journal.home, later)
    experiment = deleted.client.get_experiment_by_name(journal.home.name).experiment_id
    gone = deleted.client.search_runs([experiment], "tags.`study.run` = 'own'", run_view_type=2)
    deleted.client.restore_run(gone[0].info.run_id)
    deleted.write(journal.home, later)
    assert "own" in deleted.runs()
