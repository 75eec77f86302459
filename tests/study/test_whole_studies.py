"""Whole studies on real digits: real Ray, real MLflow, real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from study import load
from study.journal import Event, read_events

SPEC: dict[str, Any] = {
    "name": "small",
    "question": "Does the platform keep its word?",
    "data": {"name": "digits", "validation": 220},
    "model": {"name": "mlp", "latent": 4, "width": 16},
    "training": {"epochs": 6, "batch_size": 64, "lr": 3e-3, "reports": 6},
    "seeds": [0, 1],
    "evaluation": {"images": 200, "pictures": 4},
    "engines": {"device": "cpu", "count": 1},
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 3},
        },
        "tpe": {
            "balancer": "fixed_beta",
            "search": {
                "space": {
                    "beta": {"low": 1e-3, "high": 10, "log": True},
                    "model.latent": [3, 4],
                },
                "sampler": {"name": "tpe", "n_startup_trials": 2},
                "pruner": {"name": "median", "n_startup_trials": 1, "synchronous": True},
                "trials": 4,
                "batch": 2,
            },
        },
        "optimal": {"balancer": "optimal_sigma"},
    },
}
TRIALS = 3 + 2 + 4 + 2 + 2
PATIENCE = 150.0


class Launch:
    """A ``study launch`` in a process of its own."""

    def __init__(self, home: Path, *arguments: str, verb: str = "launch") -> None:
        file = home.parent / "small.yaml"
        file.write_text(yaml.safe_dump(SPEC))
        target = str(file) if verb == "launch" else "small"
        self.home = home
        self.log = (home.parent / f"{home.name}.log").open("ab")
        command = [sys.executable, "-m", "study", verb, target, "--home", str(home)]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            env={
                **os.environ,
                "STUDY_TEST": str(home),
            },  # Ray hands it on: so its processes are found
        )

    def end(self) -> int:
        """Wait for its exit code."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.log.close()

    def reports(self, count: int) -> None:
        """Wait until this launch has journalled so many reports."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            found = events(self.home)
            begun = [
                e.sequence
                for e in found
                if e.kind == "launch" and e.data["pid"] == self.process.pid
            ]
            if begun and sum(e.kind == "report" and e.sequence > begun[0] for e in found) >= count:
                return
            time.sleep(0.1)
        raise AssertionError(self.text())

    def text(self) -> str:
        return Path(self.log.name).read_text()


def events(home: Path) -> list[Event]:
    return list(read_events(home / "small"))


def finish(home: Path, *arguments: str, verb: str = "launch") -> None:
    run = Launch(home, *arguments, verb=verb)
    assert run.end() == 0, run.text()


def table(home: Path) -> list[dict[str, Any]]:
    """Of each trial what no crash, engine or neighbour may change."""
    trials = load("small", home=home, arrow=True)["trials"].to_pylist()
    timing = ("seconds", "images_redone", "started", "ended", "engine")
    return [
        {k: v for k, v in row.items() if not any(word in k for word in timing)} for row in trials
    ]


def children(home: Path, name: str) -> list[int]:
    """Processes of the study's Ray whose title contains ``name``."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in found.stdout.splitlines()[1:]]
    return [int(pid) for pid, title in lines if name in title and belongs(int(pid), home)]


def belongs(pid: int, home: Path) -> bool:
    try:
        return str(home) in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a study that ran on one engine, undisturbed."""
    home = tmp_path_factory.mktemp("reference") / "studies"
    finish(home)
    return home


def test_a_study_runs_to_its_verdict(reference: Path) -> None:
    rows = table(reference)
    assert len(rows) == TRIALS
    assert Counter(row["arm"] for row in rows) == {"random": 5, "tpe": 6, "optimal": 2}
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    log = (reference.parent / "studies.log").read_text()
    assert "calibrated -ELBO" in log
    assert "Look further" in log
    inside = {path.name for path in (reference / "small").iterdir()}
    assert {"spec.yaml", "journal", "records.parquet", "trials.parquet", "report"} <= inside
    assert (reference / "small" / "report" / "search.png").stat().st_size > 1000
    assert {"mlflow.db", "mlartifacts", "data", "small"} <= {p.name for p in reference.iterdir()}
    records = load("small", home=reference)["records"]
    assert not records.duplicated(["trial", "step"]).any()


def test_mlflow_holds_one_run_a_trial_and_each_step_once(reference: Path) -> None:
    check_mlflow(reference)


def check_mlflow(home: Path) -> None:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == 1 + len(SPEC["arms"]) + TRIALS
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    roots = [run_id for run_id, parent in parents.items() if parent is None]
    assert len(roots) == 1
    assert sum(parent == roots[0] for parent in parents.values()) == len(SPEC["arms"])
    for run in runs:
        steps = client.get_metric_history(run.info.run_id, "validation/calibrated_elbo")
        assert [metric.step for metric in steps] == list(range(1, len(steps) + 1))


@pytest.mark.timeout(900)
def test_a_study_that_is_killed_interrupted_and_robbed_of_its_engines_ends_the_same(
    home: Path, reference: Path
) -> None:
    run = Launch(home)
    run.reports(0)
    run.process.send_signal(signal.SIGSTOP)  # so that it gets no further meanwhile
    second = Launch(home, verb="resume")
    assert second.end() == 2
    run.process.send_signal(signal.SIGCONT)
    assert f"process {run.process.pid} on" in second.text()
    run.reports(4)
    os.killpg(run.process.pid, signal.SIGKILL)
    run.end()

    run = Launch(home)
    run.reports(8)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.text()
    assert "Go on with: study launch" in run.text()
    assert events(home)[-1].kind == "interrupted"

    run = Launch(home, verb="resume")
    for count, victim in ((2, "EngineActor"), (5, "Trainable"), (9, "EngineActor")):
        run.reports(count)
        for pid in children(home, victim):
            os.kill(pid, signal.SIGKILL)
    assert run.end() == 0, run.text()

    assert table(home) == table(reference)
    ends = Counter(e.data["trial"] for e in events(home) if e.kind == "end")
    assert set(ends.values()) == {1}
    assert sum(e.kind == "engine" and e.data["state"] == "lost" for e in events(home)) == 2
    check_mlflow(home)


def test_trials_run_on_both_nodes_of_a_cluster_and_trainables_load_no_torch(
    home: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_TEST", str(home))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        run = Launch(home, "--address", cluster.address, "--set", "engines.count=auto")
        run.reports(4)
        relays = children(home, "Trainable")
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in relays]
        assert run.end() == 0, run.text()
        started = [
            e.data for e in events(home) if e.kind == "engine" and e.data["state"] == "started"
        ]
        assert len(started) == 2
        assert maps
        assert not any("libtorch" in found for found in maps)
        assert table(home) == table(reference)
    finally:
        ray.shutdown()
        cluster.shutdown()
