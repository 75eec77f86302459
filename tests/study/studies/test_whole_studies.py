"""Whole studies on real digits: real Ray, MLflow and processes. Faults are in ``test_faults``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import harness
import pytest
import ray
from harness import SPEC, TRIALS, Launch, events, judge, table
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from study import load
from study.journal.events import EngineChanged, EngineDied, SlotsChosen, TrialPlaced


def test_a_study_runs_to_its_verdict(reference: Path) -> None:
    rows = table(reference)
    assert len(rows) == TRIALS
    assert Counter(row["arm"] for row in rows) == {"random": 5, "tpe": 6, "optimal": 2}
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    log = (reference.parent / "studies.log").read_text()
    assert "calibrated negative ELBO" in log
    assert "small: starting Ray, and reading digits ..." in log
    assert "small: starting engines, and timing their slots ..." in log
    assert "`study report small --home" in log.splitlines()[-1]
    inside = {path.name for path in (reference / "small").iterdir()}
    assert {"spec.yaml", "journal", "records.parquet", "trials.parquet", "report"} <= inside
    assert (reference / "small" / "report" / "figures" / "search.png").stat().st_size > 1000
    assert {"mlflow.db", "mlartifacts", "data", "small"} <= {p.name for p in reference.iterdir()}
    records = load("small", home=reference)["records"]
    assert not records.duplicated(["trial", "step"]).any()
    assert not harness.left_over(reference)


def test_mlflow_holds_one_run_a_trial_and_each_step_once(reference: Path) -> None:
    assert not (found := judge(reference, reference)), found
    client = MlflowClient(f"sqlite:///{reference / 'mlflow.db'}")
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
        steps = client.get_metric_history(run.info.run_id, "validation/calibrated_negative_elbo")
        assert [metric.step for metric in steps] == list(range(1, len(steps) + 1))


def test_slots_left_open_are_timed_once_and_every_trial_has_them(tmp_path: Path) -> None:
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]}, seeds=[0, 1, 2, 3, 4, 5])
    spec["engines"] = {"device": "cpu", "count": 1}
    home = tmp_path / "studies"
    harness.finish(home, spec=spec)
    harness.finish(home, spec={**spec, "seeds": [*range(9)]})
    (slots,) = events(home, SlotsChosen)
    assert set(slots.seconds_per_image) == {"1", "6"}
    assert [placed.key["width"] for placed in events(home, TrialPlaced)] == [slots.width] * 9
    assert {row["state"] for row in table(home)} == {"complete"}
    harness.end_all(home)


def test_a_model_that_vmap_cannot_run_trains_one_trial_at_a_time(tmp_path: Path) -> None:
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]})
    spec["engines"] = {"device": "cpu", "count": 1}
    spec["model"] = {"name": "own_layers:Recurrent", "latent": 3}
    spec["training"]["epochs"] = 3
    home, tests = tmp_path / "studies", Path(__file__).parents[2]
    run = harness.finish(home, spec=spec, environment={"PYTHONPATH": str(tests)})
    reason = "torch.func.vmap cannot run 'layer' (LSTM)"
    assert f"model: an engine trains one trial at a time: {reason}" in run.text()
    assert [placed.key["width"] for placed in events(home, TrialPlaced)] == [1, 1]
    assert {row["state"] for row in table(home)} == {"complete"}
    assert not events(home, EngineDied)
    assert not events(home, SlotsChosen), "there was nothing to choose"
    harness.end_all(home)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_trials_run_on_both_nodes_of_a_cluster_and_continue_when_one_is_removed(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "studies"
    monkeypatch.setenv(harness.MARK, str(home))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        run = Launch(home, "--address", cluster.address, "--set", "engines.count=auto")
        run.until(lambda: len(engines(run, "started")) == 2, "both engines")
        run.reports(4)
        relays = harness.processes(home, harness.TITLES["relay"])
        maps = [Path(f"/proc/{relay.pid}/maps").read_text() for relay in relays]
        assert maps
        assert not any("libtorch" in found for found in maps)  # it stays light
        cluster.remove_node(node, allow_graceful=False)
        assert run.end() == 0, run.text()
        assert [event.cause for event in engines(run, "lost")] == ["node"]
        assert not events(home, EngineDied)
        assert not (found := judge(home, reference)), found
    finally:
        ray.shutdown()
        cluster.shutdown()
        harness.end_all(home)


def engines(run: Launch, state: str) -> list[EngineChanged]:
    """The journal's events of engines that came to this state."""
    return [event for event in events(run.home, EngineChanged) if event.state == state]
