from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
import scipy.stats

from study.analysis.answers.break_even import Target, break_even, trials_to
from study.analysis.answers.cost_curves import cost_curve, tunability
from study.analysis.answers.narrowed import narrowed
from study.analysis.answers.report import build_report, summary
from study.analysis.records.searches import ArmSearches, SearchTrials, arm_searches
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text
from study.metrics import CALIBRATED_NEGATIVE_ELBO
from study.statistics.intervals import mean_interval
from study.statistics.order_statistics import (
    proportion_bounds,
    trials_to_level_bounds,
    trials_to_success,
)
from study.statistics.sequences import proportion_sequence, radius

Make = Callable[..., Any]
Arms = Mapping[str, Mapping[str, Any]]


def search(test: Sequence[float], beta: Sequence[float] | None = None) -> SearchTrials:
    """Chosen by what it scores, unless that is nothing."""
    scores = np.array(test, float)
    cost = np.full(len(scores), 100.0)
    return SearchTrials(scores, scores, cost, cost / 10, np.array(beta or [1.0] * len(scores)))


def random_search(*searches: SearchTrials, prior: tuple[float, float] | None = None) -> ArmSearches:
    return ArmSearches(
        "random", False, True, True, "random", searches, len(searches[0]), prior
    )  # fmt: skip


def adaptive(*searches: SearchTrials) -> ArmSearches:
    return ArmSearches("tpe", False, True, False, "tpe", searches, len(searches[0]), None)


def test_what_is_found_is_chosen_on_validation_and_scored_on_test() -> None:
    found = SearchTrials(
        validation=np.array([inf, 3.0, 2.0, 2.0, 1.0]),
        test=np.array([inf, 9.0, 1.0, 0.0, 5.0]),
        images=np.ones(5), seconds=np.ones(5), beta=np.ones(5),
    )  # fmt: skip
    assert found.found.tolist() == [inf, 9.0, 1.0, 1.0, 5.0]
    assert found.scores.tolist() == [5.0, 1.0, 0.0, 9.0, inf]


def test_a_known_level_has_the_exact_interval_of_the_chance_to_reach_it() -> None:
    arm = random_search(search([5.0, 1.0, 7.0, 8.0, 9.0, 2.0, 6.0, 4.0]))
    count = trials_to(arm, Target("", [2.0]))
    low, high = proportion_bounds(2, 8, 0.025)
    assert count.value == 3  # C(6, 3) / C(8, 3) = 0.36 of all draws of 3 miss both
    assert count.lower == trials_to_success(high) == 1
    # (1 - p)^22 is the first power below 1/2 at the bound p = 0.0319: trials are independent, so
    # this holds beyond the 8 there are.
    assert count.upper == trials_to_success(low) == 22
    assert count.within == 8
    assert count.enough is None


def test_what_a_search_takes_beyond_its_trials_has_its_pilot_once() -> None:
    arm = random_search(search([5.0, 1.0, 7.0, 8.0, 9.0, 2.0, 6.0, 4.0]))
    arm = replace(arm, elsewhere=(50_000.0, 5_000.0))
    curve = cost_curve(arm)
    assert curve is not None
    found = break_even(arm, curve, Target("", [2.0], takes=100.0), CALIBRATED_NEGATIVE_ELBO)
    assert found is not None
    assert found.images == (50_300, 50_100, 52_200)  # 3 trials of 100 images; 1 to 22 of them
    assert found.seconds == (5_030, 5_010, 5_220)
    assert found.multiple == (503, 501, 522)


def test_without_a_trial_at_the_level_nothing_bounds_it_but_more_trials() -> None:
    arm = random_search(search([5.0] * 12))
    count = trials_to(arm, Target("", [2.0]))
    # With 0 of 12 the chance is at most 1 - 0.025^(1/12) = 0.265: the third trial at the earliest.
    assert (count.value, count.lower, count.upper, count.enough) == (None, 3, None, 36)
    curve = cost_curve(arm)
    assert curve is not None
    found = break_even(arm, curve, Target("", [2.0]), CALIBRATED_NEGATIVE_ELBO)
    assert found is not None
    assert found.sentence == (
        "random does not reach 2.00 within its 12 trials (95 %: 3 to not within 12; it takes at "
        "least 36 trials to bound it)"
    )


