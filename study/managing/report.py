"""A study's tables, report, page and figures, written from its journal."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from study.analysis import Report, as_text, build_report, write_records
from study.analysis.answers.prices import Price
from study.analysis.records.tables import study_facts
from study.journal import Entry, StudyHome
from study.spec import StudySpec, warnings
from study.tracking import run_links
from vae_core.atomic import atomic_write


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
    """
    from study.analysis.rendering.figures import drawing
    from study.analysis.rendering.figures.catalogue import figures  # and Altair with it
    from study.analysis.rendering.page.html import as_html

    drawing.prepare()
    tables = write_records(entries, home.path)
    warned = warnings(spec, study_facts(tables["trials"])["roles"])
    report = build_report(tables, spec.to_dict(), warned, target=target, price=price)
    drawn = figures(report, tables, home.path)
    page = partial(as_html, report, drawn, tables["trials"], home.path, run_links(home))
    home.figures.mkdir(parents=True, exist_ok=True)
    _write(home.report / "report.txt", as_text(report))
    with drawing.writing(drawn, home.figures) as missing:
        html = page()
    _write(home.page, page(missing) if missing else html)
    return report


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
