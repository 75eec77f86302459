"""Experiments that keep their artifacts elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.tracking import TrackingError, check_name
from study.tracking.store import artifact_location

if TYPE_CHECKING:
    from .conftest import Journal, Store


def test_mlflows_own_experiment_is_no_study(studies: Path, tmp_path: Path, store: Store) -> None:
    empty = f"sqlite:///{tmp_path}/none/mlflow.db"
    for uri in (store.uri, empty, "postgresql://me:secret@db/mlflow"):
        with pytest.raises(TrackingError, match="'Default' is MLflow's own experiment") as error:
            check_name(uri, studies, "Default")
        assert "another name" in error.value.remedy
        assert "secret" not in str(error.value)
    assert not (tmp_path / "none").exists()
    check_name("http://mlflow.example:5000", studies, "Default")  # the server decides
    assert store.client.get_experiment("0").name == "Default"


@pytest.mark.parametrize("deleted", [False, True])
def test_a_new_study_is_refused_the_name_of_an_experiment_elsewhere(
    deleted: bool, studies: Path, store: Store, tmp_path: Path
) -> None:
    made = store.client.create_experiment("mine", str(tmp_path / "mlruns"))
    if deleted:
        store.client.delete_experiment(made)
    with pytest.raises(TrackingError, match="another experiment 'mine'") as error:
        check_name(store.uri, studies, "mine")
    assert str(tmp_path / "mlruns") in str(error.value)
    for other in ("yours", "default"):
        check_name(store.uri, studies, other)


def test_an_experiment_whose_artifacts_are_in_the_home_may_be_used_again(
    studies: Path, store: Store
) -> None:
    belongs = artifact_location(store.uri, studies, "mine")
    assert belongs is not None
    store.client.create_experiment("mine", belongs)
    check_name(store.uri, studies, "mine")
    store.client.create_experiment(
        "yours", belongs.removeprefix("file://").replace("mine", "yours")
    )
    check_name(store.uri, studies, "yours")


def test_a_home_that_was_moved_is_said(
    journal: Journal, store: Store, studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = studies.with_name("elsewhere")
    store.client.create_experiment(journal.home.name, elsewhere.as_uri())
    journal.begin()
    store.write(journal.home, journal.entries)
    assert f"keeps the artifacts of 'digits-beta' in '{elsewhere.as_uri()}'" in caplog.text
    assert "make the former a link to the latter" in caplog.text


def test_a_copy_of_a_home_writes_no_file_into_the_original(
    journal: Journal, store: Store, studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    original = studies.with_name("original")
    (original / journal.home.name / "journal").mkdir(parents=True)
    artifacts = original / "mlartifacts" / journal.home.name
    store.client.create_experiment(journal.home.name, artifacts.as_uri())
    journal.two_arms()
    store.write(journal.home, journal.entries)
    assert "this home is a copy" in caplog.text
    assert "make the former a link" not in caplog.text
    assert not artifacts.exists()
    assert len(store.runs()) > 6


def test_a_study_in_a_folder_that_is_a_link_keeps_its_artifacts_in_the_home(
    journal: Journal, store: Store, studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = studies.with_name("disk")
    disk.mkdir()
    journal.home.rename(disk / journal.home.name)
    journal.home.symlink_to(disk / journal.home.name)
    journal.two_arms()
    for _ in range(2):  # a launch, and a resume
        store.write(journal.home, journal.entries)
    assert (studies / "mlartifacts" / journal.home.name).is_dir()
    assert [path.name for path in disk.iterdir()] == [journal.home.name]
    assert "MLflow keeps" not in caplog.text
