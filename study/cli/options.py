"""Arguments and options that several verbs have."""

from __future__ import annotations

from pathlib import Path

import click

TAKE_OVER = "--take-over"

home = click.option(
    "--home", type=click.Path(path_type=Path), help="Studies' home. [$STUDY_HOME or ./studies]"
)
data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder with existing datasets; without it they are downloaded.",
)
address = click.option("--address", help="Ray cluster to run on, e.g. auto. [a local Ray]")
changes = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable."
)
dry_run = click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would run, its estimated cost, and what would be refused.",
)
take_over = click.option(
    TAKE_OVER,
    is_flag=True,
    help="Take the study from the process that runs it, which then changes nothing more.",
)
text_or_json = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
