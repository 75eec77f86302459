"""Verbs that run a study: init, doctor, launch, resume, fork; and plan."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study.cli import options
from study.cli.group import FAILED, INTERRUPTED
from study.cli.printing import begins, first_screen, shown

if TYPE_CHECKING:
    from study.analysis.answers.report import Report
    from study.journal import StudyHome
    from study.launching.dry_run import Estimate


@click.command()
@click.argument("kind", metavar="[KIND]", default="digits")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@options.changes
@options.home
def init(kind: str, path: Path | None, overrides: tuple[str, ...], home: Path | None) -> None:
    """Write a first study file, commented, that runs as it is.

    KIND folder or parquet looks at the images in PATH and makes a study of their size and number.
    digits, fashion_mnist and paper, and the name of any other shipped study, copy its file.
    """
    from study import api

    if path is not None:
        click.echo(f"looking at the images in {path}", err=True)
    click.echo(str(api.init(kind, path, overrides, home=home)))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@options.home
@options.address
def doctor(file: Path | None, home: Path | None, address: str | None) -> None:
    """Check this machine, and each node of a cluster, for what a study needs.

    With FILE its own models and balancers are imported, too. Nothing that it makes stays.
    """
    begins("looking at this machine" if address is None else f"looking at the cluster at {address}")
    from rich.console import Console

    from study import api
    from study.analysis.rendering.tables.table import drawn

    found = api.doctor(file, home=home, address=address)
    if sys.stdout.isatty():
        Console(highlight=False).print(drawn(found.table, ruled=True))
    else:
        click.echo(str(found))
    sys.exit(FAILED if found.problems else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.changes
@options.dry_run
@options.take_over
@options.home
@options.data_root
@options.address
def launch(
    file: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    take_over: bool,
    home: Path | None,
    data_root: Path | None,
    address: str | None,
) -> None:
    """Run the study in FILE, or resume it if it has begun.

    FILE is a path, or a name: NAME.yaml in the current folder, else the shipped study NAME.
    """
    from study import api

    where: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        _planned(api.dry_run(file, overrides, **where, take_over=take_over))
        return
    _run(lambda: api.launch(file, overrides, **where, take_over=take_over), home)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.changes
@click.option("--from", "earlier", metavar="STUDY", help="Earlier study to plan by. [this one]")
@click.option("--spread", type=float, help="Standard deviation of the paired difference instead.")
@options.home
@options.data_root
def plan(file: Path, overrides: tuple[str, ...], **options: Any) -> None:
    """Print what the study in FILE can show.

    And how many seeds, trials and replicates its margin and break-even take.
    """
    from study import api

    click.echo(str(api.plan(file, overrides, **options)))


@click.command()
@options.study_name
@options.changes
@options.dry_run
@options.take_over
@options.home
@options.data_root
@options.address
def resume(
    name: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    take_over: bool,
    home: Path | None,
    data_root: Path | None,
    address: str | None,
) -> None:
    """Resume study NAME as it was last launched."""
    from study import api

    where: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        spec = api.resume_spec(name, overrides, home=home)
        _planned(api.dry_run(spec, **where, take_over=take_over))
        return
    _run(lambda: api.resume(name, overrides, **where, take_over=take_over), home)


@click.command()
@options.study_name
@click.argument("new")
@options.changes
@options.dry_run
@options.home
@options.data_root
@options.address
def fork(
    name: str,
    new: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    home: Path | None,
    data_root: Path | None,
    address: str | None,
) -> None:
    """Run a new study, called NEW, from the spec of study NAME."""
    from study import api
    from study.journal import StudyHome, studies_home

    where: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        spec = api.fork_spec(name, new, overrides, home=home)
        _planned(api.dry_run(spec, **where))
        return
    there = StudyHome(studies_home(home), new)
    _run(lambda: api.fork(name, new, overrides, **where), home, forked=there)


def _planned(found: Estimate) -> None:
    """Print what a launch would run, and end as it would if it would not begin."""
    click.echo(str(found))
    for error in found.refusals:
        click.echo(f"error: a launch would be refused: {error}", err=True)
    if found.refusals:
        sys.exit(found.refusals[0].exit_code)


def _run(verb: Callable[[], Report], home: Path | None, *, forked: StudyHome | None = None) -> None:
    """Run a study with ``verb``, and print its report or how to resume it.

    ``forked`` is the home of a study that ``verb`` cannot begin twice.
    """
    begins("loading Ray, Optuna and MLflow")
    from study import api
    from study.api import begun
    from study.launching.driver import StudyInterruptedError
    from study.managing.showing import first_failure

    try:
        found = shown(verb)
    except (StudyInterruptedError, KeyboardInterrupt):
        again = shlex.join(["study", *(word for word in sys.argv[1:] if word != options.TAKE_OVER)])
        if forked is not None and begun(forked):
            again = forked.command("resume")
        click.echo(f"interrupted; nothing is lost. Resume with: {again}", err=True)
        sys.exit(INTERRUPTED)
    gc.freeze()  # at exit, collecting all that was loaded would take a second
    there = api.find(found.name, home)
    first_screen(found, there)
    if found.finished and not any(arm.counts.get("complete") for arm in found.arms):
        cause = first_failure(there)
        click.echo(f"\nerror: no trial of {found.name} completed; {cause}", err=True)
        sys.exit(FAILED)