def test_that_more_trials_bound_it_is_said_only_where_they_do() -> None:
    """In the order of validation: a trial that misses, preferred to those that reach."""
    tests, cost = np.array([5.0, *[1.0] * 23]), np.full(24, 100.0)
    arm = random_search(SearchTrials(np.arange(24.0), tests, cost, cost, cost))
    missed = trials_to(arm, Target("", [2.0]))
    assert (missed.upper, missed.misses, missed.enough) == (None, True, None)
    level = Target("auto", [1.5, 2.0, 2.5])  # from 0.76 on, which no trial is at
    few = trials_to(random_search(search([1.9, 5.0, 5.0])), level)
    assert (few.value, few.upper, few.misses, few.enough) == (2, None, False, 24)
    many = trials_to(random_search(search([1.9] * 24)), level)
    assert (many.value, many.upper, many.misses, many.enough) == (1, None, False, None)
    curve = cost_curve(arm)
    assert curve is not None
    found = break_even(arm, curve, Target("", [2.0]), CALIBRATED_NEGATIVE_ELBO)
    assert found is not None
    assert found.sentence.endswith(
        "to not within 24; more trials need not bound it, as validation prefers one that misses)"
    )


def test_a_search_until_bounded_has_bounds_that_hold_at_every_look() -> None:
    arm = random_search(search([1.0, 5.0, 6.0, 2.0] * 6))
    fixed, level = trials_to(arm, Target("", [2.0])), Target("", [2.0])
    looked = trials_to(replace(arm, looks=[6, 12, 18, 24]), level)
    low, _ = proportion_sequence(12, 24, 0.025)
    assert looked.upper == trials_to_success(low)
    assert fixed.upper is not None
    assert looked.upper > fixed.upper
    for looks, said in (
        ([], "looked at after no trial yet"),
        ([6, 12, 18, 24], "looked at after 6, 12, 18, 24"),
        ([4, 8, 12, 16, 24], "looked at after 4, 8, ..., 24"),
    ):
        found = replace(arm, looks=looks)
        curve = cost_curve(found)
        assert curve is not None
        one = break_even(found, curve, level, CALIBRATED_NEGATIVE_ELBO)
        assert one is not None
        assert one.sentence.endswith(f"(95 %: 1 to {looked.upper}; searched until bounded: {said})")
        assert (curve.simultaneous, curve.expected) == (False, [])
    whole = cost_curve(arm)
    assert whole is not None
    assert whole.simultaneous
    assert len(whole.expected) == 6


def test_the_automatic_arms_luck_widens_the_interval() -> None:
    arm = random_search(search(np.linspace(0, 10, 60)))
    known = trials_to(arm, Target("", [1.0]))
    measured = trials_to(arm, Target("auto", [0.2, 1.8, 1.0]))  # [-1, 3]: no trial is below
    assert known.value == measured.value
    assert known.lower is not None
    assert measured.lower is not None
    assert measured.lower < known.lower
    assert measured.upper is None
    assert known.upper is not None


def test_one_seed_gives_no_interval() -> None:
    count = trials_to(random_search(search([3.0, 1.0])), Target("auto", [1.0]))
    assert (count.value, count.lower, count.upper) == (1, None, None)
    assert "one seed" in count.why


def test_replicates_of_a_search_are_pooled_only_if_its_trials_are_independent() -> None:
    two = search([3.0, 1.0]), search([4.0, 2.0])
    assert trials_to(random_search(*two), Target("", [0.0])).within == 4
    count = trials_to(adaptive(*two), Target("", [0.0]))
    assert count.within == 2
    assert "searched 2 times" in count.why


