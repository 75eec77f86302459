"""From a spec to running engines: in which order, and what happens at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.journal import Journal
from study.scheduling import engines
from study.scheduling.engines import running_engines
from study.scheduling.sizing import EnginePlan
from study.search import Conductor
from study.spec import StudySpec
from vae_core.data import PreparedData


def study(slots: int | str) -> StudySpec:
    return StudySpec.from_dict(
        {
            "name": "sized",
            "data": {"name": "digits", "validation": 220},
            "model": {"name": "mlp", "latent": 4, "width": 16},
            "training": {"epochs": 2, "batch_size": 64},
            "seeds": [0, 1, 2, 3],
            "engines": {"device": "cpu", "slots": slots},
            "arms": {"plain": {"balancer": "optimal_sigma"}},
        }
    )


class FakeFleet:
    """Records how it is used; its engines fail to open if ``broken``."""

    broken = False
    made: FakeFleet

    def __init__(self, template: Any, count: int | None, widest: int, heed: Any) -> None:
        type(self).made = self
        self.calls: list[Any] = [("make", template.name, count, widest)]

    def time_widths(self, spec: Any, data: Any, widths: Any) -> dict[int, float]:
        self.calls.append(("time", widths))
        return {1: 1.0, 2: 0.4}

    def open(
        self, data: Any, validation: float, width: int, note: Any, running: Any, resized: Any
    ) -> None:
        self.calls.append(("open", width, running()))
        self.resized = resized
        if self.broken:
            raise RuntimeError("no engine begins")
        resized(2)

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> type[FakeFleet]:
    monkeypatch.setattr(engines, "Fleet", FakeFleet)
    monkeypatch.setattr(engines, "engine_plan", lambda spec: EnginePlan("cpu", 2))
    monkeypatch.setattr(FakeFleet, "broken", False)
    return FakeFleet


def conductor_of(spec: StudySpec, home: Path) -> Conductor:
    return Conductor(spec, Journal(home), 64, slots=0)


@pytest.mark.parametrize(("slots", "width"), [(3, 3), ("auto", 2)])
def test_the_conductor_gets_the_engines_slots_and_follows_their_number(
    tmp_path: Path, digits: PreparedData, fleet: type[FakeFleet], slots: int | str, width: int
) -> None:
    spec = study(slots)
    conductor = conductor_of(spec, tmp_path)
    assert conductor.has_work
    assert conductor.next() is None, "without engines there are no slots"
    before = []
    with running_engines(
        spec,
        digits,
        None,
        tmp_path,
        conductor,
        conductor.note,
        parts={},
        meanwhile=lambda: before.extend(fleet.made.calls),
    ):
        assert conductor.slots == 2 * width
        assert conductor.next() is not None
        fleet.made.resized(5)
        assert conductor.slots == 5 * width
        assert "stop" not in fleet.made.calls
    timed = [("time", (1, 2))] if slots == "auto" else []
    made = ("make", "sized-engine-1", None, 3 if slots == 3 else 2)
    assert before == [made], "engines start meanwhile"
    assert fleet.made.calls == [made, *timed, ("open", width, set()), "stop"]


def test_engines_are_stopped_when_one_cannot_begin(
    tmp_path: Path, digits: PreparedData, fleet: type[FakeFleet]
) -> None:
    fleet.broken = True
    spec = study(1)
    conductor = conductor_of(spec, tmp_path)
    with (
        pytest.raises(RuntimeError, match="no engine begins"),
        running_engines(spec, digits, None, tmp_path, conductor, conductor.note, parts={}),
    ):
        pass
    assert fleet.made.calls[-1] == "stop"
