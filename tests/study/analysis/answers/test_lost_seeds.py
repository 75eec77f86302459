"""Seeds on which a run ended without a score count against their arm, whatever the run did."""

from __future__ import annotations

from copy import deepcopy
from math import nan
from typing import Any

import pytest
import scipy.stats
from streams import AUTOMATIC, HAND, Stream

from study.analysis.answers.report import Report, build_report
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.tables import build_tables

SEEDS = tuple(range(101, 113))
NOISE = dict(zip(SEEDS, scipy.stats.norm.ppf([(i + 0.5) / 12 for i in range(12)]), strict=True))
LOST = SEEDS[:3]


def reported(stream: Stream) -> Report:
    return build_report(build_tables(stream.entries))


def of_pair(*, lost: tuple[int, ...], failed: bool) -> Report:
    """`sigma` is better on every seed, but on the lost ones it failed, or scored no number."""
    scores = {seed: -20.6 + NOISE[seed] + 0.05 * (seed % 5) for seed in SEEDS}
    stream = Stream({"tpe": HAND, "sigma": AUTOMATIC}, seeds=SEEDS, margin=0.5)
    stream.search("tpe", [10.0, 9.0])
    stream.confirm("tpe", {seed: -20 + NOISE[seed] for seed in SEEDS}, chosen_from=1)
    if failed:
        stream.confirm("sigma", {s: None if s in lost else v for s, v in scores.items()})
    else:
        tested = [{"calibrated_negative_elbo": nan if s in lost else v} for s, v in scores.items()]
        stream.confirm("sigma", scores, closely=tested)
    return reported(stream)


@pytest.mark.parametrize("failed", [True, False])
def test_a_complete_run_without_a_number_is_as_one_that_failed(failed: bool) -> None:
    """9 wins of 12 decide nothing, 9 of 9 would."""
    report = of_pair(lost=LOST, failed=failed)
    headline, sigma = report.headline, report.arms[1]
    assert headline is not None
    assert headline.outcome is Outcome.NOT_SHOWN
    assert (headline.differences.n, headline.differences.failed) == (9, (0, 3))
    assert tuple(sigma.lost_seeds) == tuple(sigma.collapsed_seeds) == LOST
    assert sigma.collapsed is not None
    assert (sigma.collapsed.count, sigma.collapsed.n) == (3, 12)
    assert "3 of sigma's 12 seeds failed" in report.verdict[0]


@pytest.mark.parametrize(("failed", "outcome"), [(3, Outcome.NOT_SHOWN), (0, Outcome.DOES_NOT_PAY)])
def test_each_objective_loses_the_seeds_that_it_has_no_number_of(
    failed: int, outcome: Outcome
) -> None:
    """Where only the first is no number, the second objective has bits of all seeds."""
    (second,) = of_pair(lost=LOST, failed=bool(failed)).second_comparisons
    assert (second.differences.failed, second.outcome) == ((0, failed), outcome)


@pytest.mark.parametrize("lost", [0, 2, 12])
def test_an_arm_gets_no_better_where_its_worse_replicate_fails(lost: int) -> None:
    """Two configurations at -20 and -10, -15 on average, against an arm at -16."""
    hand: Any = deepcopy(HAND)
    hand["search"] |= {"replicates": 2}
    stream = Stream({"tpe": hand, "sigma": AUTOMATIC}, seeds=SEEDS)
    for replicate, level in enumerate((-20, -10)):
        failing = SEEDS[:lost] if replicate else ()
        scores = {s: None if s in failing else level + NOISE[s] for s in SEEDS}
        stream.search("tpe", [10.0, 9.0], replicate=replicate)
        stream.confirm("tpe", scores, chosen_from=1, replicate=replicate)
    stream.confirm("sigma", {s: -16 + NOISE[s] + 0.05 * (s % 5) for s in SEEDS})
    report = reported(stream)
    tpe, headline = report.arms[0], report.headline
    assert tpe.lost_seeds == [*SEEDS[:lost]]
    assert tpe.by_seed == {s: pytest.approx(-15 + NOISE[s]) for s in SEEDS[lost:]}
    assert tpe.bits_by_seed.keys() == tpe.by_seed.keys()
    assert headline is not None
    assert (headline.differences.n, headline.differences.failed) == (12 - lost, (lost, 0))
    assert headline.outcome is (Outcome.UNKNOWN if lost == 12 else Outcome.DOES_NOT_PAY)


def test_a_replicate_that_found_no_configuration_is_not_waited_for() -> None:
    hand: Any = deepcopy(HAND)
    hand["search"] |= {"replicates": 2}
    stream = Stream({"tpe": hand, "sigma": AUTOMATIC}, seeds=SEEDS)
    stream.search("tpe", [10.0, 9.0])
    stream.search("tpe", [None, None], replicate=1)
    stream.confirm("tpe", {s: -20 + NOISE[s] for s in SEEDS}, chosen_from=1)
    tpe = reported(stream).arms[0]
    assert (tpe.test.n, tpe.lost_seeds) == (12, [])
