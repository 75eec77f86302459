"""A report drawn on a terminal; imported only for one, because it needs Rich."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from study.analysis.rendering.outline import Outline
from study.analysis.rendering.tables.table import TextTable


def draw(parts: Outline, file: TextIO) -> None:
    """Draw a report on the terminal that ``file`` is."""
    console = Console(file=file, highlight=False)
    console.print(Text(parts.title))
    console.print(Panel(Text("\n".join(parts.verdict))))
    for remark in parts.remarks:
        console.print(Text(remark))
    for table in parts.tables:
        console.print(_drawn(table) if table.columns else Text(f"\n{table.heading}"))
    for note in parts.notes:
        console.print(Text(f"- {note}"))


def _drawn(table: TextTable) -> Table:
    drawn = Table(
        title=Text(table.heading),
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
    return drawn
