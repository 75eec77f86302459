"""The command ``study``: the verbs of :mod:`study.api`, for a terminal.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted and resumable.
"""

# One thing: the command's verbs, each with its options.

from __future__ import annotations

import gc
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
    from study.journal import StudyHome
    from study.launching.dry_run import Estimate
    from study.spec import StudySpec

FAILED, INTERRUPTED = 1, 130
TAKE_OVER = "--take-over"


class _Verbs(click.Group):
    """Prints errors that a person can correct, and exits with their codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


_home = click.option(
    "--home", type=click.Path(path_type=Path), help="Studies' home. [$STUDY_HOME or ./studies]"
)
_data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder with existing datasets; without it they are downloaded.",
)
_address = click.option("--address", help="Ray cluster to run on, e.g. auto. [a local Ray]")
_set = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable."
)
_dry_run = click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would run, its estimated cost, and what would be refused.",
)
_take_over = click.option(
    TAKE_OVER,
    is_flag=True,
    help="Take the study from the process that runs it, which then changes nothing more.",
)
_format = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")


@click.group(cls=_Verbs)
@click.version_option(package_name="vae-tuning-study")
def main() -> None:
    """Studies of what tuning beta costs, compared with balancers that set it themselves."""
    # A user's own models, balancers and datasets are imported from the current folder.
    sys.path.insert(0, os.getcwd())
    # SIGTERM acts as Ctrl-C: what a verb has started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@main.command()
@click.argument("kind", metavar="[KIND]", default="digits")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@_set
@_home
def init(kind: str, path: Path | None, overrides: tuple[str, ...], home: Path | None) -> None:
    """Write a first study file, commented, that runs as it is.

    KIND folder or parquet looks at the images in PATH and makes a study of their size and number.
    digits, fashion_mnist and paper, and the name of any other shipped study, copy its file.
    """
    from study import api

    if path is not None:
        click.echo(f"looking at the images in {path}", err=True)
    click.echo(str(api.init(kind, path, overrides, home=home)))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_set
@_dry_run
@_take_over
@_home
@_data_root
@_address
def launch(
    file: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    take_over: bool,
    home: Path | None,
    data_root: Path | None,
    address: str | None,
) -> None:
    """Run the study in FILE, or resume it if it has begun."""
    from study import api
    from study.spec import load_spec

    _warn(load_spec(file, overrides))
    options: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        _planned(api.dry_run(file, overrides, **options, take_over=take_over))
        return
    _run(lambda: api.launch(file, overrides, **options, take_over=take_over), home)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_set
@click.option("--from", "earlier", metavar="STUDY", help="Earlier study to plan by. [this one]")
@click.option("--spread", type=float, help="Standard deviation of the paired difference instead.")
@_home
@_data_root
def plan(file: Path, overrides: tuple[str, ...], **options: Any) -> None:
    """Print what the study in FILE can show.

    And how many seeds, trials and replicates its margin and break-even take.
    """
    from study import api

    click.echo(str(api.plan(file, overrides, **options)))


@main.command()
@click.argument("name")
@_set
@_dry_run
@_take_over
@_home
@_data_root
@_address
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

    options: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        spec = api.resume_spec(name, overrides, home=home)
        _planned(api.dry_run(spec, **options, take_over=take_over))
        return
    _run(lambda: api.resume(name, overrides, **options, take_over=take_over), home)


@main.command()
@click.argument("name")
@click.argument("new")
@_set
@_dry_run
@_home
@_data_root
@_address
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

    spec = api.fork_spec(name, new, overrides, home=home)
    _warn(spec)
    options: dict[str, Any] = {"home": home, "data_root": data_root, "address": address}
    if dry_run:
        _planned(api.dry_run(spec, **options))
        return
    there = StudyHome(studies_home(home), new)
    _run(lambda: api.fork(name, new, overrides, **options), home, forked=there)


@main.command()
@click.argument("name")
@click.option("--arm", help="End this arm for good; the rest continues.")
@click.option("--trial", help="End this trial for good; the rest continues.")
@_home
def stop(name: str, arm: str | None, trial: str | None, home: Path | None) -> None:
    """Stop study NAME as a Ctrl-C would, or end a part of it for good."""
    from study import api

    click.echo(api.stop(name, arm=arm, trial=trial, home=home))


@main.command()
@click.argument("name")
@click.argument("trial")
@_home
def retry(name: str, trial: str, home: Path | None) -> None:
    """Run the failed or pruned TRIAL of study NAME again."""
    from study import api

    click.echo(api.retry(name, trial, home=home))


@main.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@_home
def clean(name: str, dry_run: bool, home: Path | None) -> None:
    """Delete files that study NAME does not need.

    Its report and its resumption lose nothing.
    """
    from study import api

    click.echo(str(api.clean(name, home=home, dry_run=dry_run)))


@main.command()
@click.argument("name")
@click.argument("trial", required=False)
@_format
@_home
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


@main.command()
@click.argument("name")
@click.argument("arm")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_home
def export(name: str, arm: str, folder: Path, home: Path | None) -> None:
    """Export the best model of ARM of study NAME.

    Into the folder DIR, for use elsewhere.
    """
    from study import api

    click.echo(str(api.export(name, arm, folder, home=home)))


@main.command()
@click.argument("name")
@_home
def status(name: str, home: Path | None) -> None:
    """Print the status of study NAME."""
    from study import api
    from study.managing.status import status_text

    click.echo(status_text(api.find(name, home)))


@main.command()
@click.argument("name")
@click.argument("trial")
@_home
def show(name: str, trial: str, home: Path | None) -> None:
    """Show TRIAL of study NAME: its settings, curve, traceback and log."""
    from study import api
    from study.managing.status import trial_text

    click.echo(trial_text(api.find(name, home), trial))


@main.command()
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
@_home
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

    if len(names) == 1:
        made = _shown(lambda: api.report(names[0], home=home, target=target, price=price))
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
    elif joint is None:
        render(reports[0], sys.stdout)
    else:
        for found in reports:
            click.echo(f"{found.name}: {' '.join(found.verdict)}\n")
    if joint is not None and form != "json":
        render(joint, sys.stdout)


@main.command()
@click.argument("name")
@click.option("--sampler", required=True, help="As in a study file: a name, or {name: ..., ...}.")
@click.option("--pruner", help="Pruner, as in a study file. [none]")
@click.option("--arm", help="Arm whose recorded search is used. [the only suitable hand-tuned one]")
@click.option("--trials", type=int, help="Trials of a search. [a quarter of those recorded]")
@click.option("--batch", type=int, help="Trials asked at a time. [as in a study file]")
@click.option("--repeats", default=200, show_default=True, help="Number of searches.")
@_format
@_home
def replay(name: str, form: str, **policy: Any) -> None:
    """Replay a search on trials of study NAME.

    A sampler and a pruner run on the recorded trials; nothing is trained.
    """
    from study import api

    found = api.replay(name, **policy)
    click.echo(json.dumps(found.to_dict(), indent=2) if form == "json" else str(found))


@main.group()
def data() -> None:
    """Datasets: sources and prepared images."""


@data.command("list")
@_home
def list_data(home: Path | None) -> None:
    """List the known sources and prepared images."""
    from study.journal import studies_home
    from study.managing.status import data_text

    click.echo(data_text(studies_home(home)))


@data.command("prepare")
@click.argument("file", type=click.Path(path_type=Path))
@_set
@_home
@_data_root
def prepare_data(
    file: Path, overrides: tuple[str, ...], home: Path | None, data_root: Path | None
) -> None:
    """Prepare the images of the study in FILE.

    Images that are prepared already are found.
    """
    from study.journal import studies_home
    from study.launching.preparing import prepare_images
    from study.spec import check_splits, load_spec

    spec = load_spec(file, overrides)
    found = prepare_images(spec, studies_home(home) / "data", data_root)
    check_splits(spec, found)
    for split, path in found.files.items():
        click.echo(f"{found.name} {split}: {found.counts[split]:,} images in {path}")
        if notes := found.noted(split):
            click.echo(f"  {notes}")
    click.echo(found.source)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
@_home
def ui(host: str, port: int, home: Path | None) -> None:
    """Serve MLflow's pages of the studies."""
    from study.journal import studies_home
    from study.tracking import serve_ui

    sys.exit(serve_ui(studies_home(home), host, port))


