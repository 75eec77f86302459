"""An SQLite file of MLflow: whose schema it has, making it, and migrating a copy of it.

MLflow's migrations are many transactions, and a process killed amid them leaves a file that MLflow
itself cannot complete. So a file is always made whole under another name, then moved into place.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from secrets import token_hex
from shlex import quote
from shutil import copymode
from typing import Any
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote

from vae_core.errors import UserError

SQLITE = "sqlite:///"

_PATIENCE = 4.0  # seconds that another process may hold the file
_MIGRATIONS = "store/db_migrations/versions"
_REVISION = re.compile(r"^(down_)?revision\b[^=\n]*=\s*[\"']?(\w+)", re.MULTILINE)
_HALF_MADE = re.compile(r"already exists|duplicate column|no such (table|column|index)")


class TrackingError(UserError):
    """An MLflow store that cannot be reached or used."""


def sqlite_path(uri: str) -> Path:
    """The database file an ``sqlite:///`` address names, as SQLAlchemy reads it."""
    name = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(unquote(name, errors="surrogateescape"))


def sqlite_uri(path: Path) -> str:
    """The ``sqlite:///`` address of a database file."""
    name = str(path)
    if "%" in name or "?" in name:
        # Slashes are encoded too, except the first: MLflow also creates the folder of the address
        # as it stands, which then is the root.
        name = path.anchor + percent_encoded(os.fsencode(name.removeprefix(path.anchor)), safe="")
    return SQLITE + name


def rows(uri: str, query: str, *values: str) -> Iterator[Any]:
    """What ``query`` gives from the embedded database; MLflow takes seconds to import."""
    address = f"file:{percent_encoded(os.fsencode(sqlite_path(uri)))}?mode=ro"
    with closing(sqlite3.connect(address, timeout=_PATIENCE, uri=True)) as connection:
        yield from connection.execute(query, values)


def is_empty(path: Path) -> bool:
    """Whether there is no such file, or one without a table."""
    return not path.exists() or not _tables(path)


def is_current(path: Path) -> bool:
    """Whether the file has the schema of the installed MLflow.

    Raises:
        TrackingError: it has that of a newer one.
        sqlite3.Error: it cannot be read.
    """
    if is_empty(path):
        return False
    revision = _revision(path)
    if revision is not None and revision not in _known():
        raise TrackingError(
            f"a newer MLflow made this database (schema revision {revision})",
            where=str(path),
            remedy="install the version of MLflow that wrote it (pip install --upgrade mlflow), "
            "or use another home with --home",
        )
    return revision == _newest()


def make(path: Path) -> None:
    """Make ``path`` a database of the installed MLflow, from the file there if there is one.

    That file is kept beside it, named after its revision. Imports MLflow.

    Raises:
        TrackingError: MLflow cannot migrate the file, which is as it was.
    """
    path = path.resolve()  # a link stays one
    there = not is_empty(path)
    revision = _revision(path) if there else None
    for left in path.parent.glob(f".{path.name}.new*"):
        left.unlink()
    # A name of its own: this process may hold connections to the last file that was made here.
    new = path.with_name(f".{path.name}.new.{token_hex(4)}")
    try:
        if there:
            with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(new)) as copy:
                old.backup(copy)
            copymode(path, new)
        _complete(sqlite_uri(new), revision)
    except Exception as error:
        for left in path.parent.glob(f"{new.name}*"):
            left.unlink()
        raise _not_made(path, revision, error) from error
    if there:
        known_as = revision or "unfinished"
        kept = _keep(path, known_as)
        print(
            f"{path}: MLflow's database had the schema of an older MLflow (revision {known_as}): "
            f"it is migrated to {_newest()}, and the file as it was is kept as {kept.name}",
            file=sys.stderr,
        )
    if not path.exists():
        # SQLite would roll the journal of a database that was moved away back into this one.
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    new.replace(path)


def _complete(uri: str, revision: str | None) -> None:
    from mlflow import MlflowClient
    from mlflow.db import upgrade

    if revision is not None:
        upgrade.callback(uri)  # the client migrates only where a table is missing
    MlflowClient(uri).search_experiments(max_results=1)


def _keep(path: Path, revision: str) -> Path:
    """A second name for the file at ``path``."""
    for number in count(1):
        suffix = f"{revision}-{number}" if number > 1 else revision
        kept = path.with_name(f"{path.stem}.{suffix}{path.suffix}")
        if not kept.exists():
            break
    os.link(path, kept)
    return kept


def _not_made(path: Path, revision: str | None, error: Exception) -> TrackingError:
    there = path.exists()
    cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    moved = f"mv {quote(str(path))} {quote(f'{path}.broken')}"
    again = (
        f"move it away ({moved}) and run `study resume NAME` for each study of this home: that "
        "sends all of it to a new database, from the journal"
    )
    if _HALF_MADE.search(cause):
        return TrackingError(
            "this MLflow database is half made: a process was killed amid MLflow's migrations, "
            f"after revision {revision}, and MLflow cannot complete them ({cause})",
            where=str(path),
            remedy=again,
        )
    return TrackingError(
        f"MLflow cannot give its database the schema {_newest()} ({cause})",
        where=str(path),
        remedy=f"the file is as it was: remove the cause, or {again}" if there else "",
    )


def _tables(path: Path) -> set[str]:
    return {name for (name,) in _rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def _revision(path: Path) -> str | None:
    """The newest migration that the file says it has; None if it says none."""
    if "alembic_version" not in _tables(path):
        return None
    rows = _rows(path, "SELECT version_num FROM alembic_version")
    return rows[0][0] if rows else None


def _rows(path: Path, query: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        return database.execute(query).fetchall()


@cache
def _known() -> dict[str, str]:
    """The installed MLflow's migrations, revision -> the one before it.

    Read from their files: importing MLflow takes seconds.
    """
    package = find_spec("mlflow")
    folders = package.submodule_search_locations if package else None
    assert folders, "MLflow is not installed"
    known = {}
    for file in Path(folders[0], _MIGRATIONS).glob("*.py"):
        found = {bool(down): name for down, name in _REVISION.findall(file.read_text())}
        if found:
            known[found[False]] = found[True]
    return known


def _newest() -> str:
    (newest,) = _known().keys() - _known().values()
    return newest
