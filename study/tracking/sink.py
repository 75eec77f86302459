"""Changes written to MLflow. Imports MLflow: only the writer's thread imports this module."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from study.tracking.changes import Change, Model, Run

log = logging.getLogger(__name__)

# MLflow's limits a call: 1000 entities of which 100 params and 100 tags; characters a value.
_METRICS, _PARAMS = 850, 100
_PARAM_LENGTH, _TAG_LENGTH, _DIGEST_LENGTH = 6000, 8000, 36
_PAGE = 1000
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_SEQUENCE = "study.sequence"


class Sink:
    """One study's runs in one MLflow store.

    Every write may be repeated. A run carries the sequence number of the last event it holds,
    written last of all, so that a restarted driver sends only what is missing; where the driver
    died in between, SQL stores keep an equal (key, step, value, timestamp) once.
    """

    def __init__(self, uri: str) -> None:
        self._client = MlflowClient(uri)
        self._experiment = ""
        self._created = ""
        self._runs: dict[str, str] = {}  # run key -> run id
        self._status: dict[str, str] = {}
        self._doubtful = False  # a create_run failed, but may have been carried out
        self.written: dict[str, int] = {}

    @staticmethod
    def refused(error: Exception) -> bool:
        """Whether the store said no for good, rather than being away for a while."""
        return isinstance(error, MlflowException) and error.error_code in _REFUSALS

    def open(self, study: str, question: str, created: str, artifacts: str | None) -> None:
        """Find or make the study's experiment, and the runs of it that are there already.

        ``created`` is the tag that tells this study from another of its name. A new experiment is
        described by ``question``, and keeps its artifacts in ``artifacts`` (None: where the server
        has them).
        """
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None:
            try:
                tags = {"mlflow.note.content": question}
                self._experiment = self._client.create_experiment(study, artifacts, tags)
            except MlflowException as error:
                if not self.refused(error):
                    raise
                self.open(study, question, created, artifacts)  # another study's driver was faster
                return
        else:
            self._experiment = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(self._experiment)
        self._created = created
        self._find()

    def write(
        self, change: Change, describe: Callable[[str], Run], data: Mapping[str, Any]
    ) -> None:
        """Tell a run everything in ``change``; ``data`` describes the study's dataset.

        May raise anything MLflow raises; ``change`` then holds what is left, perhaps with some
        that arrived.
        """
        key, client = change.key, self._client
        run = self._run(key, describe)
        if change.inputs:
            client.log_inputs(run, datasets=_dataset(data))
        for folder, paths in change.files.items():
            for path in paths:
                if path.is_file():
                    client.log_artifact(run, str(path), folder or None)
                else:
                    log.warning("not in MLflow, for it is no longer there: %s", path)
        for name, text in change.texts.items():
            client.log_text(run, text, name)
        if change.model is not None:
            self._register(change.model, describe)
        params = [Param(name, value[:_PARAM_LENGTH]) for name, value in change.params.items()]
        while len(params) > _PARAMS:
            client.log_batch(run, params=params[:_PARAMS], synchronous=True)
            del params[:_PARAMS]
        while len(change.points) > _METRICS:
            client.log_batch(run, metrics=_metrics(change), synchronous=True)
            del change.points[:_METRICS]
        self._set_status(key, run, change)
        # Last and in one call: what says that all of this has arrived.
        tags = dict(change.tags)
        if change.sequence >= 0:
            tags[_SEQUENCE] = str(change.sequence)
        client.log_batch(
            run,
            metrics=_metrics(change),
            params=params,
            tags=[RunTag(name, value[:_TAG_LENGTH]) for name, value in tags.items()],
            synchronous=True,
        )
        self.written[key] = max(change.sequence, self.written.get(key, -1))

    def tidy(self) -> None:
        """Delete a run that came to be twice because the answer to its creation was lost."""
        if self._doubtful:
            self._find()
            self._doubtful = False

    def _run(self, key: str, describe: Callable[[str], Run]) -> str:
        if key not in self._runs and self._doubtful:
            self._find()
        if key in self._runs:
            return self._runs[key]
        run = describe(key)
        tags = {name: value[:_TAG_LENGTH] for name, value in run.tags.items()}
        if run.parent is not None:
            tags["mlflow.parentRunId"] = self._run(run.parent, describe)
        try:
            made = self._client.create_run(self._experiment, run.started, tags, run.name)
        except Exception:
            self._doubtful = True
            raise
        self._runs[key], self._status[key] = made.info.run_id, "RUNNING"
        return self._runs[key]

    def _find(self) -> None:
        query, page = f"tags.`study.created` = '{self._created}'", None
        while True:
            runs = self._client.search_runs(
                [self._experiment], query, max_results=_PAGE, page_token=page
            )
            for run in runs:
                self._meet(run)
            page = runs.token
            if not page:
                return

    def _meet(self, run: Any) -> None:
        key, run_id = run.data.tags["study.run"], run.info.run_id
        sequence = int(run.data.tags.get(_SEQUENCE, -1))
        known = self._runs.setdefault(key, run_id)
        if known != run_id:
            empty = run_id
            if sequence > self.written.get(key, -1):
                empty, self._runs[key] = known, run_id
            self._client.delete_run(empty)
            if empty == run_id:
                return
        self._status[key] = run.info.status
        self.written[key] = max(sequence, self.written.get(key, -1))

    def _set_status(self, key: str, run: str, change: Change) -> None:
        if change.status is None or (
            change.status == "RUNNING" and self._status[key] == change.status
        ):
            return
        if change.status == "RUNNING":
            self._client.update_run(run, change.status)
        else:
            self._client.set_terminated(run, change.status, change.ended)
        self._status[key] = change.status

    def _register(self, model: Model, describe: Callable[[str], Run]) -> None:
        client, run = self._client, self._run(model.run, describe)
        try:
            client.create_registered_model(model.name)
        except MlflowException as error:
            if not self.refused(error):
                raise  # else it is there, from an earlier finish
        versions = client.search_model_versions(f"name = '{model.name}'")
        version = next((v.version for v in versions if v.run_id == run), None)
        if version is None:
            source = f"{client.get_run(run).info.artifact_uri}/{model.folder}"
            version = client.create_model_version(
                model.name, source, run, description=model.about, await_creation_for=0
            ).version
        client.set_registered_model_alias(model.name, "best", version)


def _metrics(change: Change) -> list[Metric]:
    return [Metric(*point) for point in change.points[:_METRICS]]


def _dataset(data: Mapping[str, Any]) -> list[DatasetInput]:
    """The prepared files as MLflow datasets; the whole SHA-256 stands in the profile."""
    inputs = []
    for split, context in (("train", "training"), ("test", "testing")):
        sha256 = str(data["sha256"][split])
        profile = {
            "sha256": sha256,
            "images": data["counts"][split],
            "shape": list(data["shape"]),
        }
        dataset = Dataset(
            name=f"{data['name']}-{split}",
            digest=sha256[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": str(data["files"][split])}),
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return inputs
