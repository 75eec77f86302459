"""Arguments and options that several verbs have, with what a shell completes them to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from vae_core.errors import UserError

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


def _home(ctx: click.Context) -> Path:
    from study.journal import studies_home

    return studies_home(ctx.params.get("home"))


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _studies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from study.journal.home import study_names

    try:
        return _beginning(study_names(_home(ctx)), incomplete)
    except UserError:
        return []


def _of_study(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The arms or the trials of the study named before, as the parameter is called."""
    from study.journal import StudyHome
    from study.managing.status import arms_and_trials

    try:
        # Click leaves the arguments as they are where an option's value is still to come.
        name = ctx.params.get("name") or ctx.args[0]
        arms, trials = arms_and_trials(StudyHome(_home(ctx), name).recorded())
    except (UserError, LookupError):
        return []  # nothing to complete is no error
    return _beginning(arms if param.name == "arm" else trials, incomplete)


study_name = click.argument("name", shell_complete=_studies)
study_names = click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, shell_complete=_studies
)
arm_name = click.argument("arm", shell_complete=_of_study)
trial_name = click.argument("trial", shell_complete=_of_study)
trial_name_or_none = click.argument("trial", required=False, shell_complete=_of_study)
arm_option = click.option(
    "--arm", shell_complete=_of_study, help="End this arm for good; the rest continues."
)
trial_option = click.option(
    "--trial", shell_complete=_of_study, help="End this trial for good; the rest continues."
)
