"""What a study has spent, against sums made by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from simulation import ARMS, Simulation, outcome, spec

from study.journal import Entry, Event, Journal
from study.journal.events import (
    CapReached,
    EngineChanged,
    LaunchBegan,
    Reported,
    StudyDescribed,
)
from study.search import Conductor
from study.search.budget import Spending

LAUNCH = LaunchBegan(1, 1, "host", ["study"])


def report(trial: str, step: int, images: int, *, redone: bool = False) -> Reported:
    return Reported(trial, step, images, {}, {}, "engine", redone=redone)


EVENTS: list[tuple[float, Event]] = [
    (1000.0, LAUNCH),
    (1060.0, EngineChanged("a", "started", startup_seconds=50.0)),
    (1100.0, report("t", 1, 100)),
    (1200.0, report("t", 2, 250)),
    (1200.0, report("t", 2, 250, redone=True)),
    (1300.0, EngineChanged("a", "lost", startup_seconds=50.0)),
    (1310.0, EngineChanged("b", "started")),
    (1400.0, report("u", 1, 100)),
    # the driver is killed, and launched again an hour later
    (5000.0, LAUNCH),
    (5001.0, EngineChanged("b", "lost")),
    (5010.0, EngineChanged("c", "started", startup_seconds=5.0)),
]


def spent(events: Sequence[tuple[float, Event]] = EVENTS) -> Spending:
    spending = Spending()
    for number, (when, event) in enumerate(events):
        spending.follow(Entry(number, when, event))
    return spending


def test_images_trained_on_again_count_again() -> None:
    assert spent().images == 250 + 150 + 100


def test_hours_are_those_a_driver_was_at_work() -> None:
    assert spent().hours(5100.0) * 3600 == pytest.approx(400 + 100)


def test_device_hours_are_those_engines_were_up() -> None:
    a, b, c = 1300 - 1010, 1400 - 1310, 5100 - 5005
    assert spent().device_hours(5100.0) * 3600 == pytest.approx(a + b + c)


def test_the_time_before_an_extended_study_is_launched_again_is_not_the_drivers() -> None:
    """The launch then describes the study anew, before it says that it began."""
    described = StudyDescribed("s", {}, "hash", "version")
    found = spent([*EVENTS, (90_000.0, described), (90_000.0, LAUNCH)])
    assert found.hours(90_000.0) == spent().hours(5010.0)
    assert found.device_hours(90_000.0) == spent().device_hours(5010.0)


def test_an_older_journal_whose_clock_was_set_back_counts_the_rest() -> None:
    found = spent([*EVENTS, (1.0, report("u", 2, 200)), (101.0, report("u", 3, 300))])
    assert found.hours(201.0) == pytest.approx(spent().hours(5010.0) + 200 / 3600)
    assert found.hours(0.0) == pytest.approx(spent().hours(5010.0) + 100 / 3600)


@pytest.mark.parametrize("step", [36_000.0, -36_000.0])
@pytest.mark.parametrize(("max_hours", "capped"), [(5.0, False), (1e-9, True)])
def test_a_clock_that_is_set_neither_reaches_a_cap_nor_lifts_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float, max_hours: float, capped: bool
) -> None:
    real = time.time
    caps = {"max_hours": max_hours, "max_device_hours": max_hours}
    journal = Journal(tmp_path / "j")
    conductor = Conductor(spec({"auto": ARMS["auto"]}, **caps), journal, 64, slots=2)
    conductor.note(LAUNCH)
    conductor.note(EngineChanged("e", "started"))
    monkeypatch.setattr(time, "time", lambda: real() + step)
    request = conductor.next()
    assert request is not None
    conductor.report(request.trial, outcome(request, 1))
    conductor.check_caps(journal.clock.now())
    assert (conductor.cap is not None) == capped
    journal.close()


@pytest.mark.parametrize(
    ("caps", "found"),
    [
        ({}, None),
        ({"max_images": 501, "max_hours": 1}, None),
        ({"max_images": 500}, CapReached("max_images", 500, 500.0)),
        ({"max_hours": 0.1}, CapReached("max_hours", 0.1, 500 / 3600)),
        ({"max_device_hours": 0.1}, CapReached("max_device_hours", 0.1, 475 / 3600)),
    ],
)
def test_a_cap_that_is_reached(caps: dict[str, float], found: CapReached | None) -> None:
    reached = spent().exceeded(spec({"auto": ARMS["auto"]}, **caps), 5100.0)
    assert (reached is None) == (found is None)
    if found is not None and reached is not None:
        assert (reached.cap, reached.limit) == (found.cap, found.limit)
        assert reached.spent == pytest.approx(found.spent)


def test_a_capped_study_hands_out_no_more_until_the_cap_is_raised(tmp_path: Path) -> None:
    arms = {"auto": ARMS["auto"]}
    capped = Conductor(spec(arms, max_images=150), Journal(tmp_path / "j"), 64, slots=2)
    request = capped.next()
    assert request is not None
    capped.report(request.trial, outcome(request, 1))
    capped.check_caps(0.0)
    assert not capped.interrupted
    capped.report(request.trial, outcome(request, 2))
    capped.check_caps(0.0)
    assert capped.cap == CapReached("max_images", 150, 200.0)
    assert capped.next() is None
    capped.returned(request.trial)
    assert capped.drained
    assert not capped.all_ended
    capped.journal.close()
    again = Simulation(tmp_path / "j", spec(arms, max_images=10_000), slots=2).run(order=0)
    assert again.conductor.all_ended
    assert again.conductor.cap is None
