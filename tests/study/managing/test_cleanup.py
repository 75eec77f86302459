"""What cleaning takes away, and what it must leave."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.made_up import begin
from study import api
from study.journal import (
    HomeError,
    Journal,
    JournalError,
    LeaseError,
    StudyHome,
    holder,
    lease,
    read_entries,
)
from study.journal.events import EngineChanged, LaunchBegan
from study.managing.cleanup import QUIET
from study.search import Conductor
from study.spec import StudySpec

ENDED = "random.search.r0.0000"
RUNNING = "random.search.r0.0002"


def put(path: Path, size: int = 100, age: float = 2 * QUIET) -> Path:
    """A file of that size that was last changed so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def there(home: StudyHome) -> dict[str, bytes]:
    """Every file of the study but its lease's."""
    files = (path for path in home.path.rglob("*") if path.is_file())
    return {
        str(p.relative_to(home.path)): p.read_bytes() for p in files if p.parent != home.journal
    }


@pytest.fixture
def finished(told: StudyHome, tmp_path: Path) -> StudyHome:
    """A finished study, reported on, with a confirm run's weights and pictures."""
    shutil.copytree(told.path, tmp_path / "told")
    home = StudyHome(tmp_path, "told")
    for name in ("model.pt", "samples.png", "reconstructions.png"):
        put(home.trial("optimal.confirm.r0.fixed.0000") / name)
    api.report("told", home=tmp_path)
    return home


@pytest.fixture
def unfinished(conducting: Callable[[int], tuple[Any, StudyHome]]) -> StudyHome:
    """A study whose driver is gone: one trial complete, one failed, one running."""
    conductor, home = conducting(4)
    conductor.note(EngineChanged("e2", "lost", "cpu", 1, startup_seconds=2.0, cause="process"))
    conductor.journal.close()
    return home


def test_a_finished_study_keeps_all_but_its_checkpoints(finished: StudyHome) -> None:
    needed, entries = there(finished), list(read_entries(finished.path))
    for trial in (ENDED, RUNNING, "optimal.confirm.r0.fixed.0000", "of.an.older.spec"):
        put(finished.trial(trial) / "000000010-000001.ckpt")
        put(finished.trial(trial) / "000000020-000001.ckpt", 1000)
    cleaning = api.clean("told", home=finished.studies)
    assert str(cleaning) == "told: freed 4 KiB (checkpoints: 8)"
    assert cleaning.bytes == 4400
    assert there(finished) == needed
    assert list(read_entries(finished.path)) == entries
    assert not finished.trial(ENDED).exists(), "a folder with nothing in it goes too"
    assert finished.trial("optimal.confirm.r0.fixed.0000").is_dir()
    assert str(api.clean("told", home=finished.studies)) == "told: there is nothing to free"


def test_it_can_be_reported_on_and_resumed_afterwards(finished: StudyHome) -> None:
    put(finished.trial(ENDED) / "000000010-000001.ckpt")
    before = api.load("told", home=finished.studies)
    text = (finished.report / "report.txt").read_text()
    api.clean("told", home=finished.studies)
    api.report("told", home=finished.studies)
    assert (finished.report / "report.txt").read_text() == text
    for name, table in api.load("told", home=finished.studies).items():
        pd.testing.assert_frame_equal(table, before[name])
    journal = Journal(finished.path)
    journal.append(LaunchBegan(2, 1, "h", []))
    journal.commit()
    journal.close()


