"""The package's version, in an environment and in repositories."""

from __future__ import annotations

import subprocess
from importlib.metadata import version as installed
from pathlib import Path

import pytest

import study
from study import package as module
from study.package import code_version, version


def git(*arguments: str, at: Path) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", *who, *arguments], cwd=at, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git("init", "-q", at=tmp_path)
    git("commit", "-q", "--allow-empty", "-m", "first", at=tmp_path)
    git("tag", "-a", "v7", "-m", "v7", at=tmp_path)
    return tmp_path


def test_the_packages_version_is_the_installed_one() -> None:
    assert study.__version__ == version() == installed("vae-tuning-study")


def test_a_package_in_its_own_repository_names_the_commit(repository, monkeypatch) -> None:
    monkeypatch.setattr(module, "_ROOT", repository)
    assert code_version() == "v7"


def test_a_package_installed_inside_anothers_repository_names_its_version(
    repository, monkeypatch
) -> None:
    inside = repository / ".venv" / "lib"
    inside.mkdir(parents=True)
    monkeypatch.setattr(module, "_ROOT", inside)
    assert code_version() == version()


def test_a_package_that_is_not_installed_has_no_known_version(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    monkeypatch.setattr("importlib.metadata.version", _missing)
    assert code_version() == "unknown"


def _missing(name: str) -> str:
    raise module.metadata.PackageNotFoundError(name)
