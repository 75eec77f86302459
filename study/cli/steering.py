"""Verbs that steer a study from another terminal, and free its disk."""

from __future__ import annotations

from pathlib import Path

import click

from study.cli import options


@click.command()
@options.study_name
@options.arm_option
@options.trial_option
@options.home
def stop(name: str, arm: str | None, trial: str | None, home: Path | None) -> None:
    """Stop study NAME as a Ctrl-C would, or end a part of it for good."""
    from study import api

    click.echo(api.stop(name, arm=arm, trial=trial, home=home))


@click.command()
@options.study_name
@options.trial_name
@options.home
def retry(name: str, trial: str, home: Path | None) -> None:
    """Run the failed or pruned TRIAL of study NAME again."""
    from study import api

    click.echo(api.retry(name, trial, home=home))


@click.command()
@options.study_name
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@options.home
def clean(name: str, dry_run: bool, home: Path | None) -> None:
    """Delete files that study NAME does not need.

    Its report and its resumption lose nothing.
    """
    from study import api

    click.echo(str(api.clean(name, home=home, dry_run=dry_run)))
