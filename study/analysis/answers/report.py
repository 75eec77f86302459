"""The report of a study: its verdict, arms, costs and limits, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from study.analysis.answers import costs
from study.analysis.answers.advice import Advice
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.assembly import Answers, ImageScoresOf, no_image_scores
from study.analysis.answers.attempts import Failure
from study.analysis.answers.break_even import (
    BreakEven,
)
from study.analysis.answers.cost_curves import CostCurve, Tunability
from study.analysis.answers.design import Design
from study.analysis.answers.first_screen import FirstScreen
from study.analysis.answers.luck import EqualLuck
from study.analysis.answers.narrowed import Narrowed
from study.analysis.answers.non_inferiority import NonInferiority
from study.analysis.answers.prices import Price
from study.analysis.answers.rate_distortion import Plane
from study.analysis.answers.sides import PairCost
from study.analysis.answers.summary import plain
from study.analysis.answers.two_models import TwoModels
from study.analysis.answers.verdict import Comparison
from study.analysis.records.tables import study_facts
from study.metrics import Metric


@dataclass(frozen=True)
class Report:
    """All a study's report holds; :mod:`study.analysis.rendering.text` writes it as text.

    Attributes:
        data: The dataset's name.
        design: How the compared pair of arms came about.
        capped: How a cap ended the study before it was finished, "" where none did.
        verdict: The answer in a sentence and, where a search can break even, when in another.
        remarks: What goes with it: how arms were chosen, the other arms, the second objective.
        first_screen: What every first screen says: the verdict, three numbers, the arms, one doubt.
        headline: What the verdict speaks of: the compared pair, or the best arms of either kind
            where none was named; None while there is nothing to compare.
        advice: How to go on where the verdict is inconclusive.
        comparisons: Every hand-tuned arm against every automatic one, each on its own, of those
            whose runs compare them.
        second_comparisons: Likewise by the second objective; settings were chosen by the first.
        pair_cost: What the models of the hand-tuned and the automatic side take, by how their arms
            were settled on; None while a side has no result.
        ratio_to: The verdict's automatic arm, else the one best on validation; "" without.
            ``ratios`` are arms' costs to one model as multiples of its cost in images,
            ``standard_ratios`` in standard device seconds.
        curves: What searching found against its cost, an arm each; of automatic arms, the best of
            their seeds.
        break_even: Every hand-tuned arm that searches against every automatic one, and against what
            the automatic side deploys.
        second_curves: The curves chosen and scored by the second objective, where the trials of
            searches were measured by it; ``second_break_even`` likewise.
        equal_luck: Every such arm against automatic arms that train further seeds, at equal images.
        targets: What every arm takes to reach a quality of the user's own, if asked for.
        narrowed: Break-even against the automatic arm best on validation, by the prior's width.
        two_models: The two models that would be deployed, over the test images; None where images
            have no scores.
        price: What device time costs, if asked for.
        notes: What limits the numbers, the gravest first, and how they came about.
        failures: The parts of the report that could not be computed, each a section of its own.
    """

    name: str
    question: str
    data: str
    finished: bool
    design: Design
    capped: str
    objective: Metric
    second: Metric
    verdict: Sequence[str]
    remarks: Sequence[str]
    first_screen: FirstScreen
    headline: Comparison | None
    advice: Advice | None
    comparisons: Sequence[Comparison]
    second_comparisons: Sequence[Comparison]
    arms: Sequence[ArmResult]
    pair_cost: PairCost | None
    ratio_to: str
    ratios: Mapping[str, float | None]
    standard_ratios: Mapping[str, float | None]
    paid: costs.Paid
    curves: Sequence[CostCurve]
    break_even: Sequence[BreakEven]
    second_curves: Sequence[CostCurve]
    second_break_even: Sequence[BreakEven]
    equal_luck: Sequence[EqualLuck]
    targets: Sequence[BreakEven]
    narrowed: Sequence[Narrowed]
    tunability: Sequence[Tunability]
    non_inferiority: Sequence[NonInferiority]
    two_models: TwoModels | None
    plane: Plane
    price: Price | None
    notes: Sequence[str]
    failures: Sequence[Failure]


def build_report(
    tables: Mapping[str, pa.Table],
    spec: Mapping[str, Any] | None = None,
    warnings: Iterable[str] = (),
    *,
    target: float | None = None,
    price: Price | None = None,
    image_scores: ImageScoresOf = no_image_scores,
) -> Report:
    """The report of a study, finished or not; an answer that raises is one of its failures.

    Args:
        tables: "records" and "trials", as :func:`study.analysis.load` gives them.
        spec: The study's spec as a dict; by default that of the tables' metadata.
        warnings: Where the spec breaks a rule of fairness, in sentences.
        target: A value of the objective on test whose cost is asked for.
        price: What device time costs.
        image_scores: Reads confirm runs' scores of test images; else intervals are over seeds.
    """
    facts = study_facts(tables["trials"])
    answers = Answers(tables, facts, spec := spec or facts["spec"], image_scores)
    doubts = answers.doubts(list(warnings))
    first, second = answers.first, answers.second
    return Report(
        name=spec["name"],
        question=spec.get("question", ""),
        data=spec.get("data", {}).get("name", ""),
        finished=bool(facts.get("finished")),
        design=answers.design,
        capped=answers.capped,
        objective=first.objective,
        second=second.objective,
        verdict=answers.verdict,
        remarks=answers.remarks(),
        first_screen=answers.first_screen(doubts),
        headline=first.headline,
        advice=answers.advice,
        comparisons=first.comparisons,
        second_comparisons=second.comparisons,
        arms=answers.arms,
        pair_cost=answers.pair_cost,
        ratio_to=answers.ratio_to,
        ratios=answers.ratios("images"),
        standard_ratios=answers.ratios("standard"),
        paid=answers.paid,
        curves=list(first.curves.values()),
        break_even=first.break_even,
        second_curves=list(second.curves.values()),
        second_break_even=second.break_even,
        equal_luck=answers.luck,
        targets=answers.targets(target),
        narrowed=answers.narrowed(),
        tunability=answers.tunability(),
        non_inferiority=answers.no_worse,
        two_models=answers.two_models,
        plane=answers.plane(),
        price=price,
        notes=[*doubts, *answers.notes()],
        failures=answers.attempt.failures,
    )


def summary(report: Report) -> dict[str, Any]:
    """The report as JSON-able values: what `--format json` prints. No NaN, no infinity."""
    values: dict[str, Any] = plain(report)
    return values
