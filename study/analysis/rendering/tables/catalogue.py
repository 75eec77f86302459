"""A report's tables, as strings: what its text and its page both show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from study.analysis.answers.break_even import BreakEven, Count
from study.analysis.answers.cost_curves import CostCurve
from study.analysis.answers.report import Report
from study.analysis.answers.verdict import Outcome
from study.analysis.records.engine_time import PURPOSES, USES
from study.analysis.statistics.intervals import Interval
from study.metrics import BITS_PER_DIM, CALIBRATED_ELBO, Metric

NONE = "-"
_BLOCKS = "▁▂▃▄▅▆▇█"
_NAMES = {
    "second_stage": "second stage",
    "startup": "start-up",
    "pilot": "pilots",
    "idle_slots": "idle slots",
    "waiting": "idle engines",
}
PAYS = {
    Outcome.PAYS: "yes",
    Outcome.DOES_NOT_PAY: "no",
    Outcome.NOT_SHOWN: "not shown",
    Outcome.UNKNOWN: "can't tell",
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


@dataclass(frozen=True)
class TextTable:
    """A titled table of strings; ``left`` columns are aligned left, the others right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def tables(report: Report) -> list[TextTable]:
    """The report's tables, in the order they are read; none that has nothing to say."""
    every = [
        _arms(report),
        _against(report),
        _no_worse(report),
        _break_even(report, report.break_even, report.objective),
        _targets(report),
        _cost_curves(report),
        _expected(report),
        _settings(report),
        _beside(report),
        *_closely(report),
        _break_even(report, report.second_break_even, report.second),
        _narrowed(report),
        _tunability(report),
        _plane(report),
        _images_by_use(report),
        _training_by_use(report),
        _seconds_by_use(report),
    ]
    return [table for table in every if table.rows]


