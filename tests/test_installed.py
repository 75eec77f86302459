"""The sdist and the wheel, built and used from an empty folder; the dependencies they declare."""

from __future__ import annotations

import ast
import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = (
    *("study", "vae_core", "docs", "search_spaces", "benchmarks", "pyproject.toml", "README.md"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "cluster.yaml"),
)
"""What a distribution is made of."""
CORE = {"torch", "torchvision", "numpy", "pyarrow", "pillow"}
BY_NAME = {
    "pandas",  # pyarrow's to_pandas
    "sqlalchemy",  # MLflow's store, whose database is checked before it
}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and the two archives."""

    bin: Path
    site: Path
    wheel: Path
    sdist: Path

    def run(self, *command: str, at: Path) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "STUDY_"))}
        return subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=at,
            env={**clean, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel made from the sdist, alone in a new environment that sees this one's libraries."""
    place = tmp_path_factory.mktemp("installed")
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


def _done(command: list[str], at: Path) -> None:
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_and_its_version(installed: Installed, tmp_path: Path) -> None:
    code = "import study, vae_core; print(study.__version__, study.__file__, vae_core.__file__)"
    shown, *files = installed.run("python", "-c", code, at=tmp_path).stdout.split()
    assert shown == DECLARED["project"]["version"]
    assert all(Path(file).is_relative_to(installed.site) for file in files)
    done = installed.run("study", "--version", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_a_shipped_study_is_planned_by_its_name_from_an_empty_folder(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.run("study", "plan", "quickstart", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


def test_the_wheel_and_the_sdist_hold_the_same_files_and_no_cache(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel, tarfile.open(installed.sdist) as sdist:
        ours = {name for name in wheel.namelist() if ".dist-info/" not in name}
        theirs = {name.partition("/")[2] for name in sdist.getnames()}
    assert ours <= theirs
    assert not [name for name in ours if "__pycache__" in name]
    source = {
        str(path.relative_to(ROOT))
        for package in ("study", "vae_core")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert source <= ours, "package-data in pyproject.toml lacks these"


def test_every_shipped_study_is_in_the_wheel(installed: Installed) -> None:
    shipped = installed.site / "study" / "shipped" / "search_spaces"
    assert {path.name: path.read_text() for path in shipped.iterdir()} == {
        path.name: path.read_text() for path in (ROOT / "search_spaces").iterdir()
    }


def test_the_documents_links_hold_where_the_wheel_is_installed(installed: Installed) -> None:
    shipped = installed.site / "study" / "shipped"
    documents = sorted(shipped.rglob("*.md"))
    assert shipped / "README.md" in documents
    for document in documents:
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_metadata_names_what_is_declared_and_no_index(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        head = email.message_from_bytes(wheel.read(name))
    needed = [Requirement(text) for text in head.get_all("Requires-Dist", [])]
    without_extra = {str(found) for found in needed if found.marker is None}
    assert without_extra == {str(Requirement(t)) for t in DECLARED["project"]["dependencies"]}
    assert head["Requires-Python"] == ">=3.11"
    assert not [url for url in head.get_all("Project-URL", []) if re.search("pypi|index", url)]


def imported(package: str) -> Iterator[tuple[str, Path]]:
    """The libraries that modules of ``package`` import, anywhere in them."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}"]
            else:
                continue
            for name in {name.partition(".")[0] for name in names}:
                if name not in sys.stdlib_module_names and name not in ("study", "vae_core"):
                    yield name, path


def declared() -> set[str]:
    found = (Requirement(text) for text in DECLARED["project"]["dependencies"])
    return {canonicalize_name(requirement.name) for requirement in found}


def test_what_the_code_imports_is_a_declared_dependency_and_the_other_way_round() -> None:
    of = packages_distributions()
    used: set[str] = set()
    for package in ("study", "vae_core"):
        for name, path in imported(package):
            owners = {canonicalize_name(owner) for owner in of.get(name, [name])}
            assert owners & declared(), f"{path}: {name} is of no dependency in pyproject.toml"
            used |= owners
    assert declared() - used <= BY_NAME, "declared, and imported nowhere"


def test_the_core_imports_its_own_dependencies_alone() -> None:
    of = packages_distributions()
    found = {canonicalize_name(of[name][0]) for name, _ in imported("vae_core")}
    # Sources and networks that only some studies ask for, imported when they are.
    assert found - CORE == {"scikit-learn", "torch-fidelity", "scipy"}


def test_every_dependency_is_installed_in_a_version_that_is_declared() -> None:
    for text in DECLARED["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(version(requirement.name)), text


def test_what_builds_a_distribution_is_pinned_with_the_rest() -> None:
    pins = (ROOT / "requirements.txt").read_text().lower().splitlines()
    for text in DECLARED["build-system"]["requires"]:
        requirement = Requirement(text)
        (pin,) = (line for line in pins if line.startswith(f"{requirement.name}=="))
        assert requirement.specifier.contains(pin.partition("==")[2])
