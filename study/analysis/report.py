"""The report of a study: its verdict, arms, costs and honest notes, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import pyarrow as pa

from study import costs
from study.analysis.arms import ArmResult, arm_results
from study.analysis.notes import ended_by, notes
from study.analysis.records import study_facts
from study.analysis.statistics import paired_difference
from study.analysis.verdict import (
    OBJECTIVES,
    Comparison,
    Objective,
    Outcome,
    compare,
    second_objective,
)


@dataclass(frozen=True)
class Report:
    """All a study's report holds; :mod:`study.analysis.render` writes it as text.

    ``capped`` says how a cap ended it before it was finished, "" where none did.
    ``verdict`` is one to three sentences, the answer first. ``ratios`` are costs to one model in
    images and ``standard_ratios`` in standard device seconds, as multiples of the arm
    ``ratio_to``'s, the cheapest automatic one ("" without one).
    """

    name: str
    question: str
    finished: bool
    capped: str
    objective: Objective
    second: Objective
    verdict: Sequence[str]
    comparisons: Sequence[Comparison]
    arms: Sequence[ArmResult]
    ratio_to: str
    ratios: Mapping[str, float | None]
    standard_ratios: Mapping[str, float | None]
    paid: costs.Paid
    notes: Sequence[str]


def build_report(
    tables: Mapping[str, pa.Table],
    spec: Mapping[str, Any] | None = None,
    warnings: Iterable[str] = (),
) -> Report:
    """The report of a study, finished or not.

    Args:
        tables: "records" and "trials", as :func:`study.analysis.load` gives them.
        spec: The study's spec as a dict; by default the one in the tables' metadata.
        warnings: Where the spec breaks a rule of fairness, in sentences.
    """
    trials, facts = tables["trials"], study_facts(tables["trials"])
    spec = facts["spec"] if spec is None else spec
    name = spec["objective"]
    objective = OBJECTIVES.get(name, Objective(name, name, name, "", 3))
    second = second_objective(name, spec.get("evaluation", {}).get("features", ()))
    arms = arm_results(tables, spec, objective.name, second.name)
    automatic = [arm for arm in arms if arm.automatic]
    hand = _best([arm for arm in arms if not arm.automatic])
    comparisons = [_compare(hand, arm, objective) for arm in automatic] if hand else []
    cheapest = _cheapest(automatic)
    engines = [costs.EngineTime(**engine) for engine in facts.get("engines", ())]
    paid = costs.paid(trials, list(spec["arms"]), engines)
    finished, cap = bool(facts.get("finished")), facts.get("capped")
    capped = ended_by(cap, arms) if cap else ""
    unfinished = "" if finished else capped or "the study is not finished"
    return Report(
        name=spec["name"],
        question=spec.get("question", ""),
        finished=finished,
        capped=capped,
        objective=objective,
        second=second,
        verdict=_verdict(arms, hand, comparisons, unfinished),
        comparisons=comparisons,
        arms=arms,
        ratio_to=cheapest.arm if cheapest else "",
        ratios=_ratios(arms, cheapest, "images"),
        standard_ratios=_ratios(arms, cheapest, "standard"),
        paid=paid,
        notes=[*warnings, *notes(trials, facts, arms, paid, objective, second)],
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


def _best(arms: Sequence[ArmResult]) -> ArmResult | None:
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


def _compare(hand: ArmResult, automatic: ArmResult, objective: Objective) -> Comparison:
    return compare(
        hand.arm,
        automatic.arm,
        objective,
        difference=paired_difference(hand.by_seed, automatic.by_seed),
        second=paired_difference(hand.second_by_seed, automatic.second_by_seed),
        ratio_images=costs.ratio(hand.cost, automatic.cost),
        ratio_standard=costs.ratio(hand.cost, automatic.cost, "standard"),
    )


def _verdict(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    comparisons: Sequence[Comparison],
    unfinished: str,
) -> list[str]:
    sentences = [_first_sentence(arms, hand, comparisons)]
    if unfinished:
        sentence = sentences[0]
        sentences = [f"So far ({unfinished}): {sentence[0].lower()}{sentence[1:]}"]
    hands = [arm for arm in arms if not arm.automatic]
    automatic = [arm for arm in arms if arm.automatic]
    best = _best(automatic)
    if hand is None or best is None:
        return sentences
    if len(hands) + len(automatic) > 2:
        sentences.append(
            f"Chosen on validation: {hand.arm} among {len(hands)} hand-tuned, {best.arm} among "
            f"{len(automatic)} automatic."
        )
    if len(comparisons) > 1:
        sentences.append(f"Against each automatic arm, searching {_tally(comparisons)}.")
    return sentences


def _first_sentence(
    arms: Sequence[ArmResult], hand: ArmResult | None, comparisons: Sequence[Comparison]
) -> str:
    unknown = "Whether searching pays can't be told"
    automatic = [arm for arm in arms if arm.automatic]
    for kind, there in (("hand-tuned", len(automatic) < len(arms)), ("automatic", bool(automatic))):
        if not there:
            return f"{unknown}: the study has no {kind} arm."
    best = _best(automatic)
    if hand is None or best is None:
        waiting = "hand-tuned" if hand is None else "automatic"
        return f"{unknown}: no {waiting} arm has a complete confirm run yet."
    return next(c for c in comparisons if c.automatic == best.arm).sentence


def _tally(comparisons: Sequence[Comparison]) -> str:
    words = {
        Outcome.PAYS: "pays against",
        Outcome.DOES_NOT_PAY: "does not pay against",
        Outcome.NOT_SHOWN: "is not shown to pay against",
        Outcome.UNKNOWN: "can't be judged against",
    }
    against = {o: [c.automatic for c in comparisons if c.outcome is o] for o in words}
    return "; ".join(f"{words[o]} {', '.join(names)}" for o, names in against.items() if names)
