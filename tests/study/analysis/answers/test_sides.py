"""What the model of each side takes, by hand: a run takes 1000 images, and so does a trial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from study.analysis.answers.arms import arm_results
from study.analysis.answers.costs import cost_to_one_model
from study.analysis.answers.luck import equal_luck
from study.analysis.answers.report import Report, build_report, summary
from study.analysis.answers.sides import CHOSEN, EACH, NAMED, best_of_each, pair_cost
from study.analysis.records.searches import arm_searches
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text
from study.journal.events import STATED, ArmPiloted, PairChosen, StudyDescribed, TrialAsked
from study.metrics import CALIBRATED_NEGATIVE_ELBO

Make = Callable[..., Any]
Arms = Mapping[str, Mapping[str, Any]]
SEEDS = (101, 102, 103, 104, 105)


def designed(stream: Any, design: str, choosing: Collection[int] = ()) -> Any:
    """``stream`` as a study of that design, whose runs of ``choosing`` seeds chose the pair."""
    for place, entry in enumerate(stream.entries):
        match entry.event:
            case StudyDescribed():
                event = replace(entry.event, design=design)
            case TrialAsked(phase="confirm") if choosing:
                stage = "choosing" if entry.event.seed in choosing else "comparing"
                event = replace(entry.event, stage=stage)
            case _:
                continue
        stream.entries[place] = entry._replace(event=event)
    return stream


def of_four(make: Make, arms: Arms, seeds: Collection[int] = SEEDS) -> Any:
    """A search of 12 trials against four automatic arms, each on all ``seeds``."""
    names = ["a", "b", "c", "d"]
    stream = make({"tpe": arms["hand"], **dict.fromkeys(names, arms["automatic"])}, seeds=seeds)
    stream.search("tpe", [10.0] * 12, tests=[10.0] * 12)
    stream.confirm("tpe", {seed: 9.9 + seed / 1000 for seed in seeds}, chosen_from=0)
    for i, name in enumerate(names):
        stream.confirm(name, {seed: 9.0 + i / 10 + (seed % 3) / 10 for seed in seeds})
    return stream


def ways(report: Report) -> dict[str, tuple[float, float, float]]:
    """By way: images of the hand-tuned side, of the automatic one, their ratio."""
    assert report.pair_cost is not None
    found = {}
    for way in report.pair_cost.ways:
        assert way.hand is not None
        assert way.automatic is not None
        assert way.ratio_images is not None
        assert way.ratio_standard == pytest.approx(way.ratio_images), "one shape, one rate"
        found[way.way] = (way.hand.images, way.automatic.images, way.ratio_images)
    return found


def report_of(stream: Any) -> Report:
    report = build_report(build_tables(stream.entries))
    assert list(report.failures) == []
    return report


def test_choosing_among_runs_of_the_same_seeds_costs_all_of_them(
    make_stream: Make, arms: Arms
) -> None:
    report = report_of(of_four(make_stream, arms))
    assert ways(report) == {
        NAMED: (13_000, 1_000, 13.0),
        EACH: (13_000, 4_000, 3.25),
        CHOSEN: (13_000, 20_000, 0.65),
    }
    assert report.verdict[0].endswith(
        "; tpe costs 0.65x the images of choosing a among 4 (13.0x named in advance, 3.2x one run "
        "of each)."
    )
    assert report.ratio_to == "a"
    assert report.ratios == {"tpe": 13.0, **dict.fromkeys("abcd", 1.0)}
    assert report.first_screen.cost.words == (
        "one model by tpe takes 13 times the images (13k, 1000); with their choice among 1 and 4 "
        "arms 0.65 times (13k, 20k)"
    )
    text = as_text(report)
    assert "x, std x: as multiples of a" in " ".join(text.split())
    (row,) = [line.split() for line in text.splitlines() if line.startswith("  as chosen here")]
    assert row[3:6] == ["13k", "20k", "0.65"]
    assert summary(report)["pair_cost"]["ways"][-1]["ratio_images"] == 0.65


def test_a_pair_named_in_advance_costs_one_search_and_one_run_whatever_else_ran(
    make_stream: Make, arms: Arms
) -> None:
    report = report_of(designed(of_four(make_stream, arms), "named"))
    assert ways(report) == {NAMED: (13_000, 1_000, 13.0)}
    assert "a to one model." in report.verdict[0]
    assert report.ratios["tpe"] == 13.0


def test_two_stages_cost_the_choosing_runs_and_the_one_deployed(
    make_stream: Make, arms: Arms
) -> None:
    stream = make_stream({"tpe": arms["hand"], "a": arms["automatic"], "b": arms["automatic"]})
    stream.search("tpe", [10.0] * 4, tests=[10.0] * 4)
    stream.confirm("tpe", dict.fromkeys((1, 2, 11, 12, 13), 9.9), chosen_from=0)
    stream.confirm("a", dict.fromkeys((1, 2, 11, 12, 13), 9.0))
    stream.confirm("b", {1: 9.5, 2: 9.5})
    stream.emit(PairChosen("tpe", "a", {"tpe": 9.4, "a": 8.5, "b": 9.0}))
    report = report_of(designed(stream, "two_stages", choosing=(1, 2)))
    # 2 runs of each automatic arm, and the chosen one once more; one hand-tuned arm is no choice.
    assert ways(report) == {NAMED: (5_000, 1_000, 5.0), CHOSEN: (5_000, 5_000, 1.0)}
    assert report.verdict[0].endswith(
        "tpe costs 1.0x the images of choosing a among 2 (5.0x named in advance)."
    )
    (found,) = report.break_even  # the other arm is not compared
    assert (found.against, found.takes, found.deployed) == ("a", 5_000, True)
    assert found.level.n == 3, "the runs that chose the arm are no part of its level"
    assert found.seeds == 3


def test_the_hand_tuned_side_is_charged_by_the_same_rule(make_stream: Make, arms: Arms) -> None:
    two = {"tpe": arms["hand"], "tpe2": arms["hand"], "a": arms["automatic"]}
    stream = make_stream(two)
    for name in ("tpe", "tpe2"):
        stream.search(name, [10.0, 9.0, 9.5])
        stream.confirm(name, {101: 9.0, 102: 9.1}, chosen_from=1)
    stream.confirm("a", {101: 9.0, 102: 9.3})
    report = report_of(stream)
    # Two searches of 3 trials, and 2 runs of each; against one arm that nothing was chosen for.
    assert ways(report) == {
        NAMED: (4_000, 1_000, 4.0), EACH: (8_000, 1_000, 8.0), CHOSEN: (10_000, 1_000, 10.0),
    }  # fmt: skip
    assert "choosing tpe among 2 costs 10.0x the images of a (" in report.verdict[0]
    assert any(
        note.startswith("Break-even counts the trials of tpe alone") for note in report.notes
    )


def test_replicates_that_the_choice_looked_at_are_part_of_it(make_stream: Make, arms: Arms) -> None:
    stream = make_stream({"x": arms["hand"], "y": arms["hand"], "a": arms["automatic"]})
    for name in ("x", "y"):
        for replicate in (0, 1):
            stream.search(name, [10.0, 9.0], replicate)
            stream.confirm(name, {101: 9.0}, chosen_from=1, replicate=replicate)
    stream.confirm("a", {101: 9.0})
    # Named: one search of 2 trials and one run. Each had 2 searches and 2 runs to be chosen by.
    assert ways(report_of(stream)) == {
        NAMED: (3_000, 1_000, 3.0), EACH: (6_000, 1_000, 6.0), CHOSEN: (12_000, 1_000, 12.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "spent"),
    [
        (["study 'pilot'"] * 4, 30_000),
        (["study 'pilot'", "study 'pilot'", "study 'other'", "study 'other'"], 60_000),
        ([STATED] * 4, 120_000),
    ],
)
def test_a_pilot_that_several_arms_name_was_paid_for_once(
    make_stream: Make, arms: Arms, sources: list[str], spent: int
) -> None:
    stream = of_four(make_stream, arms)
    for name, source in zip("abcd", sources, strict=True):
        stream.emit(ArmPiloted(name, source, 30_000, 30.0, 30.0))
    assert ways(report_of(stream)) == {
        NAMED: (13_000, 31_000, pytest.approx(13 / 31)),
        EACH: (13_000, 4_000 + spent, pytest.approx(13_000 / (4_000 + spent))),
        CHOSEN: (13_000, 20_000 + spent, pytest.approx(13_000 / (20_000 + spent))),
    }


def test_one_run_of_each_pays_for_the_arm_that_always_fails(make_stream: Make, arms: Arms) -> None:
    stream = make_stream({"tpe": random_search(arms), **dict.fromkeys("abc", arms["automatic"])})
    stream.search("tpe", [9.5, 9.3, 8.4, 9.4], tests=[9.5, 9.3, 8.4, 9.4])
    stream.confirm("tpe", {101: 9.0, 102: 9.2, 103: 9.4}, chosen_from=2)
    stream.confirm("a", {101: 8.5, 102: 9.1, 103: 9.0})
    stream.confirm("b", {101: 9.2, 102: 8.6, 103: 8.7})
    for number, seed in enumerate((101, 102, 103)):
        trial = stream.ask("c", "confirm", number, seed, {})
        half_run(stream, trial)
        half_run(stream, stream.ask("c", "confirm", number, seed, {}, retry_of=trial))
    report = report_of(stream)
    # A run of `c` is two attempts of 500 images.
    assert ways(report)[EACH] == (5_000, 3_000, pytest.approx(5 / 3))
    assert ways(report)[CHOSEN] == (5_000, 9_000, pytest.approx(5 / 9))
    assert (report.break_even[0].against, report.break_even[0].takes) == ("best of 3", 3_000)


def test_one_run_of_each_has_no_price_before_each_has_run(make_stream: Make, arms: Arms) -> None:
    stream = make_stream({"tpe": arms["hand"], **dict.fromkeys("abc", arms["automatic"])})
    stream.search("tpe", [9.5, 9.3])
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=1)
    for name in "ab":
        stream.confirm(name, {101: 8.5, 102: 9.1})
    report = report_of(stream)
    assert report.pair_cost is not None
    assert [(w.way, w.automatic and w.automatic.images) for w in report.pair_cost.ways] == [
        (NAMED, 1_000), (EACH, None), (CHOSEN, 4_000),
    ]  # fmt: skip
    assert "one run of each)" not in report.verdict[0]


def test_a_failed_attempt_at_a_run_that_was_retried_is_paid_for(
    make_stream: Make, arms: Arms
) -> None:
    stream = of_four(make_stream, arms, SEEDS[:4])
    for name in "abcd":
        trial = stream.ask(name, "confirm", 4, SEEDS[4], {})
        half_run(stream, trial)
        stream.train(stream.ask(name, "confirm", 4, SEEDS[4], {}, retry_of=trial), "complete", 9, 9)
    # Five runs of each of four, and half of one more.
    assert ways(report_of(stream))[CHOSEN][1] == 4 * 5_500


def half_run(stream: Any, trial: str) -> None:
    stream.begin(trial)
    stream.report(trial, 1, 10.0)
    stream.end(trial, "failed", None)


def test_runs_of_further_seeds_are_no_search_for_a_configuration(
    make_stream: Make, arms: Arms
) -> None:
    stream = with_lucky_seeds(make_stream, arms, seeds=[9.4, 9.3, 9.2, 9.1])
    trials = build_tables(stream.entries)["trials"]
    cost = cost_to_one_model(trials, "lucky")
    assert cost.total is not None
    assert (cost.total.images, cost.measurement.images) == (1_000, 6_000)
    results = arm_results(
        build_tables(stream.entries), stream.spec, "calibrated_negative_elbo", "MSE"
    )
    tpe, _, lucky = results
    # Both automatic arms: 3 runs of each, and none of the 4 trials of other seeds.
    assert pair_cost(trials, results, tpe, lucky).charged.automatic == replace(
        cost.total, images=6_000, billed=pytest.approx(cost.total.billed * 6), standard=6.0
    )


def test_one_run_of_each_is_the_best_on_validation_of_every_seed(
    make_stream: Make, arms: Arms
) -> None:
    stream = make_stream(dict.fromkeys(["a", "b"], arms["automatic"]))
    stream.confirm("a", {101: 9.0, 102: 9.5, 103: None, 104: 9.0, 105: None}, gap=0.5)
    stream.confirm("b", {101: 8.9, 102: 9.1, 103: 9.9, 105: None}, gap=0.2)
    trials = build_tables(stream.entries)["trials"]
    # 101: 8.5 against 8.7 on validation, though b is better on test. 103: a failed. 104: b has not
    # run there. 105: both failed, and nothing is deployed.
    assert best_of_each(trials, ["a", "b"], "calibrated_negative_elbo") == {
        101: 9.0,
        102: 9.1,
        103: 9.9,
    }
    assert best_of_each(trials, ["a", "b"], "not measured") == {}


def test_break_even_is_against_one_run_of_each_at_their_price(
    make_stream: Make, arms: Arms
) -> None:
    stream = make_stream({"tpe": random_search(arms), **dict.fromkeys("ab", arms["automatic"])})
    stream.search("tpe", [9.5, 9.3, 8.4, 9.4], tests=[9.5, 9.3, 8.4, 9.4])
    stream.confirm("tpe", {101: 9.0, 102: 9.2, 103: 9.4}, chosen_from=2)
    stream.confirm("a", {101: 8.5, 102: 9.1, 103: 9.0})
    stream.confirm("b", {101: 9.2, 102: 8.6, 103: 8.7})
    report = report_of(stream)
    found, *others = report.break_even
    # W is 8.5, 8.6, 8.7: better than either arm's mean, at the price of one run of each.
    assert (found.against, found.deployed, found.level.mean) == ("best of 2", True, 8.6)
    assert (found.takes, found.trials.value) == (2_000, 2)
    assert found.multiple[0] == 1.0, "2 trials against 2 runs"
    assert (found.against_best, found.seeds) == (None, 0)
    assert [(one.against, one.takes, one.deployed) for one in others] == [
        ("a", 1_000, False), ("b", 1_000, False),
    ]  # fmt: skip
    assert (
        "tpe reaches the 8.60 of one run of each of 2 automatic arms from trial 2 of 4 on, 2,000 "
        "images, 1.0x theirs"
    ) in report.verdict[1]


def test_as_found_and_retrained_are_one_sentence_where_they_disagree(
    make_stream: Make, arms: Arms
) -> None:
    seeds = range(101, 107)
    stream = make_stream({"tpe": arms["hand"], "sigma": arms["automatic"]}, seeds=seeds)
    stream.search("tpe", [9.0, 8.0], tests=[9.1, 8.1])
    retrained = dict(zip(seeds, (11.0, 11.2, 11.1, 11.0, 11.2, 11.1), strict=True))
    stream.confirm("tpe", retrained, chosen_from=1, gap=1.05)
    stream.confirm("sigma", dict(zip(seeds, (9.0, 8.9, 8.8) * 2, strict=True)))
    report = report_of(stream)
    assert report.verdict[1] == (
        "Deploying the best trial found, tpe reaches sigma's 8.90 from trial 2 of 2 on, 2,000 "
        "images, 2.0x sigma's (no interval: tpe (tpe with median) was searched once, and its "
        "trials are no independent draws: set `replicates: 6` or more to get an interval)."
    )
    # Validation of the runs is 10.05 on average, that of the trial 8.0.
    assert (
        "Retrained, tpe is 2.20 nats per image worse than sigma, otherwise than the trial found: "
        "the search keeps lucky seeds (optimism +2.05)."
    ) in report.remarks


def test_what_retraining_does_not_show_is_not_said(make_stream: Make, arms: Arms) -> None:
    """Three seeds show nothing, and neither do six on which either is the better one."""
    for n in (3, 6):
        seeds = range(101, 101 + n)
        stream = make_stream({"tpe": arms["hand"], "sigma": arms["automatic"]}, seeds=seeds)
        stream.search("tpe", [9.0, 8.0], tests=[9.1, 8.1])
        stream.confirm("tpe", {s: 9.0 + s % 3 for s in seeds}, chosen_from=1)
        stream.confirm("sigma", {s: 9.9 - s % 2 * (n == 6) for s in seeds})
        report = report_of(stream)
        assert report.headline.difference.mean > 0
        assert report.verdict[1].startswith("Deploying the best trial found, tpe is at sigma's ")


def test_retraining_is_said_of_the_arm_that_is_deployed(make_stream: Make, arms: Arms) -> None:
    """`shown` is best on validation, `other` on test: the verdict's difference is the other's."""
    hands = dict.fromkeys(("shown", "other"), arms["hand"])
    seeds = range(101, 113)
    stream = make_stream({**hands, "sigma": arms["automatic"]}, seeds=seeds)
    for arm, level, gap in (("shown", 9.0, 5.0), ("other", 8.5, 0.0)):
        stream.search(arm, [8.0], tests=[5.0])
        noisy = {s: level + 0.01 * (s * len(arm) % 7) for s in seeds}
        stream.confirm(arm, noisy, chosen_from=0, gap=gap)
    stream.confirm("sigma", {s: 8.0 + 0.01 * (s * 3 % 7) for s in seeds})
    report = report_of(stream)
    own = {(c.hand, c.automatic): c.difference.mean for c in report.comparisons}
    assert report.headline.hand == "other"
    assert report.headline.difference.mean == own["other", "sigma"]
    by = f"{own['shown', 'sigma']:.2f}"
    assert by != f"{own['other', 'sigma']:.2f}"
    said = f"Retrained, shown is {by} nats per image worse than sigma"
    assert any(remark.startswith(said) for remark in report.remarks)


def test_the_best_of_as_many_seeds_is_compared_at_equal_images(
    make_stream: Make, arms: Arms
) -> None:
    seeds = [9.0 + i / 100 for i in range(12)]
    report = report_of(with_lucky_seeds(make_stream, arms, seeds, trials=24))
    (found,) = report.equal_luck
    # 12 seeds take as much as half of the search's 24 trials.
    assert (found.hand, found.automatic, found.images) == ("tpe", "lucky", 12_000)
    assert (found.trials, found.seeds) == (12, 12)
    curves = {curve.arm: curve for curve in report.curves}
    # Of all 12 the best is chosen for sure; of 24 trials, half of the draws of 12 hold the best.
    assert (found.best.mean, found.found.mean) == (9.0, 10.0)
    assert found.best.lower is None, "12 seeds do not bound the best of 12 from below"
    assert curves["lucky"].upper[11] == pytest.approx(9.04)
    assert found.sentence in report.remarks
    assert "the best of 12 seeds of lucky is at 9.00, the best of 12 trials of tpe at" in (
        found.sentence
    )


def test_what_a_pilot_took_leaves_no_seed_at_the_images_of_a_search(
    make_stream: Make, arms: Arms
) -> None:
    stream = with_lucky_seeds(make_stream, arms, [9.0 + i / 100 for i in range(12)], trials=24)
    stream.emit(ArmPiloted("lucky", "study 'pre'", 50_000, 50.0, 50.0))
    report = report_of(stream)
    (curve,) = (curve for curve in report.curves if curve.arm == "lucky")
    assert curve.images[0] == 51_000, "a search of 24 trials takes 24,000"
    assert report.equal_luck == []


def test_bands_that_do_not_meet_say_which_is_better(make_stream: Make, arms: Arms) -> None:
    stream = with_lucky_seeds(make_stream, arms, [9.0 + i / 100 for i in range(12)], trials=24)
    tables = build_tables(stream.entries)
    report = build_report(tables)
    curves = {curve.arm: curve for curve in report.curves}
    one = replace(curves["lucky"], lower=[8.5] * 12, upper=[9.1] * 12)
    search = replace(curves["tpe"], lower=[9.2] * 24, upper=[9.9] * 24)
    searches = arm_searches(tables["trials"], stream.spec, "calibrated_negative_elbo")
    for lower, says in (
        ([9.2] * 24, "lucky is better."),
        ([9.1] * 24, "no difference can be shown."),
        ([*[9.2] * 7, *[None] * 17], "lucky is better at 7,000 images."),
    ):
        bands = {"lucky": one, "tpe": replace(search, lower=lower)}
        (found,) = equal_luck(searches, bands, CALIBRATED_NEGATIVE_ELBO)
        assert found.sentence.endswith(says)
    # Bands that hold at each number on its own can't be looked through for the best place.
    bands["tpe"] = replace(bands["tpe"], simultaneous=False)
    (found,) = equal_luck(searches, bands, CALIBRATED_NEGATIVE_ELBO)
    assert found.sentence.endswith("no difference can be shown.")
    worse = {"lucky": replace(one, lower=[9.95] * 12, upper=[10.0] * 12), "tpe": search}
    (found,) = equal_luck(searches, worse, CALIBRATED_NEGATIVE_ELBO)
    assert found.sentence.endswith("tpe is better.")


def random_search(arms: Arms) -> dict[str, Any]:
    search = {**arms["hand"]["search"], "sampler": {"name": "random"}, "pruner": None}
    return {**arms["hand"], "search": search}


def with_lucky_seeds(make: Make, arms: Arms, seeds: list[float], trials: int = 4) -> Any:
    lucky = {**arms["automatic"], "search": {"sampler": {"name": "seeds"}, "trials": len(seeds)}}
    hand = random_search(arms)
    hand["search"]["trials"] = trials
    stream = make({"tpe": hand, "sigma": arms["automatic"], "lucky": lucky})
    scores = [10.0 + i / 100 for i in range(trials)]
    stream.search("tpe", scores, tests=scores)
    stream.confirm("tpe", {101: 9.9, 102: 9.8, 103: 9.7}, chosen_from=0)
    stream.search("lucky", seeds, tests=seeds)
    for name, best in (("sigma", None), ("lucky", seeds.index(min(seeds)))):
        stream.confirm(name, {101: 9.5, 102: 9.4, 103: 9.3}, chosen_from=best)
    return stream
