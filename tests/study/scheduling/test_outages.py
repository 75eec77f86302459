"""When a study must end: Ray's head is silent too long, or there is no engine for too long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.engine.config import EngineConfig
from study.scheduling import outages as module
from study.scheduling.held import Held
from study.scheduling.nodes import Place
from study.scheduling.outages import GROWING, IDLE, OUTAGE, SAID, EngineError, Outages


class FakeNodes:
    """Nodes of which the test says how they are."""

    here, head, resource = "a", "10.0.0.1:6379", "CPU"
    up = answers = True
    none_left = False
    why: tuple[str, str] | None = None
    room: int = 0

    def is_up(self, node: str) -> bool:
        return self.up

    def head_answers(self) -> bool:
        return self.answers

    def failure(self) -> tuple[str, str] | None:
        return self.why

    def rooms(self) -> dict[str, int]:
        return {"a": self.room} if self.room else {}

    def studies(self) -> list[str]:
        return ["first", "small"]

    def name(self, node: str) -> str:
        return f"host-{node}"


@pytest.fixture
def nodes() -> FakeNodes:
    return FakeNodes()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def outages(nodes: Any, *, growing: bool = False) -> Outages:
    return Outages(nodes, Path("studies/small"), growing=growing)


def engine(node: str | None = None, *, placed: bool = False) -> Held:
    config = EngineConfig("e", "h", "cpu", {}, "o", 1, "last", None)
    return Held(config, None, None, 0.0, Place("a", 7) if placed else None, node=node)


def test_a_short_silence_of_the_head_is_said_and_survived_a_long_one_ends_the_study(
    nodes: FakeNodes, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    watch = outages(nodes)
    for answers in (True, False, False, True, False):
        nodes.answers = answers
        watch.check_ray()
        clock[0] += OUTAGE - 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "Ray's head does not answer at 10.0.0.1:6379" in said[0]
    clock[0] += 2
    assert not watch.ray_died
    with pytest.raises(EngineError, match="study resume small") as found:
        watch.check_ray()
    assert watch.ray_died
    assert (found.value.where, found.value.exit_code) == (nodes.head, 1)


def test_a_dead_raylet_here_ends_the_study_at_once(nodes: FakeNodes) -> None:
    nodes.up = False
    with pytest.raises(EngineError, match="Ray has died on this machine"):
        outages(nodes).check_ray()


@pytest.mark.parametrize(
    ("growing", "placed", "why", "limit"),
    [
        (False, False, "there is no node with a CPU to use", IDLE),
        (False, True, "those that were asked for have not come up", IDLE),
        (True, True, "those that were asked for have not come up", IDLE),
        (True, False, "there is no node with a CPU to use", GROWING),
    ],
)
def test_a_study_ends_when_there_has_long_been_no_engine(
    nodes: FakeNodes,
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
    growing: bool,
    placed: bool,
    why: str,
    limit: float,
) -> None:
    watch, engines = outages(nodes, growing=growing), [engine(placed=placed)]
    clock[0] += limit
    watch.progressed()
    for wait in (SAID + 1, limit - SAID - 2):
        clock[0] += wait
        watch.check_engines(engines)
    assert capsys.readouterr().err.count("no engine for") == 1
    clock[0] += 2
    with pytest.raises(EngineError, match=why) as found:
        watch.check_engines(engines)
    assert "`ray status`" in found.value.remedy
    watch.check_engines([engine("a"), *engines])
    clock[0] += limit
    watch.check_engines(engines)  # from when the last one was there


def test_other_work_on_the_cluster_is_waited_for(
    nodes: FakeNodes, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.room = 1
    watch = outages(nodes)
    for _ in range(20):
        clock[0] += IDLE
        watch.check_engines([engine()])
    (line,) = capsys.readouterr().err.splitlines()
    assert "other work (first) has every CPU, and this study waits for one" in line


def test_a_study_ends_at_once_where_engines_start_on_no_node(nodes: FakeNodes) -> None:
    nodes.why = ("b", "ImportError: no x")
    watch = outages(nodes)
    watch.check_engines([engine()])  # another node may do
    nodes.none_left = True
    with pytest.raises(EngineError, match="an engine does not start: ImportError: no x") as found:
        watch.check_engines([engine()])
    assert found.value.where == "host-b"
    watch.check_engines([engine("a")])
