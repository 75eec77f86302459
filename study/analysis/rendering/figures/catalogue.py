"""The figures of a study, in the order they are read.

To add one, write a file with its ``HEADING`` and ``draw``, and list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from study.analysis.answers.report import Report
from study.analysis.rendering.figures import (
    calibration,
    confirm_runs,
    cost_curves,
    device_seconds,
    learning,
    rate_distortion,
    search,
)
from study.analysis.rendering.figures.chart import Figure, Heading
from study.analysis.rendering.figures.marks import Looks


def figures(report: Report, tables: Mapping[str, pa.Table], home: Path) -> list[Figure]:
    """All figures of a study; one that fails says so in its place.

    Args:
        report: What :func:`study.analysis.build_report` made of the tables.
        tables: "records" and "trials".
        home: The study's folder, where confirm runs left their tables of calibration.
    """
    trials, arms, objective = tables["trials"], report.arms, report.objective
    curves, breaks = report.curves, report.break_even
    looks = Looks([arm.arm for arm in arms])
    betas = partial(rate_distortion.beta_curves, trials, home)
    catalogue: Sequence[tuple[Heading, Callable[[], Figure]]] = (
        (confirm_runs.HEADING, lambda: confirm_runs.draw(arms, objective, looks)),
        (cost_curves.HEADING, lambda: cost_curves.draw(curves, breaks, arms, objective, looks)),
        (search.HEADING, lambda: search.draw(trials, arms, objective, looks)),
        (rate_distortion.HEADING, lambda: rate_distortion.draw(report.plane, betas(), looks)),
        (learning.HEADING, lambda: learning.draw(tables, objective, looks)),
        (device_seconds.HEADING, lambda: device_seconds.draw(report.paid)),
        (calibration.QUANTILES, lambda: calibration.quantiles(trials, home, looks)),
        (calibration.VARIANCES, lambda: calibration.variances(trials, home, looks)),
    )
    return [_made(heading, draw) for heading, draw in catalogue]


def _made(heading: Heading, draw: Callable[[], Figure]) -> Figure:
    try:
        figure = draw()
        if figure.chart is not None:
            figure.spec()  # Altair too may refuse
    except Exception as error:  # the rest of the report does not depend on it
        return heading.without_chart(f"could not be drawn: {type(error).__name__}: {error}")
    return figure
