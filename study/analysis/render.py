"""A report as text: tables for a terminal, plain lines for a file or a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from study.analysis.arms import ArmResult
from study.analysis.report import Report
from study.analysis.statistics import Interval
from study.analysis.verdict import Objective
from study.costs import PURPOSES

NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """A titled table of strings; ``left`` columns are aligned left, the others right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def render(report: Report, file: TextIO) -> None:
    """Write ``report`` to ``file``: drawn tables if it is a terminal, plain lines if not."""
    if file.isatty():
        _draw(report, file)
        return
    print(_title(report), file=file)
    for sentence in report.verdict:
        print(sentence, file=file)
    for table in tables(report):
        print(f"\n{table.title}", file=file)
        for line in _aligned(table):
            print(line, file=file)
    if report.notes:
        print("\nNotes", file=file)
    for note in report.notes:
        print(f"- {note}", file=file)


def as_text(report: Report) -> str:
    """The report as plain lines, as kept in a study's home."""
    text = io.StringIO()
    render(report, text)
    return text.getvalue()


def tables(report: Report) -> list[TextTable]:
    """The report's tables, in the order they are read."""
    quality = TextTable(
        f"{report.objective.heading}: the search's winner on validation, how much better than "
        "itself it looked there, and the confirm runs on test",
        ["arm", "kind", "setting", "end beta", "validation", "optimism", "test, 95 %", "seeds"],
        [_quality(report, arm) for arm in report.arms],
        left=3,
    )  # fmt: skip
    beside = TextTable(
        "Beside it, on test: means over the confirm runs",
        ["arm", f"{report.second.short}, 95 %", "MSE", "R (nats)", "active units"],
        [_beside(report, arm) for arm in report.arms],
    )
    costs = TextTable(
        "Cost to one model: one search and one final run, in images and standard device seconds "
        "(std); further seeds and replicates (measured) are apart",
        ["arm", "trials", "pruned", "failed", "search", "final run", "images",
         f"x {report.ratio_to}" if report.ratio_to else "ratio", "std s", "measured"],
        [_cost(report, arm) for arm in report.arms],
    )  # fmt: skip
    return [quality, beside, _against(report), costs, _paid(report)]


def _against(report: Report) -> TextTable:
    objective, second = report.objective, report.second
    return TextTable(
        "Hand-tuned minus automatic, on test over paired seeds",
        ["arms", f"{objective.short} [95 %]", f"{second.short} [95 %]", "seeds", "x images",
         "x std s", "searching"],
        [
            [
                f"{c.hand} - {c.automatic}",
                objective.difference(c.difference, unit=False),
                second.difference(c.second, unit=False),
                str(c.difference.n),
                _times(c.ratio_images),
                _times(c.ratio_standard),
                c.outcome,
            ]
            for c in report.comparisons
        ],
    )  # fmt: skip


def _quality(report: Report, arm: ArmResult) -> list[str]:
    number = report.objective.number
    return [
        arm.arm,
        "auto" if arm.automatic else "hand",
        " | ".join(filter(None, arm.settings)) or NONE,
        NONE if arm.effective_beta is None else f"{arm.effective_beta:.3g}",
        number(arm.validation),
        number(arm.optimism, "+"),
        _mean(report.objective, arm.test),
        str(arm.test.n),
    ]


def _beside(report: Report, arm: ArmResult) -> list[str]:
    return [
        arm.arm,
        _mean(report.second, arm.second),
        NONE if arm.mse is None else f"{arm.mse:.5f}",
        NONE if arm.rate is None else f"{arm.rate:.2f}",
        NONE if arm.active_units is None else f"{arm.active_units:.1f}",
    ]


def _cost(report: Report, arm: ArmResult) -> list[str]:
    cost, total = arm.cost, arm.cost.total
    return [
        arm.arm,
        f"{sum(arm.counts.values())} of {arm.planned}",
        str(arm.counts.get("pruned", 0)),
        str(arm.counts.get("failed", 0)),
        _images(cost.search.images if cost.search else None),
        _images(cost.final.images if cost.final else None),
        _images(total.images if total else None),
        _times(report.ratios[arm.arm]),
        _seconds(total.standard if total else None),
        _images(cost.measurement.images if total else None),
    ]


def _paid(report: Report) -> TextTable:
    paid = report.paid
    purposes = [p for p in PURPOSES if any(arm.seconds[p] for arm in paid.arms)]
    rows = [
        [
            arm.arm,
            _images(arm.search_images),
            _images(arm.confirm_images),
            _images(arm.redone_images),
            _seconds(arm.standard),
            *(_seconds(arm.seconds[purpose]) for purpose in purposes),
            _seconds(arm.billed),
        ]
        for arm in paid.arms
    ]
    blank = [NONE] * (4 + len(purposes))
    rows += [
        [f"({purpose.replace('_', ' ')})", *blank, _seconds(seconds)]
        for purpose, seconds in paid.nobody.items()
        if abs(seconds) > 5e-4
    ]
    rows.append(["all engines", *blank, _seconds(paid.engines)])
    return TextTable(
        "Who paid what: images by phase; device seconds, standard (std) and billed by purpose; "
        "in brackets what no trial is charged",
        ["arm", "search", "confirm", "redone", "std", *purposes, "billed"],
        rows,
    )


def _title(report: Report) -> str:
    return f"{report.name}: {report.question}" if report.question else report.name


def _aligned(table: TextTable) -> Iterator[str]:
    if not table.rows:
        yield "  nothing to compare"
        return
    lines = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.ljust(width) if i < table.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip()


def _draw(report: Report, file: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(file=file, highlight=False)
    console.print(Panel(Text("\n".join(report.verdict)), title=Text(_title(report))))
    for table in tables(report):
        drawn = Table(
            title=Text(table.title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for i, column in enumerate(table.columns):
            drawn.add_column(
                Text(column), justify="left" if i < table.left else "right", overflow="fold"
            )
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        console.print(drawn)
    for note in report.notes:
        console.print(Text(f"- {note}"))


def _mean(objective: Objective, interval: Interval) -> str:
    text = objective.number(interval.mean)
    half = interval.half_width
    return text if half is None else f"{text} +- {objective.number(half)}"


def _images(value: float | None) -> str:
    if value is None:
        return NONE
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * scale:
            return f"{value / scale:.4g}{suffix}"
    return f"{value:.0f}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:,.1f}"


def _times(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"
