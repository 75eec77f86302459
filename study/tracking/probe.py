"""Whether a store takes a study: something is written at launch, and taken away again."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from study.tracking.database import SQLITE, TrackingError
from study.tracking.store import StoreAwayError, artifact_location, check, prepare

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARK = "study.write_check"
"""The experiment's tag, and the file among its artifacts, that are written."""

_PROXIED = "mlflow-artifacts:"
_UNAUTHENTICATED, _FORBIDDEN = 401, 403
_STATUS = {"UNAUTHENTICATED": _UNAUTHENTICATED, "PERMISSION_DENIED": _FORBIDDEN}
_READ_ONLY = ("permission denied", "readonly database", "read-only")
_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_CREDENTIALS = (_USER, _PASSWORD, "MLFLOW_TRACKING_TOKEN")

log = logging.getLogger(__name__)


def probe_store(
    uri: str, studies_home: Path, study: str, question: str, *, begun: bool, keep: bool = True
) -> None:
    """Check that ``uri`` takes what ``study`` will send, by writing to it.

    Writes one tag and, if artifacts go through the server, one small file to the study's
    experiment, which is made if there is none, and deletes both; unless it is to ``keep`` an
    experiment that it made, that too. A study that has ``begun`` has its journal, in which
    everything can wait: a store that is away is no error then.

    Raises:
        TrackingError: it refuses, or cannot be used, or is away from a study that has not begun.
    """
    try:
        check(uri)
    except StoreAwayError:
        if begun:
            return
        raise
    if uri.startswith(SQLITE) or urlsplit(uri).scheme == "databricks":
        return  # a file was checked, and what Databricks calls an experiment is a path there
    try:
        prepare(uri)
        from mlflow import MlflowClient

        location = artifact_location(uri, studies_home, study)
        _write(MlflowClient(uri), uri, study, question, location, keep=keep)
    except Exception as error:
        refused = refusal(uri, error)
        if refused is not None:
            raise refused from error
        log.warning("MLflow did not take a test; what it does not take is sent again: %s", error)


def refusal(uri: str, error: Exception) -> TrackingError | None:
    """What to do about an answer that no repetition changes; None for any other error."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    status = status or _STATUS.get(getattr(error, "error_code", ""))
    text = f"{error} {getattr(response, 'text', '')}"
    where = urlsplit(uri).netloc.rpartition("@")[2]
    if "database schema" in text:
        what = f"MLflow finds its database of another revision: {error}"
        remedy = (
            "if the database is older, copy it and run `mlflow db upgrade` on it where the server "
            "runs; if it is newer, use the version of MLflow that wrote it"
        )
    elif status == _FORBIDDEN and "Host header" in text:
        what = f"the MLflow server refuses requests to the host name '{where}'"
        remedy = (
            f"start it with --allowed-hosts '{where},localhost:*' (`mlflow server`), or use a name "
            "it allows in MLFLOW_TRACKING_URI"
        )
    elif status == _UNAUTHENTICATED:
        given = [name for name in _CREDENTIALS if os.environ.get(name)]
        what = "the MLflow server wants a user and a password"
        if given:
            what = f"the MLflow server does not accept {' and '.join(given)}"
        remedy = f"set {_USER} and {_PASSWORD} to those of a user of that server"
    elif status == _FORBIDDEN or _read_only(uri, error):
        user = os.environ.get(_USER)
        what = f"MLflow does not let {f'user {user}' if user else 'you'} write this study: {error}"
        remedy = (
            "ask its administrator for permission to edit the experiment of the study's name, give "
            f"the study another name, or set {_USER} and {_PASSWORD} to those of a user who may"
        )
    else:
        return None
    return TrackingError(what, where="MLFLOW_TRACKING_URI", remedy=remedy)


def _read_only(uri: str, error: Exception) -> bool:
    """Whether a database on a server, or a server's own, may be read only."""
    from_mlflow = hasattr(error, "error_code") and not uri.startswith(SQLITE)
    return from_mlflow and any(words in str(error).lower() for words in _READ_ONLY)


def _write(
    client: MlflowClient,
    uri: str,
    study: str,
    question: str,
    location: str | None,
    *,
    keep: bool,
) -> None:
    experiment = client.get_experiment_by_name(study)
    new = experiment is None
    if new:
        made = client.create_experiment(study, location, {"mlflow.note.content": question})
        experiment = client.get_experiment(made)
    deleted = experiment.lifecycle_stage == "deleted"
    if deleted:
        client.restore_experiment(experiment.experiment_id)
    try:
        client.set_experiment_tag(experiment.experiment_id, MARK, "as a study is launched")
        with suppress(Exception):  # a server older than this request keeps the tag
            client.delete_experiment_tag(experiment.experiment_id, MARK)
        if experiment.artifact_location.startswith(_PROXIED):
            _write_artifact(experiment.artifact_location, uri)
    finally:
        if deleted or (new and not keep):  # the writer restores it, and says so
            client.delete_experiment(experiment.experiment_id)


def _write_artifact(location: str, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location, tracking_uri=uri)
    with TemporaryDirectory() as scratch:
        file = Path(scratch, MARK)
        file.write_text("written as a study was launched, to see whether artifacts arrive\n")
        repository.log_artifact(str(file))
    with suppress(Exception):  # who may write an artifact may not always delete it
        repository.delete_artifacts(MARK)
