"""A study's answers one by one: each is computed whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from study.analysis.answers import conclusion, costs
from study.analysis.answers.advice import Advice, advice
from study.analysis.answers.arms import ArmResult, arm_results, best_on_validation, pairs
from study.analysis.answers.attempts import Attempts
from study.analysis.answers.break_even import (
    BreakEven,
    Target,
    break_evens,
    deployed_target,
    targets,
)
from study.analysis.answers.cost_curves import CostCurve, Tunability, cost_curves, tunability
from study.analysis.answers.coverage import coverage_notes
from study.analysis.answers.design import design_of
from study.analysis.answers.first_screen import FirstScreen, first_screen
from study.analysis.answers.limits import limits, unconverged
from study.analysis.answers.luck import EqualLuck, equal_luck
from study.analysis.answers.narrowed import Narrowed, narrowed_priors
from study.analysis.answers.non_inferiority import NonInferiority, non_inferiority
from study.analysis.answers.notes import doubts, ended_by, notes
from study.analysis.answers.rate_distortion import Plane, plane
from study.analysis.answers.sides import PairCost, pair_cost
from study.analysis.answers.two_models import TwoModels, two_models
from study.analysis.answers.verdict import Comparison, compare_arms, headline
from study.analysis.records.engine_time import EngineTime
from study.analysis.records.image_scores import BySeed, draw_error
from study.analysis.records.searches import ArmSearches, arm_searches
from study.metrics import Metric, metric, second_objective
from study.spec.collapse import CollapseSpec

ImageScoresOf = Callable[[str], Mapping[str, BySeed]]
"""By an objective's name: arm -> seed -> the scores of the test images, in its unit."""


def no_image_scores(objective: str) -> Mapping[str, BySeed]:
    """Of a study whose confirm runs recorded none."""
    return {}


@dataclass(frozen=True)
class Scored:
    """The answers that depend on the objective that arms are compared by."""

    objective: Metric
    image_scores: Mapping[str, BySeed]
    comparisons: Sequence[Comparison]
    headline: Comparison | None
    searches: Mapping[str, ArmSearches]
    curves: Mapping[str, CostCurve]
    break_even: Sequence[BreakEven]


