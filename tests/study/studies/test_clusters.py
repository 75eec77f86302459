"""A study on a Ray cluster: nodes that join, drain, or start no engine, and a head that dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
import pytest
import ray
from harness import SPEC, Launch, entries, events, judge
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster

from study.journal.events import EngineChanged, EngineDied, StudyInterrupted, TrialSuspended

PREEMPTION = 2  # Ray's number of this reason to drain a node
WITHOUT_THE_PRODUCT = '''
"""Run as Python starts: nothing of the product can be imported."""

import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "study":
            raise ModuleNotFoundError(f"No module named {name!r}")


sys.meta_path.insert(0, Missing())
'''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of one node with one core."""
    monkeypatch.setenv(harness.MARK, str(home))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        harness.end_all(home)


def long_spec() -> dict[str, Any]:
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, seeds=[*range(6)])
    spec["training"] |= {"epochs": 250}
    return spec


def launched(home: Path, cluster: Cluster, spec: Mapping[str, Any]) -> Launch:
    address = ("--address", cluster.address, "--set", "engines.count=auto")
    return Launch(home, *address, spec=spec)


def changed(run: Launch, state: str) -> list[EngineChanged]:
    """The journal's events of engines that came to this state."""
    return [event for event in events(run.home, EngineChanged) if event.state == state]


@pytest.mark.slow  # tests/cluster has nodes that join, drain and go, on hosts of their own
@pytest.mark.timeout(900)
def test_a_study_follows_its_cluster(home: Path, tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(WITHOUT_THE_PRODUCT)
    bare = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path / "bare")})
    run = launched(home, cluster, long_spec())
    run.until(lambda: "no more engines are placed on" in run.text(), "a node to be given up")
    joined = cluster.add_node(num_cpus=1)
    run.until(lambda: len(changed(run, "started")) == 2, "an engine on the node that joined")
    run.reports(2)
    client = GcsClient(address=cluster.address)
    client.drain_node(joined.node_id, PREEMPTION, "a test", int(time.time() * 1000) + 600_000)
    run.until(lambda: len(changed(run, "stopped")) == 1, "an engine to leave its node")
    assert run.code is None, run.text()
    assert run.end() == 0, run.text()

    said = run.text().splitlines()
    assert sum("an engine does not start on" in line for line in said) == 1
    assert any("ModuleNotFoundError: No module named 'study" in line for line in said)
    nodes = [engine.node for engine in changed(run, "started")]
    assert nodes == [cluster.head_node.node_id, joined.node_id]
    assert bare.node_id not in nodes
    drained, last = changed(run, "stopped")
    assert (drained.engine, drained.cause) == (changed(run, "started")[1].engine, "drain")
    assert last.cause == ""
    assert {event.engine for event in events(home, TrialSuspended)} <= {drained.engine}
    assert not events(home, EngineDied)
    assert not changed(run, "lost")
    harness.finish(tmp_path / "undisturbed", spec=long_spec())
    assert not (found := judge(home, tmp_path / "undisturbed")), found


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)],
    ids=["dies", "freezes"],
)
def test_a_study_whose_head_dies_ends_in_order_and_resumes(
    home: Path, reference: Path, cluster: Cluster, number: signal.Signals
) -> None:
    run = launched(home, cluster, SPEC)
    run.reports(2)
    (head,) = harness.processes(home, harness.TITLES["gcs"])
    head.kill(number)
    assert run.end() == 1, run.text()
    head.kill()
    assert "Ray's head has died" in run.text()
    assert "study resume small" in run.text()
    (interrupted,) = events(home, StudyInterrupted)
    assert entries(home)[-1].event == interrupted
    assert "Ray's head has died" in interrupted.error
    assert [engine.state for engine in events(home, EngineChanged)] == ["started", "stopped"]

    harness.finish(home, "--set", "engines.count=1", verb="resume")
    assert not (found := judge(home, reference)), found
