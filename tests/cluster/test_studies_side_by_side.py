"""Several studies on one cluster at once."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from cluster import Cluster
from harness import SPEC, Launch, entries, judge
from hosts import Hosts

from study.journal.events import EngineChanged


@pytest.mark.timeout(900)
def test_two_share_a_cluster_and_a_third_waits_for_them(
    hosts: Hosts, tmp_path: Path, reference: Path
) -> None:
    cluster = Cluster(hosts)
    cluster.join("w1")
    stays, goes = (endless(cluster, tmp_path / name, name) for name in ("stays", "goes"))
    for run in (stays, goes):
        run.reports(1)
    waits = cluster.launch(tmp_path / "waits")
    waits.until(lambda: "this study waits for one" in waits.text(), "word of who has the nodes")
    assert "other work (goes, stays) has every CPU, and this study waits" in waits.text()
    cluster.interrupt(goes)
    assert goes.end() == 130, goes.text()
    assert waits.end() == 0, waits.text()
    assert not (found := judge(waits.home, reference)), found
    assert moment(waits, "started") > moment(goes, "stopped")
    assert stays.code is None, stays.text()
    cluster.interrupt(stays)
    assert stays.end() == 130, stays.text()
    assert not cluster.left_over()


def endless(cluster: Cluster, home: Path, name: str) -> Launch:
    """A study of one engine that does not end by itself."""
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, name=name)
    spec["training"] |= {"epochs": 20_000, "reports": 1000}
    return cluster.launch(home, "--set", "engines.count=1", spec=spec)


def moment(run: Launch, state: str) -> float:
    """When an engine of a study first came to a state."""
    found = entries(run.home, run.study.name)
    return next(
        e.time for e in found if isinstance(e.event, EngineChanged) and e.event.state == state
    )
