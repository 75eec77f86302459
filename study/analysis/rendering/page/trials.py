"""The page's table of all trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from study.formatting import NONE, seconds, setting
from study.metrics import Metric

COLUMNS = ("trial", "parameters", "state", "objective", "test", "images", "seconds", "arm", "phase",
           "replicate", "number", "seed")  # fmt: skip
LEFT = ("trial", "parameters", "state", "arm", "phase")
"""Columns that are aligned left."""


def trial_columns(
    trials: pa.Table, objective: Metric, links: Mapping[str, str]
) -> list[Sequence[str]]:
    """The cells of ``COLUMNS``, a cell a trial, and the places of links.

    Column by column they compress to two thirds of what they do row by row.
    """
    test = f"test_{objective.name}"
    columns = ["trial", "arm", "phase", "replicate", "number", "seed", "params", "state", "reason",
               "objective", "images", "billed_seconds"]  # fmt: skip
    known = [*columns, test] if test in trials.column_names else columns
    rows = trials.select(known).to_pylist()
    cells = [_row(row, row.get(test), objective, links.get(row["trial"], "")) for row in rows]
    return list(zip(*cells, strict=True))


def _row(row: Mapping[str, Any], test: float | None, objective: Metric, link: str) -> Sequence[str]:
    params = json.loads(row["params"])
    return [
        row["trial"],
        ", ".join(f"{key}={setting(value)}" for key, value in params.items()) or NONE,
        f"{row['state']}: {row['reason']}" if row["reason"] else row["state"],
        objective.number(row["objective"]),
        objective.number(test),
        f"{row['images']:,}",
        seconds(row["billed_seconds"]),
        row["arm"],
        row["phase"],
        *(str(row[name]) for name in ("replicate", "number", "seed")),
        link,
    ]
