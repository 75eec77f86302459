"""What several verbs print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from study.analysis.answers.multi_study import SeveralReport
    from study.analysis.answers.report import Report
    from study.journal import StudyHome


def begins(what: str) -> None:
    """Say what a launch does, before what it needs is imported: that takes seconds."""
    click.echo(f"{what} ...", err=True)


def first_screen(report: Report, home: StudyHome) -> None:
    """Print what a launch ends with, and where everything else is."""
    from study.analysis.rendering.first_screen import draw_first_screen

    draw_first_screen(report.first_screen, _links(home), sys.stdout)


def joint_first_screen(
    joint: SeveralReport, reports: Sequence[Report], homes: Sequence[StudyHome]
) -> None:
    """Print the joint answer of several studies, and where everything else is."""
    from study.analysis.rendering.first_screen import draw_joint_first_screen
    from study.managing.report import joint_page

    command = homes[0].home_command(" ".join(["report", *(home.name for home in homes)]))
    links = {"page": str(joint_page(homes)), "all else": f"`{command} --full`"}
    draw_joint_first_screen(joint, reports, links, sys.stdout)


def _links(home: StudyHome) -> dict[str, str]:
    """Where to look further, by name."""
    from study.tracking import HERE, view_links

    pages = f"`{home.home_command('ui')}`"
    first = next(iter(view_links(home).values()), "")
    if first:
        pages = f"{first}, served by {pages}" if first.startswith(HERE) else first
    return {
        "page": str(home.page),
        "MLflow": pages,
        "all else": f"`{home.command('report')} --full`",
    }


def shown(make: Callable[[], Report]) -> Report:
    """The report that ``make`` returns; of one that could not be saved, all is printed."""
    from study.analysis.rendering.text import render
    from study.managing.report import ReportNotSavedError

    try:
        return make()
    except ReportNotSavedError as error:
        render(error.report, sys.stdout)
        raise
