"""Files that an arm's confirm runs left in the study's home."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa


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
