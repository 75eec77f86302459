"""What the process of a launch has loaded when its study is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
import yaml

_LAUNCH = """
import pathlib
import sys
import study

def note(event, details):
    if event == "import" and details[0] == "scipy":
        files = pathlib.Path("studies").glob("*/journal/*.log")
        finished.append(any('"finish"' in file.read_text() for file in files))

finished = []
sys.addaudithook(note)
study.launch("study.yaml", home="studies")
print([name for name in ("ray", "torch", "mlflow") if name in sys.modules], finished)
"""
"""Says what is loaded, and whether the study was finished when SciPy was."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


@pytest.mark.timeout(300)
def test_a_driver_loads_neither_torch_nor_mlflow_and_scipy_for_its_report(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(harness.SPEC))
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCH],
        cwd=tmp_path,
        env={**os.environ, harness.MARK: str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['ray'] [True]"
