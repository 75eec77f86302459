"""The answer over several studies, each on a dataset of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Any

from study.analysis.answers.multi_study_sentences import notes, verdict
from study.analysis.answers.regrets import (
    ArmOver,
    CommonArm,
    PairOver,
    arm_over,
    common_arms,
    level_of,
    own_pair,
    pair_over,
    score_of,
    scores_of,
)
from study.analysis.answers.report import Report
from study.analysis.answers.summary import plain
from study.metrics import Metric
from study.statistics.aggregates import Profile, profile
from vae_core.errors import UserError


@dataclass(frozen=True)
class SeveralReport:
    """What several studies say together.

    ``score`` is what runs are compared by over datasets; ``verdict`` is at most two sentences, the
    answer first, about ``pair``: None where the studies do not fix one.
    """

    studies: Sequence[str]
    datasets: Sequence[str]
    score: Metric
    verdict: Sequence[str]
    pair: PairOver | None
    arms: Sequence[ArmOver]
    pairs: Sequence[PairOver]
    profiles: Sequence[Profile]
    notes: Sequence[str]


def combine(reports: Sequence[Report]) -> SeveralReport:
    """What studies of one objective, each on its own dataset, say together.

    Raises:
        UserError: a study or a run is there twice, or their objectives differ.
    """
    _check(reports)
    score = score_of(reports[0].objective)
    arms = common_arms(reports)
    _check_distinct_runs(reports, arms)
    for arm in arms:
        arm.scores = [scores_of(result, reports[0].objective) for result in arm.results]
    levels = [level_of([arm.scores[i] for arm in arms]) for i in range(len(reports))]
    over = [arm_over(arm, levels) for arm in arms]
    compared = [arm for arm in arms if arm.compared]
    pairs = [
        pair_over(hand, automatic, reports)
        for hand in compared
        if not hand.automatic
        for automatic in compared
        if automatic.automatic
    ]
    spoken_of = own_pair(reports) or (pairs[0] if len(pairs) == 1 else None)
    finished = all(report.finished for report in reports)
    datasets = [report.data for report in reports]
    return SeveralReport(
        studies=[report.name for report in reports],
        datasets=datasets,
        score=score,
        verdict=verdict(over, spoken_of, score, datasets, finished=finished),
        pair=spoken_of,
        arms=over,
        pairs=pairs,
        profiles=_profiles(over),
        notes=notes(reports, arms, over, score),
    )


def several_summary(report: SeveralReport) -> dict[str, Any]:
    """The report as JSON-able values."""
    values: dict[str, Any] = plain(report)
    return values


def check_distinct(names: Sequence[str]) -> None:
    """Check that no study is named twice.

    Raises:
        UserError: one is.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"study '{twice[0]}' is given twice",
            where=" ".join(names),
            remedy="name each study once: its runs would count twice",
        )


def _check(reports: Sequence[Report]) -> None:
    check_distinct([report.name for report in reports])
    if len({report.objective for report in reports}) > 1:
        raise UserError(
            "the studies have different objectives",
            where="; ".join(f"{report.name}: {report.objective.name}" for report in reports),
            remedy="report those of one objective together",
        )


def _check_distinct_runs(reports: Sequence[Report], arms: Sequence[CommonArm]) -> None:
    """Check that no two studies of a dataset have a run in common, as a study and its fork may.

    Runs of one seed that score alike to the last bit are one run: it would count twice.

    Raises:
        UserError: two have.
    """
    for arm in arms:
        runs = zip(reports, arm.results, strict=True)
        for (one, first), (other, second) in combinations(runs, 2):
            same = sorted(first.by_seed.items() & second.by_seed.items())
            if one.data == other.data and same:
                raise UserError(
                    f"studies '{one.name}' and '{other.name}' have the same runs on {one.data}",
                    where=f"{arm.name}, seed {same[0][0]}"
                    + (f" and {len(same) - 1} more" if len(same) > 1 else ""),
                    remedy="report one of them: such runs would count twice; `study fork` takes "
                    "seeds of its own where the spec lists none",
                )


def _profiles(arms: Sequence[ArmOver]) -> list[Profile]:
    """Of the arms with runs on every dataset, at every regret that one of their runs has.

    A run that failed is beyond all of them.
    """
    whole = [arm for arm in arms if all(arm.runs)]
    tau = sorted({value for arm in whole for runs in arm.runs for value in runs})
    ended = (
        [[*runs, *[inf] * lost] for runs, lost in zip(arm.runs, arm.lost, strict=True)]
        for arm in whole
    )
    return [profile(arm.arm, runs, tau) for arm, runs in zip(whole, ended, strict=True)]
