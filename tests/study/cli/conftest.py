"""An empty folder to run the command in, and modules of one's own there."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from commands import OWN, STUDY


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, the studies' home ``home`` below it not made yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("STUDY_HOME", str(tmp_path / "home"))
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture(autouse=True)
def _signals():
    former = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def own(place: Path, request: pytest.FixtureRequest) -> str:
    """A module of the user's own in the current folder; its name."""
    name = f"own_{abs(hash(request.node.nodeid))}"
    (place / f"{name}.py").write_text(OWN)
    return name
