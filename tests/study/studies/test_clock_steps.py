"""A study on a machine whose clock is set while it runs, and between its launches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import SPEC, Launch, entries, events

from study import load
from study.journal.events import CapReached, StudyFinished

TEN_HOURS = 36_000
HOURS_BACK = 20
CLOCK = """
import os, time
real = time.time
time.time = lambda: real() + 3600 * (os.stat({file!r}).st_size - {back})
"""
"""Each byte of the file sets the clock forward by an hour; an empty one, back by so many."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


@pytest.mark.slow  # the journal's clock has tests of its own
@pytest.mark.timeout(600)
def test_a_clock_that_is_set_changes_no_cap_and_no_duration(home: Path, tmp_path: Path) -> None:
    shift = tmp_path / "shift"
    shift.write_bytes(b"h" * HOURS_BACK)
    clock = CLOCK.format(file=str(shift), back=HOURS_BACK)
    (tmp_path / "sitecustomize.py").write_text(clock)  # of every process
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, max_hours=5)
    spec["training"] |= {"epochs": 60}

    run = Launch(home, spec=spec, environment={"PYTHONPATH": path})
    run.reports(3)
    shift.write_bytes(b"h" * (HOURS_BACK + 10))
    run.reports(3)
    os.truncate(shift, HOURS_BACK - 10)
    assert run.end() == 0, run.text()
    assert isinstance(entries(home)[-1].event, StudyFinished)

    extended = ("--set", "seeds=[0, 1, 2]", "--set", "max_hours=1e-6")
    again = harness.finish(
        home, *extended, verb="resume", spec=spec, environment={"PYTHONPATH": path}
    )
    assert "clock is 10.0 h behind" in again.text()
    (cap,) = events(home, CapReached)
    assert 1e-6 < cap.spent < 1

    times = [entry.time for entry in entries(home)]
    assert times == sorted(times)
    assert times[-1] - times[0] < TEN_HOURS
    trials = load("small", home=home)["trials"].dropna(subset="ended")
    assert len(trials) == 2
    assert (trials.ended - trials.started).between(0, TEN_HOURS, inclusive="neither").all()
