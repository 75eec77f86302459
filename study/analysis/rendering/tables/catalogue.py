"""The tables of a report, in the order they are read.

To add one, write a function from the report to a :class:`TextTable` in the file of its topic, and
list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.tables import (
    arms,
    break_even,
    comparisons,
    cost_curves,
    costs,
    final_metrics,
    multi_study,
    rate_distortion,
)
from study.analysis.rendering.tables.table import TextTable

_OF_A_STUDY: Sequence[Callable[[Report], TextTable]] = (
    arms.arms,
    comparisons.comparisons,
    comparisons.non_inferiority,
    break_even.break_even,
    break_even.targets,
    cost_curves.cost_curves,
    cost_curves.expected,
    arms.settings,
    final_metrics.beside,
    final_metrics.likelihood,
    final_metrics.fid,
    final_metrics.frechet_classifier,
    break_even.second_break_even,
    break_even.narrowed,
    cost_curves.tunability,
    rate_distortion.rate_distortion,
    costs.images_by_use,
    costs.training_by_use,
    costs.seconds_by_purpose,
)

_OF_SEVERAL: Sequence[Callable[[SeveralReport], TextTable]] = (
    multi_study.arms,
    multi_study.by_dataset,
    multi_study.pairs,
    multi_study.improvements,
    multi_study.profiles,
)


def tables(report: Report | SeveralReport) -> list[TextTable]:
    """The tables of one study or of several; those without rows are left out."""
    if isinstance(report, SeveralReport):
        made = [make(report) for make in _OF_SEVERAL]
    else:
        made = [make(report) for make in _OF_A_STUDY]
    return [table for table in made if table.rows]
