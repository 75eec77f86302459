"""A table of strings as a frame."""

from __future__ import annotations

import pandas as pd

from study.analysis.rendering.tables.table import TextTable
from study.formatting import NONE


def frame(table: TextTable) -> pd.DataFrame:
    """The columns of ``table``, as numbers where all known cells are; a dash is missing."""
    columns = zip(*table.rows, strict=True)
    found = {
        name: pd.Series([None if cell == NONE else cell for cell in cells], dtype="object")
        for name, cells in zip(table.columns, columns, strict=True)
    }
    return pd.DataFrame({name: _numbers(cells) for name, cells in found.items()})


def _numbers(cells: pd.Series[str]) -> pd.Series[float] | pd.Series[str]:
    try:
        return pd.to_numeric(cells.str.replace(",", ""))
    except ValueError:
        return cells
