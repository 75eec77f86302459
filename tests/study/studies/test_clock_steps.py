"""A study on a machine whose clock is set while it runs, and between its launches."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import SPEC, Launch, entries, events

from study import load
from study.journal.events import CapReached, StudyFinished

TEN_HOURS = 36_000
CLOCK = """
import time
real = time.time
def shift():
    with open({file!r}) as file:
        return float(file.read() or 0)
time.time = lambda: real() + shift()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


@pytest.mark.timeout(300)
def test_a_clock_that_is_set_changes_no_cap_and_no_duration(home: Path, tmp_path: Path) -> None:
    shift = tmp_path / "shift"
    shift.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(CLOCK.format(file=str(shift)))  # of every process
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    spec = {**copy.deepcopy(SPEC), "arms": {"optimal": SPEC["arms"]["optimal"]}, "max_hours": 5}
    spec["training"] |= {"epochs": 100}

    run = Launch(home, spec=spec, environment={"PYTHONPATH": path})
    run.reports(3)
    shift.write_text(f"{TEN_HOURS}")
    run.reports(3)
    shift.write_text(f"{-TEN_HOURS}")
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
