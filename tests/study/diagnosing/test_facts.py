"""Facts of this machine, and of one whose GPU driver lists two."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import ray
import torch

from study.diagnosing.facts import Gpu, gather
from study.engine.parts import ENGINE, Part
from study.package import code_digest, version

MODELS = "vae_core.models:MODELS"


def test_this_machine() -> None:
    found = gather((ENGINE,))
    assert found.versions == {
        "Python": platform.python_version(),
        "Ray": ray.__version__,
        "torch": torch.__version__.partition("+")[0],
        "study": f"{version()}, code {code_digest()}",
    }
    assert found.broken == {}
    assert 1 <= found.cores <= len(os.sched_getaffinity(0))
    assert found.torch_gpus == torch.cuda.device_count()


def test_parts_that_do_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "facts_own.py").write_text("raise SystemError('on\\npurpose')\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = gather((Part("facts_own:Model", MODELS), Part("study.package:gone"))).broken
    assert "SystemError: on purpose" in broken["facts_own:Model"]
    assert broken["study.package:gone"].startswith("AttributeError: ")


def test_gpus_that_torch_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nfor i in 1 2; do echo 'NVIDIA L4, 23034'; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = gather()
    assert found.gpus == (Gpu("NVIDIA L4", 23034 * 2**20),) * 2
    assert found.torch_gpus == torch.cuda.device_count()
    assert gather(gpus=False).gpus == ()
