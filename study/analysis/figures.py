"""Figures of a study, drawn from its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.analysis.report import Report
from study.analysis.statistics import best_so_far

_MARKERS = "osD^vPX"


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

    Searches are steps on validation. Their last step is the luckiest of many trials, so every arm
    also has a mark that is fair to compare: the mean validation objective of its confirm runs, at
    its cost to one model. An automatic arm's mark is carried on as a line.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7, 5.2), layout="constrained")
    axes = figure.add_subplot()
    marked = {
        arm.arm: (arm.cost.total.images, arm.confirm_validation)
        for arm in report.arms
        if arm.cost.total and arm.confirm_validation is not None
    }
    curves = search_curves(trials)
    end = 1.05 * max((images for images, _ in marked.values()), default=0.0)
    for i, arm in enumerate(report.arms):
        colour, searches = f"C{i % 10}", [curve for curve in curves if curve.arm == arm.arm]
        for curve in searches:
            axes.step(curve.images, curve.best, where="post", color=colour)
        if arm.arm in marked and arm.automatic:
            images, value = marked[arm.arm]
            axes.plot([images, end], [value, value], color=colour, linestyle="--", linewidth=1)
        if searches or arm.arm in marked:
            kind = "automatic" if arm.automatic else "hand-tuned"
            axes.plot(
                *([x] for x in marked.get(arm.arm, (nan, nan))),
                color=colour, linestyle="-" if searches else "--", markeredgecolor="white",
                marker=_MARKERS[i % len(_MARKERS)], markersize=7, zorder=3,
                label=f"{arm.arm} ({kind})",
            )  # fmt: skip
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("images trained on")
    axes.set_ylabel(f"best so far on validation\n{report.objective.heading}")
    axes.set_title(
        f"{report.name}: searches as steps, marks at the mean of an arm's confirm runs\n"
        "and its cost to one model",
        fontsize="medium",
    )
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no trial has finished yet", ha="center", transform=axes.transAxes)
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
