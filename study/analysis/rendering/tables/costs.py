"""What was trained and what it cost: images and device seconds by arm and purpose."""

from __future__ import annotations

from study.analysis.answers.report import Report
from study.analysis.records.engine_time import PURPOSES, USES
from study.analysis.rendering.purposes import purpose_name
from study.analysis.rendering.tables.table import TextTable, money, money_columns, priced
from study.formatting import NONE, images, multiple, seconds

_CRASHES = ("redone", "lost")


def sides(report: Report) -> TextTable:
    """What the models of the hand-tuned and the automatic side take, where an arm was chosen."""
    cost = report.pair_cost
    ways = cost.ways if cost is not None and len(cost.ways) > 1 else []
    both = " and ".join(cost.chosen) if cost is not None else ""
    return TextTable(
        "Cost of both sides",
        f"what the models of both sides take ({both}), by how their arms are settled on: the arm's "
        "search and one run; every arm's, the best on validation deployed; or all that the choice "
        "looked at here, which the verdict counts. x, std x: hand-tuned as a multiple of "
        "automatic",
        ["arms", "hand images", "auto images", "x", "hand std", "auto std", "std x"],
        [
            [
                way.way,
                *(images(a.images if a else None) for a in (way.hand, way.automatic)),
                multiple(way.ratio_images),
                *(seconds(a.standard if a else None) for a in (way.hand, way.automatic)),
                multiple(way.ratio_standard),
            ]
            for way in ways
        ],
    )


def images_by_use(report: Report) -> TextTable:
    """Images that each arm trained on, by phase."""
    redone = {paid.arm: paid.redone_images for paid in report.paid.arms}
    return TextTable(
        "Images trained on",
        "one search and one final run make a model, further replicates and "
        "seeds measure it; pruned and failed: numbers of trials",
        ["arm", "search", "final run", "measuring", "redone", "pruned", "failed"],
        [
            [
                arm.arm,
                images(arm.cost.search.images if arm.cost.search else None),
                images(arm.cost.final.images if arm.cost.final else None),
                images(arm.cost.measurement.images if arm.cost.total else None),
                images(redone.get(arm.arm)),
                str(arm.counts.get("pruned", 0)),
                str(arm.counts.get("failed", 0)),
            ]
            for arm in report.arms
        ],
    )


def training_by_use(report: Report) -> TextTable:
    """Device seconds of training, by the state in which trials ended."""
    return TextTable(
        "Device seconds of training",
        "by how the trial ended; after crashes, work trained again "
        "(redone), and work begun and never reported (lost)",
        ["arm", *USES, *_CRASHES],
        [
            [
                paid.arm,
                *(seconds(paid.training[use]) for use in USES),
                *(seconds(paid.seconds[purpose]) for purpose in _CRASHES),
            ]
            for paid in report.paid.arms
        ],
    )


def seconds_by_purpose(report: Report) -> TextTable:
    """The account of all engines: what each arm is charged, and what is charged to no trial."""
    paid = report.paid
    purposes = [p for p in PURPOSES if any(arm.seconds[p] for arm in paid.arms)]
    rows = [
        [
            arm.arm,
            seconds(arm.standard),
            *(seconds(arm.seconds[purpose]) for purpose in purposes),
            seconds(arm.billed),
            *money(report, arm.billed),
        ]
        for arm in paid.arms
    ]
    blank = [NONE] * (1 + len(purposes))
    uncharged = {p: amount for p, amount in paid.nobody.items() if abs(amount) > 5e-4}
    rows += [
        [f"({purpose_name(purpose)})", *blank, seconds(amount), *money(report, amount)]
        for purpose, amount in uncharged.items()
    ]
    if rows:
        rows.append(["all engines", *blank, seconds(paid.engines), *money(report, paid.engines)])
    return TextTable(
        "Device seconds of all trials",
        "standard (std), and billed by purpose; in brackets: overhead, charged to no trial"
        f"{priced(report)}",
        ["arm", "std", *map(purpose_name, purposes), "billed", *money_columns(report)],
        rows,
    )
