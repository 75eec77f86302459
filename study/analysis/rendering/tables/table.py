"""A table of strings, and the cells that several tables share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.regrets import ArmOver
from study.analysis.answers.report import Report
from study.formatting import NONE
from study.metrics import Metric
from study.statistics.intervals import Interval

_WIDEST = 10_000
"""Characters of a line of a plain table, more than any has: there, nothing folds."""


@dataclass(frozen=True)
class TextTable:
    """A titled table of strings.

    Attributes:
        title: What it shows, in a few words.
        about: How it is read: one sentence or more without a capital and a full stop; or "".
        columns: Headings, no two the same; none where ``about`` says why there is no table.
        rows: A cell for each column.
        left: How many columns are aligned left, the others right.
    """

    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    @property
    def heading(self) -> str:
        """Title and explanation."""
        return ": ".join(filter(None, (self.title, self.about)))


def drawn(table: TextTable, *, ruled: bool = False) -> Table:
    """``table`` for Rich to lay out; ``ruled``: a line below its headings, and long cells fold."""
    grid = Table(
        box=box.SIMPLE_HEAD if ruled else None,
        padding=(0, 1, 0, 0) if ruled else (0, 2, 0, 0),
        pad_edge=False,
        header_style="bold" if ruled else "",
    )
    for i, column in enumerate(table.columns):
        grid.add_column(
            Text(column),
            justify="left" if i < table.left else "right",
            overflow="fold",
            no_wrap=i == 0 or not ruled,  # a name broken over lines can't be copied
        )
    for row in table.rows:
        grid.add_row(*map(Text, row))
    return grid


def lines_of(table: TextTable) -> list[str]:
    """``table`` as plain lines, as wide as its cells need."""
    plain = Console(
        width=_WIDEST,
        force_terminal=False,
        force_jupyter=False,
        color_system=None,
    )
    lines = plain.render_lines(drawn(table), pad=False)
    return [f"  {''.join(segment.text for segment in line)}".rstrip() for line in lines]


def kind(arm: ArmResult | ArmOver) -> str:
    """The kind of ``arm``."""
    return "auto" if arm.automatic else "hand"


def kinds(arms: Iterable[ArmResult | ArmOver]) -> str:
    """The kinds there are, and for a title why arms are hand-tuned: too long for cells."""
    reasons: dict[str, list[str]] = {}
    for arm in arms:
        if not arm.automatic:
            reasons.setdefault(arm.why, []).append(arm.arm)
    listed = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    return f"auto, or hand-tuned ({listed})" if listed else "auto"


def mean(metric: Metric, interval: Interval) -> str:
    """A mean with half of its interval's width."""
    text = metric.number(interval.mean)
    half = interval.half_width
    return text if half is None else f"{text} +- {metric.number(half)}"


def difference(metric: Metric, interval: Interval) -> str:
    """A value with its interval, without the unit; a dash where there is no value."""
    return NONE if interval.mean is None else metric.difference(interval, unit=False)


def money_columns(report: Report) -> list[str]:
    """The heading of a column of money, where a price was given."""
    return ["money"] if report.price else []


def money(report: Report, seconds: float | None) -> list[str]:
    """The cell of that column: the price of ``seconds`` of a device."""
    return [report.price.text(seconds)] if report.price else []


def priced(report: Report) -> str:
    """The end of a title above a column of money, "" without one."""
    if report.price is None:
        return ""
    return f", and in money at {report.price.text(3600)} a device hour"
