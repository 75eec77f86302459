"""Whether a study's experiment keeps its artifacts where they belong."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from study.journal.files import FOLDER
from study.tracking.database import SQLITE, TrackingError, rows, sqlite_path
from study.tracking.store import artifact_location

log = logging.getLogger(__name__)

DEFAULT = "Default"
"""The experiment that MLflow makes in every store, with its artifacts in ``./mlruns/0``."""
_REMEDY = "give the study another name"


def check_name(uri: str, studies_home: Path, study: str) -> None:
    """Refuse a new study a name whose experiment keeps its artifacts elsewhere.

    Raises:
        TrackingError: the name is MLflow's own, or that of another experiment of the database.
    """
    belongs = artifact_location(uri, studies_home, study)
    if belongs is None:
        return
    if study == DEFAULT:
        raise TrackingError(
            f"'{DEFAULT}' is MLflow's own experiment, which keeps its artifacts outside the home",
            where="name",
            remedy=_REMEDY,
        )
    found = _location(uri, study) if uri.startswith(SQLITE) else None
    if found is not None and misplaced(found, belongs):
        raise TrackingError(
            f"MLflow has another experiment '{study}', whose artifacts are in '{found}'",
            where=str(sqlite_path(uri)),
            remedy=f"{_REMEDY}, or that experiment in MLflow's pages",
        )


def misplaced(location: str, belongs: str) -> bool:
    """Whether two artifact locations, URIs or paths, are different places."""
    return _path(location) != _path(belongs)


def takes_files(uri: str, study: str, location: str, belongs: str | None) -> bool:
    """Whether a study's files may be written to its experiment; what is amiss is said.

    Args:
        uri: the store.
        study: the study's name.
        location: where the experiment keeps its artifacts.
        belongs: where it should (:func:`artifact_location`); None: the server decides.
    """
    if belongs is None or not misplaced(location, belongs):
        return True
    if uri.startswith(SQLITE) and _of_another_home(location, belongs):
        log.warning(
            "this home is a copy, and MLflow would keep the files of '%s' in the original's '%s': "
            "no more of them are written to MLflow",
            *(study, location),
        )
        return False
    log.warning(
        "MLflow keeps the artifacts of '%s' in '%s' and not in '%s': "
        "if the home was moved, make the former a link to the latter",
        *(study, location, belongs),
    )
    return True


def _of_another_home(location: str, belongs: str) -> bool:
    """Whether ``location`` is in another home than ``belongs``, which has the study as well."""
    there, here = map(Path, map(_path, (location, belongs)))
    original, own = ((path.parent.parent / path.name).resolve() for path in (there, here))
    return original != own and os.path.isdir(original / FOLDER)


def _path(location: str) -> str:
    parts = urlsplit(location)
    return url2pathname(parts.path) if parts.scheme == "file" else location


def _location(uri: str, study: str) -> str | None:
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    try:
        return next((str(row[0]) for row in rows(uri, query, study)), None)
    except sqlite3.Error:  # there is no database yet
        return None
