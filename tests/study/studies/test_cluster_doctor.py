"""``study doctor`` of a cluster of two nodes, alike and not, and a launch on the latter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray._common.network_utils import find_free_port
from ray_node import UNSHARED, node

ROOT = Path(__file__).parents[3]
DOCTOR = """
import sys
from study.diagnosing import places
places.PATIENCE = 120.0  # a machine busy with other tests answers late
from study.cli import main
main()
"""
STUDY = """\
name: small
data: digits
model: {name: "cluster_own:Mine", latent: 2, width: 4}
training: {epochs: 1}
arms:
  learned: {balancer: learned_sigma}
"""
OWN = "from vae_core.models.mlp import MLP\nclass Mine(MLP): pass\n"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a study and its own model, a home, and the token of the cluster."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**TOKEN, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STUDY_HOME", str(tmp_path / "home"))
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "home").mkdir()
    (place / "small.yaml").write_text(STUDY)
    (place / "cluster_own.py").write_text(OWN)
    monkeypatch.chdir(place)
    return tmp_path


@contextmanager
def two_nodes(folder: Path, within: str = "exec", cores: int = 1) -> Iterator[str]:
    """The address of a cluster of two nodes on this machine, the second started as it says."""
    port = find_free_port()
    head = node(folder / "head.log", "--head", f"--port={port}", "--num-cpus=1",
                "--include-dashboard=false")  # fmt: skip
    address = f"127.0.0.1:{port}"
    other = (f"--address={address}", f"--num-cpus={cores}")
    with head, node(folder / "node.log", *other, within=within):
        yield address


def doctor(*arguments: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and the cells of each row by its check."""
    command = [sys.executable, "-c", DOCTOR, "doctor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    rows = [re.split(r" {2,}", line) for line in done.stdout.splitlines()[1:]]
    assert rows, done.stderr
    return done.returncode, {row[0]: row[1:] for row in rows}


def test_two_nodes_that_are_alike(environment: Path) -> None:
    with two_nodes(environment) as address:
        code, found = doctor("small.yaml", "--address", address)
    assert code == 0, found
    assert {state for state, *_ in found.values()} <= {"ok", "note"}
    assert found["shared home"] == ["ok", "written and read on 2 nodes"]
    assert found["authentication"] == ["ok", "token"]
    assert list((environment / "home").iterdir()) == []


def test_a_node_with_other_code_and_without_the_home(environment: Path) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run([*UNSHARED, "true"], check=False).returncode
    ):
        pytest.skip("mounts of a process's own are not allowed here")
    changed = environment / "glossary.py"
    changed.write_text((ROOT / "study" / "glossary.py").read_text() + "# changed\n")
    (environment / "empty").mkdir()
    differs = (
        f"mount --bind {changed} {ROOT / 'study' / 'glossary.py'}; "
        f"mount -t tmpfs none {environment / 'home'}; "
        f"mount --bind {environment / 'empty'} {environment / 'place'}; ulimit -n 2000; exec"
    )
    with two_nodes(environment, differs, cores=3) as address:
        code, found = doctor("small.yaml", "--address", address)
        launch = [sys.executable, "-c", DOCTOR, "launch", "small.yaml", "--address", address]
        launched = subprocess.run(launch, capture_output=True, text=True, timeout=240, check=False)
    assert code == 1
    states = {check: state for check, (state, *_) in found.items()}
    problems = [check for check, state in states.items() if state == "problem"]
    assert problems == ["study", "imports"]
    name = re.fullmatch(r".*\((.*)\)", found["imports"][1])
    assert name is not None
    assert "No module named 'cluster_own'" in found["imports"][1]
    for check in ("study", "open files", "usable cores", "shared home"):
        assert name[1] in found[check][1], check
    assert found["shared home"] == ["note", f"not by {name[1]}: served by the driver"]

    assert launched.returncode == 2, launched.stderr
    assert "error: cluster: study: " in launched.stderr
    assert not (environment / "home" / "small").exists()
