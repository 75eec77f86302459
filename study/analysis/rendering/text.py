"""A report as text: tables for a terminal, plain lines for a file or a pipe."""

from __future__ import annotations

import io
import textwrap
from typing import TextIO

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.outline import Outline, outline
from study.analysis.rendering.tables.table import drawn, lines_of

WIDTH = 80
"""Characters of a line of prose in a file; tables of arms with short names fit as well."""


def render(report: Report | SeveralReport, file: TextIO) -> None:
    """Write ``report`` to ``file``: drawn tables if it is a terminal, plain lines if not."""
    (_draw if file.isatty() else _write)(outline(report), file)


def as_text(report: Report | SeveralReport) -> str:
    """The report as plain lines, as kept in a study's home."""
    text = io.StringIO()
    render(report, text)
    return text.getvalue()


def _draw(parts: Outline, file: TextIO) -> None:
    console = Console(file=file, highlight=False)
    console.print(Text(parts.title))
    console.print(Panel(Text("\n".join(parts.verdict))))
    for remark in parts.remarks:
        console.print(Text(remark))
    for table in parts.tables:
        console.print(Text(f"\n{table.heading}"))
        if table.columns:
            console.print(drawn(table, ruled=True))
    for note in parts.notes:
        console.print(Text(f"- {note}"))


def _write(parts: Outline, file: TextIO) -> None:
    _fill(parts.title, file)
    print(file=file)
    for sentence in (*parts.verdict, *parts.remarks):
        _fill(sentence, file)
    for table in parts.tables:
        print(file=file)
        _fill(table.heading, file)
        for line in lines_of(table) if table.columns else ():
            print(line, file=file)
    if parts.notes:
        print("\nNotes", file=file)
    for note in parts.notes:
        _fill(note, file, bullet="- ")


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
