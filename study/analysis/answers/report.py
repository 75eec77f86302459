"""The report of a study: its verdict, arms, costs and honest notes, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult, arm_results
from study.analysis.answers.break_even import BreakEven, Level, Narrowed, break_even, narrowed
from study.analysis.answers.cost_curves import CostCurve, Tunability, cost_curve, tunability
from study.analysis.answers.non_inferiority import NonInferiority, non_inferiority
from study.analysis.answers.notes import ended_by, notes
from study.analysis.answers.prices import Price
from study.analysis.answers.rate_distortion import Plane, plane
from study.analysis.answers.verdict import Comparison, Outcome, compare
from study.analysis.records.engine_time import EngineTime
from study.analysis.records.searches import ArmSearches, arm_searches
from study.analysis.records.tables import study_facts
from study.analysis.statistics.intervals import paired_difference
from study.metrics import Metric, metric, second_objective


@dataclass(frozen=True)
class Report:
    """All a study's report holds; :mod:`study.analysis.rendering.text` writes it as text.

    Attributes:
        data: The dataset's name.
        capped: How a cap ended the study before it was finished, "" where none did.
        verdict: The answer in a sentence and, where a search can break even, when in another.
        remarks: What follows it: who was chosen, the other arms, the second objective.
        comparisons: Every hand-tuned arm against every automatic one.
        second_comparisons: Likewise by the second objective; settings were chosen by the first.
        ratio_to: The cheapest automatic arm, "" without one; ``ratios`` are costs to one model as
            multiples of its in images, ``standard_ratios`` in standard device seconds.
        curves: What searching found against its cost, an arm each; of automatic arms, the best of
            their seeds.
        break_even: Every hand-tuned arm that searches against every automatic one.
        second_curves: The curves chosen and scored by the second objective, where the trials of
            searches were measured by it; ``second_break_even`` likewise.
        targets: What every arm takes to reach a quality of the user's own, if asked for.
        narrowed: Break-even against the automatic arm best on validation, by the prior's width.
        price: What device time costs, if asked for.
    """

    name: str
    question: str
    data: str
    finished: bool
    capped: str
    objective: Metric
    second: Metric
    verdict: Sequence[str]
    remarks: Sequence[str]
    comparisons: Sequence[Comparison]
    second_comparisons: Sequence[Comparison]
    arms: Sequence[ArmResult]
    ratio_to: str
    ratios: Mapping[str, float | None]
    standard_ratios: Mapping[str, float | None]
    paid: costs.Paid
    curves: Sequence[CostCurve]
    break_even: Sequence[BreakEven]
    second_curves: Sequence[CostCurve]
    second_break_even: Sequence[BreakEven]
    targets: Sequence[BreakEven]
    narrowed: Sequence[Narrowed]
    tunability: Sequence[Tunability]
    non_inferiority: Sequence[NonInferiority]
    plane: Plane
    price: Price | None
    notes: Sequence[str]


def build_report(
    tables: Mapping[str, pa.Table],
    spec: Mapping[str, Any] | None = None,
    warnings: Iterable[str] = (),
    *,
    target: float | None = None,
    price: Price | None = None,
) -> Report:
    """The report of a study, finished or not.

    Args:
        tables: "records" and "trials", as :func:`study.analysis.load` gives them.
        spec: The study's spec as a dict; by default the one in the tables' metadata.
        warnings: Where the spec breaks a rule of fairness, in sentences.
        target: A value of the objective on test whose cost is asked for.
        price: What device time costs.
    """
    trials, facts = tables["trials"], study_facts(tables["trials"])
    spec = facts["spec"] if spec is None else spec
    name = spec["objective"]
    objective = metric(name)
    second = second_objective(name, spec.get("evaluation", {}).get("features", ()))
    arms = arm_results(tables, spec, objective.name, second.name)
    automatic = [arm for arm in arms if arm.automatic]
    pairs = [(hand, arm) for hand in arms if not hand.automatic for arm in automatic]
    comparisons = [_compare(hand, arm, objective) for hand, arm in pairs]
    searches = arm_searches(trials, spec, objective.name)
    second_searches = arm_searches(trials, spec, second.name)
    curves = _curves(searches)
    second_curves = _curves(second_searches)
    breaks = _break_even(searches, curves, arms, objective)
    hand, best = (
        best_on_validation([arm for arm in arms if not arm.automatic]),
        best_on_validation(automatic),
    )
    cheapest = _cheapest(automatic)
    engines = [EngineTime(**engine) for engine in facts.get("engines", ())]
    paid = costs.paid(trials, list(spec["arms"]), engines)
    finished, cap = bool(facts.get("finished")), facts.get("capped")
    capped = ended_by(cap, arms) if cap else ""
    unfinished = "" if finished else capped or "the study is not finished"
    second_comparisons = [_compare(hand, arm, second, second=True) for hand, arm in pairs]
    return Report(
        name=spec["name"],
        question=spec.get("question", ""),
        data=spec.get("data", {}).get("name", ""),
        finished=finished,
        capped=capped,
        objective=objective,
        second=second,
        verdict=_verdict(arms, hand, best, comparisons, breaks, unfinished),
        remarks=_remarks(arms, hand, best, comparisons, second_comparisons),
        comparisons=comparisons,
        second_comparisons=second_comparisons,
        arms=arms,
        ratio_to=cheapest.arm if cheapest else "",
        ratios=_ratios(arms, cheapest, "images"),
        standard_ratios=_ratios(arms, cheapest, "standard"),
        paid=paid,
        curves=list(curves.values()),
        break_even=breaks,
        second_curves=list(second_curves.values()),
        second_break_even=_break_even(second_searches, second_curves, arms, second, second=True),
        targets=[] if target is None else _targets(searches, curves, target, objective),
        narrowed=_narrowed(searches, best),
        tunability=[tunability(arm) for arm in searches.values() if arm.searched],
        non_inferiority=[
            non_inferiority(hand, arm, spec.get("margin"), objective) for hand, arm in pairs
        ],
        plane=plane(trials, spec, arms),
        price=price,
        notes=[
            *warnings,
            *notes(trials, facts, arms, paid, objective, second),
            *(f"{c.why}." for c in curves.values() if c.why and not c.automatic),
        ],
    )


def summary(report: Report) -> dict[str, Any]:
    """The report as JSON-able values: what `--format json` prints. No NaN, no infinity."""
    values: dict[str, Any] = _plain(asdict(report))
    for arm, values_of_arm in zip(report.arms, values["arms"], strict=True):
        total = arm.cost.total
        values_of_arm["cost"]["total"] = _plain(asdict(total)) if total else None
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return str(value) if isinstance(value, str) else value


def best_on_validation(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm with the lowest validation objective over its confirm runs; test stays unseen."""
    scored = [
        (a.confirm_validation, i) for i, a in enumerate(arms) if a.confirm_validation is not None
    ]
    return arms[min(scored)[1]] if scored else None


