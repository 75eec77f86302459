"""The relay's process stays thin: it, and whoever holds an engine's handle, loads no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "vae_core.bank", "optuna", "mlflow", "torchvision")


@pytest.mark.parametrize(
    "module", ["study.scheduling.relay", "study.engine.actor", "study.engine.config"]
)
def test_the_module_of_a_thin_process_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
