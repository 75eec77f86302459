"""The group of all verbs: grouped help, and errors that a person can correct."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from vae_core.errors import StudyWarning, UserError

FAILED, INTERRUPTED = 1, 130


_show = warnings.showwarning


def _warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    if issubclass(category, StudyWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        _show(message, category, *where, **more)


class Verbs(click.Group):
    """Verbs in sections; their help lists them in the order in which they were added."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sections: list[tuple[str, list[click.Command]]] = []

    def section(self, title: str, *commands: click.Command) -> None:
        """Add ``commands`` under ``title``."""
        self._sections.append((title, list(commands)))
        for command in commands:
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section each, with names aligned over all of them."""
        width = max(len(name) for name in self.commands)
        limit = formatter.width - 6 - width
        for title, commands in self._sections:
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (f"{command.name:<{width}}", command.get_short_help_str(limit))
                        for command in commands
                    ]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; print errors that a person can correct, and exit with their codes."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", StudyWarning)
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
