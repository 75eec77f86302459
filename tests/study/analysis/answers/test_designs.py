"""Reports of studies by design: which pair they speak of, over which runs, and how to go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil, hypot
from typing import Any

import numpy as np
import pytest
import scipy.stats
from streams import AUTOMATIC, HAND, Stream

from study.analysis.answers.multi_study import combine
from study.analysis.answers.report import Report, build_report, summary
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures import cost_curves
from study.analysis.rendering.figures.marks import Looks
from study.analysis.rendering.text import as_text
from study.image_scores import ImageScores
from study.journal.events import Looked, PairChosen, StudyDescribed, StudyFinished
from study.statistics.paired import bounds
from study.statistics.planning import Rule, spread_bound

SEEDS = tuple(range(101, 113))
NOISE = dict(zip(SEEDS, scipy.stats.norm.ppf((np.arange(12) + 0.5) / 12), strict=True))
ARMS = {"tpe": HAND, "random": HAND, "sigma": AUTOMATIC, "optimal": AUTOMATIC}
LEVELS = {"tpe": -20.0, "random": -19.6, "sigma": -20.2, "optimal": -21.0}


def reported(stream: Stream, **options: Any) -> Report:
    stream.emit(StudyFinished())
    report = build_report(build_tables(stream.entries), **options)
    assert not report.failures
    json.dumps(summary(report), allow_nan=False)
    return report


def scores_of(arm: str) -> dict[int, float | None]:
    """Scores of an arm: a quality of its seed that all arms share, and one of its own."""
    turn = list(ARMS).index(arm) if arm in ARMS else 0
    own = dict(zip(SEEDS, [*NOISE.values()][turn:] + [*NOISE.values()][:turn], strict=True))
    return {s: LEVELS.get(arm, -20.0) + NOISE[s] + 0.1 * own[s] for s in SEEDS}


def two_stages(choosing: Mapping[str, float], pair: tuple[str, str] | None) -> Stream:
    """All arms on two choosing seeds, at these levels, then the pair on the study's seeds."""
    stream = Stream(ARMS, seeds=SEEDS, design="two_stages")
    stream.describe(choosing_seeds=2)
    for arm in ("tpe", "random"):
        stream.search(arm, [10.0, 9.0, 8.0])
    chosen = {"tpe": 2, "random": 2}
    for arm, level in choosing.items():
        runs: dict[int, float | None] = {11: level, 12: level + 0.2}
        stream.confirm(arm, runs, chosen_from=chosen.get(arm), stage="choosing")
    if pair is not None:
        stream.emit(PairChosen(*pair, choosing))
        for arm in pair:
            tests = scores_of(arm)
            stream.confirm(arm, tests, chosen_from=chosen.get(arm), stage="comparing", first=2)
    return stream


def test_choosing_runs_enter_no_comparison() -> None:
    """However good they look: the headline is that of the comparing runs alone."""
    pair = "random", "sigma"
    plain, flattered = (
        reported(two_stages({**LEVELS, "random": level}, pair)) for level in (-19.6, -90.0)
    )
    assert plain.headline is not None
    assert plain.headline == flattered.headline
    assert (plain.headline.hand, plain.headline.automatic) == pair
    assert plain.headline.difference.mean == pytest.approx(0.6)
    assert [(c.hand, c.automatic) for c in plain.comparisons] == [pair]
    assert "over 12 fresh seeds on this test set" in plain.verdict[0]
    assert "Chosen on validation over 2 choosing seeds: random among 2 hand-tuned, sigma among 2 " \
        "automatic." in plain.remarks  # fmt: skip
    arms = {arm.arm: arm for arm in plain.arms}
    assert {name: arm.stage for name, arm in arms.items()} == {
        "tpe": "choosing", "random": "comparing", "sigma": "comparing", "optimal": "choosing",
    }  # fmt: skip
    assert (arms["tpe"].test.n, arms["random"].test.n) == (2, 12)
    assert arms["tpe"].test.mean == pytest.approx(-19.9)
    # Four trials were to be searched by the arms that search, and three were.
    assert {a: (sum(arm.counts.values()), arm.planned) for a, arm in arms.items()} == {
        "tpe": (5, 6), "random": (17, 18), "sigma": (14, 14), "optimal": (2, 2),
    }  # fmt: skip
    text = " ".join(as_text(plain).split())
    assert "not compared, over choosing seeds: tpe, optimal;" in text


