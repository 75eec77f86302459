"""What several verbs print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from study.analysis import Report
    from study.journal import StudyHome


def begins(what: str) -> None:
    """Say what a launch does, before what it needs is imported: that takes seconds."""
    click.echo(f"{what} ...", err=True)


def first_screen(report: Report, home: StudyHome) -> None:
    """Print what a launch ends with, and where everything else is."""
    from study.analysis import draw_first_screen

    draw_first_screen(report.first_screen, _links(home), sys.stdout)


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
    from study.analysis import render
    from study.managing.report import ReportNotSavedError

    try:
        return make()
    except ReportNotSavedError as error:
        render(error.report, sys.stdout)
        raise
