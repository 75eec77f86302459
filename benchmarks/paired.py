"""Timing two sides against each other on a machine that is never quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

Work = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """Seconds of one side and of the other, round by round."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """Their seconds over ours in each round, ascending: above 1 where ours is faster."""
        return sorted(b / a for a, b in zip(self.ours, self.theirs, strict=True))


def alternate(ours: Work, theirs: Work, rounds: int) -> Comparison:
    """Run the two in turn ``rounds`` times, taking turns at going first, after one unmeasured.

    Seconds are the process's own CPU time: for work in one thread that is the wall clock's less
    what other processes took of the core.
    """
    seconds: dict[Work, list[float]] = {ours: [], theirs: []}
    ours()
    theirs()
    for index in range(rounds):
        for work in (ours, theirs) if index % 2 else (theirs, ours):
            start = time.process_time()
            work()
            seconds[work].append(time.process_time() - start)
    return Comparison(seconds[ours], seconds[theirs])


def row(name: str, found: Comparison, ours: float, theirs: float, target: float | None) -> str:
    """A line of the table: medians of what the sides do a second, and of the paired ratios.

    Args:
        ours, theirs: how much each side does in a round (images, say).
        target: the ratio of rates to reach, if there is one.
    """
    scale = ours / theirs
    ratios = [scale * ratio for ratio in found.ratios]
    middle = median(ratios)
    verdict = "" if target is None else f">= {target} {'met' if middle >= target else 'MISSED'}"
    return table_line(
        name,
        f"{ours / median(found.ours):,.0f}",
        f"{theirs / median(found.theirs):,.0f}",
        f"{middle:.3f}",
        f"{ratios[0]:.3f}-{ratios[-1]:.3f}",
        verdict,
    )


def table_line(*cells: str) -> str:
    """Cells as a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table_head(cells: Sequence[str]) -> str:
    """The first two lines of a Markdown table."""
    return "\n".join([table_line(*cells), table_line(*("---" for _ in cells))])