class Answers:
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
        self.pair_cost = self._pair_cost()
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

    def _scored(self, objective: Metric, *, second: bool = False) -> Scored:
        attempt, arms, by = self.attempt, self.arms, f"by {objective.label}"
        searches = attempt(
            f"What searches found {by}",
            lambda: arm_searches(self._trials, self._spec, objective.name),
            dict[str, ArmSearches](),
        )
        curves = attempt(
            f"The cost curves {by}",
            lambda: cost_curves(searches, looks=self.design.looked),
            dict[str, CostCurve](),
        )
        scores = attempt(
            f"The scores of test images {by}",
            lambda: self._image_scores(objective.name),
            no_image_scores(objective.name),
        )
        images = {arm: {seed: one.values for seed, one in of.items()} for arm, of in scores.items()}
        margin = None if second else self._spec.get("margin")
        comparisons = attempt(
            f"The comparison of the arms {by}",
            lambda: compare_arms(
                arms,
                objective,
                self.design,
                images,
                margin=margin,
                cost=self.pair_cost,
                second=second,
            ),
            list[Comparison](),
        )
        return Scored(
            objective,
            scores,
            comparisons,
            attempt(
                f"The headline {by}",
                lambda: headline(comparisons, self.design, margin, self.pair_cost),
                None,
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
                    looks=self.design.looked,
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
    def ratio_to(self) -> str:
        """The automatic arm that costs are multiples of, "" without one."""
        return self._best.arm if self._best else ""

    def _deployed(self, objective: Metric, *, second: bool) -> Target | None:
        cost, looks = self.pair_cost, self.design.looked
        if cost is None:
            return None
        return deployed_target(
            self._trials, self.arms, cost, objective.name, second=second, looks=looks
        )

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

    @property
    def unfinished(self) -> str:
        """Why the answer is a preliminary one, "" where it is not."""
        return "" if self._facts.get("finished") else self.capped or "the study is not finished"

    @cached_property
    def verdict(self) -> list[str]:
        return self.attempt(
            "The verdict",
            lambda: conclusion.verdict(
                self.arms,
                self._hand,
                self._best,
                self.first.headline,
                self.design,
                self.first.break_even,
                self.unfinished,
            ),
            ["The verdict could not be computed."],
        )

    def first_screen(self, doubts: Sequence[str]) -> FirstScreen:
        first = self.first
        screen = partial(
            first_screen,
            self.verdict,
            objective=first.objective,
            so_far=self.unfinished,
            distrust=next(iter((*map(str, self.attempt.failures), *doubts)), ""),
        )
        return self.attempt(
            "The first screen",
            lambda: screen(
                first.headline,
                self.arms,
                self._hand,
                self.pair_cost,
                first.break_even,
                self.ratios("images"),
            ),
            screen(None, [], None, None, [], {}),
        )

    def remarks(self) -> list[str]:
        return self.attempt(
            "What goes with the verdict",
            lambda: conclusion.remarks(
                self.arms,
                self._hand,
                self._best,
                self.first.headline,
                self.first.comparisons,
                self.second.headline,
                self.design,
                self.first.break_even,
                self.advice,
                self.luck,
            ),
            [],
        )

    @cached_property
    def advice(self) -> Advice | None:
        """How to go on where the verdict is inconclusive."""
        return self.attempt(
            "How to go on",
            lambda: advice(
                self.first.headline,
                self.design,
                self._spec,
                finished=bool(self._facts.get("finished")),
            ),
            None,
        )

    def ratios(self, unit: str) -> dict[str, float | None]:
        one = self._best.cost.total if self._best else None
        return {arm.arm: costs.multiple(arm.cost.total, one, unit) for arm in self.arms}

    def targets(self, target: float | None) -> list[BreakEven]:
        if target is None:
            return []
        first = self.first
        return self.attempt(
            "The cost of the target",
            lambda: targets(
                first.searches, first.curves, target, first.objective, looks=self.design.looked
            ),
            [],
        )

    def narrowed(self) -> list[Narrowed]:
        return self.attempt(
            "The break-even of narrower priors",
            lambda: narrowed_priors(self.first.searches, self._best, looks=self.design.looked),
            [],
        )

    def tunability(self) -> list[Tunability]:
        arms = self.first.searches.values()
        return self.attempt(
            "The tunability",
            lambda: [tunability(arm) for arm in arms if arm.searched and not arm.of_seeds],
            [],
        )

    @cached_property
    def no_worse(self) -> list[NonInferiority]:
        """Whether automatic is no worse, pair by pair."""
        margin, rule = self._spec.get("margin"), CollapseSpec.of(self._spec)
        looks, by_pair = self.design.looked, pairs(self.arms)
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

    def doubts(self, warnings: Sequence[str]) -> list[str]:
        """Why not to trust the numbers, the gravest reason first.

        What did not run as it should; arms that were still improving; rules of fairness that the
        compared arms break; what else the comparison leaves open; rules that other arms break.
        """
        pair = [f"'{arm.arm}'" for arm in (self._hand, self._best) if arm is not None]
        others = [w for w in warnings if "'" in w and not any(name in w for name in pair)]
        went_wrong: list[str] = self.attempt(
            "What went wrong", lambda: doubts(self._facts, self.arms, self.paid), []
        )
        left_open: list[str] = self.attempt(
            "What the verdict does not speak of",
            lambda: limits(
                self.arms,
                self._hand,
                self._best,
                self.first.searches,
                self.first.objective,
                self._spec,
            ),
            [],
        )
        improving: list[str] = self.attempt(
            "Whether arms had converged", lambda: list(unconverged(self._hand, self._best)), []
        )
        return [
            *went_wrong,
            *improving,
            *(w for w in warnings if w not in others),
            *left_open,
            *others,
        ]

    def notes(self) -> list[str]:
        """How the numbers came about."""
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
            *self._coverage(),
            *found,
            *(f"{c.why}." for c in curves if c.why and not c.automatic),
        ]

    def _coverage(self) -> list[str]:
        found = self.first.headline
        return self.attempt(
            "What the verdict's interval covers",
            lambda: coverage_notes(
                found,
                self.arms,
                self.no_worse,
                self.two_models,
                self._draw_error(found) if found else None,
                self.first.objective,
                looks=self.design.looked,
            ),
            [],
        )

    def _draw_error(self, found: Comparison) -> float | None:
        """That of the difference ``found``, over its own seeds: runs that chose have no part."""
        scores = self.first.image_scores
        of = {arm.arm: arm.by_seed.keys() for arm in self.arms}
        seeds = of[found.hand] & of[found.automatic]
        hand, automatic = (
            {seed: one for seed, one in scores.get(arm, {}).items() if seed in seeds}
            for arm in (found.hand, found.automatic)
        )
        return draw_error(hand, automatic)
