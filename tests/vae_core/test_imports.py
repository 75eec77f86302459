"""vae_core imports on a machine that has none of the orchestration's libraries."""

import subprocess
import sys
from pathlib import Path

import vae_core

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

ABSENT = {"ray", "optuna", "mlflow", "pydantic", "scipy", "sklearn", "torch_fidelity", "study"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import vae_core

for module in pkgutil.walk_packages(vae_core.__path__, "vae_core."):
    importlib.import_module(module.name)
    print(module.name)
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
"""


def test_every_module_imports_without_the_orchestrations_libraries():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    root = Path(vae_core.__file__).parent
    files = {
        ".".join(("vae_core", *path.relative_to(root).with_suffix("").parts))
        for path in root.rglob("*.py")
    }
    modules = {name.removesuffix(".__init__") for name in files} - {"vae_core"}
    assert set(done.stdout.split()) == modules