def _cheapest(arms: Sequence[ArmResult]) -> ArmResult | None:
    known = [(a.cost.total.images, i) for i, a in enumerate(arms) if a.cost.total]
    return arms[min(known)[1]] if known else None


def _ratios(
    arms: Sequence[ArmResult], cheapest: ArmResult | None, unit: str
) -> dict[str, float | None]:
    return {
        arm.arm: costs.ratio(arm.cost, cheapest.cost, unit) if cheapest else None for arm in arms
    }


def _compare(
    hand: ArmResult, automatic: ArmResult, objective: Metric, *, second: bool = False
) -> Comparison:
    one, other = (a.second_by_seed if second else a.by_seed for a in (hand, automatic))
    return compare(
        hand.arm,
        automatic.arm,
        objective,
        difference=paired_difference(one, other),
        ratio_images=costs.ratio(hand.cost, automatic.cost),
        ratio_standard=costs.ratio(hand.cost, automatic.cost, "standard"),
    )


def _curves(searches: Mapping[str, ArmSearches]) -> dict[str, CostCurve]:
    """By arm, where any trial has a score: not every objective is measured in a search."""
    return {
        name: curve
        for name, arm in searches.items()
        if any(np.isfinite(search.test).any() for search in arm.searches)
        and (curve := cost_curve(arm)) is not None
    }


