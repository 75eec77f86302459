"""A plan: the pilot that records are, and what it says of a file's seeds, trials, replicates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streams import Stream

from study.analysis.answers.plan import Pilot, Plan, pilot_of
from study.analysis.records.tables import build_tables
from study.image_scores import ImageScores
from study.spec import StudySpec
from study.statistics.paired import paired
from study.statistics.planning import ERROR, Rule, image_floor, spread_bound

OBJECTIVE = "calibrated_negative_elbo"
SEARCH = {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 12}
RANDOM = {"balancer": "fixed_beta", "search": SEARCH}
TPE = {"balancer": "fixed_beta", "search": {**SEARCH, "sampler": "tpe", "replicates": 5}}
LEARNED = {"balancer": "learned_sigma"}
PILOT = Pilot("study first", 0.4, 5)


def plan(pilot: Pilot | None = None, **settings: Any) -> Plan:
    arms = settings.pop("arms", {"random": RANDOM, "learned": LEARNED})
    primary = {"hand_tuned": next(iter(arms)), "automatic": "learned"}
    spec = {"name": "mine", "data": "digits", "model": {"name": "mlp", "latent": 8}, "arms": arms}
    spec |= {"training": {"epochs": 1}, "primary": primary, "seeds": {"count": 12}}
    return Plan(StudySpec.from_dict(spec | settings), 1000, pilot)


def test_the_records_are_a_pilot(whole: Stream) -> None:
    found = pilot_of(build_tables(whole.entries), {}, OBJECTIVE)
    assert found is not None
    assert found.source == "study toy, tpe and sigma over 3 seeds"
    assert found.spread == pytest.approx(np.std([-0.4, -0.3, -0.5], ddof=1))
    assert found.planned == spread_bound(found.spread, 3)
    assert found.images == 0


def test_the_scores_of_images_are_part_of_the_pilot(whole: Stream) -> None:
    rng = np.random.default_rng(0)
    scores = {
        arm: {seed: ImageScores(rng.normal(size=40), np.zeros(2)) for seed in (101, 102, 103)}
        for arm in ("tpe", "sigma")
    }
    found = pilot_of(build_tables(whole.entries), scores, OBJECTIVE)
    assert found is not None
    means = dict.fromkeys((101, 102, 103), 0.0)
    images = [{seed: one.values for seed, one in by.items()} for by in scores.values()]
    assert found.image_variance == paired(means, means, *images).image_variance
    assert found.images == 40


def test_one_seed_is_no_pilot(make_stream: Any) -> None:
    stream = make_stream()
    stream.search("tpe", [10.0, 9.0])
    stream.confirm("tpe", {101: 9.0}, chosen_from=1)
    stream.confirm("sigma", {101: 9.4, 102: 9.5})
    assert pilot_of(build_tables(stream.entries), {}, OBJECTIVE) is None


def test_seeds_for_the_margin_and_what_those_of_the_file_show() -> None:
    found = plan(PILOT, margin=0.5)
    planned = spread_bound(0.4, 5)
    assert found.shown == Rule(planned).smallest_shown(12)
    assert found.needed == Rule(planned).seeds_needed(0.5)
    text = str(found)
    assert f"12 seeds show a difference of {found.shown:.2f} nats per image" in text
    runs = 2 * found.needed
    assert f"takes {found.needed}, {runs}k images: --set 'seeds={{count: {found.needed}}}'" in text


def test_without_a_pilot_in_standard_deviations() -> None:
    found = plan(margin=0.5)
    assert found.needed is None
    assert f"{Rule(1.0).smallest_shown(12):.2f} standard deviations" in str(found)
    assert "--from STUDY" in str(found)


def test_seeds_until_decided_take_more() -> None:
    named, until = plan(PILOT, margin=0.5), plan(PILOT, margin=0.5, seeds=UNTIL)
    assert named.needed is not None
    assert until.needed is not None
    assert until.needed > named.needed
    assert f"--set 'seeds={{until: decided, at_most: {until.needed}}}'" in str(until)


UNTIL = {"until": "decided", "at_most": 40}


def test_seeds_after_a_report_take_as_many_as_until_decided() -> None:
    """They are added to what was looked at: the interval is the sequence's."""
    given, until = plan(PILOT, margin=0.5), plan(PILOT, margin=0.5, seeds=UNTIL)
    after = replace(given, reported=12)
    assert after.shown == given.shown, "the file's 12 are those of the report"
    assert after.needed == until.needed
    assert f"--set 'seeds={{until: decided, at_most: {after.needed}}}'" in str(after)
    enough = replace(plan(PILOT, margin=1.4), reported=12)
    assert enough.needed == plan(PILOT, margin=1.4).needed
    assert f"{enough.needed} show the margin of 1.40 nats per image, and there are" in str(enough)
    more = replace(plan(PILOT, margin=0.5, seeds={"count": 40}), reported=12)
    assert more.shown == until.shown
    again = replace(given, error=ERROR / 2)
    assert again.shown == Rule(spread_bound(0.4, 5), error=ERROR / 2).smallest_shown(12)