def test_before_the_pair_is_chosen_nothing_is_compared() -> None:
    report = build_report(build_tables(two_stages(LEVELS, None).entries))
    assert report.comparisons == []
    assert report.verdict[0].endswith("the pair of arms to compare is not chosen yet.")


def test_studies_that_chose_different_pairs_speak_of_those_together() -> None:
    reports = []
    for name, pair in (("a", ("tpe", "sigma")), ("b", ("random", "optimal"))):
        stream = two_stages(LEVELS, pair)
        stream.describe(name=name, data={"name": name})
        reports.append(reported(stream))
    found = combine(reports)
    assert found.pairs == [], "no arm of one name is compared in both"
    assert found.pair is not None
    assert (found.pair.hand, found.pair.automatic) == ("tpe or random", "sigma or optimal")
    assert found.pair.difference.interval.n == 24


def named(**spec: Any) -> Stream:
    """All arms on all seeds; `random` against `sigma` was named, though others are better."""
    stream = Stream(ARMS, seeds=SEEDS, design="named", margin=0.5)
    stream.describe(primary={"hand_tuned": "random", "automatic": "sigma"}, **spec)
    for arm in ARMS:
        if arm in ("tpe", "random"):
            stream.search(arm, [10.0, 9.0, 8.0])
        stream.confirm(arm, scores_of(arm), chosen_from=2 if arm in ("tpe", "random") else None)
    return stream


def test_a_pair_named_in_advance_is_the_headline() -> None:
    report = reported(named())
    assert report.headline is not None
    assert (report.headline.hand, report.headline.automatic) == ("random", "sigma")
    assert "automatic sigma is better than hand-tuned random, by 0.60" in report.verdict[0]
    assert "Named before anything ran: random against sigma." in report.remarks
    assert len(report.comparisons) == 4
    assert "each on its own, not corrected for their number" in " ".join(as_text(report).split())


def test_a_side_that_failed_altogether_is_not_waited_for() -> None:
    """Of the compared pair, on its own seeds: choosing runs are no result of the comparison."""
    stream = two_stages(LEVELS, ("random", "sigma"))
    stream.emit(PairChosen("random", "optimal", LEVELS))
    stream.confirm("optimal", dict.fromkeys(SEEDS), stage="comparing", first=2)
    says = "Whether searching pays can't be told: "
    assert reported(stream).verdict == [
        f"{says}optimal has no complete confirm run on the comparing seeds, and 12 failed."
    ]
    both = Stream({"tpe": HAND, "random": HAND, "a": AUTOMATIC, "b": AUTOMATIC}, seeds=SEEDS[:6])
    for arm in ("tpe", "random"):
        both.search(arm, [10.0, 9.0])
        both.confirm(arm, dict.fromkeys(SEEDS[:6]), chosen_from=1)
    both.confirm("a", dict.fromkeys(SEEDS[:6], 9.0))
    running = build_report(build_tables(both.entries)).verdict[0]
    assert running.endswith("no hand-tuned arm has a complete confirm run yet, and 12 failed.")
    assert reported(both).verdict == [
        f"{says}no hand-tuned arm has a complete confirm run, and 12 failed."
    ]


def extended(*reported_with: int) -> Report:
    """The report of the 12 seeds of :func:`named`, after it had been finished with fewer."""
    stream = named()
    whole = stream.entries[0].event
    assert isinstance(whole, StudyDescribed)
    for n in reported_with:
        stream.emit(replace(whole, spec={**whole.spec, "seeds": list(SEEDS[:n])}))
        stream.emit(StudyFinished())
    stream.emit(whole)
    return reported(stream)


