"""The study files that come with the package, and which file a name means."""

from __future__ import annotations

from pathlib import Path

from study.package import SHIPPED

STUDIES = SHIPPED / "search_spaces"


def shipped_studies() -> dict[str, Path]:
    """The study files that come with the package, by name."""
    return {path.stem: path for path in sorted(STUDIES.glob("*.yaml"))}


def study_file(given: Path | str) -> Path:
    """The file that ``given`` means: a path, or a study's name.

    A file of that path wins; then, for a name without folder and suffix, NAME.yaml in the current
    folder, then the study of that name that comes with the package. Where there is none of these,
    ``given`` itself.
    """
    path = Path(given)
    if path.is_file() or not is_name(path):
        return path
    here = path.with_suffix(".yaml")
    return here if here.is_file() else shipped_studies().get(path.name, path)


def is_name(path: Path) -> bool:
    """Whether ``path`` could be a study's name: it has neither folder nor suffix."""
    return path.name == str(path) and not path.suffix
