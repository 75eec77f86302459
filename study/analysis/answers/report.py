"""The report of a study: its verdict, arms, costs and limits, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from study.analysis.answers import conclusion, costs
from study.analysis.answers.arms import ArmResult, arm_results, best_on_validation, pairs
from study.analysis.answers.attempts import Attempts, Failure
from study.analysis.answers.break_even import (
    BreakEven,
    Narrowed,
    Target,
    break_evens,
    deployed_target,
    narrowed_priors,
    targets,
)
from study.analysis.answers.cost_curves import CostCurve, Tunability, cost_curves, tunability
from study.analysis.answers.limits import limits
from study.analysis.answers.luck import EqualLuck, equal_luck
from study.analysis.answers.non_inferiority import NonInferiority, non_inferiority
from study.analysis.answers.notes import ended_by, notes
from study.analysis.answers.prices import Price
from study.analysis.answers.rate_distortion import Plane, plane
from study.analysis.answers.sides import PairCost, pair_cost
from study.analysis.answers.summary import plain
from study.analysis.answers.verdict import Comparison, compare_arms
from study.analysis.records.engine_time import EngineTime
from study.analysis.records.searches import ArmSearches, arm_searches
from study.analysis.records.tables import study_facts
from study.metrics import Metric, metric, second_objective


@dataclass(frozen=True)
class Report:
    """All a study's report holds; :mod:`study.analysis.rendering.text` writes it as text.

    Attributes:
        data: The dataset's name.
        capped: How a cap ended the study before it was finished, "" where none did.
        verdict: The answer in a sentence and, where a search can break even, when in another.
        remarks: What goes with it: how arms were chosen, the other arms, the second objective.
        comparisons: Every hand-tuned arm against every automatic one.
        second_comparisons: Likewise by the second objective; settings were chosen by the first.
        pair_cost: What the models of the hand-tuned and the automatic side take, by how their arms
            were settled on; None while a side has no result.
        ratio_to: What the automatic side is charged, in words: its arm, or choosing it; "" without.
            ``ratios`` are arms' costs to one model as multiples of that in images,
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
        price: What device time costs, if asked for.
        notes: What limits the numbers.
        failures: The parts of the report that could not be computed, each a section of its own.
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
) -> Report:
    """The report of a study, finished or not. An answer that raises becomes one of its failures.

    Args:
        tables: "records" and "trials", as :func:`study.analysis.load` gives them.
        spec: The study's spec as a dict; by default the one in the tables' metadata.
        warnings: Where the spec breaks a rule of fairness, in sentences.
        target: A value of the objective on test whose cost is asked for.
        price: What device time costs.
    """
    facts = study_facts(tables["trials"])
    spec = facts["spec"] if spec is None else spec
    answers = _Answers(tables, facts, spec)
    first, second = answers.first, answers.second
    return Report(
        name=spec["name"],
        question=spec.get("question", ""),
        data=spec.get("data", {}).get("name", ""),
        finished=bool(facts.get("finished")),
        capped=answers.capped,
        objective=first.objective,
        second=second.objective,
        verdict=answers.verdict(),
        remarks=answers.remarks(),
        comparisons=first.comparisons,
        second_comparisons=second.comparisons,
        arms=answers.arms,
        pair_cost=answers.pair_cost,
        ratio_to=answers.charged[0],
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
        non_inferiority=answers.non_inferiority(),
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
    comparisons: Sequence[Comparison]
    searches: Mapping[str, ArmSearches]
    curves: Mapping[str, CostCurve]
    break_even: Sequence[BreakEven]


class _Answers:
    """A study's answers; one that raises is a failure of ``attempt``, the others are computed.

    Args:
        tables: The study's tables.
        facts: What their metadata says.
        spec: The study's spec.
    """

    def __init__(
        self, tables: Mapping[str, pa.Table], facts: Mapping[str, Any], spec: Mapping[str, Any]
    ) -> None:
        self.attempt = Attempts()
        self._tables, self._facts, self._spec = tables, facts, spec
        self._trials = tables["trials"]
        objective = metric(spec["objective"])
        features = spec.get("evaluation", {}).get("features", ())
        second = second_objective(objective.name, features)
        self.arms = self.attempt(
            "The arms' results",
            lambda: arm_results(tables, spec, objective.name, second.name),
            list[ArmResult](),
        )
        automatic = [arm for arm in self.arms if arm.automatic]
        self._hand = best_on_validation([arm for arm in self.arms if not arm.automatic])
        self._best = best_on_validation(automatic)
        self.pair_cost = self._pair_cost()
        self.first = self._scored(objective)
        self.second = self._scored(second, second=True)

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
        return _Scored(
            objective,
            attempt(
                f"The comparison of the arms {by}",
                lambda: compare_arms(arms, objective, cost=self.pair_cost, second=second),
                [],
            ),
            searches,
            curves,
            attempt(
                f"The break-even {by}",
                lambda: break_evens(
                    searches,
                    curves,
                    arms,
                    objective,
                    deployed=self._deployed(objective, second=second),
                    second=second,
                ),
                [],
            ),
        )

    def _pair_cost(self) -> PairCost | None:
        hand, best = self._hand, self._best
        if hand is None or best is None:
            return None
        return self.attempt(
            "What the two sides' models take",
            lambda: pair_cost(self._trials, self.arms, hand, best),
            None,
        )

    @property
    def charged(self) -> tuple[str, costs.Amount | None]:
        """What the automatic side takes, in words and as an amount; before it has a rival too."""
        if self.pair_cost is not None:
            return self.pair_cost.chosen[1], self.pair_cost.charged.automatic
        return (self._best.arm, self._best.cost.total) if self._best else ("", None)

    def _deployed(self, objective: Metric, *, second: bool) -> Target | None:
        cost = self.pair_cost
        if cost is None:
            return None
        return deployed_target(self._trials, self.arms, cost, objective.name, second=second)

    @cached_property
    def luck(self) -> list[EqualLuck]:
        first = self.first
        return self.attempt(
            "Equal luck", lambda: equal_luck(first.searches, first.curves, first.objective), []
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
                self.first.comparisons,
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
                self.second.comparisons,
                self.luck,
            ),
            [],
        )

    def ratios(self, unit: str) -> dict[str, float | None]:
        _, charged = self.charged
        return {arm.arm: costs.multiple(arm.cost.total, charged, unit) for arm in self.arms}

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
            "The tunability",
            lambda: [tunability(arm) for arm in arms if arm.searched and not arm.of_seeds],
            [],
        )

    def non_inferiority(self) -> list[NonInferiority]:
        margin, objective = self._spec.get("margin"), self.first.objective
        return self.attempt(
            "Whether automatic is no worse",
            lambda: [non_inferiority(*pair, margin, objective) for pair in pairs(self.arms)],
            [],
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
        left_open: list[str] = self.attempt(
            "What the verdict does not speak of",
            lambda: limits(
                self.arms,
                self._hand,
                self._best,
                self.first.searches,
                self.first.objective,
                self._spec.get("margin"),
            ),
            [],
        )
        curves = self.first.curves.values()
        return [
            *warnings,
            *found,
            *left_open,
            *(f"{c.why}." for c in curves if c.why and not c.automatic),
        ]
