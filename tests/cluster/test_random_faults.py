"""Faults at random moments on random hosts, drawn from a seed: a study ends as if undisturbed."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos import plan
from cluster import HEAD, Cluster
from harness import TITLES, Launch, judge, reports
from hosts import Host

SEED = int(os.environ.get("CLUSTER_SEED", "1"))
KINDS = {"cut": 6, "slow": 5, "away": 4, "engine": 6, "raylet": 3, "leave": 3}
"""What happens to a host, and how often; ``away`` is its storage. Where too few are left one joins.
"""
WORKERS = 2


class Storm:
    """Faults of a cluster's hosts, as planned; the head's is spared.

    Attributes:
        home: of the study that runs.
        planned: the kinds still to come, last first.
        struck: how many there were of each kind, joins among them.
    """

    def __init__(self, cluster: Cluster, seed: int, empty: Path) -> None:
        self._cluster, self._dice, self._empty = cluster, random.Random(seed), empty
        self.home = empty
        self.planned = plan(sum(KINDS.values()), KINDS, self._dice)
        self.struck = Counter[str]()

    def strike(self) -> None:
        """One fault; none where there is no process to kill yet."""
        workers = self._workers()
        if len(workers) < WORKERS:
            kind, name = "join", f"joined{self.struck['join']}"
        else:
            kind, name = self.planned.pop(), self._dice.choice(workers)
        if kind == "join":
            self._cluster.join(name)
        elif kind == "leave":
            self._cluster.leave(name)
        elif kind in ("cut", "slow", "away"):
            self._disturb(kind, self._cluster.hosts[name])
        elif not self._kill(kind, self._cluster.hosts[name]):
            self.planned.insert(0, kind)
            return
        self.struck[kind] += 1
        print(f"{time.strftime('%H:%M:%S')} {kind} {name}", flush=True)

    def _workers(self) -> list[str]:
        nodes = [host for host in self._cluster.hosts if host.processes(TITLES["raylet"])]
        return [host.name for host in nodes if host.name != HEAD]

    def _disturb(self, kind: str, host: Host) -> None:
        if kind == "cut":
            host.cut()
        elif kind == "slow":
            host.slow(milliseconds=50, percent=2)
        else:
            host.run("mount", "--bind", str(self._empty), str(self.home))
        time.sleep(self._dice.uniform(1, 5))
        if kind == "away":
            host.run("umount", "--lazy", str(self.home))
        else:
            host.heal()

    def _kill(self, kind: str, host: Host) -> bool:
        killed = [process.kill() for process in host.processes(TITLES[kind])]
        return any(killed)


@pytest.mark.timeout(900)
def test_nothing_is_lost_to_faults_at_random_moments(
    cluster: Cluster, tmp_path: Path, reference: Path
) -> None:
    print(f"CLUSTER_SEED={SEED}")
    empty = tmp_path / "empty"
    empty.mkdir()
    storm, studies = Storm(cluster, SEED, empty), 0
    while storm.planned:
        studies += 1
        home = storm.home = tmp_path / f"studies-{studies}"
        run = cluster.launch(home, "--set", "engines.count=3")
        while storm.planned and run.code is None:
            wait_for_report(run)
            storm.strike()
        assert run.end() == 0, run.text()
        assert not (found := judge(home, reference)), found
        assert not cluster.left_over()
    print(f"{studies} studies, {dict(storm.struck)}")
    assert not [*empty.iterdir()], "nothing is written where a mount fell off"
    assert storm.struck.total() >= 30


def wait_for_report(run: Launch) -> None:
    there = reports(run.study)
    run.until(lambda: reports(run.study) > there, "a report")
