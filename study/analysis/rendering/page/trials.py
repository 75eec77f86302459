"""The page's table of all trials."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from study.formatting import NONE, seconds, setting
from study.metrics import Metric


def trial_rows(
    trials: pa.Table, objective: Metric, links: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """The cells of every trial's row, by name; ``link`` is "" unless it is of the web."""
    test = f"test_{objective.name}"
    columns = ["trial", "arm", "phase", "replicate", "number", "seed", "params", "state", "reason",
               "objective", "images", "billed_seconds"]  # fmt: skip
    known = [*columns, test] if test in trials.column_names else columns
    for row in trials.select(known).to_pylist():
        params = json.loads(row["params"])
        link = links.get(row["trial"], "")
        yield {
            **row,
            "name": row["trial"],
            "link": link if link.startswith(("http://", "https://")) else "",
            "params": ", ".join(f"{key}={setting(value)}" for key, value in params.items()) or NONE,
            "state": f"{row['state']}: {row['reason']}" if row["reason"] else row["state"],
            "objective": objective.number(row["objective"]),
            "test": objective.number(row.get(test)),
            "images": f"{row['images']:,}",
            "seconds": seconds(row["billed_seconds"]),
        }
