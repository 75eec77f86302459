"""The sdist and the wheel, built and used from an empty folder; the dependencies they declare."""

from __future__ import annotations

import ast
import email
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from installation import ROOT, Installed, install
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = {"torch", "torchvision", "numpy", "pyarrow", "pillow"}
NOTEBOOKS = {"ipython"}
"""Of no dependency: imported where a notebook runs the code, and so there already."""
ON_DEMAND = {"scikit-learn", "torch-fidelity"}
"""What the core imports only for a dataset or for features that a study asks for."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


@cache
def owners() -> Mapping[str, list[str]]:
    """Modules, and the distributions that they are of."""
    return packages_distributions()


def test_the_command_and_its_version(installed: Installed, tmp_path: Path) -> None:
    code = "import study, vae_core; print(study.__version__, study.__file__, vae_core.__file__)"
    shown, *files = installed.run(f"python -c '{code}'", tmp_path).stdout.split()
    assert shown == DECLARED["project"]["version"]
    assert all(Path(file).is_relative_to(installed.site) for file in files)
    done = installed.run("study --version", tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_a_shipped_study_is_written_and_loaded_from_an_empty_folder(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.run("study init digits", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "next: study launch quickstart"
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.yaml"]
    done = installed.run("study launch quickstar", tmp_path)
    assert done.returncode == 2
    assert "shipped studies: did you mean 'quickstart'?" in done.stderr


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
    def studies(folder: Path) -> dict[str, str]:
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}

    shipped = installed.site / "study" / "shipped" / "search_spaces"
    assert studies(shipped) == studies(ROOT / "search_spaces") != {}


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


def distribution(module: str) -> str:
    """The one that ``module`` is of; of several that share it, the one declared."""
    found = {canonicalize_name(owner) for owner in owners().get(module, [module])}
    return min(found & declared() or found)


def test_what_the_code_imports_is_a_declared_dependency() -> None:
    for package in ("study", "vae_core"):
        for name, path in imported(package):
            assert distribution(name) in declared() | NOTEBOOKS, (
                f"{path}: {name} is of no dependency"
            )


def test_every_dependency_is_imported_or_needed_by_what_is() -> None:
    used = {
        distribution(name) for package in ("study", "vae_core") for name, _ in imported(package)
    }
    # Optuna's cmaes sampler; the versions of Optuna's and MLflow's databases that go together.
    assert declared() - used == {"cmaes", "sqlalchemy"}


def test_the_core_imports_its_own_dependencies_alone() -> None:
    assert {distribution(name) for name, _ in imported("vae_core")} - CORE == ON_DEMAND


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