def test_seeds_that_are_added_after_a_report_are_looked_at_as_the_ones_before() -> None:
    """Reported at each number from 6 to 40, fixed intervals would be wrong 11.6 % of the time."""
    once, looked = reported(named()), reported(named(until="decided"))
    again, early = extended(6, 9), extended(2, 5)
    for of in (once, looked, again, early):
        assert of.headline is not None
    assert again.headline.difference == looked.headline.difference  # type: ignore[union-attr]
    assert again.design.reported_at == [6, 9]
    assert any("reported with 6, 9: its intervals hold" in note for note in again.notes)
    # Fewer than 6 seeds decide nothing, so nobody can have stopped there.
    assert early.headline.difference == once.headline.difference  # type: ignore[union-attr]
    assert not any("seeds were added" in note for note in early.notes)


def test_looks_are_said_and_their_interval_is_wider() -> None:
    stream = named(until="decided")
    for n, outcome in ((6, "undecided"), (9, "undecided"), (12, "does_not_pay")):
        stream.emit(Looked(n, outcome, 0.6, None, None))
    looked, once = reported(stream), reported(named())
    assert looked.headline is not None
    assert once.headline is not None
    assert looked.headline.difference.half_width > once.headline.difference.half_width  # type: ignore[operator]
    assert (
        "Looked at 3 times, at 6, 9, 12 seeds: it was decided at 12, and the interval holds at "
        "every look." in looked.remarks
    )


def test_a_pair_that_is_chosen_again_keeps_what_was_seen_before() -> None:
    """Of two automatic arms, on the same comparing seeds; the first pair was looked at twice."""
    stream = two_stages(LEVELS, ("random", "sigma"))
    stream.describe(until="decided")
    for n in (9, 12):
        stream.emit(Looked(n, "undecided", 0.6, None, None))
    stream.emit(PairChosen("random", "optimal", LEVELS))
    stream.confirm("optimal", scores_of("optimal"), stage="comparing", first=2)
    stream.emit(Looked(12, "does_not_pay", 1.4, 1.0, 1.8))
    report = reported(stream)
    assert [look["seeds"] for look in report.design.looks] == [12]
    assert (
        "Looked at once, at 12 seeds: it was decided at 12, and the interval holds at every look "
        "at this pair." in report.remarks
    )
    assert (
        "Chosen again: the pair was random against sigma (looked at 2 times, at 9, 12 seeds) "
        "before random against optimal. What the comparing seeds show may have been known then: so "
        "each end of this interval has an error of 1.25 % instead of 2.5 %." in report.remarks
    )
    assert report.headline is not None
    (found,) = report.comparisons
    assert report.headline.ends == bounds(found.differences, 0.0125, looks=True)


def test_a_pair_that_is_chosen_again_has_its_error_in_every_sentence() -> None:
    """Six seeds decide nothing at 1.25 %, and 95 % for all pairs together is less of it each."""
    few, stream = SEEDS[:6], Stream(ARMS, seeds=SEEDS[:6], design="two_stages", margin=0.5)
    stream.describe(choosing_seeds=2)
    stream.search("tpe", [10.0, 9.0, 8.0])
    for pair in (("random", "sigma"), ("tpe", "sigma")):
        stream.emit(PairChosen(*pair, {}))
    for arm, chosen in (("tpe", 2), ("sigma", None)):
        tests = {seed: scores_of(arm)[seed] for seed in few}
        stream.confirm(arm, tests, chosen_from=chosen, stage="comparing", first=2)
    report = reported(stream)
    assert report.headline is not None
    assert report.advice is not None
    (no_worse,) = (one for one in report.non_inferiority if one.hand == "tpe")
    assert "(6 seeds cannot decide, 7 can)" in report.verdict[0]
    assert "6 seeds cannot decide, 7 can" in no_worse.sentence
    assert report.advice.sentence.startswith("6 seeds show no difference, however large")


