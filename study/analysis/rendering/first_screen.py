"""The first screen of a study, or of several, as text: at most twenty lines."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TextIO

from rich.console import Console
from rich.text import Text

from study.analysis.answers.first_screen import ArmRow, FirstScreen
from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable, lines_of

LINES = 20
"""At most, on a terminal of 80 columns or more."""
_DOUBT = 2
"""Lines of what to distrust most."""
_FEWEST = 3
"""Lines of the table's rows, whatever else there is to say."""


def draw_first_screen(screen: FirstScreen, links: Mapping[str, str], file: TextIO) -> None:
    """Write ``screen`` and where to look further; in colour on a terminal.

    Args:
        screen: What to say.
        links: By name, paths, addresses and commands.
        file: Where to.
    """
    _draw(lambda width: first_screen_lines(screen, links, width), file)


def draw_joint_first_screen(
    joint: SeveralReport, reports: Sequence[Report], links: Mapping[str, str], file: TextIO
) -> None:
    """:func:`draw_first_screen` of several studies: the joint answer, and a line for each."""
    _draw(lambda width: joint_first_screen_lines(joint, reports, links, width), file)


def _draw(lines: Callable[[int], Sequence[str]], file: TextIO) -> None:
    console = Console(file=file, highlight=False, soft_wrap=True)
    for i, line in enumerate(lines(min(console.width, 120) if console.is_terminal else 80)):
        text = Text(line)
        if i == 0:
            text.stylize("bold", 0, line.find(":") if ":" in line else len(line))
        console.print(text)


def first_screen_lines(screen: FirstScreen, links: Mapping[str, str], width: int) -> list[str]:
    """The lines of :func:`draw_first_screen`, of ``width`` characters but for links."""
    said = textwrap.wrap(screen.sentence, width)
    labels = max(len(number.name) for number in screen.numbers) + 2
    for number in screen.numbers:
        said += _hanging(number.name, number.words, labels, width)
    doubt = []
    if screen.distrust:
        doubt = textwrap.wrap(
            f"Distrust most: {screen.distrust}", width, max_lines=_DOUBT, placeholder=" ..."
        )
    where = _where(links)
    caption = _cut(f"Arms, by {screen.score.heading} on test:", width)
    room = LINES - len(said) - len(doubt) - len(where) - 2  # the caption and the headings
    return [*said, caption, *_table(screen, max(_FEWEST, room), width), *doubt, *where]


def joint_first_screen_lines(
    joint: SeveralReport, reports: Sequence[Report], links: Mapping[str, str], width: int
) -> list[str]:
    """The lines of :func:`draw_joint_first_screen`, of ``width`` characters but for links."""
    said = [line for sentence in joint.verdict for line in textwrap.wrap(sentence, width)]
    where = _where(links)
    shown = reports[: max(_FEWEST, LINES - len(said) - len(where) - 2)]
    rows = [
        [report.name, *(number.short for number in screen.numbers), screen.outcome]
        for report in shown
        for screen in (report.first_screen,)
    ]
    names = [number.name for number in reports[0].first_screen.numbers]
    table = TextTable("", "", ["study", *names, "does searching pay?"], rows)
    return [*said, *_cut_lines(table, len(reports) - len(shown), width), *where]


def _where(links: Mapping[str, str]) -> list[str]:
    column = max(map(len, links), default=0) + 2
    return [f"{name:<{column}}{link}" for name, link in links.items()]


def _hanging(label: str, text: str, indent: int, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"{label:<{indent}}",
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(screen: FirstScreen, most: int, width: int) -> list[str]:
    rows = _chosen(screen.arms, most)
    table = TextTable(
        "",
        "",
        ["arm", "kind", f"{screen.score.short}, 95 %", "n", "trials", "cost", "setting"],
        [
            [row.arm, row.kind, row.score_text, row.seeds, row.trials, row.cost_text, row.setting]
            for row in rows
        ],
        left=2,
    )
    return _cut_lines(table, len(screen.arms) - len(rows), width)


def _cut_lines(table: TextTable, left_out: int, width: int) -> list[str]:
    """The lines of ``table``, cut to ``width``, and how many rows it leaves out."""
    more = [f"  ... and {left_out} more"] if left_out else []
    return [*(_cut(line, width) for line in lines_of(table)), *more]


def _chosen(arms: Sequence[ArmRow], most: int) -> list[ArmRow]:
    """The arms that there are lines for: those the verdict speaks of, then the best."""
    if len(arms) <= most:
        return list(arms)

    best = sorted(range(len(arms)), key=lambda i: _rank(arms[i]))
    kept = best[: most - 1]
    return [arms[i] for i in sorted(kept)]


def _rank(arm: ArmRow) -> tuple[bool, float]:
    return not arm.spoken_of, inf if arm.score.mean is None else arm.score.mean


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 3]}..."