def _break_even(
    searches: Mapping[str, ArmSearches],
    curves: Mapping[str, CostCurve],
    arms: Sequence[ArmResult],
    objective: Metric,
    *,
    second: bool = False,
) -> list[BreakEven]:
    found = [
        break_even(
            searches[hand.arm],
            curves[hand.arm],
            Level(arm.arm, list((arm.second_by_seed if second else arm.by_seed).values())),
            objective,
            None if searches[arm.arm].searched else curves.get(arm.arm),
        )
        for hand in arms
        if not hand.automatic and hand.arm in curves and searches[hand.arm].searched
        for arm in arms
        if arm.automatic
    ]
    return [one for one in found if one is not None]


def _targets(
    searches: Mapping[str, ArmSearches],
    curves: Mapping[str, CostCurve],
    target: float,
    objective: Metric,
) -> list[BreakEven]:
    found = [
        break_even(searches[name], curve, Level("", [target]), objective)
        for name, curve in curves.items()
    ]
    return [one for one in found if one is not None]


def _narrowed(searches: Mapping[str, ArmSearches], best: ArmResult | None) -> list[Narrowed]:
    if best is None or not best.by_seed:
        return []
    level = Level(best.arm, list(best.by_seed.values()))
    return [
        one
        for arm in searches.values()
        if not arm.automatic and arm.searched
        for one in narrowed(arm, level, best.effective_beta)
    ]


def _verdict(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
    breaks: Sequence[BreakEven],
    unfinished: str,
) -> list[str]:
    first = _first_sentence(arms, hand, best, comparisons)
    if unfinished:
        first = f"So far ({unfinished}): {first[0].lower()}{first[1:]}"
    if hand is None or best is None:
        return [first]
    when = [b.sentence for b in breaks if (b.arm, b.against) == (hand.arm, best.arm)]
    return [first, *(f"Deploying the best trial found, {sentence}." for sentence in when)]


def _remarks(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
    second_comparisons: Sequence[Comparison],
) -> list[str]:
    if hand is None or best is None:
        return []
    found = []
    automatic = [arm for arm in arms if arm.automatic]
    if len(arms) > 2:
        found.append(
            f"Chosen on validation: {hand.arm} among {len(arms) - len(automatic)} hand-tuned, "
            f"{best.arm} among {len(automatic)} automatic."
        )
    if len(automatic) > 1:
        ours = [c for c in comparisons if c.hand == hand.arm]
        found.append(f"Against each automatic arm, searching {_tally(ours)}.")
    found += [
        f"A second opinion: {c.finding}."
        for c in second_comparisons
        if (c.hand, c.automatic) == (hand.arm, best.arm) and c.difference.mean is not None
    ]
    return found


def _first_sentence(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
) -> str:
    unknown = "Whether searching pays can't be told"
    automatic = [arm for arm in arms if arm.automatic]
    for kind, there in (("hand-tuned", len(automatic) < len(arms)), ("automatic", bool(automatic))):
        if not there:
            return f"{unknown}: the study has no {kind} arm."
    if hand is None or best is None:
        waiting = "hand-tuned" if hand is None else "automatic"
        return f"{unknown}: no {waiting} arm has a complete confirm run yet."
    return next(c.sentence for c in comparisons if (c.hand, c.automatic) == (hand.arm, best.arm))


def _tally(comparisons: Sequence[Comparison]) -> str:
    words = {
        Outcome.PAYS: "pays against",
        Outcome.DOES_NOT_PAY: "does not pay against",
        Outcome.NOT_SHOWN: "is not shown to pay against",
        Outcome.UNKNOWN: "can't be judged against",
    }
    against = {o: [c.automatic for c in comparisons if c.outcome is o] for o in words}
    return "; ".join(f"{words[o]} {', '.join(names)}" for o, names in against.items() if names)
