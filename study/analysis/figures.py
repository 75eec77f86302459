"""Figures of a study, drawn from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.analysis.report import Report
from study.analysis.statistics import best_so_far


@dataclass(frozen=True)
class SearchCurve:
    """The best validation objective of one search against the images it had spent by then."""

    arm: str
    replicate: int
    images: list[int]
    best: list[float]


def search_curves(trials: pa.Table) -> list[SearchCurve]:
    """A curve per arm and replicate of a search, its ended trials in the order of their numbers.

    Pruned and failed trials spend images and give no value: the best stays.
    """
    columns = ["arm", "phase", "replicate", "state", "images", "objective"]
    searches: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in trials.select(columns).to_pylist():
        if row["phase"] == "search" and row["state"] in ("complete", "pruned", "failed"):
            searches.setdefault((row["arm"], row["replicate"]), []).append(row)
    curves = []
    for (arm, replicate), rows in searches.items():
        values = [row["objective"] if row["state"] == "complete" else None for row in rows]
        curve = SearchCurve(arm, replicate, [], [])
        spent = 0
        for row, best in zip(rows, best_so_far(values), strict=True):
            spent += row["images"]
            if best is not None:
                curve.images.append(spent)
                curve.best.append(best)
        if curve.best:
            curves.append(curve)
    return curves


def draw_search(report: Report, trials: pa.Table, file: Path) -> None:
    """Draw "best objective so far against images spent" to ``file`` (PNG).

    Searches are steps on validation; an automatic arm that searches nothing is a marked line at
    the mean validation objective of its confirm runs, from the images of one run on.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    colours = {arm.arm: f"C{i % 10}" for i, arm in enumerate(report.arms)}
    labelled: set[str] = set()
    for curve in search_curves(trials):
        label = "" if curve.arm in labelled else curve.arm
        labelled.add(curve.arm)
        axes.step(curve.images, curve.best, where="post", color=colours[curve.arm], label=label)
    for arm in report.arms:
        total = arm.cost.total
        if arm.automatic and arm.confirm_validation is not None and total:
            axes.axhline(arm.confirm_validation, color=colours[arm.arm], linestyle="--")
            axes.plot(
                [total.images], [arm.confirm_validation], "o", color=colours[arm.arm],
                label=f"{arm.arm} (automatic, one run)",
            )  # fmt: skip
    axes.set_xlabel("images trained on")
    axes.set_ylabel(f"best so far on validation\n{report.objective.heading}")
    axes.set_title(report.name)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no trial has finished yet", ha="center", transform=axes.transAxes)
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
