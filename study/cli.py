"""The command ``study``: the verbs of :mod:`study.api`, for a terminal.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted and resumable.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.analysis import Report

INTERRUPTED = 130


class _Verbs(click.Group):
    """Turns errors a person can mend into a message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


_home = click.option(
    "--home", type=click.Path(path_type=Path), help="Studies' home. [$STUDY_HOME or ./studies]"
)
_data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder with datasets already there; without it they are downloaded.",
)
_address = click.option("--address", help="Ray cluster to run on, e.g. auto. [a local Ray]")


@click.group(cls=_Verbs)
@click.version_option(package_name="vae-tuning-study")
def main() -> None:
    """Studies of what tuning beta costs against balancers that set it themselves."""
    # Models, balancers and datasets of one's own are found beside where the command is run.
    sys.path.insert(0, os.getcwd())
    # Being stopped is the same as Ctrl-C: what a verb has started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and what it would take.")
@_home
@_data_root
@_address
def launch(
    file: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    home: Path | None,
    data_root: Path | None,
    address: str | None,
) -> None:
    """Run the study in FILE, or go on with it where it stands."""
    from study import api
    from study.spec import load_spec

    for warning in load_spec(file, overrides).warnings():
        click.echo(f"warning: {warning}", err=True)
    if dry_run:
        click.echo(str(api.dry_run(file, overrides, home=home, data_root=data_root)))
        return
    _run(lambda: api.launch(file, overrides, home=home, data_root=data_root, address=address), home)


@main.command()
@click.argument("name")
@_home
@_data_root
@_address
def resume(name: str, home: Path | None, data_root: Path | None, address: str | None) -> None:
    """Go on with study NAME as it was last launched."""
    from study import api

    _run(lambda: api.resume(name, home=home, data_root=data_root, address=address), home)


@main.command()
@click.argument("name")
@_home
def status(name: str, home: Path | None) -> None:
    """Say how far study NAME is."""
    from study import api
    from study.inspection import status_text

    click.echo(status_text(api.find(name, home)))


@main.command()
@click.argument("name")
@click.argument("trial")
@_home
def show(name: str, trial: str, home: Path | None) -> None:
    """Show TRIAL of study NAME: its settings, curve, traceback and log."""
    from study import api
    from study.inspection import trial_text

    click.echo(trial_text(api.find(name, home), trial))


@main.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@_home
def report(name: str, form: str, home: Path | None) -> None:
    """Answer the question of study NAME from its records."""
    from study import api
    from study.analysis import render, summary

    found = api.report(name, home=home)
    if form == "json":
        click.echo(json.dumps(summary(found), indent=2))
    else:
        render(found, sys.stdout)


@main.group()
def data() -> None:
    """Datasets: those known, and those prepared."""


@data.command("list")
@_home
def list_data(home: Path | None) -> None:
    """List the sources known, and what is prepared in the studies' home."""
    from study.inspection import data_text
    from study.journal import studies_home

    click.echo(data_text(studies_home(home)))


@data.command("prepare")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@_home
@_data_root
def prepare_data(
    file: Path, overrides: tuple[str, ...], home: Path | None, data_root: Path | None
) -> None:
    """Make the images of the study in FILE ready, or find them ready."""
    from study.journal import studies_home
    from study.spec import load_spec
    from vae_core.data import prepare

    spec = load_spec(file, overrides)
    found = prepare(spec.data.settings, studies_home(home) / "data", data_root)
    for split, path in found.files.items():
        click.echo(f"{found.name} {split}: {found.counts[split]:,} images in {path}")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
@_home
def ui(host: str, port: int, home: Path | None) -> None:
    """Serve MLflow's pages over the studies' store."""
    from study.journal import studies_home
    from study.tracking import ui as serve

    sys.exit(serve(studies_home(home), host, port))


def _run(verb: Callable[[], Report], home: Path | None) -> None:
    from study.analysis import render
    from study.driver import StudyInterruptedError

    try:
        found = verb()
    except (StudyInterruptedError, KeyboardInterrupt):
        again = shlex.join(["study", *sys.argv[1:]])
        click.echo(f"interrupted; nothing is lost. Go on with: {again}", err=True)
        sys.exit(INTERRUPTED)
    render(found, sys.stdout)
    at = f" --home {shlex.quote(str(home))}" if home else ""
    click.echo(
        f"\nLook further: `study show {found.name} TRIAL{at}`, `study report {found.name}{at}`, "
        f"`study ui{at}` for MLflow's pages"
    )
