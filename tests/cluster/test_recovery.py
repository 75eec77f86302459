"""How long a trial does without an engine when its host goes; prints the times, asserts none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from cluster import HEAD, Cluster
from harness import SPEC, TITLES, Launch, entries, events
from test_study_on_hosts import recovery

from study.journal.events import EngineChanged, Reported


def long_spec() -> dict[str, object]:
    """Trials that fill two hosts of three, with a report every second or so."""
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, seeds=[0, 1, 2, 3])
    spec["training"] |= {"epochs": 20_000, "reports": 1000}
    spec["engines"] = {"device": "cpu", "count": "auto", "slots": 2}
    return spec


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_goes_on_in_a_free_slot_elsewhere(cluster: Cluster, home: Path) -> None:
    run = cluster.launch(home, spec=long_spec())
    run.until(lambda: len(starts(run, cluster)) == 3, "an engine on each host")
    for strike, joins in ((kill_raylet, "w3"), (cut, "w4")):
        name = busy(run, cluster)
        lost, reported = recovered(run, cluster, name, strike)
        print(f"{strike.__name__}: lost after {lost} s, reports elsewhere after {reported} s")
        began = time.time()
        cluster.join(joins)
        up = time.time()
        run.until(lambda joins=joins: joins in starts(run, cluster), f"an engine on {joins}")
        came = starts(run, cluster)[joins] - up
        print(
            f"join: an engine {came:.1f} s after `ray start` is done, which took {up - began:.1f} s"
        )
        assert run.code is None, run.text()
    cluster.interrupt(run)
    assert run.end() == 130, run.text()


def busy(run: Launch, cluster: Cluster) -> str:
    """A host, not the head, whose engine has made reports; waits for one."""

    def found() -> set[str]:
        engines = cluster.where(run.home)
        there = [host.name for host in cluster.hosts]
        last = {report.trial: engines[report.engine] for report in events(run.home, Reported)}
        return {name for name in last.values() if name in there} - {HEAD}

    run.until(lambda: bool(found()), "a report from a worker")
    return sorted(found())[0]


def recovered(
    run: Launch, cluster: Cluster, name: str, strike: Callable[[Cluster, str], None]
) -> list[float]:
    """Strike a host; seconds until its engine was lost, and until its trial's next report."""
    struck = time.time()
    strike(cluster, name)

    def found() -> list[float]:
        return recovery(cluster, run.home, struck).get(name, [])

    run.until(lambda: len(found()) == 2, f"the trial of {name} elsewhere")
    assert run.code is None, run.text()
    return found()


def kill_raylet(cluster: Cluster, name: str) -> None:
    for raylet in cluster.hosts[name].processes(TITLES["raylet"]):
        raylet.kill()


def cut(cluster: Cluster, name: str) -> None:
    cluster.hosts[name].cut()


def starts(run: Launch, cluster: Cluster) -> dict[str, float]:
    """By host, when its engine began to work for the study."""
    return {
        cluster.names[event.node]: moment
        for _, moment, event in entries(run.home)
        if isinstance(event, EngineChanged) and event.state == "started"
    }
