"""What a study has spent, against sums made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulation import ARMS, Simulation, outcome, spec

from study.journal import Entry, Event, Journal
from study.journal.events import CapReached, EngineChanged, LaunchBegan, Reported
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


def spent() -> Spending:
    spending = Spending()
    for number, (time, event) in enumerate(EVENTS):
        spending.follow(Entry(number, time, event))
    return spending


def test_images_trained_on_again_count_again() -> None:
    assert spent().images == 250 + 150 + 100


def test_hours_are_those_a_driver_was_at_work() -> None:
    assert spent().hours(5100.0) * 3600 == pytest.approx(400 + 100)


def test_device_hours_are_those_engines_were_up() -> None:
    a, b, c = 1300 - 1010, 1400 - 1310, 5100 - 5005
    assert spent().device_hours(5100.0) * 3600 == pytest.approx(a + b + c)


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
