"""Nodes that are taken away with a notice, as spot machines are: no step is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster import HEAD, Cluster
from harness import Launch, entries, events, judge

from study.journal.events import EngineChanged, Reported, TrialSuspended

EVERY, STORM = 20.0, 600.0
"""Seconds between two nodes that are told to go, which is all their notice; and of the storm."""


@pytest.mark.timeout(600)
def test_a_node_told_to_go_loses_no_step(cluster: Cluster, home: Path, reference: Path) -> None:
    run = cluster.launch(home, "--set", "engines.count=3")
    run.until(lambda: training(cluster, home, "w1"), "a trial on w1")
    told = time.time()
    cluster.tell_to_go("w1")
    assert run.end() == 0, run.text()
    assert [(last.state, last.cause) for last in ends(cluster, home)["w1"]] == [
        ("stopped", "drain")
    ]
    assert not any(report.redone for report in events(home, Reported))
    assert not (found := judge(home, reference)), found
    assert not cluster.left_over()
    suspended = [moment for _, moment, event in entries(home) if isinstance(event, TrialSuspended)]
    print("seconds until its trials are saved:", [round(moment - told, 1) for moment in suspended])


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_storm_that_takes_a_node_every_20_s_for_ten_minutes(
    cluster: Cluster, tmp_path: Path, reference: Path
) -> None:
    going, joined, homes = list[str](), 0, list[Path]()
    end = time.monotonic() + STORM
    while time.monotonic() < end:
        homes.append(tmp_path / f"studies-{len(homes)}")
        run = cluster.launch(homes[-1], "--set", "engines.count=auto")
        while run.code is None and time.monotonic() < end:
            begun = time.monotonic()
            for name in going:  # their time is up
                cluster.leave(name)
            workers = [host.name for host in cluster.hosts if host.name != HEAD]
            going = workers[:1]
            cluster.tell_to_go(going[0])
            joined += 1
            cluster.join(f"spot{joined}")
            pause(run, begun + EVERY)
        assert run.end() == 0, run.text()
        assert not (found := judge(homes[-1], reference)), found
        assert not cluster.left_over()
        unaccounted = [
            engine
            for found in ends(cluster, homes[-1]).values()
            for engine in found
            if not engine.seconds
        ]
        assert not unaccounted
    costs = [cost(home) for home in homes]
    print(f"{joined} nodes taken in {STORM:g} s, {len(homes)} studies")
    print("engines that were drained, that were lost, reports made again:", *costs)
    assert joined >= STORM / EVERY / 2, "nodes take too long to start here"


def training(cluster: Cluster, home: Path, name: str) -> bool:
    """Whether the engine on a host has made a report."""
    engines = cluster.where(home)
    return any(engines[report.engine] == name for report in events(home, Reported))


def ends(cluster: Cluster, home: Path) -> dict[str, list[EngineChanged]]:
    """By host, how its engines ended."""
    found: dict[str, list[EngineChanged]] = {}
    engines = cluster.where(home)
    for event in events(home, EngineChanged):
        if event.state != "started" and event.engine in engines:
            found.setdefault(engines[event.engine], []).append(event)
    return found


def cost(home: Path) -> tuple[int, int, int]:
    """Engines that were drained, engines that were lost, reports that were made again."""
    changes, reports = events(home, EngineChanged), events(home, Reported)
    drained = sum(event.cause == "drain" for event in changes)
    lost = sum(event.state == "lost" for event in changes)
    return drained, lost, sum(report.redone for report in reports)


def pause(run: Launch, until: float) -> None:
    while run.code is None and time.monotonic() < until:
        time.sleep(0.2)
