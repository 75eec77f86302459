"""Homes in folders of any name: database, artifacts and links are where they belong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from study.journal import Journal as JournalOnDisk
from study.journal import StudyHome, read_entries
from study.tracking import TrackingError, check, run_links
from study.tracking.database import sqlite_path, sqlite_uri
from study.tracking.store import prepare, tracking_uri

if TYPE_CHECKING:
    from .conftest import Journal, Server, Store

WORST = "a?b=1&c %41%2F#ü;@:'\"\\"
NAMES = ["a?b", "%41", "%2F", "100%", "a#b", "a b", "ü日本", "a;b&c=d", "a@b:c", "a'\"\\", "a\n\tb"]


@pytest.fixture(params=[WORST])
def studies(
    tmp_path: Path,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Path:
    """A studies' home in a folder of this name, whose embedded store is ready."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)  # where MLflow would make files of a relative address
    home = tmp_path / str(request.param) / "studies"
    home.mkdir(parents=True)
    shutil.copy(database, home / "mlflow.db")
    return home


@pytest.mark.parametrize("studies", ["a?b", "%41", "a#b", "ü日本", WORST], indirect=True)
def test_all_of_a_study_is_in_its_home(
    journal: Journal, store: Store, studies: Path, tmp_path: Path
) -> None:
    journal.two_arms()
    with closing(JournalOnDisk(journal.home)) as on_disk:
        for entry in journal.entries:
            on_disk.append(entry.event)
        on_disk.commit()
    check(store.uri)
    store.write(journal.home, read_entries(journal.home))
    folder = studies.parent.name
    assert [path.name for path in tmp_path.iterdir()] == [folder]  # nothing beside it
    names = {".mlflow.db.lock", "mlflow.db", "mlartifacts", "digits-beta"}
    assert {path.name for path in studies.iterdir()} == names
    with closing(sqlite3.connect(studies / "mlflow.db")) as connection:
        ids = dict(connection.execute("SELECT value, run_uuid FROM tags WHERE key = 'study.trial'"))
    assert len(ids) == 6
    confirm = "tpe.confirm.r0.0000"
    artifacts = studies / "mlartifacts" / "digits-beta" / ids[confirm] / "artifacts"
    assert (artifacts / "samples" / f"{confirm}.samples.png").is_file()
    assert (artifacts / "model" / "MLmodel").read_text() == confirm
    assert set(store.artifacts(store.runs()[f"trial/{confirm}"])) == {
        f"{name}/{confirm}.{name}.{suffix}"
        for name, suffix in (("checkpoint", "pt"), ("samples", "png"), ("reconstructions", "png"))
    } | {"model/MLmodel"}
    links = run_links(StudyHome(studies, "digits-beta"))
    assert {
        trial: link.partition("?")[0].rpartition("/")[2] for trial, link in links.items()
    } == ids


@pytest.mark.studies
def test_the_pages_show_a_study_in_such_a_home(
    journal: Journal, store: Store, server: Server
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    confirm = "tpe.confirm.r0.0000"
    run = store.runs()[f"trial/{confirm}"].info.run_id
    server.wait()
    path = quote(f"samples/{confirm}.samples.png")
    url = f"{server.uri}/get-artifact?path={path}&run_uuid={run}"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == f"samples of {confirm}".encode()


def test_the_database_is_made_in_such_a_home(tmp_path: Path) -> None:
    path = tmp_path / WORST / "mlflow.db"
    prepare(sqlite_uri(path))
    assert {each.name for each in path.parent.iterdir()} == {".mlflow.db.lock", "mlflow.db"}
    assert [each.name for each in tmp_path.iterdir()] == [WORST]


@pytest.mark.parametrize("name", [*NAMES, WORST, "plain"])
def test_an_address_names_its_file(name: str) -> None:
    path = Path("/", name, "mlflow.db")
    assert sqlite_path(sqlite_uri(path)) == path
    assert sqlite_uri(Path("/plain/mlflow.db")) == "sqlite:////plain/mlflow.db"
    assert sqlite_path("sqlite:////a/mlflow.db?timeout=9") == Path("/a/mlflow.db")


@pytest.mark.parametrize("name", [b"\xff", b"%41\xff"])
def test_a_folder_whose_name_is_no_text_is_refused(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="cannot be used as MLflow's database") as error:
        check(tracking_uri(tmp_path / os.fsdecode(name)))
    assert "--home" in error.value.remedy
    assert not list(tmp_path.iterdir())
