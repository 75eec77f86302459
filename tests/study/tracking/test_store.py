"""Where MLflow is, and what is said when it is not there."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.tracking import TrackingError, check, serve_ui, store, tracking_uri


def test_the_embedded_store_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert tracking_uri(tmp_path) == "http://mlflow.example:5000"


def test_a_server_decides_where_artifacts_go(tmp_path: Path) -> None:
    inside = store.artifact_location(tracking_uri(tmp_path), tmp_path, "digits")
    assert inside == f"file://{tmp_path}/mlartifacts/digits"
    assert store.artifact_location("http://mlflow.example:5000", tmp_path, "digits") is None


def test_the_embedded_store_can_be_checked_before_it_exists(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path}/studies/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_the_embedded_store_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    code = f"from study.tracking import store; store.prepare({uri!r})"
    making = subprocess.Popen([sys.executable, "-c", code])
    begun = ".mlflow.db.new.????????"  # not SQLite's own files beside it, which come and go
    while not any(new.stat().st_size for new in tmp_path.glob(begun)):  # amid them
        assert making.poll() is None
        time.sleep(0.001)
    making.kill()
    making.wait()
    assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / "mlflow.db-journal").write_bytes(b"of one that was moved away")
    subprocess.run([sys.executable, "-c", code], check=True)
    check(uri)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are my notes, nothing else" * 9)
    with pytest.raises(TrackingError, match=r"mlflow\.db.*not a database"):
        check(f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlflow.db").read_text().startswith("these are my notes")


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="--home"):
        check(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "redis://here"])
def test_other_stores_are_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as error:
        check(uri)
    assert uri in str(error.value)
    assert "sqlite" in error.value.remedy


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_nobody_listening_is_said_with_the_address(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TrackingError, match="no MLflow server answers") as error:
            check(uri)
    assert "127.0.0.1" in str(error.value)
    assert "MLFLOW_TRACKING_URI" in error.value.remedy


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(TrackingError) as error:
        check("postgresql://me:secret@127.0.0.1:1/mlflow")
    assert "secret" not in str(error.value)


def test_a_silent_server_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PATIENCE", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(TrackingError, match="timed out"):
        check(f"http://127.0.0.1:{silent.getsockname()[1]}")


@contextmanager
def web_server(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_server_of_another_kind_is_refused(status: int) -> None:
    with web_server(status) as uri, pytest.raises(TrackingError, match="no MLflow server"):
        check(uri)


def test_a_server_that_wants_credentials_is_a_server() -> None:
    with web_server(401) as uri:
        check(uri)


@pytest.mark.parametrize("excepted", [None, "example.org", "127.0.0.1"])
def test_a_server_on_this_machine_is_reached_past_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excepted: str | None
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # is set back to what it was
        monkeypatch.delenv(name)
    if excepted:
        monkeypatch.setenv("NO_PROXY", excepted)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # where nothing listens
    with web_server(401) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        check(tracking_uri(tmp_path))
    expected = {"localhost", "127.0.0.1", "::1", *filter(None, [excepted])}
    hosts = tracking_uri(tmp_path) and os.environ["no_proxy"].split(",")
    assert sorted(hosts) == sorted(expected)


def test_another_server_is_asked_through_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    tracking_uri(tmp_path)
    assert "no_proxy" not in os.environ


def test_pages_need_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="launch a study first"):
        serve_ui(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pages_need_a_free_port(studies: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(TrackingError, match="--port"):
        serve_ui(studies, port=taken.getsockname()[1])


def test_the_pages_of_a_server_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert serve_ui(tmp_path) == 0
    assert "http://mlflow.example:5000" in capsys.readouterr().out


def test_importing_the_package_leaves_heavy_libraries_out() -> None:
    code = "import sys, study.tracking; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_two_processes_may_make_one_database(tmp_path: Path) -> None:
    code = "import sys; from study.tracking.store import prepare; prepare(sys.argv[1])"
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    both = [subprocess.Popen([sys.executable, "-c", code, uri], env=os.environ) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
