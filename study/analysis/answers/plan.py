"""What a study takes to show what it is about: seeds, trials and replicates, and their price.

Seeds are planned with the 80 % upper bound of a pilot's standard deviation (Browne 1995) for the
rule that the verdict follows; without a pilot in units of that standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, inf
from typing import Any

import pyarrow as pa

from study.analysis.answers.arms import arm_results, best_on_validation
from study.analysis.answers.design import design_of
from study.analysis.records.image_scores import BySeed
from study.analysis.records.tables import study_facts
from study.formatting import images
from study.metrics import metric, second_objective
from study.spec import StudySpec, arm_roles
from study.spec.arms import ArmSpec
from study.statistics import FEWEST
from study.statistics.paired import paired
from study.statistics.planning import (
    ERROR,
    MOST_SEEDS,
    POWER,
    Rule,
    break_even_bounded,
    image_floor,
    replicates_needed,
    spread_bound,
    trials_needed,
)

BREAK_EVENS = (3, 6, 10, 20)
"""Numbers of trials that a search may plausibly need to break even."""
SPANNED = 0.5
"""The share of all searches that an interval of the median search should span at most."""
_POWER = f"{100 * POWER:.0f} %"


@dataclass(frozen=True)
class Pilot:
    """How the paired difference of two arms varies.

    Attributes:
        source: Where that is from, in words.
        spread: Standard deviation over seeds, in the objective's unit.
        seeds: How many it is from; None: it is known.
        image_variance: as in :class:`study.statistics.paired.Differences`.
        images: Test images behind it.
    """

    source: str
    spread: float
    seeds: int | None = None
    image_variance: float = 0.0
    images: int = 0

    @property
    def planned(self) -> float:
        """The standard deviation to plan with."""
        return self.spread if self.seeds is None else spread_bound(self.spread, self.seeds)


def pilot_of(
    tables: Mapping[str, pa.Table], scores: Mapping[str, BySeed], objective: str
) -> Pilot | None:
    """The pilot that a study's records are: of its compared pair, else of its best arms.

    Args:
        tables: The study's tables.
        scores: What its confirm runs score on single test images, by arm and seed.
        objective: The objective that is planned for.

    Returns:
        None where no two arms of either kind have 2 seeds in common, or nothing varies.
    """
    facts = study_facts(tables["trials"])
    spec = facts["spec"]
    pair = design_of(facts, spec).pair
    features = spec.get("evaluation", {}).get("features", ())
    arms = arm_results(tables, spec, objective, second_objective(objective, features).name)
    hand, automatic = (
        best_on_validation(
            [
                arm
                for arm in arms
                if arm.automatic is kind and len(arm.by_seed) > 1 and arm.arm in (pair or [arm.arm])
            ]
        )
        for kind in (False, True)
    )
    if hand is None or automatic is None:
        return None
    of_images = [
        {seed: one.values for seed, one in scores.get(arm.arm, {}).items()}
        for arm in (hand, automatic)
    ]
    found = paired(hand.by_seed, automatic.by_seed, *of_images)
    if found.n < 2 or found.spread == 0:
        return None
    source = f"study {spec['name']}, {hand.arm} and {automatic.arm} over {found.n} seeds"
    return Pilot(source, found.spread, found.n, found.image_variance or 0.0, found.images)


@dataclass(frozen=True)
class Plan:
    """What the seeds, trials and replicates of a study's file can show, and what it takes.

    Attributes:
        spec: The study.
        run: Images that a run trains on.
        pilot: How differences vary; None: not known.
        reported: Seeds that the study has been finished and reported with, 0 if with too few to
            decide anything: an interval over more of them holds at every number of them.
        error: Of each end of the interval: less for a pair that was chosen again.
        known: Roles that its arms have already, whatever theirs would be today.
    """

    spec: StudySpec
    run: int
    pilot: Pilot | None
    reported: int = 0
    error: float = ERROR
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def _hands(self) -> list[str]:
        roles = {**arm_roles(self.spec), **self.known}
        return [arm for arm in self.spec.arms if roles[arm]["hand_tuned"]]

    @cached_property
    def _automatics(self) -> list[str]:
        return [arm for arm in self.spec.arms if arm not in self._hands]

    def __str__(self) -> str:
        """All of it, a line a statement."""
        return "\n".join([*self._seeds(), *self._images(), *self._searches()])

    @property
    def short(self) -> list[str]:
        """What the seeds and trials of the file can show, a line each."""
        if not (self._hands and self._automatics):
            return []
        bounded = [
            f"{arm}'s {self._bounded(arm)}, with a power of {_POWER}"
            for arm in self._hands
            if _independent(self.spec.arms[arm])
        ]
        return [self._shown(), *bounded, "`study plan` says what margin and break-even take"]

    @property
    def shown(self) -> float:
        """The difference that the file's seeds show, in the objective's unit; or the spread's."""
        return self._of_file.smallest_shown(len(self.spec.seeds))

    @property
    def needed(self) -> int | None:
        """The seeds that show the margin; None where that is not known, or none do."""
        margin = self.spec.margin
        if self.pilot is None or margin is None:
            return None
        first = self._rule(again=False).seeds_needed(margin)
        if not self.reported or (first is not None and first <= self.reported):
            return first
        return self._rule(again=True).seeds_needed(margin)

    @property
    def _of_file(self) -> Rule:
        return self._rule(again=len(self.spec.seeds) > self.reported > 0)

    def _rule(self, *, again: bool) -> Rule:
        """What decides; ``again``: over more seeds than were reported."""
        pair = self.spec.design != "same_seeds"
        among = 1 if pair else max(len(self._hands), len(self._automatics), 1)
        pilot, looks = self.pilot or Pilot("", 1.0), again or self.spec.until is not None
        return Rule(pilot.planned, pilot.image_variance, pilot.images, self.error / among, looks)

    def _seeds(self) -> Iterator[str]:
        if not (self._hands and self._automatics):
            yield "seeds: there is no hand-tuned and automatic arm to compare"
            return
        if self.pilot is None:
            yield "spread: not known; give --from STUDY, an earlier study's name, or --spread VALUE"
        elif self.pilot.seeds is None:
            yield f"spread: {self.pilot.source}"
        else:
            yield (
                f"spread: {self.pilot.source}: the paired difference has a standard deviation of "
                f"{self._number(self.pilot.spread)}, of at most {self._number(self.pilot.planned)} "
                "with 80 % confidence, which is planned with"
            )
        yield f"seeds: {self._shown()}"
        margin, needed = self.spec.margin, self.needed
        if margin is None:
            yield "seeds: the file sets no margin, so none is asked for; give --set margin=VALUE"
        elif self.pilot is not None and needed is None:
            yield f"seeds: no number up to {MOST_SEEDS} shows the margin of {self._given(margin)}"
        elif needed is not None and needed <= self.reported:
            yield f"seeds: {needed} show the margin of {self._given(margin)}, and there are as many"
        elif needed is not None:
            key = "until: decided, at_most" if self.spec.until or self.reported else "count"
            yield (
                f"seeds: the margin of {self._given(margin)} takes {needed}, "
                f"{self._cost(needed * self._runs_a_seed)}: --set 'seeds={{{key}: {needed}}}'"
            )

    def _shown(self) -> str:
        n, shown = len(self.spec.seeds), self.shown
        if shown == inf:
            return f"{n} seeds decide nothing: it takes {self._of_file.fewest}"
        by = f"{shown:.2f} standard deviations of the paired difference"
        if self.pilot is not None:
            by = self._number(shown)
        most = "at most " if self.spec.until else ""
        return f"{most}{n} seeds show a difference of {by} with a power of {_POWER}"

    def _images(self) -> Iterator[str]:
        pilot = self.pilot
        if pilot is not None and pilot.image_variance:
            floor = image_floor(pilot.image_variance, pilot.images)
            yield (
                f"test images: on {pilot.images:,} of them no number of seeds shows less than "
                f"{self._number(floor)}"
            )

    def _searches(self) -> Iterator[str]:
        for arm in self._hands:
            spec = self.spec.arms[arm]
            if spec.search is not None:
                yield f"{arm}: {self._bounding(arm) if _independent(spec) else self._median(arm)}"

    def _bounding(self, arm: str) -> str:
        until = self._until_bounded(arm)
        found = [(truth, trials_needed(truth, looks=until)) for truth in BREAK_EVENS]
        known = [(truth, trials) for truth, trials in found if trials is not None]
        takes = "takes at most" if until else "takes"
        listed = ", ".join(f"{truth} {takes} {n} ({self._cost(n)})" for truth, n in known)
        (_, middle), replicates = known[1], self._replicates(arm)
        key = "trials.at_most" if until else "trials"
        return (
            f"{self._bounded(arm)}; with a power of {_POWER}, one at {listed}: "
            f"--set arms.{arm}.search.{key}={ceil(middle / replicates)}"
        )

    def _bounded(self, arm: str) -> str:
        trials, until = self._trials(arm), self._until_bounded(arm)
        most = break_even_bounded(trials, looks=until)
        at_most, added = ("at most ", ", added until then,") if until else ("", "")
        bound = f"a break-even up to {most}" if most else "no break-even"
        return f"{at_most}{trials} trials{added} bound {bound}"

    def _until_bounded(self, arm: str) -> bool:
        search = self.spec.arms[arm].search
        return search is not None and search.until is not None

    def _median(self, arm: str) -> str:
        search = self.spec.arms[arm].search
        assert search is not None
        R, spanning, half = search.replicates, replicates_needed(SPANNED), f"{100 * SPANNED:.0f} %"
        if spanning <= R:
            return f"the interval of its median search spans {half} of all searches or less"
        first = f"{R} replicates give its median search {'no' if R < FEWEST else 'an'} interval"
        if R < FEWEST:
            first += f", {FEWEST} give one ({self._cost(FEWEST * search.trainings)})"
        return (
            f"{first}; {spanning} give one that spans {half} of all searches "
            f"({self._cost(spanning * search.trainings)}): "
            f"--set arms.{arm}.search.replicates={spanning}"
        )

    def _trials(self, arm: str) -> int:
        """Of all its replicates, which independent trials may be pooled over."""
        search = self.spec.arms[arm].search
        return search.trials * search.replicates if search else 0

    def _replicates(self, arm: str) -> int:
        search = self.spec.arms[arm].search
        return search.replicates if search else 1

    @property
    def _runs_a_seed(self) -> int:
        """Confirm runs that one seed more takes: of all arms, or of the chosen pair."""
        if self.spec.design != "two_stages":
            return sum(map(self._replicates, self.spec.arms))
        return max(map(self._replicates, self._hands)) + max(
            map(self._replicates, self._automatics)
        )

    def _cost(self, runs: int) -> str:
        return f"{images(runs * self.run)} images"

    def _given(self, value: float) -> str:
        objective = metric(self.spec.objective)
        return f"{objective.given(value)} {objective.unit}".strip()

    def _number(self, value: float) -> str:
        objective = metric(self.spec.objective)
        return f"{objective.number(value)} {objective.unit}".strip()


def _independent(arm: ArmSpec) -> bool:
    """Whether its trials are, so that they bound break-even beyond themselves and may be pooled."""
    return arm.search is not None and arm.search.independent
