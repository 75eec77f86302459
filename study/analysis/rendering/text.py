"""A report as text: tables for a terminal, plain lines for a file or a pipe."""

from __future__ import annotations

import io
import textwrap
from typing import TextIO

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.outline import outline
from study.analysis.rendering.tables.table import aligned

WIDTH = 80
"""Characters of a line of prose in a file; tables of arms with short names fit as well."""


def render(report: Report | SeveralReport, file: TextIO) -> None:
    """Write ``report`` to ``file``: drawn tables if it is a terminal, plain lines if not."""
    parts = outline(report)
    if file.isatty():
        from study.analysis.rendering.terminal import draw

        draw(parts, file)
        return
    _fill(parts.title, file)
    print(file=file)
    for sentence in (*parts.verdict, *parts.remarks):
        _fill(sentence, file)
    for table in parts.tables:
        print(file=file)
        _fill(table.heading, file)
        for line in aligned(table) if table.columns else ():
            print(line, file=file)
    if parts.notes:
        print("\nNotes", file=file)
    for note in parts.notes:
        _fill(note, file, bullet="- ")


def as_text(report: Report | SeveralReport) -> str:
    """The report as plain lines, as kept in a study's home."""
    text = io.StringIO()
    render(report, text)
    return text.getvalue()


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
