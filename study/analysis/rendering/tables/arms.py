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
    multiples = f"; x, std x: as multiples of {report.ratio_to}" if report.ratio_to else ""
    apart = [arm.arm for arm in report.arms if not arm.compared]
    chosen = f"; not compared, over choosing seeds: {', '.join(apart)}" if apart else ""
    failed = any(arm.lost_seeds for arm in report.arms)
    lost = ", of those that ended," if failed else ""
    adaptive = any(arm.draws is not None and arm.draws.known for arm in report.arms)
    about = "; chosen: search trials that the sampler chose by earlier results" if adaptive else ""
    return TextTable(
        "Arms",
        f"{report.objective.heading} on test, mean over n seeds{lost} with its 95 % interval"
        f"{chosen}; kind: {kinds(report.arms)}{about}. Cost to one model, one search and one final "
        f"run, in images and in standard device seconds{priced(report)}{multiples}",
        ["arm", "kind", f"{report.objective.short}, 95 %", "n", "trials",
         *(["chosen"] if adaptive else []), "images", "x", "std s", "std x",
         *money_columns(report)],
        [
            [
                arm.arm,
                kind(arm),
                mean(report.objective, arm.test),
                _seeds(arm),
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


def _seeds(arm: ArmResult) -> str:
    """Seeds of the mean, of all that ended where some failed."""
    n = arm.test.n
    return f"{n}/{n + len(arm.lost_seeds)}" if arm.lost_seeds else str(n)


def _chosen(arm: ArmResult) -> str:
    draws = arm.draws
    return NONE if draws is None or not draws.known else f"{draws.chosen}/{draws.recorded}"


def settings(report: Report) -> TextTable:
    """Each arm's setting, and how optimistic its search was."""
    number = report.objective.number
    return TextTable(
        "Settings found",
        "on validation, the best trial of the search and its optimism: how much better "
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
