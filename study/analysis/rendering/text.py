"""A report as text: tables for a terminal, plain lines for a file or a pipe."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.tables.table import TextTable

WIDTH = 80
"""Characters a line of prose has in a file; tables of arms with short names fit as well."""


@dataclass(frozen=True)
class _Page:
    """What is written of a report, from top to bottom."""

    title: str
    verdict: Sequence[str]
    remarks: Sequence[str]
    tables: Sequence[TextTable]
    notes: Sequence[str]


def render(report: Report | SeveralReport, file: TextIO) -> None:
    """Write ``report`` to ``file``: drawn tables if it is a terminal, plain lines if not."""
    page = _page(report)
    if file.isatty():
        _draw(page, file)
        return
    _fill(page.title, file)
    print(file=file)
    for sentence in (*page.verdict, *page.remarks):
        _fill(sentence, file)
    for table in page.tables:
        print(file=file)
        _fill(table.title, file)
        for line in _aligned(table):
            print(line, file=file)
    if page.notes:
        print("\nNotes", file=file)
    for note in page.notes:
        _fill(note, file, bullet="- ")


def as_text(report: Report | SeveralReport) -> str:
    """The report as plain lines, as kept in a study's home."""
    text = io.StringIO()
    render(report, text)
    return text.getvalue()


def _page(report: Report | SeveralReport) -> _Page:
    if isinstance(report, SeveralReport):
        title = f"{', '.join(report.studies)}, together"
        return _Page(title, report.verdict, [], tables(report), report.notes)
    title = f"{report.name}: {report.question}" if report.question else report.name
    return _Page(title, report.verdict, report.remarks, tables(report), report.notes)


def _fill(text: str, file: TextIO, bullet: str = "") -> None:
    filled = textwrap.fill(
        text,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(filled, file=file)


def _aligned(table: TextTable) -> Iterator[str]:
    lines = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.ljust(width) if i < table.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip()


def _draw(page: _Page, file: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(file=file, highlight=False)
    console.print(Text(page.title))
    console.print(Panel(Text("\n".join(page.verdict))))
    for remark in page.remarks:
        console.print(Text(remark))
    for table in page.tables:
        drawn = Table(
            title=Text(table.title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for i, column in enumerate(table.columns):
            drawn.add_column(
                Text(column),
                justify="left" if i < table.left else "right",
                overflow="fold",
                no_wrap=i == 0,  # a name broken over lines can't be copied
            )
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
    for note in page.notes:
        console.print(Text(f"- {note}"))
