"""How honest predicted uncertainty is: the calibration tables of confirm runs, as a figure."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

Table = dict[str, np.ndarray]


def calibration_tables(
    trials: pa.Table, home: Path, name: str, keys: tuple[str, str]
) -> dict[str, list[Table]]:
    """The tables called ``name`` that an arm's standing confirm runs left in ``home``, by arm.

    Files that are gone, lie elsewhere or hold something else are passed over.

    Args:
        trials: The table of `trials.parquet`.
        home: The study's folder.
        name: ``calibration_quantiles`` or ``calibration_variances``.
        keys: The columns wanted.
    """
    found: dict[str, list[Table]] = {}
    for row in trials.select(["arm", "phase", "chosen", "artifacts"]).to_pylist():
        relative = json.loads(row["artifacts"]).get(name)
        if row["phase"] != "confirm" or not row["chosen"] or relative is None:
            continue
        table = _read((home / relative).resolve(), home.resolve(), keys)
        if table is not None:
            found.setdefault(row["arm"], []).append(table)
    return found


def draw_calibration(trials: pa.Table, arms: Iterable[str], home: Path, file: Path) -> bool:
    """Draw, to ``file`` (PNG), expected against observed errors; False where there is none.

    Left, the share of test pixels below their own predictive quantile, less the quantile's level:
    0 everywhere for an honest prediction. Right, predicted variance against the squared error that
    was observed, by quantile of the predicted variance, for arms that predict more than one. A
    line is an arm's mean over its confirm runs, a point one run's.
    """
    levels = calibration_tables(trials, home, "calibration_quantiles", ("expected", "observed"))
    spreads = calibration_tables(trials, home, "calibration_variances", ("predicted", "observed"))
    if not levels:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, arm in enumerate(arms):
        colour, runs = f"C{i % 10}", levels.get(arm, [])
        if not runs:
            continue
        expected = max((run["expected"] for run in runs), key=len)
        whole = [run["observed"] for run in runs if np.array_equal(run["expected"], expected)]
        observed = np.mean(whole, axis=0)  # not of a table that was cut short
        style = "-" if i < 10 else "--"  # there are ten colours
        left.plot(expected, observed - expected, color=colour, linestyle=style, label=arm)
        for run in spreads.get(arm, []):
            marker = "o" if len(run["predicted"]) > 1 else "x"
            right.plot(
                run["predicted"], run["observed"], marker, color=colour, markersize=4, alpha=0.6
            )
    left.axhline(0, color="0.6", linewidth=1)
    left.set_xlabel("level of the predictive quantile")
    left.set_ylabel("share of test pixels below it, less the level")
    predicted = [run["predicted"] for runs in spreads.values() for run in runs]
    if predicted:
        middle = float(np.median(np.concatenate(predicted)))
        right.axline((middle, middle), slope=1, color="0.6", linewidth=1)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("predicted variance")
    right.set_ylabel("squared error observed")
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return True


def _read(path: Path, home: Path, keys: tuple[str, str]) -> Table | None:
    if not path.is_relative_to(home):
        return None
    try:
        with path.open(newline="") as file:
            rows: list[Mapping[str, str]] = list(csv.DictReader(file))
        table = {key: np.array([float(row[key]) for row in rows]) for key in keys}
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        return None
    return table if rows and all(np.isfinite(column).all() for column in table.values()) else None
