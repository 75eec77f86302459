"""The tables of a report, in the order they are read.

To add one, write a function from the report to a :class:`TextTable` in the file of its topic, and
list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from study.analysis.answers.attempts import Attempts
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
    final_metrics.aggregate,
    final_metrics.fid,
    final_metrics.frechet_classifier,
    break_even.second_break_even,
    break_even.narrowed,
    cost_curves.tunability,
    rate_distortion.rate_distortion,
    costs.sides,
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
    """The tables of one study or of several, without those that have no rows.

    What could not be computed comes first, without columns: answers, and tables that raise here.
    """
    attempt = Attempts()
    found = tables_by_name(report, attempt)
    failures = [*getattr(report, "failures", ()), *attempt.failures]
    failed = [TextTable(f.title, f"could not be computed: {f.error}", [], []) for f in failures]
    return [*failed, *found.values()]


def tables_by_name(
    report: Report | SeveralReport, attempt: Attempts | None = None
) -> dict[str, TextTable]:
    """The tables that have rows, by the names of the functions that make them."""
    makers: Sequence[Callable[[Any], TextTable]]
    makers = _OF_SEVERAL if isinstance(report, SeveralReport) else _OF_A_STUDY
    attempt = attempt or Attempts()
    made = {
        make.__name__: attempt(
            f"The table of {make.__name__.replace('_', ' ')}",
            partial(make, report),
            TextTable("", "", [], []),
        )
        for make in makers
    }
    return {name: table for name, table in made.items() if table.rows}
