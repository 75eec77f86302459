"""The report of a study: its verdict, arms, costs and limits, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from study.analysis.answers import conclusion, costs
from study.analysis.answers.advice import Advice, advice
from study.analysis.answers.arms import ArmResult, arm_results, best_on_validation, pairs
from study.analysis.answers.attempts import Attempts, Failure
from study.analysis.answers.break_even import (
    BreakEven,
    Narrowed,
    break_evens,
    narrowed_priors,
    targets,
)
from study.analysis.answers.cost_curves import CostCurve, Tunability, cost_curves, tunability
from study.analysis.answers.coverage import coverage_notes
from study.analysis.answers.design import Design, design_of
from study.analysis.answers.non_inferiority import NonInferiority, non_inferiority
from study.analysis.answers.notes import ended_by, notes
from study.analysis.answers.prices import Price
from study.analysis.answers.rate_distortion import Plane, plane
from study.analysis.answers.summary import plain
from study.analysis.answers.two_models import TwoModels, two_models
from study.analysis.answers.verdict import Comparison, compare_arms, headline
from study.analysis.records.engine_time import EngineTime
from study.analysis.records.image_scores import BySeed, draw_error
from study.analysis.records.searches import ArmSearches, arm_searches
from study.analysis.records.tables import study_facts
from study.metrics import Metric, metric, second_objective
from study.spec.collapse import CollapseSpec

ImageScoresOf = Callable[[str], Mapping[str, BySeed]]
"""By an objective's name: arm -> seed -> the scores of the test images, in its unit."""


def no_image_scores(objective: str) -> Mapping[str, BySeed]:
    """Of a study whose confirm runs recorded none."""
    return {}