def test_the_best_of_several_arms_on_equal_seeds_takes_a_larger_difference() -> None:
    """Two arms of each kind: each end of the interval may be wrong half as often."""
    arms = {"random": RANDOM, "tpe": TPE, "learned": LEARNED, "other": LEARNED}
    several, named = plan(PILOT, arms=arms, primary=None), plan(PILOT, arms=arms)
    assert several.spec.design == "same_seeds"
    assert several.shown == Rule(spread_bound(0.4, 5), error=ERROR / 2).smallest_shown(12)
    assert several.shown > named.shown


def test_so_few_seeds_decide_nothing() -> None:
    assert "5 seeds decide nothing: it takes 6" in str(plan(PILOT, seeds={"count": 5}))


def test_images_put_a_floor_under_it() -> None:
    pilot = Pilot("study first", 0.4, 5, 0.09, 297)
    text = str(plan(pilot, margin=0.5))
    assert f"297 of them no number of seeds shows less than {image_floor(0.09, 297):.2f}" in text
    assert "no number up to 500 shows the margin of 0.50" in text


def test_trials_of_a_random_search() -> None:
    text = str(plan())
    assert "random: 12 trials bound a break-even up to 1; " in text
    assert "one at 3 takes 26 (26k images), 6 takes 50 (50k images)" in text
    assert "--set arms.random.search.trials=50" in text


def test_trials_until_bounded_take_more() -> None:
    bounded = {**SEARCH, "trials": {"until": "bounded", "at_most": 60}}
    arms = {"random": {**RANDOM, "search": bounded}, "learned": LEARNED}
    found = plan(arms=arms, primary=None, choosing_seeds=2)
    text = str(found)
    assert "random: at most 60 trials, added until then, bound a break-even up to 5; " in text
    assert "one at 3 takes at most 32 (32k images), 6 takes at most 71 (71k images)" in text
    assert "--set arms.random.search.trials.at_most=71" in text
    assert found.short[1].startswith("random's at most 60 trials, added until then, bound")


def test_replicates_of_an_adaptive_search() -> None:
    text = str(plan(arms={"tpe": TPE, "learned": LEARNED}))
    assert "5 replicates give its median search no interval, 6 give one (72k images)" in text
    assert "--set arms.tpe.search.replicates=15" in text


def test_the_dry_run_says_it_in_a_few_lines() -> None:
    lines = plan(PILOT).short
    assert len(lines) == 3
    assert lines[0].startswith("12 seeds show a difference of ")
    assert lines[1].startswith("random's 12 trials bound a break-even up to 1")
    assert plan(arms={"learned": LEARNED, "l2": LEARNED}, primary=None).short == []
