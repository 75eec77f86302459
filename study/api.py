"""The command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.analysis import Report, build_tables
from study.journal import HomeError, StudyHome, has_events, read_events, studies_home
from study.spec import StudySpec, load_spec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from study.estimate import Estimate

PathLike = Path | str


def launch(
    file: PathLike,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
) -> Report:
    """Run the study that ``file`` describes; one that has begun goes on where it stands.

    Args:
        file: the study file.
        overrides: changes to it, each ``key.path=value``.
        home: the studies' home; by default $STUDY_HOME, or ``./studies``.
        data_root: a folder with datasets already there; by default they are downloaded.
        address: a Ray cluster's address ("auto" finds it); by default a local Ray.

    Raises:
        UserError: with what is wrong, where, and what to do.
        study.driver.StudyInterruptedError: Ctrl-C or SIGTERM; launch again to go on.
    """
    return _run(load_spec(file, overrides), home, data_root, address)


def resume(
    name: str,
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
) -> Report:
    """Go on with study ``name`` as it was last launched. Arguments as for :func:`launch`."""
    return _run(frozen_spec(find(name, home)), home, data_root, address)


def dry_run(
    file: PathLike,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
) -> Estimate:
    """What :func:`launch` would run and cost, from a few timed steps; starts nothing."""
    from study.estimate import estimate

    return estimate(load_spec(file, overrides), studies_home(home), _path(data_root))


def report(name: str, *, home: PathLike | None = None) -> Report:
    """Write the tables and the report of study ``name`` anew from its journal, and return it."""
    from study.driver import write_report

    found = find(name, home)
    return write_report(frozen_spec(found), list(read_events(found.path)), found)


def load(
    name: str, *, home: PathLike | None = None, arrow: bool = False
) -> dict[str, pd.DataFrame] | dict[str, pa.Table]:
    """The tables ``records`` and ``trials`` of study ``name``, as pandas or as Arrow."""
    tables = build_tables(read_events(find(name, home).path))
    return tables if arrow else {key: table.to_pandas() for key, table in tables.items()}


def find(name: str, home: PathLike | None = None) -> StudyHome:
    """The home of study ``name``.

    Raises:
        HomeError: there is no such study.
    """
    found = StudyHome(studies_home(home), name).existing()
    if not found.spec.exists() or not has_events(found.path):
        raise HomeError(
            f"nothing of study '{name}' is here: its launch ended before it began",
            where=str(found.path),
            remedy="launch it again, from its file",
        )
    return found


def frozen_spec(home: StudyHome) -> StudySpec:
    """The spec a study was last launched with."""
    data: dict[str, Any] = yaml.safe_load(home.spec.read_text())
    return StudySpec.from_dict(data)


def _run(
    spec: StudySpec, home: PathLike | None, data_root: PathLike | None, address: str | None
) -> Report:
    from study.driver import Options, run

    return run(
        spec,
        Options(StudyHome(studies_home(home), spec.name), _path(data_root), address),
    )


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