def test_an_unfinished_study_keeps_what_its_resumption_needs(unfinished: StudyHome) -> None:
    home = unfinished
    kept = [
        put(home.trial(RUNNING) / "000000010-000001.ckpt"),
        put(home.trial(RUNNING) / "000000020-000001.ckpt"),
        put(home.trial("optimal.confirm.r0.fixed.0000") / "000000010-000001.ckpt"),
        put(home.path / "engines" / "e1.json"),  # what it did since is in no journal yet
        put(home.path / "engines" / "e9.json"),
        put(home.path / ".trials.parquet.partial", age=QUIET / 2),  # somebody is at it
        put(home.path / "orders" / "1000000000000000000-1.json"),
        put(home.path / "notes.txt"),
    ]
    gone = [
        put(home.trial(ENDED) / "000000010-000001.ckpt"),
        put(home.trial(RUNNING) / ".000000030-000001.ckpt.partial"),
        put(home.path / "engines" / "e2.json"),
        put(home.path / "engines" / ".e2.json.partial"),
        put(home.path / "orders" / ".1-1.json.partial"),
        put(home.path / "spec.partial"),
        put(home.path / ".records.parquet.partial"),
    ]
    listed = api.clean("told", home=home.studies, dry_run=True)
    assert {home.path / item.path for item in listed.items} == set(gone)
    assert all(path.exists() for path in (*kept, *gone))
    assert str(listed).startswith(
        "told: would free 700 B (checkpoints: 1, unfinished files: 5, heartbeats of engines gone: "
        f"1)\n  trials/{ENDED}/000000010-000001.ckpt (100 B)\n"
    )
    cleaning = api.clean("told", home=home.studies)
    assert cleaning.items == listed.items
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_generations_go_on_from_checkpoints_of_ended_trials(
    told_spec: StudySpec, follow_up: Callable[..., None], tmp_path: Path
) -> None:
    data = told_spec.to_dict()
    pbt = {"sampler": {"name": "pbt", "population": 2}, "trials": 4, "batch": None}
    data["arms"]["random"]["search"] |= pbt
    spec, home = StudySpec.from_dict(data), StudyHome(tmp_path, "told")
    journal = begin(spec, home, [])
    conductor = Conductor(spec, journal, dims=64, slots=1)
    follow_up(conductor, 3)
    trials = [queued.trial for queued in conductor.trials.values()]
    ended = [trial.name for trial in trials if trial.ended and trial.asked.phase == "search"]
    assert len(ended) >= 2
    kept = [put(home.trial(name) / "000000010-000001.ckpt") for name in ended]
    journal.close()
    assert api.clean("told", home=home.studies, dry_run=True).items == []
    journal = Journal(home.path)
    follow_up(Conductor(spec, journal, dims=64, slots=1))
    journal.close()
    over = api.clean("told", home=home.studies)
    assert {home.path / item.path for item in over.items} == set(kept)


def test_a_running_study_is_left_alone(conducting: Callable[..., Any]) -> None:
    conductor, home = conducting(4)
    checkpoint = put(home.trial(ENDED) / "000000010-000001.ckpt")
    with pytest.raises(LeaseError, match="is being run by process"):
        api.clean("told", home=home.studies)
    assert checkpoint.exists()
    assert len(api.clean("told", home=home.studies, dry_run=True).items) == 1
    assert conductor.journal.held()
    conductor.journal.close()
    api.clean("told", home=home.studies)
    assert holder(home.path) is None, "the next driver need not wait"


@pytest.mark.parametrize("largest", [ENDED, RUNNING])
def test_on_a_full_disk_it_makes_room_for_its_lease_first(
    unfinished: StudyHome, monkeypatch: pytest.MonkeyPatch, largest: str
) -> None:
    put(unfinished.trial(ENDED) / "000000010-000001.ckpt")
    filler = put(unfinished.trial(largest) / "000000020-000001.ckpt", 1000)
    write = lease._write_all

    def write_all(file: int, data: bytes) -> None:
        if filler.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, data)

    monkeypatch.setattr(lease, "_write_all", write_all)
    if largest == RUNNING:  # it is needed
        with pytest.raises(JournalError, match="No space left"):
            api.clean("told", home=unfinished.studies)
        assert filler.exists()
    else:
        freed = str(api.clean("told", home=unfinished.studies))
        assert freed == "told: freed 1 KiB (checkpoints: 2)"
        assert not filler.parent.exists()


def test_links_lead_it_nowhere(finished: StudyHome, tmp_path: Path) -> None:
    outside = put(tmp_path / "elsewhere" / "000000010-000001.ckpt")
    other = put(tmp_path / "elsewhere" / "x.partial")
    trials = finished.path / "trials"
    (trials / ENDED).symlink_to(outside.parent)
    (trials / RUNNING).mkdir()
    (trials / RUNNING / "000000010-000001.ckpt").symlink_to(outside)
    shutil.rmtree(finished.report)
    finished.report.symlink_to(outside.parent)
    assert api.clean("told", home=tmp_path).items == []
    assert outside.exists()
    assert other.exists()
    with pytest.raises(HomeError, match="this is a link"):
        api.report("told", home=tmp_path)
    assert len(list(outside.parent.iterdir())) == 2
    finished.journal.rename(tmp_path / "elsewhere" / "journal")
    finished.journal.symlink_to(tmp_path / "elsewhere" / "journal")
    with pytest.raises(HomeError, match="this is a link"):
        api.clean("told", home=tmp_path)


def test_a_whole_studys_folder_may_be_a_link(finished: StudyHome, tmp_path: Path) -> None:
    put(finished.trial(ENDED) / "000000010-000001.ckpt")
    (tmp_path / "disk").mkdir()
    finished.path.rename(tmp_path / "disk" / "told")
    finished.path.symlink_to(tmp_path / "disk" / "told")
    assert len(api.clean("told", home=tmp_path).items) == 1
