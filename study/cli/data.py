"""The verbs ``study data``."""

from __future__ import annotations

from pathlib import Path

import click

from study.cli import options


@click.group()
def data() -> None:
    """Datasets: sources and prepared images."""


@data.command("list")
@options.home
def list_data(home: Path | None) -> None:
    """List the known sources and prepared images."""
    from study.journal import studies_home
    from study.managing.showing import data_text

    click.echo(data_text(studies_home(home)))


@data.command("prepare")
@click.argument("file", type=click.Path(path_type=Path))
@options.changes
@options.home
@options.data_root
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