@dataclass(frozen=True)
class Report:
    """All a study's report holds; :mod:`study.analysis.rendering.text` writes it as text.

    Attributes:
        data: The dataset's name.
        design: How the compared pair of arms came about.
        capped: How a cap ended the study before it was finished, "" where none did.
        verdict: The answer in a sentence and, where a search can break even, when in another.
        remarks: What goes with it: how arms were chosen, the other arms, the second objective.
        headline: What the verdict speaks of: the compared pair, or the best arms of either kind
            where none was named; None while there is nothing to compare.
        advice: How to go on where the verdict is inconclusive.
        comparisons: Every hand-tuned arm against every automatic one, each on its own, of those
            whose runs compare them.
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
        two_models: The two models that would be deployed, over the test images; None where images
            have no scores.
        price: What device time costs, if asked for.
        notes: What limits the numbers.
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
    headline: Comparison | None
    advice: Advice | None
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
    """The report of a study, finished or not. An answer that raises becomes one of its failures.

    Args:
        tables: "records" and "trials", as :func:`study.analysis.load` gives them.
        spec: The study's spec as a dict; by default the one in the tables' metadata.
        warnings: Where the spec breaks a rule of fairness, in sentences.
        target: A value of the objective on test whose cost is asked for.
        price: What device time costs.
        image_scores: Reads, by arm and seed, what confirm runs score on each test image by an
            objective (:func:`study.analysis.records.image_scores.image_scores`): without them,
            intervals are over seeds on this test set alone.
    """
    facts = study_facts(tables["trials"])
    spec = facts["spec"] if spec is None else spec
    answers = _Answers(tables, facts, spec, image_scores)
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
        verdict=answers.verdict(),
        remarks=answers.remarks(),
        headline=first.headline,
        advice=answers.advice,
        comparisons=first.comparisons,
        second_comparisons=second.comparisons,
        arms=answers.arms,
        ratio_to=answers.cheapest.arm if answers.cheapest else "",
        ratios=answers.ratios("images"),
        standard_ratios=answers.ratios("standard"),
        paid=answers.paid,
        curves=list(first.curves.values()),
        break_even=first.break_even,
        second_curves=list(second.curves.values()),
        second_break_even=second.break_even,
        targets=answers.targets(target),
        narrowed=answers.narrowed(),
        tunability=answers.tunability(),
        non_inferiority=answers.no_worse,
        two_models=answers.two_models,
        plane=answers.plane(),
        price=price,
        notes=answers.notes(warnings),
        failures=answers.attempt.failures,
    )


def summary(report: Report) -> dict[str, Any]:
    """The report as JSON-able values: what `--format json` prints. No NaN, no infinity."""
    values: dict[str, Any] = plain(report)
    return values


@dataclass(frozen=True)
class _Scored:
    """The answers that depend on the objective that arms are compared by."""

    objective: Metric
    image_scores: Mapping[str, BySeed]
    comparisons: Sequence[Comparison]
    headline: Comparison | None
    searches: Mapping[str, ArmSearches]
    curves: Mapping[str, CostCurve]
    break_even: Sequence[BreakEven]


class _Answers:
    """A study's answers; one that raises is a failure of ``attempt``, the others are computed.

    Args:
        tables: The study's tables.
        facts: What their metadata says.
        spec: The study's spec.
        image_scores: As for :func:`build_report`.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        facts: Mapping[str, Any],
        spec: Mapping[str, Any],
        image_scores: ImageScoresOf,
    ) -> None:
        self.attempt = Attempts()
        self.design = design_of(facts, spec)
        self._tables, self._facts, self._spec = tables, facts, spec
        self._image_scores = image_scores
        self._trials = tables["trials"]
        objective = metric(spec["objective"])
        features = spec.get("evaluation", {}).get("features", ())
        second = second_objective(objective.name, features)
        self.arms = self.attempt(
            "The arms' results",
            lambda: arm_results(tables, spec, objective.name, second.name),
            list[ArmResult](),
        )
        self._hand, self._best = self._spoken_of()
        self.cheapest = _cheapest([arm for arm in self.arms if arm.automatic])
        self.first = self._scored(objective)
        self.second = self._scored(second, second=True)

    def _spoken_of(self) -> tuple[ArmResult | None, ArmResult | None]:
        """The compared pair, as far as it has results, else the arms best on validation."""
        pair = self.design.pair
        hands, automatic = (
            [a for a in self.arms if a.automatic is kind and (pair is None or a.arm in pair)]
            for kind in (False, True)
        )
        return best_on_validation(hands), best_on_validation(automatic)

    def _scored(self, objective: Metric, *, second: bool = False) -> _Scored:
        attempt, arms, by = self.attempt, self.arms, f"by {objective.label}"
        searches = attempt(
            f"What searches found {by}",
            lambda: arm_searches(self._trials, self._spec, objective.name),
            dict[str, ArmSearches](),
        )
        curves = attempt(
            f"The cost curves {by}", lambda: cost_curves(searches), dict[str, CostCurve]()
        )
        scores = attempt(
            f"The scores of test images {by}",
            lambda: self._image_scores(objective.name),
            dict[str, BySeed](),
        )
        images = {arm: {seed: one.values for seed, one in of.items()} for arm, of in scores.items()}
        comparisons = attempt(
            f"The comparison of the arms {by}",
            lambda: compare_arms(arms, objective, self.design, images, second=second),
            list[Comparison](),
        )
        return _Scored(
            objective,
            scores,
            comparisons,
            attempt(f"The headline {by}", lambda: headline(comparisons, self.design), None),
            searches,
            curves,
            attempt(
                f"The break-even {by}",
                lambda: break_evens(searches, curves, arms, objective, second=second),
                [],
            ),
        )

    @cached_property
    def capped(self) -> str:
        cap = self._facts.get("capped")
        if not cap:
            return ""
        return self.attempt(
            "What the cap left open", lambda: ended_by(cap, self.arms), f"ended by {cap['cap']}"
        )

    @cached_property
    def paid(self) -> costs.Paid:
        return self.attempt(
            "The account of device time",
            lambda: costs.paid(
                self._trials,
                [arm.arm for arm in self.arms],
                [EngineTime(**engine) for engine in self._facts.get("engines", ())],
            ),
            costs.NOTHING_PAID,
        )

    def verdict(self) -> list[str]:
        finished = self._facts.get("finished")
        unfinished = "" if finished else self.capped or "the study is not finished"
        return self.attempt(
            "The verdict",
            lambda: conclusion.verdict(
                self.arms,
                self._hand,
                self._best,
                self.first.headline,
                self.design,
                self.first.break_even,
                unfinished,
            ),
            ["The verdict could not be computed."],
        )

    def remarks(self) -> list[str]:
        return self.attempt(
            "What goes with the verdict",
            lambda: conclusion.remarks(
                self.arms,
                self._hand,
                self._best,
                self.first.comparisons,
                self.second.headline,
                self.design,
                self.advice,
            ),
            [],
        )

    @cached_property
    def advice(self) -> Advice | None:
        """How to go on where the verdict is inconclusive."""
        return self.attempt(
            "How to go on",
            lambda: advice(self.first.headline, self.design, self._spec, self._spec["name"]),
            None,
        )

    def ratios(self, unit: str) -> dict[str, float | None]:
        cheapest = self.cheapest
        return {
            arm.arm: costs.ratio(arm.cost, cheapest.cost, unit) if cheapest else None
            for arm in self.arms
        }

    def targets(self, target: float | None) -> list[BreakEven]:
        if target is None:
            return []
        first = self.first
        return self.attempt(
            "The cost of the target",
            lambda: targets(first.searches, first.curves, target, first.objective),
            [],
        )

    def narrowed(self) -> list[Narrowed]:
        return self.attempt(
            "The break-even of narrower priors",
            lambda: narrowed_priors(self.first.searches, self._best),
            [],
        )

    def tunability(self) -> list[Tunability]:
        arms = self.first.searches.values()
        return self.attempt(
            "The tunability", lambda: [tunability(arm) for arm in arms if arm.searched], []
        )

    @cached_property
    def no_worse(self) -> list[NonInferiority]:
        """Whether automatic is no worse, pair by pair."""
        margin, rule = self._spec.get("margin"), CollapseSpec.of(self._spec)
        looks, by_pair = self.design.until_decided, pairs(self.arms)
        return self.attempt(
            "Whether automatic is no worse",
            lambda: (
                [
                    non_inferiority(hand, arm, found, margin, rule, looks=looks)
                    for (hand, arm), found in zip(by_pair, self.first.comparisons, strict=True)
                ]
                if self.first.comparisons
                else []
            ),
            [],
        )

    @cached_property
    def two_models(self) -> TwoModels | None:
        """The two models that would be deployed, over the test images."""
        hand, best = self._hand, self._best
        if hand is None or best is None:
            return None
        return self.attempt(
            "The comparison of two models",
            lambda: two_models(self.first.image_scores, hand, best),
            None,
        )

    def plane(self) -> Plane:
        title = "The rate-distortion plane"
        return self.attempt(
            title,
            lambda: plane(self._trials, self._spec, self.arms),
            Plane([], [], [], f"{title} could not be computed"),
        )

    def notes(self, warnings: Iterable[str]) -> list[str]:
        """What limits the numbers."""
        found: list[str] = self.attempt(
            "The notes on the numbers",
            lambda: notes(
                self._trials,
                self._facts,
                self.arms,
                self.paid,
                self.first.objective,
                self.second.objective,
            ),
            [],
        )
        curves = self.first.curves.values()
        return [
            *warnings,
            *self._coverage(),
            *found,
            *(f"{c.why}." for c in curves if c.why and not c.automatic),
        ]

    def _coverage(self) -> list[str]:
        found, scores = self.first.headline, self.first.image_scores
        return self.attempt(
            "What the verdict's interval covers",
            lambda: coverage_notes(
                found,
                self.arms,
                self.no_worse,
                self.two_models,
                draw_error(scores.get(found.hand, {}), scores.get(found.automatic, {}))
                if found
                else None,
            ),
            [],
        )


def _cheapest(arms: Sequence[ArmResult]) -> ArmResult | None:
    known = [(a.cost.total.images, i) for i, a in enumerate(arms) if a.cost.total]
    return arms[min(known)[1]] if known else None
