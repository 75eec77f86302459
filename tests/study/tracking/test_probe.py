"""What a launch learns of a store that refuses: real servers, real users, a real older database."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from waiting import until

from study import api
from study.tracking import MlflowWriter, TrackingError, probe_store
from study.tracking.probe import refusal
from study.tracking.store import StoreAwayError

if TYPE_CHECKING:
    from .conftest import Journal, Server, Store

ADMIN, READER = ("admin", "an admin's password"), ("reader", "a reader's password")
USERS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture(scope="module")
def choosy(start: Callable[..., Server]) -> Server:
    """A server that answers to one name, ``localhost``."""
    server = start("--allowed-hosts", "localhost:*")
    server.wait()
    return server


@pytest.fixture(scope="module")
def locked(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with users: ``ADMIN``, and ``READER``, who may read what others have made."""
    pytest.importorskip("flask_wtf", reason="what `mlflow server --app-name basic-auth` needs")
    folder = tmp_path_factory.mktemp("users")
    (folder / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder}/users.db\n"
        f"admin_username = {ADMIN[0]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    server = start(
        "--app-name",
        "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_AUTH_ADMIN_PASSWORD=ADMIN[1],
        MLFLOW_FLASK_SERVER_SECRET_KEY="no secret",
    )
    server.wait()
    with signed_in(ADMIN):
        from mlflow.server.auth.client import AuthServiceClient

        AuthServiceClient(server.uri).create_user(*READER)
        MlflowClient(server.uri).create_experiment("theirs")
    return server


@contextmanager
def signed_in(user: tuple[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(USERS, user, strict=True):
            patch.setenv(name, value)
        yield


def asked(uri: str, study: str = "digits", *, begun: bool = False) -> None:
    probe_store(uri, Path("/nowhere"), study, "does it pay?", begun=begun)


def name_of(server: Server) -> str:
    return f"http://localhost:{server.port}"


@pytest.mark.parametrize("begun", [False, True])
def test_a_host_name_that_the_server_does_not_allow(choosy: Server, begun: bool) -> None:
    with pytest.raises(TrackingError, match=r"refuses requests to the host name '127\.0") as error:
        asked(choosy.uri, begun=begun)
    assert f"--allowed-hosts '127.0.0.1:{choosy.port}" in error.value.remedy
    assert "digits" not in {e.name for e in MlflowClient(name_of(choosy)).search_experiments()}


def test_a_launch_that_is_refused_makes_nothing(
    choosy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "{name: refused, data: digits, model: {name: mlp, latent: 2}, training: {epochs: 1},"
        " arms: {learned: {balancer: learned_sigma}}}"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", choosy.uri)
    with pytest.raises(TrackingError, match="refuses requests"):
        api.launch(file, home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_store_that_takes_it_keeps_only_the_experiment(choosy: Server) -> None:
    client = MlflowClient(name_of(choosy))
    for _ in range(2):
        asked(name_of(choosy), "taken")
        experiment = client.get_experiment_by_name("taken")
        assert experiment.tags == {"mlflow.note.content": "does it pay?"}
        assert client.search_runs([experiment.experiment_id], run_view_type=3) == []
        artifacts = choosy.studies / "artifacts" / experiment.experiment_id
        assert list(artifacts.iterdir()) == []  # the server made the folder for a file


def test_a_store_may_be_tried_without_keeping_anything(choosy: Server) -> None:
    client = MlflowClient(name_of(choosy))
    for _ in range(2):  # the second time its experiment is among the deleted ones
        probe_store(name_of(choosy), Path(), "a try", "", begun=False, keep=False)
        found = client.get_experiment_by_name("a try")
        assert found is not None
        assert found.lifecycle_stage == "deleted"
    client.create_experiment("kept")
    probe_store(name_of(choosy), Path(), "kept", "", begun=False, keep=False)
    assert client.get_experiment_by_name("kept").lifecycle_stage == "active"


def test_a_server_whose_own_database_is_read_only() -> None:
    error = MlflowException("(sqlite3.OperationalError) attempt to write a readonly database")
    assert "does not let you write" in str(refusal("http://mlflow.example", error))
    assert refusal("sqlite:////home/mlflow.db", error) is None
    assert (
        refusal("http://mlflow.example", PermissionError("Permission denied: /artifacts")) is None
    )


def test_a_deleted_experiment_stays_deleted(choosy: Server) -> None:
    client = MlflowClient(name_of(choosy))
    experiment = client.create_experiment("gone")
    client.delete_experiment(experiment)
    asked(name_of(choosy), "gone")
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"


@pytest.mark.studies
def test_a_server_that_wants_a_user(locked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match="wants a user and a password") as error:
        asked(locked.uri)
    assert all(name in error.value.remedy for name in USERS)
    with (
        signed_in((ADMIN[0], "another password")),
        pytest.raises(TrackingError, match="does not accept MLFLOW_TRACKING_USERNAME and"),
    ):
        asked(locked.uri)
    with signed_in(ADMIN):
        asked(locked.uri)


@pytest.mark.studies
def test_a_user_who_may_only_read(locked: Server) -> None:
    with signed_in(READER):
        with pytest.raises(TrackingError, match="does not let user reader write") as error:
            asked(locked.uri, "theirs")
        assert "permission to edit" in error.value.remedy
        asked(locked.uri, "the reader's own")


def test_a_database_of_another_revision_names_the_upgrade(database: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{shutil.copy(database, tmp_path / 'other.db')}"
    with closing(sqlite3.connect(tmp_path / "other.db")) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = '75868b020152'")
    with pytest.raises(Exception, match="schema") as error:
        MlflowClient(uri).search_experiments()
    refused = refusal(uri, error.value)
    assert refused is not None
    assert "mlflow db upgrade" in refused.remedy


def test_a_server_that_is_away_is_waited_for_by_a_study_that_has_begun() -> None:
    asked("http://127.0.0.1:9", begun=True)
    with pytest.raises(StoreAwayError):
        asked("http://127.0.0.1:9")


def test_a_server_that_begins_to_refuse_is_told_of_once_and_gets_all_of_it_later(
    choosy: Server,
    journal: Journal,
    store_at: Callable[..., Store],
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal.begin()
    journal.train(journal.ask(0))
    writer = MlflowWriter(choosy.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    until(lambda: writer.problem, "a problem")
    time.sleep(1)  # several attempts
    assert writer.close(0.5) == len(journal.entries)
    assert "--allowed-hosts" in str(writer.problem)
    said = [line for line in caplog.messages if "MLflow refuses" in line]
    assert len(said) == 1
    assert "--allowed-hosts" in said[0]
    there = store_at(name_of(choosy), journal.home.name)
    there.write(journal.home, journal.entries)
    assert "trial/tpe.search.r0.0000" in there.runs()
