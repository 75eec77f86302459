"""Verbs that use what a study has: its models, its trials."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from study.cli import options
from study.cli.group import FAILED


@click.command()
@options.study_name
@options.arm_name
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.home
def export(name: str, arm: str, folder: Path, home: Path | None) -> None:
    """Export the best model of ARM of study NAME.

    Into the folder DIR, for use elsewhere.
    """
    from study import api

    click.echo(str(api.export(name, arm, folder, home=home)))


@click.command()
@options.study_name
@options.trial_name_or_none
@options.text_or_json
@options.home
def verify(name: str, trial: str | None, form: str, home: Path | None) -> None:
    """Train TRIAL of study NAME again and compare.

    To the last bit. By default the first confirm run whose weights are there, else the first
    complete confirm run, else the first complete trial.
    """
    from study import api

    def progress(text: str) -> None:
        click.echo(text, err=True)

    found = api.verify(name, trial, home=home, progress=progress)
    click.echo(json.dumps(found.to_dict(), indent=2) if form == "json" else str(found))
    sys.exit(FAILED if found.failed else 0)


@click.command()
@options.study_name
@click.option("--sampler", required=True, help="As in a study file: a name, or {name: ..., ...}.")
@click.option("--pruner", help="Pruner, as in a study file. [none]")
@click.option("--arm", help="Arm whose recorded search is used. [the only suitable hand-tuned one]")
@click.option("--trials", type=int, help="Trials of a search. [a quarter of those recorded]")
@click.option("--batch", type=int, help="Trials asked at a time. [as in a study file]")
@click.option("--repeats", default=200, show_default=True, help="Number of searches.")
@options.text_or_json
@options.home
def replay(name: str, form: str, **policy: Any) -> None:
    """Replay a search on trials of study NAME.

    A sampler and a pruner run on the recorded trials; nothing is trained.
    """
    from study import api

    found = api.replay(name, **policy)
    click.echo(json.dumps(found.to_dict(), indent=2) if form == "json" else str(found))
