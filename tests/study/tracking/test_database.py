"""MLflow's database of another revision, half made, empty: recognised, and what mends it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from older_mlflow import MLFLOW_2_9, break_off, change, make

from study.tracking import TrackingError, check, serve_ui
from study.tracking.store import prepare


def experiments(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as opened:
        return {name for (name,) in opened.execute("SELECT name FROM experiments")}


@pytest.fixture(scope="module")
def of_2_9(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("old") / "mlflow.db"
    make(file)
    return file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def half_made(of_2_9: Path, home: Path) -> Path:
    file = Path(shutil.copy(of_2_9, home / "mlflow.db"))
    break_off(file)
    return file


def test_an_older_one_is_migrated_said_and_kept(
    of_2_9: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(of_2_9, home / "mlflow.db"))
    file.chmod(0o660)
    check(f"sqlite:///{file}")
    kept = home / f"mlflow.{MLFLOW_2_9}.db"
    said = capsys.readouterr().err
    assert MLFLOW_2_9 in said
    assert kept.name in said
    assert kept.read_bytes() == of_2_9.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o660
    assert experiments(file) >= {"of old"}
    client = MlflowClient(f"sqlite:///{file}")
    client.create_run(client.get_experiment_by_name("of old").experiment_id)
    check(f"sqlite:///{file}")  # once
    assert capsys.readouterr().err == ""
    assert {p.name for p in home.iterdir()} == {".mlflow.db.lock", "mlflow.db", kept.name}


def test_a_half_made_one_is_named_and_left_alone(half_made: Path, home: Path) -> None:
    before = half_made.read_bytes()
    with pytest.raises(TrackingError, match=r"half made.*trace_info already exists") as error:
        check(f"sqlite:///{half_made}")
    assert f"mv {half_made} {half_made}.broken" in error.value.remedy
    assert "study resume" in error.value.remedy
    assert half_made.read_bytes() == before
    assert {p.name for p in home.iterdir()} == {".mlflow.db.lock", "mlflow.db"}
    with pytest.raises(TrackingError, match="half made"):
        serve_ui(home)


def test_one_whose_making_had_hardly_begun_is_completed_where_a_link_leads(home: Path) -> None:
    file = home / "elsewhere.db"
    change(file, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    link = home / "mlflow.db"
    link.symlink_to(file)
    check(f"sqlite:///{link}")
    assert link.is_symlink()
    assert experiments(file) == {"Default"}
    assert (home / "elsewhere.unfinished.db").exists()


def test_one_of_a_newer_mlflow_is_refused_untouched(database: Path, home: Path) -> None:
    file = Path(shutil.copy(database, home / "mlflow.db"))
    change(file, "UPDATE alembic_version SET version_num = 'feedfeedfeed'")
    before = file.read_bytes()
    for refused in (check, prepare):
        with pytest.raises(TrackingError, match=r"newer MLflow.*feedfeedfeed") as error:
            refused(f"sqlite:///{file}")
        assert "install" in error.value.remedy
    assert file.read_bytes() == before


def test_an_empty_file_is_made_a_database_elsewhere(home: Path) -> None:
    file = home / "mlflow.db"
    file.touch()
    empty = file.stat().st_ino
    prepare(f"sqlite:///{file}")
    assert file.stat().st_ino != empty
    assert experiments(file) == {"Default"}
    assert {p.name for p in home.iterdir()} == {".mlflow.db.lock", "mlflow.db"}
