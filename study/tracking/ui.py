"""MLflow's pages: serving them, and the addresses of a study's views and trials in them."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import psutil

from study.journal import StudyHome, read_entries
from study.journal.events import StudyDescribed
from study.tracking import database
from study.tracking.changes import created_tag
from study.tracking.database import SQLITE, TrackingError, rows, sqlite_path
from study.tracking.store import (
    ARTIFACTS,
    check,
    credentials,
    prepare,
    tracking_uri,
)
from study.tracking.views import MODES, TAG, view_key

HOST, PORT = "127.0.0.1", 5000
LOOPBACK, EVERYWHERE = (HOST, "localhost"), ("0.0.0.0", "::")
"""Hosts that nobody else reaches; and that stand for every address of the machine."""
HERE = f"http://{HOST}:{PORT}/"
"""Where `study ui` serves the pages of the embedded store."""

_PATIENCE = 4.0  # seconds that a server has to respond
_TOTAL = 10.0  # seconds for all of a study's runs; a server sends some 300 a second
_PAGE = 250  # runs a response
_SEARCH = "api/2.0/mlflow/runs/search"
_EXPERIMENT = "api/2.0/mlflow/experiments/get-by-name"


def view_links(home: StudyHome) -> dict[str, str]:
    """Addresses in MLflow's pages of the study in ``home``, by what they show.

    Its saved views, the first page first; "Runs", the plain list, where MLflow has none of them.
    Addresses are on the server in use, or where `study ui` serves the embedded store. Empty where
    :func:`run_links` is.
    """
    uri = tracking_uri(home.studies)
    try:
        if uri.startswith(SQLITE):
            base, experiment = HERE.rstrip("/"), _experiments(uri).get(home.name)
        elif urlsplit(uri).scheme in {"http", "https"}:
            base, experiment = uri.rstrip("/"), _experiment_on_server(uri.rstrip("/"), home.name)
        else:
            return {}
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return {}
    if experiment is None:
        return {}
    return _view_addresses(base, experiment, _created(home))


def run_links(home: StudyHome) -> dict[str, str]:
    """Addresses in MLflow's pages of the trials of the study in ``home``, by trial.

    For the embedded store, as `study ui` serves it. Empty if the store is unavailable, has no such
    study, or is a database on a server. Links are optional: a slow server is queried for ten
    seconds, and returns those of the latest trials.
    """
    uri, created = tracking_uri(home.studies), _created(home)
    try:
        if uri.startswith(SQLITE):
            base, runs = HERE.rstrip("/"), _in_database(uri, created)
        elif urlsplit(uri).scheme in {"http", "https"}:
            base, runs = uri.rstrip("/"), _on_server(uri.rstrip("/"), home.name, created)
        else:
            return {}
        return {trial: _address(base, experiment, run) for trial, experiment, run in runs}
    except (OSError, HTTPException, ValueError, LookupError, TypeError, sqlite3.Error):
        return {}  # no MLflow that can be read


def serve_ui(studies_home: Path, host: str = HOST, port: int = PORT) -> int:
    """Serve MLflow's pages for the studies in ``studies_home`` until interrupted.

    Returns:
        The server's exit code; 0 when it was ended by Ctrl-C, or when the store is a server that
        has pages of its own.

    Raises:
        TrackingError: no study was launched there yet, the port is taken, or ``host`` is not here.
    """
    uri = tracking_uri(studies_home)
    if urlsplit(uri).scheme in {"http", "https", "databricks"}:
        print(f"MLflow's pages: {uri}")
        return 0
    check(uri)
    if uri.startswith(SQLITE):
        if not sqlite_path(uri).exists():
            raise TrackingError(
                "there is nothing to show",
                where=str(sqlite_path(uri)),
                remedy="launch a study first, or resume one, or name its folder with --home",
            )
        if database.is_empty(sqlite_path(uri)):
            prepare(uri)  # a server would make it in place, where a kill or a client breaks it
    _check_listening(host, port)
    artifacts = (studies_home.resolve() / ARTIFACTS).as_uri()  # MLflow decodes a plain path too
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", artifacts, "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    # The job runner serves MLflow's language model tools: three processes that nothing here uses.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if host not in LOOPBACK:
        quiet |= _admitted(host, port)
        print(f"warning: anyone who reaches {host}:{port} can read and change them: no password")
    base = f"http://{_written(socket.gethostname() if host in EVERYWHERE else host)}:{port}"
    print(f"MLflow's pages: {base}")
    for name, experiment in _experiments(uri).items():
        print(f"    {name}: {next(iter(_view_addresses(base, experiment).values()))}")
    print('If they open on GenAI, choose "Model training" at the top left', flush=True)
    server = subprocess.Popen(command, env=quiet | dict(os.environ))
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()
        server.wait()
        return 0
    finally:
        if server.poll() is None:
            server.terminate()


def _check_listening(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, TypeError, UnicodeError) as error:  # not all of them is a host's name
            why = error.strerror if isinstance(error, OSError) else "no name of a host"
            elsewhere = (
                isinstance(error, (socket.gaierror, TypeError, UnicodeError))
                or error.errno == errno.EADDRNOTAVAIL
            )
            raise TrackingError(
                f"cannot listen on {host}:{port} ({why})",
                where="--host" if elsewhere else "--port",
                remedy="name this machine with --host, by a name or an address of its own"
                if elsewhere
                else "name a free port with --port",
            ) from error


def _admitted(host: str, port: int) -> dict[str, str]:
    """MLflow's settings by which browsers may call a server that listens on ``host`` by its names.

    It answers to loopback and private addresses alone, and lets pages of other origins read
    nothing, its own pages among them: their lists stay empty. What it answers to by itself it does
    still: loopback at any port, as forwarded ones have, and private addresses.
    """
    names = {host}
    if host in EVERYWHERE:
        found = [a.address for of in psutil.net_if_addrs().values() for a in of]
        names = {socket.gethostname(), socket.getfqdn(), *filter(_is_address, found)}
    hosts = sorted(map(_written, names))
    private = ("10.*", "192.168.*", *(f"172.{n}.*" for n in range(16, 32)))
    allowed = [*(f"{h},{h}:{port}" for h in hosts), *(f"{h},{h}:*" for h in LOOPBACK), *private]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{h}:{port}" for h in hosts),
    }


def _written(host: str) -> str:
    """As browsers write it."""
    return f"[{host}]" if ":" in host else host.lower()


def _is_address(text: str) -> bool:
    """Whether it is an IP address, of this machine's network alone or not."""
    try:
        return not ip_address(text).is_link_local
    except ValueError:
        return False


