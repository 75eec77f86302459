from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from study.analysis.answers.arms import ArmResult, arm_results
from study.analysis.answers.limits import limits, unconverged
from study.analysis.answers.report import build_report
from study.analysis.records.searches import ArmSearches, arm_searches
from study.analysis.records.tables import build_tables
from study.metrics import CALIBRATED_NEGATIVE_ELBO

Make = Callable[..., Any]
Results = tuple[list[ArmResult], dict[str, ArmSearches], dict[str, Any]]
OBJECTIVE = "calibrated_negative_elbo"


def study(make: Make, tests: list[float], replicates: int = 1) -> Results:
    """A search that scores ``tests``, against an automatic arm at 9.0 with a deviation of 0.1."""
    stream = make()
    for replicate in range(replicates):
        stream.search("tpe", tests, replicate, tests=tests)
        stream.confirm("tpe", {101: 9.0, 102: 9.1}, replicate=replicate, chosen_from=0)
    stream.confirm("sigma", {101: 8.9, 102: 9.0, 103: 9.1})
    tables = build_tables(stream.entries)
    results = arm_results(tables, stream.spec, OBJECTIVE, "bits_per_dim")
    return results, arm_searches(tables["trials"], stream.spec, OBJECTIVE), stream.spec


def notes(found: Results, margin: float | None = None, about: str = "") -> list[str]:
    (hand, best), searches, spec = found
    given = {**spec, "margin": margin}
    said = limits([hand, best], hand, best, searches, CALIBRATED_NEGATIVE_ELBO, given)
    return [note for note in said if about in note]


def test_a_constant_beta_is_all_that_is_spoken_of_without_a_schedule(make_stream: Make) -> None:
    (hand, best), searches, spec = study(make_stream, [9.0])
    assert notes(([hand, best], searches, spec), about="schedule") == [
        "Hand-tuned means a constant beta here: no arm searched a schedule of it."
    ]
    scheduled = replace(hand, arm="warm", balancer="my_schedules:WarmUp")
    said = limits([hand, scheduled, best], hand, best, searches, CALIBRATED_NEGATIVE_ELBO, spec)
    assert not any("schedule" in note for note in said)


def test_a_verdict_at_one_learning_rate_is_said_to_be_one(make_stream: Make) -> None:
    (hand, best), searches, spec = study(make_stream, [9.0])
    (note,) = notes(([hand, best], searches, spec), about="training.lr")
    assert note.startswith(f"Both train at training.lr {spec['training']['lr']:g}, and a balance")
    rate = {"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    for arm in (hand, best):
        searched = {"sampler": {"name": "random"}, "trials": 5, "space": rate}
        arms = {**spec["arms"], arm.arm: {**spec["arms"][arm.arm], "search": searched}}
        assert not notes(([hand, best], searches, {**spec, "arms": arms}), about="training.lr")


@pytest.mark.parametrize(
    ("hand_at", "best_at", "told"),
    [(900, 900, True), (800, 850, True), (700, 900, False), (0, 0, False)],
)
def test_that_nobody_converged_is_told_if_it_is_so_of_both(
    make_stream: Make, hand_at: float, best_at: float, told: bool
) -> None:
    (hand, best), _, _ = study(make_stream, [9.0])
    """By the last reports at which they were away: of one report a training there is none."""
    pair = [replace(hand, images_away=hand_at), replace(best, images_away=best_at)]
    assert list(unconverged(*pair)) == [
        "Neither tpe nor sigma had converged: on validation they came within 1 % of where they "
        "ended in the last fifth of training only. Trained for longer, their order may be another."
    ] * told  # fmt: skip


def test_a_prior_that_is_hopeless_for_the_most_part_is_told_with_its_measure(
    make_stream: Make,
) -> None:
    # 10 margins above 9.0 are 14.0; 10 standard deviations of 0.1, 10.0. The prior is 0.5 to 50.
    found = study(make_stream, [9.0, 13.9, 14.1, 15.0, 20.0])
    assert notes(found, margin=0.5, about="prior") == [
        "3 of tpe's 5 scored trials, of a prior of 2.0 decades of beta, are worse than sigma by "
        "more than 10 margins (5.00): what the search costs is in part the width of its prior."
    ]
    assert notes(found, about="prior")[0].startswith("4 of tpe's 5 scored trials")
    assert "10 standard deviations of its seeds (1.00)" in notes(found, about="prior")[0]
    assert notes(study(make_stream, [9.0, 13.9, 14.1, 15.0]), margin=0.5, about="prior") == []


def test_stages_of_a_population_are_no_hopeless_betas(make_stream: Make) -> None:
    """All members of a generation are as bad as they are short of training."""
    (hand, best), searches, spec = study(make_stream, [9.0, 13.9, 14.1, 15.0, 20.0])
    assert hand.draws is not None
    evolved = replace(hand, draws=replace(hand.draws, sampler="pbt"))
    assert notes(([hand, best], searches, spec), margin=0.5, about="prior")
    assert not notes(([evolved, best], searches, spec), margin=0.5, about="prior")


@pytest.mark.parametrize(
    ("replicates", "says"),
    [(1, "tpe has one search"), (2, "tpe has 2 searches, averaged within each seed")],
)
def test_the_luck_of_a_search_is_said_once_to_be_in_no_interval(
    make_stream: Make, arms: Mapping[str, Any], replicates: int, says: str
) -> None:
    hand = {**arms["hand"], "search": {**arms["hand"]["search"], "replicates": replicates}}
    made = lambda: make_stream({"tpe": hand, "sigma": arms["automatic"]})  # noqa: E731
    assert notes(study(made, [9.0], replicates), about="luck") == [
        f"{says}: the intervals cover training seeds, not the luck of a search."
    ]


def test_before_there_is_a_pair_only_the_arms_are_spoken_of(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [9.0])
    report = build_report(build_tables(stream.entries))
    assert list(report.failures) == []
    assert any("constant beta" in note for note in report.notes)
