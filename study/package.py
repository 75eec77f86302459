"""What this package is: its version, and the files that come with it."""

from __future__ import annotations

import hashlib
import subprocess
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
"""The repository, or what holds the installed packages."""


SHIPPED = Path(__file__).parent / "shipped"
"""What the wheel carries of the repository: study files and documents."""


def version() -> str:
    """The version as installed; "unknown" where the package was not."""
    try:
        return metadata.version("vae-tuning-study")
    except metadata.PackageNotFoundError:
        return "unknown"


def code_version() -> str:
    """The commit this package runs from, marked if changed; else its version."""
    try:
        # A repository around the environment that the package is installed in is another's.
        if Path(_git("rev-parse", "--show-toplevel")).samefile(_ROOT):
            return _git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        pass
    return version()


def code_digest() -> str:
    """Eight digits that differ where the code does, of this package or of the core."""
    packages = (_ROOT / name for name in ("study", "vae_core"))
    return digest(_ROOT, *(file for package in packages for file in package.rglob("*.py")))


def digest(folder: Path, *files: Path) -> str:
    """Eight digits that differ where files do, in their names below ``folder`` or their content."""
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:8]


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
