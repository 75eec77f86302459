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
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from vae_core.errors import UserError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

_PATIENCE = 4.0  # seconds a server has to answer at start
SQLITE = "sqlite:///"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REMEDY = "start it, correct MLFLOW_TRACKING_URI, or unset that to use the embedded store"


class TrackingError(UserError):
    """An MLflow store that cannot be reached or used."""


def tracking_uri(studies_home: Path) -> str:
    """Address of the store: ``MLFLOW_TRACKING_URI``, or else a database in the studies' home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(studies_home.resolve() / DATABASE)


def artifact_location(uri: str, studies_home: Path, study: str) -> str | None:
    """Folder of a study's artifacts as a URI; None where the server at ``uri`` decides."""
    if urlsplit(uri).scheme.partition("+")[0] not in {"sqlite", *_PORTS}:
        return None
    return (studies_home.resolve() / ARTIFACTS / study).as_uri()


def check(uri: str) -> None:
    """Check that ``uri`` can be used: within seconds, without importing MLflow or writing.

    Raises:
        TrackingError: an unreachable server, a file that is no database, an unknown kind of store.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(sqlite_path(uri))
    elif scheme in _PORTS:
        _check_port(uri, _PORTS[scheme])
    elif scheme != "databricks":
        raise TrackingError(
            f"'{uri}' is no MLflow address this platform writes to",
            where="MLFLOW_TRACKING_URI",
            remedy="use http://HOST:PORT, sqlite:////DIR/mlflow.db, postgresql://... or unset it",
        )


def sqlite_path(uri: str) -> Path:
    """The database file an ``sqlite:///`` address names, as SQLAlchemy reads it."""
    name = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(unquote(name, errors="surrogateescape"))


def sqlite_uri(path: Path) -> str:
    """The ``sqlite:///`` address of a database file."""
    name = str(path)
    if "%" in name or "?" in name:
        # Slashes are encoded too, except the first: MLflow also creates the folder of the address
        # as it stands, which then is the root.
        name = path.anchor + quote(os.fsencode(name.removeprefix(path.anchor)), safe="")
    return SQLITE + name


def rows(uri: str, query: str, *values: str) -> Iterator[Any]:
    """What ``query`` gives from the embedded database; MLflow takes seconds to import."""
    address = f"file:{quote(os.fsencode(sqlite_path(uri)))}?mode=ro"
    with closing(sqlite3.connect(address, timeout=_PATIENCE, uri=True)) as database:
        yield from database.execute(query, values)


def prepare(uri: str) -> None:
    """Configure MLflow in this process, and create the embedded database if there is none.

    Takes seconds: call it off the main thread. Two processes that create one database would race
    in MLflow's schema migrations, so a lock file admits one at a time.
    """
    # A retry inside MLflow would repeat a create_run whose response was lost: the writer retries,
    # and looks for the run first. Telemetry and printed addresses are switched off.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    if not uri.startswith(SQLITE):
        return
    path = sqlite_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            # Whole elsewhere, then moved: a process killed amid MLflow's migrations leaves a
            # database that no later start can mend ("duplicate column name").
            new = path.with_name(f".{path.name}.new")
            for left in path.parent.glob(f"{new.name}*"):
                left.unlink()
            MlflowClient(sqlite_uri(new)).search_experiments(max_results=1)
            new.replace(path)
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


def _check_sqlite(path: Path) -> None:
    try:
        str(path).encode()  # else no URI can name it
        if path.exists():
            connection = sqlite3.connect(path, timeout=_PATIENCE)
            try:
                connection.execute("PRAGMA schema_version").fetchone()
            finally:
                connection.close()
        there = next(place for place in (path, *path.parents) if place.exists())
        if there != path and not there.is_dir():
            raise NotADirectoryError(f"'{there}' is a file")
        if not os.access(there, os.W_OK):
            raise PermissionError(f"'{there}' cannot be written")
    except (OSError, sqlite3.Error, UnicodeEncodeError) as error:
        raise TrackingError(
            f"'{path}' cannot be used as MLflow's database: {error}",
            where=str(path.parent),
            remedy="move the file away, make its folder writable, or use another home with --home",
        ) from error


def _unreachable(address: str, why: object) -> TrackingError:
    return TrackingError(
        f"no MLflow server answers at '{address}': {why}",
        where="MLFLOW_TRACKING_URI",
        remedy=_REMEDY,
    )
