"""The driver's hold on the process that writes to MLflow, where that dies whatever one does.

What it does in a launch, and where it is killed once, is shown in `tracking/test_drivers.py`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from study.journal import Journal, StudyHome
from study.journal.events import StudyInterrupted
from study.launching import mlflow_process
from study.launching.mlflow_process import NICENESS, MlflowProcess, State

DIES = "import sys; print('no MLflow here', file=sys.stderr); sys.exit(3)"


def test_one_that_always_dies_is_given_up_and_why_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def start(module: str, *, stderr: int | None = None) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", DIES], stdin=pipe, stdout=pipe, stderr=stderr
        )

    monkeypatch.setattr(mlflow_process.interpreters, "start", start)
    monkeypatch.setattr(mlflow_process, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(mlflow_process, "LONGEST_PAUSE", 0.02)
    home = StudyHome(tmp_path, "s")
    with closing(Journal(home.path)) as journal, MlflowProcess() as mlflow:
        for _ in range(3):
            journal.append(StudyInterrupted())
        journal.commit()
        mlflow.follow("sqlite:///nowhere", home, journal.epoch)
        lost = State(3, "the process that writes to it ends (exit code 3)")
        assert (mlflow.state(), mlflow.close(60)) == (lost, lost)
    assert "no MLflow here\n" in capfd.readouterr().err


def test_where_the_system_can_start_no_other_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow_process.interpreters.start
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *, stderr: int | None = None) -> subprocess.Popen[bytes]:
        if started:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(real(module, stderr=stderr))
        return started[0]

    monkeypatch.setattr(mlflow_process.interpreters, "start", start)
    monkeypatch.setattr(mlflow_process, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(mlflow_process, "LONGEST_PAUSE", 0.02)
    home = StudyHome(tmp_path, "s")
    with closing(Journal(home.path)) as journal, MlflowProcess() as mlflow:
        journal.append(StudyInterrupted())
        journal.commit()
        started[0].kill()
        mlflow.follow("sqlite:///nowhere", home, journal.epoch)
        lost = State(1, "the process that writes to it ends (exit code -9)")
        assert (mlflow.state(), mlflow.close(60)) == (lost, lost)


def test_one_that_is_not_needed_ends_at_once() -> None:
    with MlflowProcess() as mlflow:
        process = mlflow._process
    assert process.returncode is not None


@pytest.mark.skipif(os.nice(0) + NICENESS > 19, reason="this process yields to all others itself")
def test_it_yields_to_engines() -> None:
    with MlflowProcess() as mlflow:
        process = psutil.Process(mlflow.pid)
        while process.nice() == os.nice(0):  # until its modules are loaded
            time.sleep(0.02)
        assert process.nice() == os.nice(0) + NICENESS
