"""Light processes load no torch: the relay's, and those that hold an engine's handle."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "vae_core.bank", "optuna", "mlflow", "torchvision")


@pytest.mark.parametrize(
    "module", ["study.scheduling.relay", "study.engine.actor", "study.engine.config"]
)
def test_the_module_of_a_light_process_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["study.scheduling.engines", "study.scheduling.tune.run", "study.engine.weights"]
)
def test_the_driver_schedules_without_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
