"""The arms: their results with the cost to one model, and their settings."""

from __future__ import annotations

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import (
    TextTable,
    kind,
    kinds,
    mean,
    money,
    money_columns,
    priced,
)
from study.formatting import NONE, images, multiple, seconds, short


def arms(report: Report) -> TextTable:
    """Each arm's mean on test, and what one model of it costs."""
    multiples = f"; x: as a multiple of {report.ratio_to}" if report.ratio_to else ""
    adaptive = any(arm.draws is not None and arm.draws.known for arm in report.arms)
    about = "; chosen: search trials that the sampler chose by earlier results" if adaptive else ""
    return TextTable(
        f"{report.objective.heading} on test, mean over n seeds with its 95 % interval; kind: "
        f"{kinds(report.arms)}{about}. Cost to one model, one search and one final run, in images "
        f"and in standard device seconds{priced(report)}{multiples}",
        ["arm", "kind", f"{report.objective.short}, 95 %", "n", "trials",
         *(["chosen"] if adaptive else []), "images", "x", "std s", "x", *money_columns(report)],
        [
            [
                arm.arm,
                kind(arm),
                mean(report.objective, arm.test),
                str(arm.test.n),
                f"{sum(arm.counts.values())}/{arm.planned}",
                *([_chosen(arm)] if adaptive else []),
                images(arm.cost.total.images if arm.cost.total else None),
                multiple(report.ratios[arm.arm]),
                seconds(arm.cost.total.standard if arm.cost.total else None),
                multiple(report.standard_ratios[arm.arm]),
                *money(report, arm.cost.total.standard if arm.cost.total else None),
            ]
            for arm in report.arms
        ],
        left=2,
    )  # fmt: skip


def _chosen(arm: ArmResult) -> str:
    draws = arm.draws
    return NONE if draws is None or not draws.known else f"{draws.chosen}/{draws.recorded}"


def settings(report: Report) -> TextTable:
    """Each arm's setting, and how optimistic its search was."""
    number = report.objective.number
    return TextTable(
        "Settings; on validation, the best trial of the search and its optimism: how much better "
        "it looked than the confirm runs of the same setting",
        ["arm", "setting", "end beta", "validation", "optimism"],
        [
            [
                arm.arm,
                " | ".join(filter(None, arm.settings)) or NONE,
                short(arm.effective_beta),
                number(arm.validation),
                number(arm.optimism, "+"),
            ]
            for arm in report.arms
        ],
        left=2,
    )
