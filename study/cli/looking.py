"""Verbs that look at studies: status, report, show, ui."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from study.cli import options
from study.cli.printing import shown

if TYPE_CHECKING:
    from study.analysis import Report


@click.command()
@click.argument("name")
@options.home
def status(name: str, home: Path | None) -> None:
    """Print the status of study NAME."""
    from study import api
    from study.managing.status import status_text

    click.echo(status_text(api.find(name, home)))


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    help="html: the path of the page with figures, which is always written.",
)
@click.option("--target", type=float, metavar="VALUE", help="Add what reaching this on test costs.")
@click.option(
    "--price", metavar="MONEY/h", help="Of device time, as in 2.5/h; adds costs in money."
)
@options.home
def report(
    names: tuple[str, ...],
    form: str,
    target: float | None,
    price: str | None,
    home: Path | None,
) -> None:
    """Report study NAME from its records.

    Several names: each study's answer, and the joint one.
    """
    from study import api
    from study.analysis import render, several_summary, summary
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
    elif joint is None:
        render(reports[0], sys.stdout)
    else:
        for found in reports:
            click.echo(f"{found.name}: {' '.join(found.verdict)}\n")
    if joint is not None and form == "text":
        render(joint, sys.stdout)


@click.command()
@click.argument("name")
@click.argument("trial")
@options.home
def show(name: str, trial: str, home: Path | None) -> None:
    """Show TRIAL of study NAME: its settings, curve, traceback and log."""
    from study import api
    from study.managing.status import trial_text

    click.echo(trial_text(api.find(name, home), trial))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
@options.home
def ui(host: str, port: int, home: Path | None) -> None:
    """Serve MLflow's pages of the studies."""
    from study.journal import studies_home
    from study.tracking import serve_ui

    sys.exit(serve_ui(studies_home(home), host, port))