def test_all_pairs_together_share_the_error_of_one_that_was_chosen_again() -> None:
    values = np.array([-0.1, 0.05, 0.06, 0.07, 0.3, 0.4, 0.5, 0.6, 1.0, 1.2, 1.4, 2.6])
    arms = {"tpe": HAND, "sigma": AUTOMATIC, "optimal": AUTOMATIC}
    for again, said in (
        (0, "does not pay against sigma, optimal."),
        (3, "is inconclusive against sigma."),
    ):
        stream = Stream(arms, seeds=SEEDS, design="named")
        stream.describe(primary={"hand_tuned": "tpe", "automatic": "sigma"})
        stream.search("tpe", [10.0, 9.0, 8.0])
        for _ in range(again):
            stream.emit(PairChosen("tpe", "sigma", {}))
        stream.confirm("tpe", dict(zip(SEEDS, 9 + values, strict=True)), chosen_from=2)
        stream.confirm("sigma", dict.fromkeys(SEEDS, 9.0))
        stream.confirm("optimal", {seed: 8.0 + 0.01 * (seed % 5) for seed in SEEDS})
        report = reported(stream)
        (family,) = (remark for remark in report.remarks if "pairs together" in remark)
        assert family.endswith(said)


@pytest.mark.parametrize("rate", [False, True])
def test_a_balance_that_was_given_is_not_called_a_search(rate: bool) -> None:
    """Nor where the learning rate beside it is searched."""
    given = {
        "balancer": {"name": "fixed_beta", "reduction": "half_sum", "beta": 1.0},
        "search": {**HAND["search"], "space": {"training.lr": {"low": 1e-4, "high": 1e-2}}},
    }
    given |= {} if rate else {"search": None}
    stream = Stream(
        {"fixed": given, "sigma": AUTOMATIC}, seeds=SEEDS, design="named",
        hand_tuned={"fixed": "sets beta"},
    )  # fmt: skip
    if rate:
        stream.search("fixed", [8.0, 9.0])
    tests = {seed: 8.0 + 0.01 * (seed % 7) for seed in SEEDS}
    stream.confirm("fixed", tests, chosen_from=0 if rate else None)
    stream.confirm("sigma", {seed: 9.0 + 0.01 * (seed % 5) for seed in SEEDS})
    report = reported(stream)
    assert report.first_screen.sentence.startswith("Setting the balance by hand pays")
    assert (
        "fixed has a balance that was set by hand: what choosing it took is not counted."
        in report.notes
    )
    looks = Looks(["fixed", "sigma"])
    figure = cost_curves.draw(report.curves, [], report.arms, report.objective, looks)
    assert rate or "searched too few times" not in figure.caption


@pytest.fixture
def close(make_stream: Callable[..., Stream]) -> Callable[..., Stream]:
    """A study of one pair whose arms differ by little, with a margin."""

    def make(margin: float | None = 0.5) -> Stream:
        stream = make_stream(seeds=SEEDS, margin=margin)
        stream.search("tpe", [10.0, 9.0, 8.0])
        stream.confirm("tpe", scores_of("tpe"), chosen_from=2)
        own = dict(zip(SEEDS, reversed(NOISE.values()), strict=True))
        stream.confirm("sigma", {s: v - 0.1 + own[s] for s, v in scores_of("tpe").items() if v})
        return stream

    return make


def test_an_inconclusive_study_says_what_it_could_have_shown(close: Callable[..., Stream]) -> None:
    report = reported(close())
    assert report.headline is not None
    assert report.advice is not None
    assert report.advice.sentence == report.remarks[0]
    spread = float(np.std([*NOISE.values()], ddof=1))
    assert report.advice.shown == pytest.approx(Rule(spread).smallest_shown(12), rel=1e-3)
    needed = Rule(spread_bound(spread, 12), looks=True).seeds_needed(0.5)
    assert needed is not None
    assert report.advice.seeds == needed
    assert f"takes about {needed - 12} more" in report.advice.sentence
    assert report.advice.command == (
        f"study resume toy --set 'seeds={{until: decided, at_most: {needed}}}'"
    )
    assert "sets no margin" in reported(close(None)).remarks[0]


def with_failures(failed: int, apart: float, margin: float, seeds: Sequence[int] = SEEDS) -> Report:
    """One pair, the automatic arm worse by ``apart``; it fails on the first so many seeds."""
    stream = Stream({"tpe": HAND, "sigma": AUTOMATIC}, seeds=seeds, margin=margin)
    stream.search("tpe", [10.0, 9.0, 8.0])
    noise = list(NOISE.values())
    stream.confirm(
        "tpe", {s: -20 + 0.5 * z for s, z in zip(seeds, noise, strict=True)}, chosen_from=2
    )
    stream.confirm("sigma", {
        s: None if i < failed else -20 + apart + 0.5 * noise[-1 - i] * (1 + i % 3)
        for i, s in enumerate(seeds)
    })  # fmt: skip
    return reported(stream)