def test_six_replicates_bound_the_median_search_by_their_range() -> None:
    searches = [search([9.0] * n + [1.0] * (8 - n)) for n in (1, 2, 3, 3, 4, 5)]
    count = trials_to(adaptive(*searches), Target("", [1.0]))
    assert (count.value, count.lower, count.upper) == (4, 2, 6)
    curve = cost_curve(adaptive(*searches))
    assert curve is not None
    assert curve.value == [9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert curve.lower == [9.0, *[1.0] * 7]
    assert curve.upper == [*[9.0] * 5, *[1.0] * 3]
    # The range of 5 holds the median in 1 - 2 / 2^5 = 93.75 % only: it is not called 95 %.
    assert trials_to(adaptive(*searches[:5]), Target("", [1.0])).lower is None


def test_six_replicates_against_a_measured_level_allow_for_its_luck_too() -> None:
    """The level is 1.00 in [-0.99, 2.99]: 1 +- 4.303 * 0.8 / sqrt(3).

    The best of the six is below 2.99 from trial 2 on, their median is below 1.00 from trial 5 on,
    and the worst is below -0.99 from trial 9 on.
    """
    falls = [(2, 4, 6), (3, 5, 7), (3, 5, 7), (4, 5, 8), (4, 6, 8), (5, 7, 9)]
    searches = [
        search([9.0] * (a - 1) + [2.0] * (b - a) + [0.0] * (c - b) + [-2.0] * (11 - c))
        for a, b, c in falls
    ]
    count = trials_to(adaptive(*searches), Target("auto", [0.2, 1.8, 1.0]))
    assert (count.value, count.lower, count.upper, count.within) == (5, 2, 9, 10)


def test_pruned_trials_cost_what_they_took_and_find_nothing(make_stream: Make, arms: Arms) -> None:
    stream = make_stream({"tpe": arms["hand"], "sigma": arms["automatic"]})
    stream.search("tpe", [10.0, 5.0 + 1e6, None, 8.0], tests=[10.5, 0.0, 0.0, 8.5])
    stream.confirm("tpe", {101: 8.5, 102: 8.6}, chosen_from=3)
    stream.confirm("sigma", {101: 9.0, 102: 9.2})
    report = build_report(build_tables(stream.entries))
    curve = next(c for c in report.curves if c.arm == "tpe")
    assert curve.value == [10.5, 10.5, 10.5, 8.5]
    assert list(curve.images) == [1000, 1500, 1500, 2500]
    (found,) = report.break_even
    assert (found.arm, found.against, found.trials.value) == ("tpe", "sigma", 4)
    assert found.images[0] == 2500
    assert found.trials.lower is None
    assert "searched once" in found.trials.why
    assert report.verdict[1].startswith(
        "Deploying the best trial found, tpe reaches sigma's 9.10 from trial 4 of 4 on, 2,500 "
    )


def test_a_retry_replaces_its_trial_with_both_costs(make_stream: Make, arms: Arms) -> None:
    stream = make_stream()
    names = [stream.ask("tpe", "search", n, n, {"beta": 1.0}) for n in range(2)]
    stream.train(names[0], "failed", 3.0)
    stream.train(names[1], "complete", 5.0, 5.5)
    again = stream.ask("tpe", "search", 0, 0, {"beta": 1.0}, retry_of=names[0])
    stream.train(again, "complete", 4.0, 4.5)
    tables = build_tables(stream.entries)
    (found,) = arm_searches(tables["trials"], stream.spec, "calibrated_negative_elbo")[
        "tpe"
    ].searches
    assert found.test.tolist() == [4.5, 5.5]
    assert found.images.tolist() == [1500, 1000]


def test_a_running_search_is_known_up_to_its_first_open_trial(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [5.0], tests=[5.5])
    stream.begin(stream.ask("tpe", "search", 1, 1, {"beta": 1.0}))
    stream.train(stream.ask("tpe", "search", 2, 2, {"beta": 1.0}), "complete", 1.0, 1.5)
    tables = build_tables(stream.entries)
    (found,) = arm_searches(tables["trials"], stream.spec, "calibrated_negative_elbo")[
        "tpe"
    ].searches
    assert found.test.tolist() == [5.5]


def test_the_first_trial_may_do(make_stream: Make) -> None:
    arm = random_search(search([1.0, 2.0, 3.0, 1.5, 1.2]))
    curve = cost_curve(arm)
    assert curve is not None
    found = break_even(arm, curve, Target("auto", [4.0, 4.1, 4.2]), CALIBRATED_NEGATIVE_ELBO)
    assert found is not None
    assert found.trials.value == 1
    assert found.sentence.startswith("random is at auto's 4.10 from its first trial on (95 %: 1 to")


def test_the_best_of_as_many_seeds_is_the_fairer_opponent() -> None:
    arm = random_search(search([9.0, 8.0, 2.0, 9.5, 8.5, 9.2]))
    seeds = ArmSearches("auto", True, False, True, "seeds", [search([3.0, 5.0, 7.0])], 3, None)
    curve, opponent = cost_curve(arm), cost_curve(seeds)
    assert curve is not None
    assert opponent is not None
    assert opponent.value == pytest.approx([5.0, (3 + 3 + 5) / 3, 3.0])
    found = break_even(
        arm, curve, Target("auto", [3.0, 5.0, 7.0]), CALIBRATED_NEGATIVE_ELBO, opponent
    )
    assert found is not None
    assert found.trials.value == 3
    assert found.against_best == 3, "2.0 with even chance, against 3.0"


@pytest.mark.parametrize("looks", [False, True])
def test_the_band_of_one_run_holds_at_every_look_where_seeds_are_added(looks: bool) -> None:
    runs = search([3.0, 5.0, 7.0, 4.0, 6.0, 5.5, 4.5])
    curve = cost_curve(
        ArmSearches("auto", True, False, True, "seeds", [runs], 7, None), looks=looks
    )
    assert curve is not None
    known = mean_interval(runs.test.tolist(), looks=looks)
    assert (curve.lower[0], curve.upper[0]) == (known.lower, known.upper)


def test_a_narrower_prior_is_the_trials_inside_it() -> None:
    beta = list(np.logspace(-4, 0, 41))
    test = [10 * abs(np.log10(b) + 2) for b in beta]
    arm = random_search(search(test, beta), prior=(1e-4, 1.0))
    found = narrowed(arm, Target("auto", [2.0, 2.1, 1.9]), 1e-2)
    assert [round(n.decades, 6) for n in found] == [4.0, 3.0, 2.0, 1.0]
    assert [n.trials.within for n in found] == [41, 31, 21, 11]
    values = [n.trials.value for n in found]
    assert values == sorted(values, reverse=True), "knowing the place makes the search shorter"
    assert values[-1] < values[0]


def test_a_window_is_moved_to_lie_inside_the_prior() -> None:
    beta = list(np.logspace(-4, 0, 41))
    arm = random_search(search([1.0] * 41, beta), prior=(1e-4, 1.0))
    last = narrowed(arm, Target("", [2.0]), 1e3)[-1]
    assert last.trials.within == 11, "the uppermost decade"


def test_only_independent_trials_of_a_log_uniform_beta_can_be_narrowed() -> None:
    level = Target("", [2.0])
    assert narrowed(adaptive(search([1.0])), level, 1e-2) == []
    assert narrowed(random_search(search([1.0])), level, 1e-2) == []
    assert narrowed(random_search(search([1.0]), prior=(1e-4, 1)), level, None) == []


def test_tunability_weighs_budgets() -> None:
    found = tunability(adaptive(search([9.0, 3.0, 0.0])))
    assert (found.one_shot, found.peak, found.within) == (9.0, 0.0, 3)
    assert found.early == pytest.approx((3 * 9 + 2 * 3) / 6)
    assert found.uniform == pytest.approx(4.0)
    assert found.late == pytest.approx((9 + 2 * 3) / 6)


def test_tunability_of_random_search_is_over_its_own_budget_not_the_pool() -> None:
    found = tunability(random_search(search([4.0, 2.0]), search([0.0, 2.0])))
    assert found.within == 2
    assert found.one_shot == pytest.approx(2.0)
    assert found.peak == pytest.approx((0 * 3 + 2 * 3) / 6)


def test_a_trial_without_a_score_leaves_no_average(make_stream: Make) -> None:
    found = tunability(random_search(search([4.0, inf, 1.0])))
    assert found.uniform is None
    assert "failed or was pruned" in found.why


def test_a_target_is_asked_of_every_arm(make_stream: Make, arms: Arms) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0, 7.0], tests=[8.0, 7.0])
    stream.confirm("tpe", {101: 7.0, 102: 7.1}, chosen_from=1)
    stream.confirm("sigma", {101: 9.0, 102: 7.2, 103: 9.4})
    tables = build_tables(stream.entries)
    assert build_report(tables).targets == []
    tpe, sigma = build_report(tables, target=7.5).targets
    assert (tpe.trials.value, tpe.images[0]) == (2, 2000)
    assert sigma.trials.value == 2, "2 of 3 draws of 2 seeds have the good one"
    assert sigma.images[0] == 2000
    assert "Cost to reach 7.50" in as_text(build_report(tables, target=7.5))


