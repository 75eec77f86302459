"""The distributions of this repository, and an environment with the wheel alone in it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

ROOT = Path(__file__).parent.parent
SOURCES = (
    *("study", "vae_core", "docs", "search_spaces", "clusters"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "cluster.yaml"),
)
"""What a distribution is made of."""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and the two archives."""

    bin: Path
    site: Path
    wheel: Path
    sdist: Path

    def run(self, command: str, at: Path) -> subprocess.CompletedProcess[str]:
        """Run a line as one types it, in folder ``at``, with nothing of this repository set."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=at,
            env={**_clean(), "PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )


def install(place: Path) -> Installed:
    """Make the sdist, and the wheel from it; install that in a new environment below ``place``.

    The environment sees this one's libraries, and nothing comes from the network.
    """
    source, made, home = place / "source", place / "made", place / "env"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            copytree(
                ROOT / name, source / name, symlinks=True, ignore=ignore_patterns("__pycache__")
            )
        else:
            copy(ROOT / name, source / name)
    build = f"from setuptools import build_meta as b; b.build_sdist({str(made)!r})"
    _done([sys.executable, "-c", build], source)
    (sdist,) = made.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps"]
    _done(
        [*pip, "wheel", "-q", *offline, "--no-build-isolation", str(sdist), "-w", str(made)], made
    )
    (wheel,) = made.glob("*.whl")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    _done([*pip, "--python", str(python), "install", "-q", *offline, str(wheel)], made)
    (site,) = (home / "lib").glob("python*/site-packages")
    # A folder that a .pth file adds runs none of its own: a repository that is installed there
    # for development stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(home / "bin", site, wheel, sdist)


def _clean() -> dict[str, str]:
    """The environment without what this repository, or whoever runs its tests, has set there."""
    ours = ("PYTHON", "STUDY_", "MLFLOW_")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def _done(command: list[str], at: Path) -> None:
    done = subprocess.run(
        command, cwd=at, env=_clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
