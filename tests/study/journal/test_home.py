from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.journal import HomeError, Journal, StudyHome, safe_name, studies_home, trial_folder


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b", "data", "mlartifacts"])
def test_a_name_is_checked_before_it_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(HomeError, match="cannot be a study's name"):
        StudyHome(tmp_path, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../x",
        "/etc/passwd",
        "a/b",
        ".ssh",
        "a\\b",
        "a b",
        "a\n",
        "é",
        "x" * 201,
        ["a"],
    ],
)
def test_a_name_read_from_a_journal_is_checked_before_it_becomes_a_path(
    tmp_path: Path, name: Any
) -> None:
    with pytest.raises(HomeError, match="cannot be the name of a trial"):
        trial_folder(tmp_path, name)
    with pytest.raises(HomeError, match="cannot be the name of an engine"):
        safe_name(name, "an engine")


def test_trials_keep_their_files_under_their_names(tmp_path: Path) -> None:
    name = "my_arm-2.search.r0.0003.retry1"
    assert trial_folder(tmp_path, name) == tmp_path / "trials" / name
    assert StudyHome(tmp_path, "s").trial(name) == tmp_path / "s" / "trials" / name


def test_the_studies_home_is_given_or_from_the_environment_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDY_HOME", raising=False)
    assert studies_home() == tmp_path / "studies"
    monkeypatch.setenv("STUDY_HOME", str(tmp_path / "other"))
    assert studies_home() == tmp_path / "other"
    assert studies_home(tmp_path / "given") == tmp_path / "given"


def test_an_unknown_study_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    known = StudyHome(tmp_path, "quickstart")
    known.make()
    Journal(known.path).close()
    assert known.existing() == known
    with pytest.raises(HomeError, match="did you mean 'quickstart'"):
        StudyHome(tmp_path, "quickstat").existing()


def test_a_folder_of_other_files_becomes_no_study(tmp_path: Path) -> None:
    """As `study init` names a study after a folder of images, and --home may be the one above."""
    picture = tmp_path / "photos" / "a.png"
    picture.parent.mkdir()
    picture.touch()
    with pytest.raises(HomeError, match=r"photos: holds files \('a.png'\) and is no study's") as e:
        StudyHome(tmp_path, "photos").make()
    assert "another name" in (e.value.remedy or "")
    assert [*picture.parent.iterdir()] == [picture]
    mine = tmp_path / "mine" / "spec.yaml"  # a launch would write its own over it
    mine.parent.mkdir()
    mine.write_text("# mine")
    with pytest.raises(HomeError, match="holds files"):
        StudyHome(tmp_path, "mine").make()


def test_what_a_launch_made_in_vain_is_removed_and_nothing_else(tmp_path: Path) -> None:
    home = StudyHome(tmp_path, "s")
    home.make()
    Journal(home.path).close()
    home.spec.touch()
    (home.path / ".keep").touch()
    home.make()  # an earlier launch may have ended here
    home.unmake()
    assert [path.name for path in home.path.iterdir()] == [".keep"]
    (home.path / ".keep").unlink()
    home.unmake()
    assert not home.path.exists()


def test_two_first_launches_at_once_can_both_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def touched(probe: Path) -> None:
        touch(probe)
        probe.unlink()  # as the other does with the same file

    monkeypatch.setattr(Path, "touch", touched)
    StudyHome(tmp_path, "mine").make()