def test_a_target_of_seeds_that_were_added_holds_at_every_number_of_them(
    make_stream: Make,
) -> None:
    seeds = range(101, 117)
    found = []
    for until in ({}, {"until": "decided"}):
        stream = make_stream(seeds=seeds)
        stream.describe(**until)
        stream.confirm("sigma", {seed: 8.0 + (seed % 4 != 0) for seed in seeds})
        (target,) = build_report(build_tables(stream.entries), target=8.5).targets
        found.append((target.trials.lower, target.trials.upper))
    once, looked = found
    hits = np.array([8.0] * 4 + [9.0] * 12)
    assert looked == trials_to_level_bounds(hits, (8.5, 8.5), looks=True)
    assert looked[1] > once[1]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("automatic", ["a", "ab"])
def test_a_level_that_is_looked_at_holds_at_every_look(
    make_stream: Make, arms: Arms, automatic: str, second: bool
) -> None:
    search = {**arms["hand"]["search"], "sampler": {"name": "random"}, "pruner": None}
    seeds = tuple(range(101, 113))
    scores = [9.0 - n / 10 for n in range(12)]
    found = []
    for until in ({}, {"until": "decided"}):
        hand = {**arms["hand"], "search": search}
        stream = make_stream(
            {"h": hand, **dict.fromkeys(automatic, arms["automatic"])}, seeds=seeds
        )
        stream.describe(**until)
        stream.search("h", scores, tests=scores)
        stream.confirm("h", {seed: 9.0 + seed % 3 / 10 for seed in seeds}, chosen_from=11)
        for name in automatic:
            stream.confirm(name, {seed: 8.3 + seed % 5 / 10 for seed in seeds})
        report = build_report(build_tables(stream.entries))
        assert not report.failures
        found.append((report.second_break_even if second else report.break_even)[0])
    once, looked = found
    assert looked.level.mean == once.level.mean
    # Robbins' sequence at 12 values against Student's t.
    assert looked.level.half_width == pytest.approx(
        once.level.half_width * radius(12, 0.025) / scipy.stats.t.ppf(0.975, 11)
    )
    if not second:
        ends = trials_to_level_bounds(
            np.array(scores[::-1]), (looked.level.lower, looked.level.upper)
        )
        assert (looked.trials.lower, looked.trials.upper) == ends
        assert ends[1] > once.trials.upper


