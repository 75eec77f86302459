#!/usr/bin/env bash
# MLflow 3.17.2: a deleted run refuses metrics, params, tags and status, and takes files.
#
# Expected: what is deleted is refused all writes, as log_metric says ("must be in the 'active'
# state"). Seen: log_artifact and log_text put their files into the deleted run, create_run makes a
# child of it and create_model_version a version of a registered model, all without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 2>/dev/null
cd "$work"
MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR "$work/venv/bin/python" -W ignore - <<'PY'
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
experiment = client.create_experiment("one", Path("files").absolute().as_uri())
run = client.create_run(experiment).info
client.delete_run(run.run_id)
client.create_registered_model("model")
Path("file.txt").write_text("x")
writes = {
    "log_metric": lambda: client.log_metric(run.run_id, "m", 1.0),
    "log_param": lambda: client.log_param(run.run_id, "p", 1),
    "set_tag": lambda: client.set_tag(run.run_id, "t", "x"),
    "set_terminated": lambda: client.set_terminated(run.run_id),
    "log_artifact": lambda: client.log_artifact(run.run_id, "file.txt"),
    "log_text": lambda: client.log_text(run.run_id, "x", "text.txt"),
    "create_run": lambda: client.create_run(
        experiment, tags={"mlflow.parentRunId": run.run_id}
    ),
    "create_model_version": lambda: client.create_model_version(
        "model", f"{run.artifact_uri}/model", run.run_id, await_creation_for=0
    ),
}
taken = []
for name, write in writes.items():
    try:
        write()
        taken.append(name)
    except MlflowException as error:
        assert "'active' state" in str(error)
print(f"MLflow {mlflow.__version__}, a deleted run takes: {', '.join(taken)}")
assert taken == ["log_artifact", "log_text", "create_run", "create_model_version"]
files = sorted(file.path for file in client.list_artifacts(run.run_id))
assert files == ["file.txt", "text.txt"]
PY
