"""A report as text: tables for a terminal, plain lines for a file or a pipe."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from study.analysis.report import Report
from study.analysis.statistics import Interval
from study.analysis.verdict import BITS_PER_DIM, CALIBRATED_ELBO, Objective
from study.costs import PURPOSES, USES

NONE = "-"
_NAMES = {
    "second_stage": "second stage",
    "startup": "start-up",
    "pilot": "pilots",
    "idle_slots": "idle slots",
    "waiting": "idle engines",
}
_WHAT = {
    "rec": "REC",
    "gen1": "GEN-1",
    "gen2": "GEN-2",
    "mixture": "mixture",
    "interpolation": "interp.",
}
_CLOSELY = {
    "Likelihood and uncertainty on test, means over the confirm runs. bits/dim by the decoder's "
    "own likelihood (own; a density) and of bytes by a discretised one (a mass: in no ranking with "
    "densities); IWAE in nats; variance law: 1 at the optimum; shares of pixels in intervals of "
    "50, 90, 95 %; path: energy of decoded straight lines, 1 at constant speed": {
        "own_bits_per_dim": ("own", 4),
        "discretised_bits_per_dim": ("mass", 4),
        "iwae": ("IWAE", 2),
        "variance_law": ("variance law", 3),
        "coverage_50": ("50 %", 3),
        "coverage_90": ("90 %", 3),
        "coverage_95": ("95 %", 3),
        "smoothness": ("path", 2),
    },
    "FID, means over the confirm runs": {
        f"fid_{what}": (short, 2) for what, short in _WHAT.items()
    },
    "Frechet distance in a local classifier's features, means over the confirm runs": {
        f"frechet_classifier_{what}": (short, 2) for what, short in _WHAT.items()
    },
}
WIDTH = 80
"""Characters a line of prose has in a file; tables of arms with short names fit as well."""


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
    _fill(_title(report), file)
    print(file=file)
    for sentence in report.verdict:
        _fill(sentence, file)
    for table in tables(report):
        print(file=file)
        _fill(table.title, file)
        for line in _aligned(table):
            print(line, file=file)
    if report.notes:
        print("\nNotes", file=file)
    for note in report.notes:
        _fill(note, file, bullet="- ")


def as_text(report: Report) -> str:
    """The report as plain lines, as kept in a study's home."""
    text = io.StringIO()
    render(report, text)
    return text.getvalue()


def tables(report: Report) -> list[TextTable]:
    """The report's tables, in the order they are read."""
    return [
        _arms(report),
        _settings(report),
        _beside(report),
        *_closely(report),
        _against(report),
        _images_by_use(report),
        _training_by_use(report),
        _seconds_by_use(report),
    ]


def _arms(report: Report) -> TextTable:
    multiples = (
        f"; x: as a multiple of {report.ratio_to}'s, the cheapest automatic arm's"
        if report.ratio_to
        else ""
    )
    return TextTable(
        f"{report.objective.heading} on test, mean over n seeds with its 95 % interval. Cost to "
        "one model, one search and one final run, in images and in standard device seconds"
        f"{multiples}",
        ["arm", "kind", f"{report.objective.short}, 95 %", "n", "trials", "images", "x", "std s",
         "x"],
        [
            [
                arm.arm,
                "auto" if arm.automatic else "hand",
                _mean(report.objective, arm.test),
                str(arm.test.n),
                f"{sum(arm.counts.values())}/{arm.planned}",
                _images(arm.cost.total.images if arm.cost.total else None),
                _times(report.ratios[arm.arm]),
                _seconds(arm.cost.total.standard if arm.cost.total else None),
                _times(report.standard_ratios[arm.arm]),
            ]
            for arm in report.arms
        ],
        left=2,
    )  # fmt: skip


def _settings(report: Report) -> TextTable:
    number = report.objective.number
    return TextTable(
        "Settings, and on validation the search's winner and its optimism: how much better than "
        "the confirm runs of the same setting it looked",
        ["arm", "setting", "end beta", "validation", "optimism"],
        [
            [
                arm.arm,
                " | ".join(filter(None, arm.settings)) or NONE,
                NONE if arm.effective_beta is None else f"{arm.effective_beta:.3g}",
                number(arm.validation),
                number(arm.optimism, "+"),
            ]
            for arm in report.arms
        ],
        left=2,
    )


