"""What a report as text consists of, from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.tables.table import TextTable


@dataclass(frozen=True)
class Outline:
    """The parts of a report, in the order they are read."""

    title: str
    verdict: Sequence[str]
    remarks: Sequence[str]
    tables: Sequence[TextTable]
    notes: Sequence[str]


def outline(report: Report | SeveralReport) -> Outline:
    """The parts of ``report``."""
    if isinstance(report, SeveralReport):
        title = f"{', '.join(report.studies)}, together"
        return Outline(title, report.verdict, [], tables(report), report.notes)
    title = f"{report.name}: {report.question}" if report.question else report.name
    screen = report.first_screen
    numbers = [
        ", ".join(filter(None, (f"{number.name}: {number.words}", number.about))) + "."
        for number in screen.numbers
    ]
    verdict = [screen.sentence, *numbers]
    return Outline(title, verdict, report.remarks, tables(report), report.notes)
