"""Verbs that look at studies: status, list, watch, report, show, ui."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import options
from study.cli.printing import first_screen, joint_first_screen, shown

WATCH = 2.0
"""Seconds between two looks of `study watch`."""

if TYPE_CHECKING:
    from study.analysis.answers.report import Report


@click.command()
@options.study_name
@options.home
def status(name: str, home: Path | None) -> None:
    """Print where study NAME is: done, left, the best, what is wrong, what to type next."""
    from study.journal import StudyHome, studies_home
    from study.managing.status import study_status  # not by the api, whose specs take longer

    click.echo(str(study_status(StudyHome(studies_home(home), name).recorded())))


@click.command("list")
@options.home
def list_studies(home: Path | None) -> None:
    """List the studies of a home: state, last change, verdict."""
    from study.journal import studies_home
    from study.managing.status import studies_text

    click.echo(studies_text(studies_home(home)))


@click.command()
@options.study_name
@options.home
def watch(name: str, home: Path | None) -> None:
    """Show the status of study NAME, live; Ctrl-C ends the showing, not the study."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from study import api
    from study.managing.status import RUNNING

    there = api.status(name, home=home)
    if sys.stdout.isatty():
        with Live(Text(str(there)), console=Console(highlight=False)) as live:
            while there.state == RUNNING:
                time.sleep(WATCH)
                there = api.status(name, home=home)
                live.update(Text(str(there)))
        return
    while there.state == RUNNING:
        click.echo(str(there))
        time.sleep(WATCH)
        there = api.status(name, home=home)
    click.echo(str(there))


@click.command()
@options.study_names
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    help="html: the path of the page with figures, which is always written.",
)
@click.option(
    "--full", is_flag=True, help="All tables and notes; --target and --price print them too."
)
@click.option("--target", type=float, metavar="VALUE", help="Add what reaching this on test costs.")
@click.option(
    "--price", metavar="MONEY/h", help="Of device time, as in 2.5/h; adds costs in money."
)
@options.home
def report(
    names: tuple[str, ...],
    form: str,
    full: bool,
    target: float | None,
    price: str | None,
    home: Path | None,
) -> None:
    """Report study NAME from its records.

    Several names: each study's answer, and the joint one.
    """
    from study import api
    from study.analysis.answers.multi_study import several_summary
    from study.analysis.answers.report import summary
    from study.analysis.rendering.text import render
    from study.managing.report import joint_page

    reports: Sequence[Report]
    if len(names) == 1:
        made = shown(lambda: api.report(names[0], home=home, target=target, price=price))
        reports, joint = [made], None
    else:
        reports, joint = api.compare(names, home=home, target=target, price=price)
    if form == "json" and joint is None:
        click.echo(json.dumps(summary(reports[0]), indent=2))
    elif form == "json" and joint is not None:
        values = {"studies": list(map(summary, reports)), "together": several_summary(joint)}
        click.echo(json.dumps(values, indent=2))
    elif form == "html":
        for name in names:
            click.echo(api.find(name, home).page)
        if joint is not None:
            click.echo(joint_page([api.find(name, home) for name in names]))
    elif full or target is not None or price is not None:
        for found in reports if joint is not None else ():
            click.echo(f"{found.name}: {found.first_screen.sentence}\n")
        render(joint or reports[0], sys.stdout)
    elif joint is None:
        first_screen(reports[0], api.find(names[0], home))
    else:
        joint_first_screen(joint, reports, [api.find(name, home) for name in names])


@click.command()
@options.study_name
@options.trial_name
@options.home
def show(name: str, trial: str, home: Path | None) -> None:
    """Show TRIAL of study NAME: its settings, curve, traceback and log."""
    from study import api
    from study.managing.showing import trial_text

    click.echo(trial_text(api.find(name, home), trial))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True)
@options.home
def ui(host: str, port: int, home: Path | None) -> None:
    """Serve MLflow's pages of the studies."""
    from study.journal import studies_home
    from study.tracking import serve_ui

    sys.exit(serve_ui(studies_home(home), host, port))
