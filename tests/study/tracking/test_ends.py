"""Ends of a study, and what goes on after them: interruptions, caps, stops, extensions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from study.journal.events import (
    CapReached,
    Stopped,
    StudyDescribed,
    StudyInterrupted,
)

if TYPE_CHECKING:
    from .conftest import Journal, Store


def test_interrupted_runs_are_killed_and_run_on_resume(journal: Journal, store: Store) -> None:
    journal.begin()
    done, open_ = journal.ask(0), journal.ask(1)
    journal.ask(2)  # asked for, never started: no run of its own yet
    journal.train(done)
    journal.start(open_)
    journal.report(open_, 1)
    journal.add(StudyInterrupted())
    store.write(journal.home, journal.entries)
    found = store.runs()
    stopped = {"study", "arm/tpe", f"trial/{open_}"}
    assert set(found) == stopped | {f"trial/{done}"}
    for key in stopped:
        assert found[key].info.status == "KILLED"
        assert found[key].data.tags["state"] == "interrupted"
    assert found[f"trial/{done}"].info.status == "FINISHED"

    journal.launch()
    journal.start(open_)
    store.write(journal.home, journal.entries)
    found = store.runs()
    for key in stopped:
        assert found[key].info.status == "RUNNING"
        assert found[key].data.tags["state"] == "running"
    assert found[f"trial/{done}"].info.status == "FINISHED"


def test_a_cap_ends_the_study_and_interrupts_what_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    done, open_ = journal.ask(0), journal.ask(1)
    journal.ask(2)  # asked for, never started
    confirm = journal.ask(0, seed=101, chosen_from=0)
    journal.train(done)
    journal.train(confirm, artifacts=journal.pictures(confirm))
    journal.start(open_)
    journal.report(open_, 1)
    journal.choose(0, 1.0)
    journal.add(CapReached(cap="max_images", limit=7000.0, spent=7040.0))
    store.write(journal.home, journal.entries)
    found = store.runs()
    states = {key: (run.info.status, run.data.tags["state"]) for key, run in found.items()}
    assert states == {
        "study": ("FINISHED", "capped"),
        "arm/tpe": ("FINISHED", "capped"),
        f"trial/{done}": ("FINISHED", "complete"),
        f"trial/{confirm}": ("FINISHED", "complete"),
        f"trial/{open_}": ("KILLED", "interrupted"),
    }
    assert found["study"].data.tags["reason"] == "max_images: 7,040 of 7,000"
    assert store.client.get_model_version_by_alias("digits-beta.tpe", "best").run_id == (
        found[f"trial/{confirm}"].info.run_id
    )

    journal.launch()
    journal.start(open_)
    journal.report(open_, 2)
    journal.end(open_, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["study"].data.tags["reason"] == ""


def test_what_was_stopped_and_run_again_by_hand(journal: Journal, store: Store) -> None:
    journal.begin()
    ended, never = journal.ask(0), journal.ask(1)
    journal.start(ended)
    journal.report(ended, 1)
    journal.add(Stopped(arm="tpe"))
    for trial, step in ((ended, 1), (never, 0)):
        more = {"reason": "stopped by hand", "value": None, "metrics": {}}
        journal.end(trial, step, "pruned", **more)
    journal.start(ended)  # an engine had made ready for it meanwhile
    again = journal.ask(0, retry_of=ended)
    journal.train(again)
    confirm = journal.ask(1, seed=9, chosen_from=0, retry_of="tpe.confirm.r0.0001")
    journal.train(confirm)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    for trial in (ended, never):
        run = found[f"trial/{trial}"]
        assert (run.info.status, run.data.tags["state"]) == ("KILLED", "pruned")
        assert run.data.tags["reason"] == "stopped by hand"
        assert "retry_of" not in run.data.tags
    assert found["arm/tpe"].data.tags["stopped"] == "by hand"
    run = found[f"trial/{again}"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["retry_of"] == ended
    assert run.info.run_name == "#0 retry 1 beta=0.5 tpe r0"
    assert found[f"trial/{confirm}"].info.run_name == "seed 9 retry 1 beta=1.5 tpe r0 of #0"


def test_a_reason_does_not_outlive_what_it_explained(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.add(StudyInterrupted("OSError: no space left"))
    journal.launch()
    journal.train(trial)
    journal.finish()
    store.write(journal.home, journal.entries)
    for run in store.runs().values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["reason"] == ""


def test_a_driver_that_failed_leaves_failed_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    open_ = journal.ask(0)
    journal.start(open_)
    journal.add(StudyInterrupted("OSError: no space left"))
    store.write(journal.home, journal.entries)
    for run in store.runs().values():
        assert (run.info.status, run.data.tags["state"]) == ("FAILED", "failed")
        assert run.data.tags["reason"] == "OSError: no space left"


def test_an_extended_study_goes_on_in_its_runs(journal: Journal, store: Store) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    before = store.runs()
    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    journal.add(replace(study, spec_hash="6f" * 32))
    journal.launch()
    trial = journal.ask(2)
    journal.train(trial)
    journal.choose(2, 33.0)
    journal.finish()
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert set(after) - set(before) == {f"trial/{trial}"}
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    hashes = {key: run.data.tags["study.spec_hash"] for key, run in after.items()}
    assert hashes["study"] == hashes[f"trial/{trial}"] == "6f" * 32
    assert hashes["trial/tpe.search.r0.0001"] == "5e" * 32
