#!/usr/bin/env bash
# MLflow 3.17.2: restoring an experiment also restores the runs that had been deleted one by one.
#
# Expected: a run that was deleted before its experiment stays deleted when the experiment is
# restored. Seen: restore_experiment makes every run active, and nothing tells the two kinds apart
# beforehand: delete_experiment has overwritten the time at which the single run was deleted.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 pandas 2>/dev/null
cd "$work"
MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR "$work/venv/bin/python" - <<'PY'
import sqlite3
import time

import mlflow
from mlflow import MlflowClient

client = MlflowClient("sqlite:///mlflow.db")
experiment = client.create_experiment("e")
kept, unwanted = (client.create_run(experiment).info.run_id for _ in range(2))


def deleted_times():
    rows = sqlite3.connect("mlflow.db").execute("SELECT run_uuid, deleted_time FROM runs")
    return dict(rows)


client.delete_run(unwanted)
singly = deleted_times()[unwanted]
time.sleep(0.1)
client.delete_experiment(experiment)
overwritten = deleted_times()[unwanted] > singly
client.restore_experiment(experiment)
active = {run.info.run_id for run in client.search_runs([experiment])}
print(f"MLflow {mlflow.__version__}: deletion time overwritten: {overwritten}")
print(f"the run that was deleted by itself is active again: {unwanted in active}")
assert overwritten
assert active == {kept, unwanted}
PY
