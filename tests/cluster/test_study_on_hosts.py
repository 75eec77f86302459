"""A study over several hosts: whatever happens to them, it ends as on one machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster import HEAD, Cluster
from harness import TITLES, Launch, MlflowServer, entries, events, judge

from study.journal.events import EngineChanged, Reported


@pytest.mark.timeout(600)
def test_over_three_hosts_with_mlflow_on_a_fourth(
    cluster: Cluster, home: Path, reference: Path, tmp_path: Path
) -> None:
    fourth = cluster.hosts.add("mlflow")
    with MlflowServer(tmp_path / "mlflow", fourth.address, fourth.prefix) as server:
        tracking = {"MLFLOW_TRACKING_URI": server.uri}
        run = cluster.launch(home, "--set", "engines.count=3", environment=tracking)
        assert run.end() == 0, run.text()
        assert {cluster.where(home)[r.engine] for r in events(home, Reported)} == {HEAD, "w1", "w2"}
        assert not (found := judge(home, reference, database=server.database)), found
        assert not cluster.left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_that_fail_each_in_its_own_way(cluster: Cluster, home: Path, reference: Path) -> None:
    cluster.join("w3", "w4")
    late, cut, broken = (cluster.hosts[name] for name in ("w1", "w2", "w3"))
    late.slow(milliseconds=50, percent=2)
    run = cluster.launch(home, "--set", "engines.count=5")
    for name in ("w1", "w2", "w3", "w4"):
        wait_for_report(cluster, run, name)

    struck = time.time()
    for host in (late, cut):
        host.cut()
    heal_at = time.monotonic() + 20
    for raylet in broken.processes(TITLES["raylet"]):
        raylet.kill()
    cluster.leave("w4")
    cluster.join("w5")
    time.sleep(max(0.0, heal_at - time.monotonic()))
    late.heal()
    gone = {"w2": "node", "w3": "node", "w4": "node"}
    run.until(lambda: gone.items() <= lost(cluster, home).items(), f"the loss of {gone}")
    run.until(lambda: "w5" in cluster.where(home).values(), "an engine on w5")
    assert run.end() == 0, run.text()
    assert gone.items() <= lost(cluster, home).items()
    assert "w5" in cluster.where(home).values()
    assert not (found := judge(home, reference)), found
    print("seconds until lost, until its trial's next report:", recovery(cluster, home, struck))
    cluster.leave("w2")  # nothing could tell its engine that the study went on without it
    assert not cluster.left_over()


def wait_for_report(cluster: Cluster, run: Launch, name: str) -> None:
    """Wait until the engine on a host has made a report."""

    def seen() -> bool:
        engines = cluster.where(run.home)
        return any(engines[report.engine] == name for report in events(run.home, Reported))

    run.until(seen, f"a report from {name}")
    assert run.code is None, run.text()


def lost(cluster: Cluster, home: Path) -> dict[str, str]:
    """By host, what ended the engine that was lost there."""
    engines = cluster.where(home)
    gone = [event for event in events(home, EngineChanged) if event.state == "lost"]
    return {engines[event.engine]: event.cause for event in gone if event.engine in engines}


def recovery(cluster: Cluster, home: Path, struck: float) -> dict[str, list[float]]:
    """By host whose engine was lost: seconds until then, and until its trial's next report."""
    engines, trained = cluster.where(home), dict[str, str]()
    found, waiting = dict[str, list[float]](), dict[str, str]()
    for _, moment, event in entries(home):
        match event:
            case EngineChanged(engine=engine, state="lost") if engine in trained:
                found[engines[engine]] = [round(moment - struck, 1)]
                waiting[trained[engine]] = engines[engine]
            case Reported(engine=engine, trial=trial):
                trained[engine] = trial
                if trial in waiting:
                    found[waiting.pop(trial)].append(round(moment - struck, 1))
    return found