def _arms(report: Report) -> TextTable:
    multiples = (
        f"; x: as a multiple of {report.ratio_to}'s, the cheapest automatic arm's"
        if report.ratio_to
        else ""
    )
    return TextTable(
        f"{report.objective.heading} on test, mean over n seeds with its 95 % interval. Cost to "
        "one model, one search and one final run, in images and in standard device seconds"
        f"{_priced(report)}{multiples}",
        ["arm", "kind", f"{report.objective.short}, 95 %", "n", "trials", "images", "x", "std s",
         "x", *(["money"] if report.price else [])],
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
                *_money(report, arm.cost.total.standard if arm.cost.total else None),
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
    return TextTable(
        "Each hand-tuned arm minus each automatic one, on test over n paired seeds; x: its cost as "
        "a multiple of that arm's, in images and in standard device seconds; and whether it pays",
        ["arm", "against", f"{report.objective.short} [95 %]", "n", "x", "x", "pays"],
        [
            [
                c.hand,
                c.automatic,
                report.objective.difference(c.difference, unit=False)
                if c.difference.mean is not None
                else NONE,
                str(c.difference.n),
                _times(c.ratio_images),
                _times(c.ratio_standard),
                PAYS[c.outcome],
            ]
            for c in report.comparisons
        ],
        left=2,
    )


def _no_worse(report: Report) -> TextTable:
    margin = report.non_inferiority[0].margin if report.non_inferiority else None
    asked = (
        "the study sets no margin"
        if margin is None
        else f"the margin is {margin:g}, the test one-sided at 2.5 %"
    )
    return TextTable(
        f"Is automatic no worse? Whether it is shown to be worse by less than a margin ({asked}); "
        "wins: how likely it is the better one on a fresh seed, with the exact interval",
        ["automatic", "than", "wins [95 %]", "no worse"],
        [
            [
                one.automatic,
                one.hand,
                _interval(one.improvement, ".2f"),
                {None: NONE, True: "shown", False: "not shown"}[one.shown],
            ]
            for one in report.non_inferiority
        ],
        left=2,
    )


def _break_even(report: Report, breaks: Sequence[BreakEven], objective: Metric) -> TextTable:
    return TextTable(
        f"Break-even by {objective.heading}: the trials from which on the best one found (chosen "
        "on validation, deployed as it is, scored on test) is at the automatic arm's mean, with "
        "the images and the standard device seconds they take; >: not within the trials there are; "
        "best of n: the trials from which on it is at the best of as many seeds of that arm",
        ["arm", "against", "trials [95 %]", "images [95 %]", "std s [95 %]", "best of n"],
        [
            [
                one.arm,
                one.against,
                *_triples(report, one),
                f"{one.against_best}" if one.against_best else f">{_pairs(report, one)}",
            ]
            for one in breaks
        ],
        left=2,
    )


def _targets(report: Report) -> TextTable:
    target = report.targets[0].level.mean if report.targets else None
    return TextTable(
        f"Cost to a {report.objective.label} of {report.objective.number(target)} on test: the "
        "trials from which on the best one found is there, of automatic arms runs of other seeds",
        ["arm", "trials [95 %]", "images [95 %]", "std s [95 %]",
         *(["money"] if report.price else [])],
        [
            [one.arm, *_triples(report, one), *_money(report, one.seconds[0])]
            for one in report.targets
        ],
    )  # fmt: skip


def _cost_curves(report: Report) -> TextTable:
    number = report.objective.number
    values = [value for curve in report.curves for value in curve.value if value is not None]
    scale = (min(values), max(values)) if values else (0.0, 0.0)
    return TextTable(
        f"{report.objective.heading} on test of the best trial found after n of N trials (low is "
        "good): the median search, of independent trials with an exact band for all n together, of "
        "other searches with exact intervals from 5 replicates on; of automatic arms the mean best "
        "of n seeds",
        ["arm", "N", "1 .. N", "n = 1", "n = N/4 [95 %]", "n = N"],
        [
            [
                curve.arm,
                str(len(curve.value)),
                sparkline(curve.value, scale),
                number(curve.value[0]),
                _at(report.objective, curve, max(1, len(curve.value) // 4)),
                number(curve.value[-1]),
            ]
            for curve in report.curves
        ],
    )


def _expected(report: Report) -> TextTable:
    return TextTable(
        "Expected best of n independent trials, up to a quarter of them, beyond which no interval "
        "is honest; these cover 94 % or more, measured on known distributions",
        ["arm", "N", "n", f"{report.objective.short} [95 %]"],
        [
            [
                curve.arm,
                str(len(curve.value)),
                str(n),
                report.objective.difference(curve.expected[n - 1], unit=False),
            ]
            for curve in report.curves
            for n in sorted({2, len(curve.expected) // 2, len(curve.expected)})
            if 2 <= n <= len(curve.expected) and curve.expected[n - 1].half_width is not None
        ],
    )


def _narrowed(report: Report) -> TextTable:
    against = report.narrowed[0].against if report.narrowed else ""
    centre = f"{report.narrowed[0].centre:.3g}" if report.narrowed else ""
    return TextTable(
        f"Break-even against {against} if beta's prior were narrower, around {centre}, where that "
        "arm's beta ended: what it is worth to know the place beforehand",
        ["arm", "decades", "trials inside", "trials [95 %]"],
        [
            [n.arm, f"{n.decades:.2f} of {n.whole:.2f}", str(n.trials.within), _count(n.trials)]
            for n in report.narrowed
        ],
    )


def _tunability(report: Report) -> TextTable:
    number = report.objective.number
    return TextTable(
        "Tunability: the expected score on test by budget (Sivaprasad et al. 2020): after one "
        "trial, averaged over budgets with early ones, all alike, or late ones weighing most, and "
        "after all",
        ["arm", "trials", "one shot", "early", "uniform", "late", "peak"],
        [
            [
                t.arm,
                str(t.within),
                *map(number, (t.one_shot, t.early, t.uniform, t.late, t.peak)),
            ]
            for t in report.tunability
        ],
    )


def _plane(report: Report) -> TextTable:
    return TextTable(
        "Rate and distortion on test, means over the confirm runs. Above: squared error beyond the "
        "frontier of the fixed betas at the same rate, as a share and in nats per image (negative: "
        "better than any fixed beta tried); sweep's beta: the one that has this rate on the "
        "frontier",
        ["arm", "R (nats)", "S", "end beta", "above", "nats", "sweep's beta"],
        [
            [
                landing.arm,
                f"{landing.rate:.2f}",
                f"{landing.distortion:.3f}",
                _short(landing.beta),
                NONE if landing.excess is None else f"{100 * landing.excess:+.1f} %",
                NONE if landing.nats is None else f"{landing.nats:+.2f}",
                _short(landing.frontier_beta),
            ]
            for landing in report.plane.landings
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
            *_money(report, arm.billed),
        ]
        for arm in paid.arms
    ]
    blank = [NONE] * (1 + len(purposes))
    rows += [
        [
            f"({_NAMES.get(purpose, purpose)})",
            *blank,
            _seconds(seconds),
            *_money(report, seconds),
        ]
        for purpose, seconds in paid.nobody.items()
        if abs(seconds) > 5e-4
    ]
    rows.append(["all engines", *blank, _seconds(paid.engines), *_money(report, paid.engines)])
    return TextTable(
        "Device seconds of all trials: standard (std), and billed by purpose; in brackets what no "
        f"trial is charged{_priced(report)}",
        ["arm", "std", *(_NAMES.get(purpose, purpose) for purpose in purposes), "billed",
         *(["money"] if report.price else [])],
        rows,
    )  # fmt: skip


def _mean(objective: Metric, interval: Interval) -> str:
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


def sparkline(values: Sequence[float | None], scale: tuple[float, float]) -> str:
    """``values`` as blocks whose height is their place in ``scale``, at most 12 of them."""
    low, high = scale
    step = max(1, -(-len(values) // 12))
    return "".join(
        " "
        if value is None
        else _BLOCKS[round((len(_BLOCKS) - 1) * (value - low) / (high - low))]
        if high > low
        else _BLOCKS[0]
        for value in values[::step]
    )


def _at(objective: Metric, curve: CostCurve, n: int) -> str:
    return (
        objective.difference(
            Interval(curve.value[n - 1], *_open(curve.lower[n - 1], curve.upper[n - 1]), n),
            unit=False,
        )
        if curve.value[n - 1] is not None
        else NONE
    )


def _open(lower: float | None, upper: float | None) -> tuple[float | None, float | None]:
    """Both ends of a band or none: one alone reads like an interval that it is not."""
    return (lower, upper) if lower is not None and upper is not None else (None, None)


def _triples(report: Report, one: BreakEven) -> list[str]:
    """Trials, images and standard seconds of a break-even, each with its interval."""
    curve = next(curve for curve in (*report.curves, *report.second_curves) if curve.arm == one.arm)
    count = one.trials
    return [
        _count(count),
        _censored(count, one.images, curve.images[-1], _images),
        _censored(count, one.seconds, curve.seconds[-1], _seconds),
    ]


def _count(count: Count) -> str:
    whole = (float(count.within), count.value, count.lower, count.upper)
    return _censored(count, whole[1:], whole[0], lambda n: str(int(n or 0)))


def _censored(
    count: Count,
    values: Sequence[float | None],
    end: float | None,
    text: Callable[[float | None], str],
) -> str:
    """A value with its interval; what is not within the trials there are is "> all of them"."""
    if end is None:
        return NONE
    value, lower, upper = (
        f">{text(end)}" if known is None or n is None or n > count.within else text(known)
        for known, n in zip(values, (count.value, count.lower, count.upper), strict=True)
    )
    return value if count.lower is None else f"{value} [{lower}, {upper}]"


def _pairs(report: Report, one: BreakEven) -> int:
    """As many runs as both have."""
    return min(one.trials.within, one.seeds)


def _interval(interval: Interval, form: str) -> str:
    if interval.mean is None:
        return NONE
    mean = f"{interval.mean:{form}}"
    if interval.lower is None or interval.upper is None:
        return mean
    return f"{mean} [{interval.lower:{form}}, {interval.upper:{form}}]"


def _short(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _priced(report: Report) -> str:
    """What is said where a column of money follows."""
    if report.price is None:
        return ""
    return f", and in money at {report.price.text(3600)} a device hour"


def _money(report: Report, seconds: float | None) -> list[str]:
    return [report.price.text(seconds)] if report.price else []
