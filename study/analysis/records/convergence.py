"""When trials came near their final value, from the table of their reports."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

NEAR = 0.01
"""A trial has converged once it stays within this share of its final value."""


class Arrival(NamedTuple):
    """When a trial came within 1 % of its final value, to stay: between two reports of it."""

    after: int
    """Images at the last report that was not as near; 0: none was."""
    by: int
    """Images at the report after that one."""


def arrivals(records: pa.Table, objective: str) -> dict[str, Arrival]:
    """When each trial came within 1 % of its final value, by the objective on validation.

    Trials whose last report has no such value are left out.

    Args:
        records: The table of `records.parquet`, a trial's rows in the order of their steps.
        objective: The objective's name.

    Returns:
        By trial.
    """
    column = f"validation_{objective}"
    if column not in records.column_names or not len(records):
        return {}
    trials = records["trial"].combine_chunks().dictionary_encode()
    of_row, names = trials.indices.to_numpy(), trials.dictionary
    images, values = records["images"].to_numpy(), records[column].to_numpy()
    starts = np.flatnonzero(np.append(True, of_row[1:] != of_row[:-1]))
    found = {}
    for start, end in zip(starts, [*starts[1:], len(of_row)], strict=True):
        curve = values[start:end]
        with np.errstate(invalid="ignore"):  # of an infinite end
            away = ~(np.abs(curve - curve[-1]) <= NEAR * abs(curve[-1]))
        if not away[-1]:  # a value that is not there is away from itself
            at = start + (np.flatnonzero(away)[-1] + 1 if away.any() else 0)
            after = int(images[at - 1]) if at > start else 0
            found[names[of_row[start]].as_py()] = Arrival(after, int(images[at]))
    return found
