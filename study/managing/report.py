"""A study's tables, report, page and figures, written from its journal."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.prices import Price
from study.analysis.answers.report import Report, build_report
from study.analysis.answers.summary import plain
from study.analysis.records.image_scores import image_scores
from study.analysis.records.tables import build_tables, study_facts, write_records
from study.analysis.rendering.notebook import ShownReport
from study.analysis.rendering.text import as_text
from study.journal import Entry, StudyHome, journal_file
from study.journal.files import epochs
from study.spec import StudySpec, warnings
from study.tracking import run_links
from vae_core.atomic import atomic_write
from vae_core.errors import UserError

PATIENCE = 120.0
"""Seconds that a report waits for another of its study: of 100,000 trials one takes 46."""
_INTERVAL = 0.1  # seconds between two looks
_LONGEST_NAME = 100


class ReportNotSavedError(UserError):
    """A report that was made and could not be saved.

    Attributes:
        report: the report.
    """

    exit_code = 1

    def __init__(self, report: Report, home: StudyHome, error: OSError) -> None:
        super().__init__(
            f"the report could not be saved: {error.strerror or error}",
            where=str(home.path),
            remedy="free some space there, or make it writable; "
            f"`{home.command('report')}` then saves it",
        )
        self.report = report


def write_report(
    entries: Iterable[Entry],
    home: StudyHome,
    *,
    target: float | None = None,
    price: Price | None = None,
) -> ShownReport:
    """Write tables, report, page and figures into the study's home.

    ``target`` and ``price`` as for :func:`study.analysis.build_report`.

    Raises:
        ReportNotSavedError: with the report, if the home cannot be written.
    """
    from study.analysis.rendering.figures import drawing

    with drawing.prepared(), _alone(home):
        return _written(entries, home, target, price)


@contextmanager
def _alone(home: StudyHome) -> Iterator[None]:
    """A block that waits for others who write a report here, so that files are of one of them.

    Not for one that is frozen, nor where files cannot be locked. The lock is on the journal's first
    file, which every study has and nothing replaces; opened to be written, as NFS wants it.
    """
    with ExitStack() as stack:
        with suppress(OSError, ValueError):
            first = journal_file(home.path, min(epochs(home.path)))
            lock = stack.enter_context(first.open("r+b"))
            if not _is_locked(lock):
                print(f"waiting: {home.name} has a report written already", file=sys.stderr)
                until = time.monotonic() + PATIENCE
                while not _is_locked(lock) and time.monotonic() < until:
                    time.sleep(_INTERVAL)
        yield


def _is_locked(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(
    entries: Iterable[Entry], home: StudyHome, target: float | None, price: Price | None
) -> ShownReport:
    tables = build_tables(entries)
    facts = study_facts(tables["trials"])
    spec = StudySpec.from_dict(facts["spec"])  # as this version reads it
    report = build_report(
        tables,
        spec.to_dict(),
        warnings(spec, facts["roles"]),
        target=target,
        price=price,
        image_scores=partial(image_scores, tables["trials"], home.path),
    )
    try:
        picture = _save(report, tables, home)
    except OSError as error:
        shown = ShownReport(report, tables, home.path)
        raise ReportNotSavedError(shown, home, error) from error
    return ShownReport(report, tables, home.path, picture)


def joint_page(homes: Sequence[StudyHome]) -> Path:
    """The page of several studies together, in the folder of the first."""
    first, *others = homes
    names = "_".join(home.name for home in others)
    return first.report / f"with_{names[:_LONGEST_NAME]}.html"


def write_joint_page(
    joint: SeveralReport, reports: Sequence[Report], homes: Sequence[StudyHome]
) -> None:
    """Write :func:`joint_page`."""
    from study.analysis.rendering.page.html import several_as_html

    path = joint_page(homes)
    pages = {home.name: os.path.relpath(home.page, path.parent) for home in homes}
    with _alone(homes[0]):
        _write(path, several_as_html(joint, reports, pages))


def _save(report: Report, tables: Mapping[str, pa.Table], home: StudyHome) -> str:
    """Write it all; returns the arms' chart as SVG, "" if it could not be drawn."""
    from study.analysis.rendering.figures import drawing
    from study.analysis.rendering.figures.catalogue import figures  # and Altair with it
    from study.analysis.rendering.page.html import FIRST, as_html

    write_records(tables, home.path)  # first: on a full disk nothing else has changed
    home.figures.mkdir(parents=True, exist_ok=True)
    charts = figures(report, tables, home.path)
    with drawing.writing(charts, home.figures) as drawn:
        _write(home.report / "report.txt", as_text(report))
        said = {**plain(report.first_screen), "launch": max(epochs(home.path), default=0)}
        _write(home.first_screen, json.dumps(said, indent=2))
        links = run_links(home)
    page = as_html(report, charts, tables["trials"], home.path, links, drawn)
    _write(home.page, page)
    return drawn.svg.get(FIRST, "")


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
