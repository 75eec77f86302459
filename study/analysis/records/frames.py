"""A study's tables as pandas frames."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd
import pyarrow as pa


def frames(tables: Mapping[str, pa.Table]) -> dict[str, pd.DataFrame]:
    """The tables as frames; that of the trials with a column for each searched parameter too.

    They are named as Optuna names them: ``params_`` and the parameter's name.
    """
    found: dict[str, pd.DataFrame] = {name: table.to_pandas() for name, table in tables.items()}
    trials = found["trials"]
    given = pd.DataFrame([json.loads(params) for params in trials["params"]], index=trials.index)
    found["trials"] = trials.join(given.add_prefix("params_"))
    return found