def test_the_second_objective_searches_by_itself(make_stream: Make, arms: Arms) -> None:
    stream = make_stream(evaluation={"features": ["classifier"]})
    name = "frechet_classifier_gen1"
    for number, (value, distance) in enumerate([(5.0, 1.0), (4.0, 9.0)]):
        trial = stream.ask("tpe", "search", number, number, {"beta": 1.0})
        stream.begin(trial)
        stream.report(trial, 1, value)
        stream.end(trial, "complete", value, value, {name: distance})
        # The distance on validation is a metric of the end too, where it was asked for.
        stream.measure({f"validation/{name}": distance})
    stream.confirm("tpe", {101: 4.0, 102: 4.1}, chosen_from=1, closely=[{name: 9.0}, {name: 8.0}])
    stream.confirm("sigma", {101: 6.0, 102: 6.1}, closely=[{name: 2.0}, {name: 2.2}])
    report = build_report(build_tables(stream.entries))
    curves = {c.arm: c.value for c in report.second_curves}
    assert curves["tpe"] == [1.0, 1.0], "the trial of lowest distance, not of lowest negative ELBO"
    assert report.second_break_even[0].trials.value == 1
    assert report.second_break_even[0].objective == name


@pytest.mark.parametrize("tests", [[5.0], [5.0, 5.0], [5.0, 5.0, 5.0, 5.0]])
def test_equal_scores_have_a_report(make_stream: Make, tests: list[float]) -> None:
    stream = make_stream(margin=0.5)
    stream.search("tpe", tests, tests=tests)
    stream.confirm("tpe", dict.fromkeys((101, 102), 5.0), chosen_from=0)
    stream.confirm("sigma", dict.fromkeys((101, 102), 5.0))
    report = build_report(build_tables(stream.entries), target=5.0)
    text = as_text(report)
    assert not re.search(r"\b(nan|inf)\b", text)
    assert report.break_even[0].trials.value == 1
    assert report.non_inferiority[0].shown is None, "two seeds cannot decide"
    summary(report)