def _beside(report: Report) -> TextTable:
    shown = {report.objective, report.second}
    also = [other for other in (CALIBRATED_ELBO, BITS_PER_DIM) if other not in shown]
    return TextTable(
        "Beside it, on test: means over the confirm runs; active: latents in use; to 1 %: images "
        "until the objective on validation stayed within 1 % of its final value, to the nearest "
        "report",
        [
            *("arm", f"{report.second.short}, 95 %", *(other.short for other in also)),
            *("MSE", "R (nats)", "active", "to 1 %"),
        ],
        [
            [
                arm.arm,
                _mean(report.second, arm.second),
                *(other.number(arm.means.get(other.name)) for other in also),
                NONE if arm.mse is None else f"{arm.mse:.5f}",
                NONE if arm.rate is None else f"{arm.rate:.2f}",
                NONE if arm.active_units is None else f"{arm.active_units:.1f}",
                _images(arm.images_to_final),
            ]
            for arm in report.arms
        ],
    )


def _closely(report: Report) -> Iterator[TextTable]:
    """What only confirm runs are measured for; a column for each that any of them has."""
    for title, columns in _CLOSELY.items():
        known = [name for name in columns if any(name in arm.means for arm in report.arms)]
        if known:
            yield TextTable(
                title,
                ["arm", *(columns[name][0] for name in known)],
                [
                    [
                        arm.arm,
                        *(
                            f"{arm.means[name]:.{columns[name][1]}f}" if name in arm.means else NONE
                            for name in known
                        ),
                    ]
                    for arm in report.arms
                ],
            )


def _against(report: Report) -> TextTable:
    hand = report.comparisons[0].hand if report.comparisons else "hand-tuned"
    return TextTable(
        f"{hand} minus each automatic arm, on test over n paired seeds; x: its cost as a multiple "
        "of that arm's, in images and in standard device seconds",
        ["against", f"{report.objective.short} [95 %]", "n", "x images", "x std s", "searching"],
        [
            [
                c.automatic,
                report.objective.difference(c.difference, unit=False),
                str(c.difference.n),
                _times(c.ratio_images),
                _times(c.ratio_standard),
                c.outcome,
            ]
            for c in report.comparisons
        ],
    )


def _images_by_use(report: Report) -> TextTable:
    return TextTable(
        "Images trained on: one search and one final run make a model, further replicates and "
        "seeds measure it; of the trials, how many were pruned or failed",
        ["arm", "search", "final run", "measuring", "redone", "pruned", "failed"],
        [
            [
                arm.arm,
                _images(arm.cost.search.images if arm.cost.search else None),
                _images(arm.cost.final.images if arm.cost.final else None),
                _images(arm.cost.measurement.images if arm.cost.total else None),
                _images(paid.redone_images),
                str(arm.counts.get("pruned", 0)),
                str(arm.counts.get("failed", 0)),
            ]
            for arm, paid in zip(report.arms, report.paid.arms, strict=True)
        ],
    )


def _training_by_use(report: Report) -> TextTable:
    crashes = ("redone", "lost")
    return TextTable(
        "Device seconds of training, by what became of the trial; after crashes, what was trained "
        "again (redone), and what was begun and never reported (lost)",
        ["arm", *USES, *crashes],
        [
            [
                paid.arm,
                *(_seconds(paid.training[use]) for use in USES),
                *(_seconds(paid.seconds[purpose]) for purpose in crashes),
            ]
            for paid in report.paid.arms
        ],
    )


def _seconds_by_use(report: Report) -> TextTable:
    paid = report.paid
    purposes = [p for p in PURPOSES if any(arm.seconds[p] for arm in paid.arms)]
    rows = [
        [
            arm.arm,
            _seconds(arm.standard),
            *(_seconds(arm.seconds[purpose]) for purpose in purposes),
            _seconds(arm.billed),
        ]
        for arm in paid.arms
    ]
    blank = [NONE] * (1 + len(purposes))
    rows += [
        [f"({_NAMES.get(purpose, purpose)})", *blank, _seconds(seconds)]
        for purpose, seconds in paid.nobody.items()
        if abs(seconds) > 5e-4
    ]
    rows.append(["all engines", *blank, _seconds(paid.engines)])
    return TextTable(
        "Device seconds of all trials: standard (std), and billed by purpose; in brackets what no "
        "trial is charged",
        ["arm", "std", *(_NAMES.get(purpose, purpose) for purpose in purposes), "billed"],
        rows,
    )


def _title(report: Report) -> str:
    return f"{report.name}: {report.question}" if report.question else report.name


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
    console.print(Text(_title(report)))
    console.print(Panel(Text("\n".join(report.verdict))))
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
                Text(column),
                justify="left" if i < table.left else "right",
                overflow="fold",
                no_wrap=i == 0,  # a name broken over lines can't be copied
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