def test_seeds_that_failed_are_part_of_how_many_there_are_to_be() -> None:
    report = with_failures(4, 0.2, margin=0.55)
    assert report.headline is not None
    assert report.advice is not None
    given = report.headline.differences
    assert (given.n, given.failed) == (8, (0, 4))
    needed = Rule(spread_bound(given.spread, 8), looks=True).seeds_needed(0.55)
    assert needed is not None
    assert needed > 8
    # 12 seeds gave 8 pairs, so one more pair takes 1.5.
    assert report.advice.seeds == 12 + ceil((needed - 8) * 1.5)
    assert f"at_most: {report.advice.seeds}}}" in report.advice.command
    assert report.advice.sentence.startswith("where none fails, 8 seeds show")


def test_few_seeds_may_show_the_best_of_one_and_not_of_four() -> None:
    automatic = dict.fromkeys("abcd", AUTOMATIC)
    stream = Stream({"tpe": HAND, **automatic}, seeds=SEEDS[:6], margin=0.5)
    stream.search("tpe", [10.0, 9.0, 8.0])
    stream.confirm("tpe", {s: -20 + NOISE[s] for s in SEEDS[:6]}, chosen_from=2)
    for i, name in enumerate(automatic):
        stream.confirm(name, {s: -20 + NOISE[s] * (-1) ** (s + i) for s in SEEDS[:6]})
    report = reported(stream)
    assert report.advice is not None
    assert "6 seeds can show a difference in one direction only" in report.advice.sentence


def test_no_number_of_seeds_is_enough_for_runs_that_fail() -> None:
    report = with_failures(4, 0.8, margin=8.0)
    assert report.advice is not None
    assert "enough" not in report.advice.sentence
    assert report.advice.command == ""


def test_listed_seeds_go_on_as_a_range_does() -> None:
    listed = with_failures(0, 0.2, 0.55, [3, 17, 99, 1001, 5, 6, 7, 8, 9, 10, 11, 12]).advice
    assert listed == with_failures(0, 0.2, 0.55).advice


def test_before_all_seeds_have_run_there_is_nothing_to_type(close: Callable[..., Stream]) -> None:
    report = build_report(build_tables(close().entries))
    assert report.advice is not None
    assert report.advice.command == ""
    assert report.advice.sentence.endswith(f"takes about {report.advice.seeds} in all.")


def test_more_seeds_than_images_allow_are_not_asked_for(close: Callable[..., Stream]) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=100) * 5

    def scores(objective: str) -> dict[str, dict[int, ImageScores]]:
        if objective != "calibrated_negative_elbo":
            return {}
        one = ImageScores(np.zeros(100), np.zeros(4))
        return {"tpe": dict.fromkeys(SEEDS, ImageScores(images, np.zeros(4))),
                "sigma": dict.fromkeys(SEEDS, one)}  # fmt: skip

    report = reported(close(), image_scores=scores)
    assert report.headline is not None
    assert report.advice is not None
    found = report.headline
    error = scipy.stats.t.ppf(0.975, 99) * scipy.stats.sem(images)
    alone = reported(close()).headline
    assert alone is not None
    for end in ("lower", "upper"):
        reach = getattr(alone.difference, end) - found.difference.mean
        with_images = getattr(found.difference, end) - found.difference.mean
        assert abs(with_images) == pytest.approx(hypot(reach, error))
    assert "12 paired seeds and 100 images" in report.verdict[0]
    assert report.advice.command == ""
    assert "no number of seeds shows the margin of 0.5 on these images" in report.advice.sentence
    assert report.two_models is not None
    low, high = scipy.stats.ttest_1samp(images, 0).confidence_interval(0.95)
    assert report.two_models.difference.lower == pytest.approx(low)
    assert report.two_models.difference.upper == pytest.approx(high)
    assert any(note.startswith("Over seeds alone, on this very test set:") for note in report.notes)


