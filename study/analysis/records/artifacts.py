"""Files that an arm's confirm runs left in the study's home."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

Table = dict[str, np.ndarray]


def standing_files(
    trials: pa.Table, home: Path, name: str
) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The files called ``name`` of an arm's current confirm runs, each with its trial.

    The journal may come from elsewhere: files that are missing or outside of ``home`` are skipped.

    Args:
        trials: The table of `trials.parquet`.
        home: The study's folder.
        name: What the artifact is called, e.g. ``samples``.
    """
    columns = ["trial", "arm", "phase", "chosen", "seed", "beta", "artifacts"]
    for row in trials.select(columns).to_pylist():
        relative = json.loads(row["artifacts"]).get(name)
        if row["phase"] != "confirm" or not row["chosen"] or relative is None:
            continue
        path = (home / relative).resolve()
        if path.is_relative_to(home.resolve()) and path.is_file():
            yield row, path


def standing_tables(
    trials: pa.Table, home: Path, name: str, keys: Sequence[str]
) -> dict[str, list[Table]]:
    """The tables called ``name`` of the confirm runs that count, in ``home``, by arm.

    Files that are missing, outside of ``home`` or damaged are skipped.

    Args:
        trials: The table of `trials.parquet`.
        home: The study's folder.
        name: What the artifact is called, e.g. ``calibration_quantiles``.
        keys: The columns wanted.
    """
    found: dict[str, list[Table]] = {}
    for trial, path in standing_files(trials, home, name):
        table = _read(path, keys)
        if table is not None:
            found.setdefault(trial["arm"], []).append(table)
    return found


def _read(path: Path, keys: Sequence[str]) -> Table | None:
    try:
        with path.open(newline="") as file:
            rows: list[Mapping[str, str]] = list(csv.DictReader(file))
        table = {key: np.array([float(row[key]) for row in rows]) for key in keys}
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        return None
    return table if rows and all(np.isfinite(column).all() for column in table.values()) else None
