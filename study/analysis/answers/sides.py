"""What the models of the two sides take, with the choice of the arms that they come from.

A side is all hand-tuned arms, or all automatic ones, and deploys one model. What that takes depends
on how its arm was settled on, by the same rule for both sides:

* *Named in advance*: what one model of the arm costs, its search and one run. A side of one arm
  always is: there was nothing to choose.
* *One run of each*: every arm is searched and run once, and the run that is best on validation is
  deployed. Runs that fail are paid for, too.
* *As chosen here*: all that the choice looked at. In two stages these are the arms' searches and
  their choosing runs, and the chosen arm then runs once more. Where all arms ran all seeds, it
  looked at all their runs, and one of these can be deployed.

The last is what the verdict charges, unless the pair was named. Seeds that only compare the pair
measure, and are no side's cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, isfinite

import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.answers import costs
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.costs import Amount, looked_at, one_of_each
from study.analysis.records.tables import study_facts
from study.formatting import multiple
from study.journal.trial import ENDED

NAMED, EACH, CHOSEN = "named in advance", "one run of each", "as chosen here"


@dataclass(frozen=True)
class Way:
    """What the sides' models take if their arms are settled on in one way.

    The ratios are hand-tuned over automatic, in images and in standard device seconds; None while
    an amount is not known.
    """

    way: str
    hand: Amount | None
    automatic: Amount | None
    ratio_images: float | None
    ratio_standard: float | None


@dataclass(frozen=True)
class PairCost:
    """What a hand-tuned arm's and an automatic arm's model take, by how they were settled on.

    Attributes:
        hand: The hand-tuned arm.
        automatic: The automatic one.
        among: Among how many arms each was chosen: hand-tuned, automatic; 1: it was not.
        ways: The first is "named in advance"; the last is what the verdict charges.
    """

    hand: str
    automatic: str
    among: tuple[int, int]
    ways: Sequence[Way]

    @property
    def named(self) -> Way:
        """Had both been named before anything ran."""
        return self.ways[0]

    @property
    def charged(self) -> Way:
        """What the verdict charges."""
        return self.ways[-1]

    @property
    def chosen(self) -> tuple[str, str]:
        """The two arms in words, as "choosing sigma among 4" where they were chosen."""
        hand, automatic = (
            f"choosing {arm} among {count}" if count > 1 else arm
            for arm, count in zip((self.hand, self.automatic), self.among, strict=True)
        )
        return hand, automatic

    @property
    def sentence(self) -> str:
        """The verdict's words about it, without a full stop."""
        if self.charged.ratio_images is None:
            return "what a model costs is not known for both"
        hand, automatic = self.chosen
        said = f"{hand} costs {multiple(self.charged.ratio_images)}x the images of {automatic}"
        if len(self.ways) == 1:
            return f"{said} to one model"
        others = [f"{multiple(w.ratio_images)}x {w.way}" for w in self.ways[:-1] if w.ratio_images]
        return f"{said} ({', '.join(others)})" if others else said


def pair_cost(
    trials: pa.Table, arms: Sequence[ArmResult], hand: ArmResult, automatic: ArmResult
) -> PairCost:
    """What the models of the study's pair take.

    Args:
        trials: The table of `trials.parquet`.
        arms: The study's arms.
        hand: The hand-tuned arm of its pair.
        automatic: The automatic one.
    """
    design = study_facts(trials).get("design", "same_seeds")
    pair = (hand, automatic)
    sides = [
        [one] if design == "named" else [arm for arm in arms if arm.automatic == one.automatic]
        for one in pair
    ]
    totals = {NAMED: [one.cost.total for one in pair]}
    if any(len(side) > 1 for side in sides):
        together = list(zip(pair, sides, strict=True))
        if design == "same_seeds":
            totals[EACH] = [
                one.cost.total if len(side) == 1 else one_of_each(trials, [arm.arm for arm in side])
                for one, side in together
            ]
        totals[CHOSEN] = [
            one.cost.total if len(side) == 1 else _as_chosen(trials, side, one, design)
            for one, side in together
        ]
    return PairCost(
        hand.arm,
        automatic.arm,
        (len(sides[0]), len(sides[1])),
        [
            Way(way, a, b, costs.multiple(a, b), costs.multiple(a, b, "standard"))
            for way, (a, b) in totals.items()
        ],
    )


def best_of_each(trials: pa.Table, arms: Sequence[str], objective: str) -> dict[int, float]:
    """What one run of each of ``arms`` gives, if the one best on validation is deployed.

    Scores of different seeds are independent, so Student's t holds for their mean, without any
    correction for the choice: the procedure itself is measured, its luck with it.

    Args:
        trials: The table of `trials.parquet`.
        arms: The arms; of one with several searches, the means over them count.
        objective: What the run is chosen and scored by.

    Returns:
        Seed -> score on test, of the seeds at which every arm's runs have ended and one has scores.
    """
    splits = [f"{split}_{objective}" for split in ("validation", "test")]
    if not set(splits) <= set(trials.column_names):
        return {}
    table = trials.filter(
        pc.and_(pc.equal(trials["phase"], "confirm"), pc.equal(trials["chosen"], True))
    )
    rows = table.select(["arm", "seed", "state", *splits]).to_pylist()
    found = {}
    for seed in sorted({row["seed"] for row in rows}):
        runs = {arm: [r for r in rows if (r["arm"], r["seed"]) == (arm, seed)] for arm in arms}
        if all(of and all(run["state"] in ENDED for run in of) for of in runs.values()):
            scored = [_scores(of, splits) for of in runs.values()]
            validation, test = min(scored, key=lambda scores: scores[0])
            if isfinite(validation):
                found[seed] = test
    return found


def _scores(runs: Sequence[Mapping[str, float]], splits: Sequence[str]) -> tuple[float, float]:
    """Means on validation and test over the runs that have both; infinite without one."""
    known = [scores for run in runs if None not in (scores := [run[name] for name in splits])]
    if not known:
        return inf, inf
    validation, test = (fsum(values) / len(known) for values in zip(*known, strict=True))
    return validation, test


def _as_chosen(
    trials: pa.Table, side: Sequence[ArmResult], deployed: ArmResult, design: str
) -> Amount | None:
    names = [arm.arm for arm in side]
    if design == "same_seeds":
        return looked_at(trials, names, None)
    if deployed.cost.final is None:
        return None
    return looked_at(trials, names, "choosing") + deployed.cost.final