def test_a_damaged_file_of_scores_costs_the_images_alone(close: Callable[..., Stream]) -> None:
    def scores(objective: str) -> dict[str, dict[int, ImageScores]]:
        raise OSError("torn")

    report = build_report(build_tables(close().entries), image_scores=scores)
    assert {str(f) for f in report.failures} == {
        f"The scores of test images by {by} could not be computed: OSError: torn"
        for by in ("calibrated negative ELBO", "bits per dimension")
    }
    assert "over 12 paired seeds on this test set" in report.verdict[0]


@pytest.mark.parametrize("spread", [0.1, 0.0])
def test_a_seed_far_off_leaves_the_average_open(
    make_stream: Callable[..., Stream], spread: float
) -> None:
    """From seeds that vary, and from ones that do not at all."""
    stream = make_stream(seeds=SEEDS)
    stream.search("tpe", [10.0, 9.0, 8.0])
    stream.confirm("tpe", {s: -18.0 + spread * NOISE[s] for s in SEEDS}, chosen_from=2)
    stream.confirm("sigma", {**dict.fromkeys(SEEDS, -20.0), 112: -23.0})
    report = reported(stream)
    (note,) = [n for n in report.notes if "median deviations off" in n]
    assert note.startswith("The verdict speaks of typical seeds, not of the average: 1 of 12 seeds")


@pytest.mark.parametrize(("until", "n", "rank"), [("", 9, 2), ("decided", 9, 1), ("decided", 6, 0)])
def test_the_median_of_skewed_seeds_is_that_of_every_look(
    make_stream: Callable[..., Stream], until: str, n: int, rank: int
) -> None:
    """6 seeds bound a median once, and at no look; 9 do by their second and their least."""
    stream = make_stream(seeds=SEEDS)
    stream.describe(until=until)
    stream.search("tpe", [10.0, 9.0, 8.0])
    values = [-20.0, -19.9, -20.1, -20.2, -19.8, 10.0, -19.7, -20.3, -20.4][:n]
    stream.confirm("tpe", {s: -20 + NOISE[s] for s in SEEDS[:n]}, chosen_from=2)
    stream.confirm("sigma", dict(zip(SEEDS, values, strict=False)))
    (note,) = [note for note in reported(stream).notes if "Seeds look skewed" in note]
    low, high = sorted(values)[rank - 1], sorted(values)[-rank]
    exact = f", median between {low:.2f} and {high:.2f}" if rank else ""
    assert f": sigma ({n} seeds{exact})." in note


def test_no_median_is_bounded_by_the_seeds_that_did_not_fail(
    make_stream: Callable[..., Stream],
) -> None:
    stream = make_stream(seeds=SEEDS)
    stream.confirm("sigma", {**dict.fromkeys(SEEDS[:3]), **dict.fromkeys(SEEDS[3:], -20.0), 112: 9})
    (note,) = [note for note in reported(stream).notes if "Seeds look skewed" in note]
    assert ": sigma (9 seeds)." in note


def test_the_draws_error_is_that_of_the_comparing_runs_alone() -> None:
    """Runs that chose the pair have images' scores too, and enter no comparison."""
    rng = np.random.default_rng(3)

    def kept(choosing: float) -> dict[str, dict[int, ImageScores]]:
        rough = {11: choosing, 12: choosing}
        return {
            arm: {
                seed: ImageScores(np.zeros(40), scale * rng.normal(size=8))
                for seed, scale in {**rough, **dict.fromkeys(SEEDS, 1.0)}.items()
            }
            for arm in ("random", "sigma")
        }

    scores = kept(choosing=100.0)
    report = reported(
        two_stages(LEVELS, ("random", "sigma")),
        image_scores=lambda objective: scores if objective == "calibrated_negative_elbo" else {},
    )
    of = [np.stack([scores[arm][seed].draws for seed in SEEDS]) for arm in ("random", "sigma")]
    error = np.sqrt(np.var(of[0] - of[1], axis=1, ddof=1).mean() / 8 / 12)
    (note,) = [note for note in report.notes if note.startswith("The draws of noise")]
    assert f"leave a standard error of {error:.2g} nats per image" in note
