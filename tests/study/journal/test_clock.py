"""The clock of entries: a machine's clock that is set changes no time between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from journals import note

from study.journal import Journal, read_entries
from study.journal.clock import Clock

HOURS = 3600.0
SetForward = Callable[[float], None]


@pytest.fixture
def set_forward(monkeypatch: pytest.MonkeyPatch) -> SetForward:
    """Sets the machine's clock forward by so many seconds, or back."""
    real, by = time.time, [0.0]

    def set_forward(seconds: float) -> None:
        by[0] += seconds

    monkeypatch.setattr(time, "time", lambda: real() + by[0])
    return set_forward


@pytest.mark.parametrize("step", [10 * HOURS, -10 * HOURS])
def test_a_step_passes_no_time(set_forward: SetForward, step: float) -> None:
    clock = Clock()
    before = clock.now()
    assert abs(before - time.time()) < HOURS
    set_forward(step)
    assert 0 <= clock.now() - before < HOURS


def test_time_passes() -> None:
    clock = Clock()
    before = clock.now()
    while clock.now() == before:
        time.sleep(0.001)
    assert clock.now() > before


def test_a_journal_counts_on_however_the_clock_is_set(
    tmp_path: Path, set_forward: SetForward
) -> None:
    for step in (10 * HOURS, -20 * HOURS, 10 * HOURS):
        journal = Journal(tmp_path)
        for _ in range(3):
            journal.append(note("before"))
            journal.commit()
            set_forward(step)
        journal.close()
        set_forward(-2 * step)
    times = [entry.time for entry in read_entries(tmp_path)]
    assert times == sorted(times)
    for launch in range(3):
        mine = times[3 * launch : 3 * launch + 3]
        assert all(later - earlier < HOURS for earlier, later in pairwise(mine))


def test_a_journal_says_by_how_much_the_clock_is_behind_it(
    tmp_path: Path, set_forward: SetForward
) -> None:
    first = Journal(tmp_path)
    assert first.clock.behind == 0
    first.append(note("here"))
    first.commit()
    first.close()
    set_forward(-10 * HOURS)
    second = Journal(tmp_path)
    assert second.clock.behind == pytest.approx(10 * HOURS, abs=HOURS)
    second.close()
    set_forward(20 * HOURS)
    assert Journal(tmp_path).clock.behind == 0
