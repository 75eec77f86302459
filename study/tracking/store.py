"""Where MLflow keeps a study: the server ``MLFLOW_TRACKING_URI`` names, or an embedded database."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import socket
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from study.tracking import database
from study.tracking.database import SQLITE, TrackingError, sqlite_path, sqlite_uri

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

_PATIENCE = 4.0  # seconds a server has to answer at start
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REMEDY = "start it, correct MLFLOW_TRACKING_URI, or unset that to use the embedded store"


class StoreAwayError(TrackingError):
    """A store that does not answer, though it may later."""


def tracking_uri(studies_home: Path) -> str:
    """Address of the store: ``MLFLOW_TRACKING_URI``, or else a database in the studies' home.

    A server on this machine is reached without the environment's proxy, from now on.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return sqlite_uri(studies_home.resolve() / DATABASE)
    _except_loopback(uri)
    return uri


def _except_loopback(uri: str) -> None:
    """Except loopback addresses from proxying: to a proxy they would be its own machine's."""
    if urlsplit(uri).hostname not in _LOOPBACK:
        return
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host for host in excepted.split(",") if host]
    value = ",".join([*hosts, *(host for host in _LOOPBACK if host not in hosts)])
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = value  # which is read first differs


def artifact_location(uri: str, studies_home: Path, study: str) -> str | None:
    """Folder of a study's artifacts as a URI; None where the server at ``uri`` decides."""
    if urlsplit(uri).scheme.partition("+")[0] not in {"sqlite", *_PORTS}:
        return None
    return (studies_home.resolve() / ARTIFACTS / study).as_uri()


def check(uri: str) -> None:
    """Check that ``uri`` can be used, within seconds.

    A database file of an older MLflow is migrated, with a copy kept; nothing else is written.

    Raises:
        StoreAwayError: an unreachable server, a database that another process holds.
        TrackingError: a file that is no database, is half made or of a newer MLflow, an unknown
            kind of store.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in _PORTS:
        _check_port(uri, _PORTS[scheme])
    elif scheme != "databricks":
        raise TrackingError(
            f"'{uri}' is no MLflow address this platform writes to",
            where="MLFLOW_TRACKING_URI",
            remedy="use http://HOST:PORT, sqlite:////DIR/mlflow.db, postgresql://... or unset it",
        )


def load_mlflow() -> None:
    """Configure MLflow in this process, and import it: that takes seconds."""
    # A retry inside MLflow would repeat a create_run whose response was lost: the writer retries,
    # and looks for the run first. Telemetry and printed addresses are switched off.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: F401


def prepare(uri: str) -> None:
    """Load MLflow, and make or migrate the embedded database if needed.

    Takes seconds. Two processes that make one database would race in MLflow's schema migrations,
    so a lock file admits one at a time.

    Raises:
        TrackingError: MLflow cannot migrate the database.
    """
    load_mlflow()
    _except_loopback(uri)
    if not uri.startswith(SQLITE):
        return
    from mlflow import MlflowClient

    path = sqlite_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.is_current(path):
            database.make(path)
        MlflowClient(uri).search_experiments(max_results=1)


def _check_server(uri: str) -> None:
    request = urllib.request.Request(
        f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1",
        headers=credentials(),
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        # The server decides who may write, by credentials that this request may not know.
        if error.code not in {401, 403}:
            raise _unreachable(uri, f"it answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise _unreachable(uri, getattr(error, "reason", None) or error) from error


def credentials() -> dict[str, str]:
    """Headers that authenticate at a server, from MLflow's own variables."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if user:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _check_port(uri: str, default: int) -> None:
    parts = urlsplit(uri)
    try:
        address = (parts.hostname or "localhost", parts.port or default)
        socket.create_connection(address, timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        # The address may hold a password: name the host only.
        raise _unreachable(f"{parts.scheme}://{parts.hostname}", error) from error


def _check_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    try:
        str(path).encode()  # else no URI can name it
        ready = database.is_empty(path) or database.is_current(path)
        there = next(place for place in (path, *path.parents) if place.exists())
        if there != path and not there.is_dir():
            raise NotADirectoryError(f"'{there}' is a file")
        if not os.access(there, os.W_OK):
            raise PermissionError(f"'{there}' cannot be written")
    except (OSError, sqlite3.Error, UnicodeEncodeError) as error:
        busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        raise (StoreAwayError if busy else TrackingError)(
            f"'{path}' cannot be used as MLflow's database: {error}",
            where=str(path.parent),
            remedy="move the file away, make its folder writable, or use another home with --home",
        ) from error
    if not ready:
        prepare(uri)


def _unreachable(address: str, why: object) -> StoreAwayError:
    return StoreAwayError(
        f"no MLflow server answers at '{address}': {why}",
        where="MLFLOW_TRACKING_URI",
        remedy=_REMEDY,
    )
