"""A database of MLflow that a kill broke: what the message says is done, and mends it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import older_mlflow
import pytest
from mlflow import MlflowClient

from study.journal import read_entries
from study.journal.events import TrialAsked

FINISHED = Path(__file__).parents[1] / "journal" / "format1" / "finished"


@pytest.mark.slow  # the writer's part is tests/study/tracking's
@pytest.mark.timeout(600)
def test_moving_it_away_and_resuming_sends_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(FINISHED, tmp_path / "format1")
    older_mlflow.make(tmp_path / "mlflow.db")
    older_mlflow.break_off(tmp_path / "mlflow.db")
    before = list(read_entries(tmp_path / "format1"))
    refused = resume(tmp_path)
    assert refused.returncode == 2
    assert "half made" in refused.stderr
    assert list(read_entries(tmp_path / "format1")) == before
    moved = re.search(r"\((mv .*)\) and run `study resume NAME`", refused.stderr)
    assert moved is not None
    subprocess.run(moved[1], shell=True, check=True)
    done = resume(tmp_path)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("format1").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    trials = {run.data.tags.get("study.trial") for run in runs} - {None}
    assert trials == {e.event.trial for e in before if isinstance(e.event, TrialAsked)}
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}


def resume(home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study", "resume", "format1", "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
