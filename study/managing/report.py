"""A study's tables, report, page and figures, written from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa

from study.analysis import Report, as_text, build_report, build_tables, write_records
from study.analysis.answers.prices import Price
from study.analysis.records.image_scores import image_scores
from study.analysis.records.tables import study_facts
from study.journal import Entry, StudyHome
from study.spec import StudySpec, warnings
from study.tracking import run_links
from vae_core.atomic import atomic_write
from vae_core.errors import UserError


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
    spec: StudySpec,
    entries: Iterable[Entry],
    home: StudyHome,
    *,
    target: float | None = None,
    price: Price | None = None,
) -> Report:
    """Write tables, report, page and figures into the study's home.

    ``target`` and ``price`` as for :func:`study.analysis.build_report`.

    Raises:
        ReportNotSavedError: with the report, if the home cannot be written.
    """
    from study.analysis.rendering.figures import drawing

    drawing.prepare()
    tables = build_tables(entries)
    warned = warnings(spec, study_facts(tables["trials"])["roles"])
    report = build_report(
        tables,
        spec.to_dict(),
        warned,
        target=target,
        price=price,
        image_scores=partial(image_scores, tables["trials"], home.path),
    )
    try:
        _save(report, tables, home)
    except OSError as error:
        raise ReportNotSavedError(report, home, error) from error
    return report


def _save(report: Report, tables: Mapping[str, pa.Table], home: StudyHome) -> None:
    from study.analysis.rendering.figures import drawing
    from study.analysis.rendering.figures.catalogue import figures  # and Altair with it
    from study.analysis.rendering.page.html import as_html

    write_records(tables, home.path)
    home.figures.mkdir(parents=True, exist_ok=True)
    _write(home.report / "report.txt", as_text(report))
    charts = figures(report, tables, home.path)
    with drawing.writing(charts, home.figures) as drawn:
        links = run_links(home)
    page = as_html(report, charts, tables["trials"], home.path, links, drawn)
    _write(home.page, page)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
