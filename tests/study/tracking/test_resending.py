"""Events sent again: each arrives once, in the runs that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Journal, Store


@pytest.mark.parametrize("forgotten", [False, True])
def test_sending_everything_again_changes_nothing(
    journal: Journal, store: Store, forgotten: bool
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    before = store.runs()
    if forgotten:
        store.forget()
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert {key: run.to_dictionary() for key, run in after.items()} == {
        key: run.to_dictionary() for key, run in before.items()
    }
    for run in after.values():
        for stored in store.steps(run).values():
            assert len(stored) == len(set(stored))


def test_a_second_writer_continues_a_killed_firsts_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    done, cut = journal.ask(0), journal.ask(1)
    journal.train(done)
    journal.start(cut)
    journal.report(cut, 1)
    store.write(journal.home, journal.entries)
    first = store.runs()
    assert first[f"trial/{cut}"].info.status == "RUNNING"

    journal.launch()
    journal.start(cut, width=2)
    journal.report(cut, 2)
    journal.end(cut, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    second = store.runs()
    assert {key: run.info.run_id for key, run in second.items()} == {
        key: run.info.run_id for key, run in first.items()
    }
    assert {run.info.status for run in second.values()} == {"FINISHED"}
    run = second[f"trial/{cut}"]
    assert store.steps(run)["validation/calibrated_negative_elbo"] == [1, 2]
    assert store.history(run, "device_seconds")[-1][1] == 1.5
    assert run.data.tags["study.numerics"] == '{"dtype": "f", "width": 2}'


def test_runs_told_of_events_the_journal_has_lost_get_each_step_once(
    journal: Journal, store: Store
) -> None:
    journal.begin()
    trial, other = journal.ask(0), journal.ask(1)
    journal.train(other)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    journal.end(trial, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    first = store.runs()

    journal.lose(3)
    journal.launch()
    journal.start(trial)
    journal.report(trial, 2)
    store.write(journal.home, journal.entries)
    assert store.runs()[f"trial/{trial}"].info.status == "RUNNING"
    journal.report(trial, 3)
    journal.end(trial, 3)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {key: run.info.run_id for key, run in found.items()} == {
        key: run.info.run_id for key, run in first.items()
    }
    run = found[f"trial/{trial}"]
    assert store.steps(run)["validation/calibrated_negative_elbo"] == [1, 2, 3]
    for run in found.values():
        assert all(len(steps) == len(set(steps)) for steps in store.steps(run).values())


def test_another_study_of_the_same_name_keeps_its_own_runs(
    journal: Journal, store: Store, studies: Path
) -> None:
    journal.begin()
    store.write(journal.home, journal.entries)
    other = type(journal)(journal.home)
    other.engine("e0")  # another time for its study event
    other.begin()
    store.write(journal.home, other.entries)
    client = store.client
    experiment = client.get_experiment_by_name("digits-beta")
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_run_made_twice_is_one_again(journal: Journal, store: Store) -> None:
    # As when the answer to create_run is lost: the run is there, and asked for once more.
    journal.two_arms()
    store.write(journal.home, journal.entries)
    before = store.runs()
    for key in ("arm/auto", "trial/tpe.search.r0.0001"):
        run = before[key]
        tags = {name: value for name, value in run.data.tags.items() if name != "study.last_event"}
        store.client.create_run(run.info.experiment_id, tags=tags)
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert {key: run.info.run_id for key, run in after.items()} == {
        key: run.info.run_id for key, run in before.items()
    }
