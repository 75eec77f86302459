from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from study.journal import HomeError, Lease, LeaseError, StudyHome, studies_home
from study.journal.lease import holder


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b", "data", "mlartifacts"])
def test_a_name_is_checked_before_it_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(HomeError, match="cannot be a study's name"):
        StudyHome(tmp_path, name)


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
    known.journal.touch()
    with pytest.raises(HomeError, match="did you mean 'quickstart'"):
        StudyHome(tmp_path, "quickstat").existing()


def test_the_lease_is_held_by_one_and_freed_by_the_holders_death(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from study.journal import Lease; "
        f"Lease(Path({str(tmp_path)!r})); print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert f"process {other.pid}" in (holder(tmp_path) or "")
        with pytest.raises(LeaseError, match=rf"process {other.pid} on .* since .* UTC"):
            Lease(tmp_path)
    finally:
        other.kill()
        other.wait()
    assert holder(tmp_path) is None
    with Lease(tmp_path):
        assert holder(tmp_path) is not None