def _address(base: str, experiment: str, run: str = "") -> str:
    """A page of an experiment or a run; without the query MLflow opens its GenAI view."""
    place = f"experiments/{experiment}/runs{f'/{run}' if run else ''}"
    return f"{base}/#/{place}?workflowType=machine_learning"


def _created(home: StudyHome) -> str:
    """The tag of the study in ``home``; "" before it has begun."""
    first = next(read_entries(home.path, StudyDescribed), None)
    return "" if first is None else created_tag(first.time)


class _Experiment(NamedTuple):
    id: str
    tags: dict[str, str]


def _view_addresses(base: str, experiment: _Experiment, created: str = "") -> dict[str, str]:
    """Of the views of the study ``created`` then, or of the latest one of that name."""
    plain = _address(base, experiment.id)
    keys = [key.removeprefix(TAG) for key in experiment.tags if key.startswith(TAG)]
    created = created or max((key.rpartition("-")[2] for key in keys), default="")
    found = {
        name: f"{plain}&viewStateShareKey={key}&compareRunsMode={mode}"
        for name, mode in MODES.items()
        if (key := view_key(name, created)) in keys
    }
    return found or {"Runs": plain}


def _experiments(uri: str) -> dict[str, _Experiment]:
    """The studies' experiments by name; none of a store that cannot be read."""
    if not uri.startswith(SQLITE):
        return {}
    query = (
        "SELECT name, experiments.experiment_id, key, value FROM experiments"
        " LEFT JOIN experiment_tags ON experiment_tags.experiment_id = experiments.experiment_id"
        " WHERE lifecycle_stage = 'active' AND experiments.experiment_id <> 0 ORDER BY name"
    )
    found: dict[str, _Experiment] = {}
    try:
        for name, number, key, value in rows(uri, query):
            found.setdefault(name, _Experiment(str(number), {})).tags[key or ""] = value
    except sqlite3.Error:  # in an empty file the server will create the tables
        return {}
    return found


def _experiment_on_server(uri: str, study: str) -> _Experiment:
    found = _request(f"{uri}/{_EXPERIMENT}?{urlencode({'experiment_name': study})}")["experiment"]
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", ())}
    return _Experiment(found["experiment_id"], tags)


def _in_database(uri: str, created: str) -> Iterator[tuple[str, str, str]]:
    return rows(
        uri,
        "SELECT trial.value, runs.experiment_id, runs.run_uuid FROM runs"
        " JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = 'study.trial'"
        " JOIN tags AS born ON born.run_uuid = runs.run_uuid AND born.key = 'study.created'"
        " WHERE runs.lifecycle_stage = 'active' AND born.value = ?",
        created,
    )


def _on_server(uri: str, study: str, created: str) -> Iterator[tuple[str, str, str]]:
    wanted = {
        "experiment_ids": [_experiment_on_server(uri, study).id],
        "filter": f"tags.`study.created` = '{created}' and tags.`study.kind` = 'trial'",
        "max_results": _PAGE,
    }
    end = time.monotonic() + _TOTAL
    while time.monotonic() < end:
        page = _request(f"{uri}/{_SEARCH}", wanted)
        for run in page.get("runs", ()):
            tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
            yield tags["study.trial"], run["info"]["experiment_id"], run["info"]["run_id"]
        if not page.get("next_page_token"):
            return
        wanted["page_token"] = page["next_page_token"]


def _request(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        address,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", **credentials()},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