def _warn(spec: StudySpec) -> None:
    from study.spec import arm_roles, warnings

    for warning in warnings(spec, arm_roles(spec)):
        click.echo(f"warning: {warning}", err=True)


def _planned(found: Estimate) -> None:
    """Print what a launch would run, and end as it would if it would not begin."""
    click.echo(str(found))
    for error in found.refusals:
        click.echo(f"error: a launch would be refused: {error}", err=True)
    if found.refusals:
        sys.exit(found.refusals[0].exit_code)


def _shown(make: Callable[[], Report]) -> Report:
    """The report that ``make`` returns; one that could not be saved is printed at least."""
    from study.analysis import render
    from study.managing.report import ReportNotSavedError

    try:
        return make()
    except ReportNotSavedError as error:
        render(error.report, sys.stdout)
        raise


def _run(verb: Callable[[], Report], home: Path | None, *, forked: StudyHome | None = None) -> None:
    """Run a study with ``verb``, and print its report or how to resume it.

    ``forked`` is the home of a study that ``verb`` cannot begin twice.
    """
    from study import api
    from study.analysis import render
    from study.api import begun
    from study.launching.driver import StudyInterruptedError
    from study.managing.status import first_failure

    at = f" --home {shlex.quote(str(home))}" if home else ""
    try:
        found = _shown(verb)
    except (StudyInterruptedError, KeyboardInterrupt):
        again = shlex.join(["study", *(word for word in sys.argv[1:] if word != TAKE_OVER)])
        if forked is not None and begun(forked):
            again = f"study resume {forked.name}{at}"
        click.echo(f"interrupted; nothing is lost. Resume with: {again}", err=True)
        sys.exit(INTERRUPTED)
    gc.freeze()  # at exit, collecting all that was loaded would take a second
    render(found, sys.stdout)
    if found.finished and not any(arm.counts.get("complete") for arm in found.arms):
        cause = first_failure(api.find(found.name, home))
        click.echo(f"\nerror: no trial of {found.name} completed; {cause}", err=True)
        sys.exit(FAILED)
    click.echo(
        f"\nLook further: `study show {found.name} TRIAL{at}`, `study report {found.name}{at}`, "
        f"`study ui{at}` for MLflow's pages"
    )
