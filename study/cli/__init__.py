"""The command ``study``: the verbs of :mod:`study.api`, for a terminal.

A file holds a group of verbs. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted and
resumable.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from study.cli import data, looking, running, steering, taking
from study.cli.group import Verbs
from study.package import SHIPPED


@click.group(cls=Verbs, epilog=f"\b\nDocuments: {SHIPPED / 'README.md'}")
@click.version_option(package_name="vae-tuning-study")
def main() -> None:
    """Studies of what tuning beta costs, compared with balancers that set it themselves."""
    # A user's own models, balancers and datasets are imported from the current folder.
    sys.path.insert(0, os.getcwd())
    # SIGTERM acts as Ctrl-C: what a verb has started ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


main.section(
    "Run a study",
    running.init,
    running.doctor,
    running.launch,
    running.resume,
    running.fork,
    running.plan,
)
main.section(
    "Look at studies",
    looking.status,
    looking.watch,
    looking.list_studies,
    looking.report,
    looking.show,
    looking.ui,
)
main.section("Steer a study", steering.stop, steering.retry, steering.clean)
main.section("Use its results", taking.export, taking.verify, taking.replay)
main.section("Data", data.data)
