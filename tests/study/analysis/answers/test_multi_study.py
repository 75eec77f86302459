from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import simulate_several
from click.testing import CliRunner
from streams import AUTOMATIC, HAND, Stream

from study.analysis.answers.multi_study import SeveralReport, combine, several_summary
from study.analysis.answers.report import Report, build_report
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text
from study.cli import main
from study.journal.events import StudyFinished, TrialEnded
from study.statistics.aggregates import (
    SIMULATED,
    aggregate,
    half_width,
    improvement,
    interquartile_mean,
    profile,
    resamples,
)
from vae_core.errors import UserError

ONE = [[0.31, 0.12, 0.55, 0.20, 0.47], [1.2, 0.9, 4.1, 1.1, 1.6]]
OTHER = [[0.35, 0.44, 0.55, 0.61, 0.29], [1.0, 1.4, 2.0, 1.7, 2.2]]
SHAPES = [(runs, datasets) for runs in (3, 5, 10) for datasets in (1, 2, 3, 4)]


class TestAggregates:
    @pytest.mark.parametrize("n", range(1, 25))
    def test_interquartile_mean_is_scipy_s_trimmed_mean(self, n: int) -> None:
        values = np.random.default_rng(n).normal(size=(3, n))
        expected = scipy.stats.trim_mean(values, 0.25, axis=1)
        assert interquartile_mean(values) == pytest.approx(expected)

    def test_rliable_agrees(self) -> None:
        """As rliable 1.2.0 gives them: aggregate_iqm, probability_of_improvement, 1 - profile."""
        assert aggregate(ONE).interval.mean == pytest.approx(0.755)
        assert aggregate(OTHER).interval.mean == pytest.approx(0.95)
        # P(X > Y) of its scores, which are better the higher.
        assert improvement(OTHER, ONE).interval.mean == pytest.approx(0.33)
        shares = profile("one", ONE, [0.3, 0.5, 1.1, 1.5, 3.0]).share
        assert shares == pytest.approx([0.2, 0.4, 0.7, 0.8, 0.9])

    def test_resamples_are_those_of_every_dataset_on_its_own(self) -> None:
        """Against all 27 x 27 resamples of two datasets of three runs."""
        values = np.array([0.1, 0.5, 0.2, 1.4, 0.3, 0.9])
        threes = np.array(list(product(range(3), repeat=3)))
        every = np.array([[*a, *(3 + b)] for a in threes for b in threes])
        exact = interquartile_mean(values[every])
        drawn = resamples((3, 3), 40_000, np.random.default_rng(0))
        found = interquartile_mean(values[drawn])
        assert {tuple(row) for row in drawn.tolist()} == {tuple(row) for row in every.tolist()}
        assert found.mean() == pytest.approx(exact.mean(), abs=4 * exact.std() / 200)
        assert found.std() == pytest.approx(exact.std(), rel=0.02)
        assert scipy.stats.ks_2samp(found, exact).statistic < 0.01

    def test_one_dataset_and_no_trimming_is_near_student_s_t(self) -> None:
        """The interval is meant to be longer, for skewed runs, but not by much."""
        values = np.random.default_rng(3).normal(size=3)
        student = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(values)
        assert 1 < half_width(values, (3,)) / student < 2.5

    def test_the_interval_moves_and_scales_with_the_runs(self) -> None:
        moved = aggregate([[10 + 3 * value for value in runs] for runs in ONE]).interval
        interval = aggregate(ONE).interval
        for at in ("mean", "lower", "upper"):
            assert getattr(moved, at) == pytest.approx(10 + 3 * getattr(interval, at))

    @pytest.mark.parametrize(
        ("runs", "mean", "why"),
        [
            ([], None, "a dataset has no run"),
            ([[1.0, 2.0, 3.0], []], None, "a dataset has no run"),
            ([[1.0, 2.0, 3.0], [2.0]], 2.0, "it takes three runs at least on each dataset"),
            ([[1.0] * 3, [1.0] * 3], 1.0, "the runs do not differ enough"),
        ],
    )
    def test_where_there_is_no_interval_a_sentence_is(
        self, runs: list[list[float]], mean: float | None, why: str
    ) -> None:
        found = aggregate(runs)
        assert found.interval.mean == mean
        assert found.interval.lower is found.interval.upper is found.coverage is None
        assert found.interval.why.startswith(why)

    def test_the_coverage_stated_is_of_a_shape_nowhere_larger(self) -> None:
        runs = np.random.default_rng(0).normal(size=(6, 7)).tolist()
        coverage = aggregate(runs).coverage
        assert coverage is not None
        assert (coverage.runs, coverage.datasets) == (5, 4)
        assert (coverage.least, coverage.usual) == SIMULATED[5, 4]

    def test_improvement_is_mann_and_whitney_s(self) -> None:
        shares = [
            scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
            for a, b in zip(OTHER, ONE, strict=True)
        ]
        assert improvement(ONE, OTHER).interval.mean == pytest.approx(np.mean(shares))

    def test_a_probability_never_seen_to_fail_has_the_exact_bound(self) -> None:
        """Chernoff's bound is exact there: p^n = 2.5 % where all of n pairs were better."""
        found = improvement([[1.0, 2.0], [1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]).interval
        assert (found.mean, found.upper, found.n) == (1.0, 1.0, 4)
        assert found.lower == pytest.approx(0.025**0.25)

    def test_profile_counts(self) -> None:
        tau = [0.0, 0.31, 0.5, 1.2, 9.0]
        found = profile("one", ONE, tau)
        pooled = [value for runs in ONE for value in runs]
        for i, t in enumerate(tau):
            count = sum(value <= t for value in pooled)
            exact = scipy.stats.binomtest(count, 10).proportion_ci(method="exact")
            assert found.share[i] == count / 10
            assert (found.lower[i], found.upper[i]) == pytest.approx((exact.low, exact.high))


class TestCoverage:
    """Every interval printed covers 93 % or more; a sample can't show it below."""

    @pytest.mark.parametrize(("runs", "datasets"), SHAPES)
    def test_interquartile_mean(self, runs: int, datasets: int) -> None:
        *_, hardest = simulate_several.kinds(datasets)
        sets = 100
        share = simulate_several.covered((runs,) * datasets, *hardest, sets)
        assert share * sets >= scipy.stats.binom.ppf(0.01, sets, 0.93)

    @pytest.mark.slow
    @pytest.mark.parametrize(("runs", "datasets"), SHAPES)
    def test_of_every_kind(self, runs: int, datasets: int) -> None:
        for kind in simulate_several.kinds(datasets):
            assert simulate_several.covered((runs,) * datasets, *kind, 1000, seed=1) >= 0.93

    def test_what_is_stated_is_93_percent_or_more(self) -> None:
        assert set(SIMULATED) == set(SHAPES)
        for least, usual in SIMULATED.values():
            assert 0.93 <= least <= usual < 1

    @pytest.mark.parametrize(("runs", "datasets"), SHAPES)
    @pytest.mark.parametrize("kind", simulate_several.KINDS)
    def test_improvement_with_runs_of_a_seed_alike(
        self, runs: int, datasets: int, kind: str
    ) -> None:
        generator = np.random.default_rng(1)
        of_kind = simulate_several.KINDS[kind]
        shape = (200, datasets, runs)
        for together in (0.0, 0.6):
            shared = generator.standard_normal(shape)
            a, b = (
                of_kind(together * shared + (1 - together**2) ** 0.5 * own)
                for own in (generator.standard_normal(shape) for _ in range(2))
            )
            many = [of_kind(generator.standard_normal(20_000)) for _ in range(2)]
            truth = np.mean(many[0] < many[1] + 0.5)
            found = [improvement(x, y + 0.5) for x, y in zip(a.tolist(), b, strict=True)]
            held = [f.interval.lower <= truth <= f.interval.upper for f in found]  # type: ignore
            assert np.mean(held) >= 0.93
            assert found[0].coverage is not None
            assert 0.93 <= found[0].coverage.least <= 1

    @pytest.mark.parametrize(("runs", "datasets"), SHAPES)
    def test_band_of_a_profile_where_datasets_differ(self, runs: int, datasets: int) -> None:
        generator = np.random.default_rng(2)
        level = np.arange(datasets)[:, None]
        tau = [-0.5, 0.3, 1.4, 2.5]
        truth = scipy.stats.norm.cdf(np.array(tau) - level).mean(0)
        held = []
        for _ in range(300):
            values = generator.standard_normal((datasets, runs)) + level
            found = profile("any", values.tolist(), tau)
            held.append((np.array(found.lower) <= truth) & (truth <= np.array(found.upper)))
        assert np.mean(held, axis=0).min() >= 0.93
        assert found.coverage.least >= 0.95


Tests = Mapping[str, Sequence[float | None]]
WINS: Tests = {"tpe": [9.6, 9.7, 9.5, 9.65, 9.55], "sigma": [9.0, 9.1, 8.9, 9.05, 8.95]}


def study(
    name: str, data: str, tests: Tests, *, gaps: Mapping[str, float] | None = None, **settings: Any
) -> Report:
    """The report of a study of seeds 0, 1, ...; arms with a search in their name are tuned."""
    arms = {arm: AUTOMATIC if arm in ("sigma", "optimal") else HAND for arm in tests}
    seeds = range(max(map(len, tests.values())))
    stream = Stream(arms | settings.pop("arms", {}), seeds=list(seeds), **settings)
    stream.describe(name=name, data={"name": data})
    for arm, values in tests.items():
        searched = arms[arm] is HAND
        if searched:
            stream.search(arm, [10.0, 9.0, 8.0])
        closely: list[Mapping[str, float | None]] = [
            {stream.objective: value} if stream.objective.startswith("fid") else {}
            for value in values
        ]
        stream.confirm(
            arm, dict(zip(seeds, values, strict=False)), gap=(gaps or {}).get(arm, 0.5),
            chosen_from=2 if searched else None, closely=closely,
        )  # fmt: skip
    for at, entry in enumerate(stream.entries):
        match entry.event:
            case TrialEnded(metrics={"test/fid_gen1": distance}) as end:
                metrics = {**end.metrics, "validation/fid_gen1": distance}
                stream.entries[at] = entry._replace(event=replace(end, metrics=metrics))
    stream.emit(StudyFinished())
    return build_report(build_tables(stream.entries))


def joint(*reports: Report) -> SeveralReport:
    """The joint report, checked for what must hold of every one."""
    found = combine(reports)
    text = as_text(found)
    values = json.dumps(several_summary(found), allow_nan=False)
    for words in (text, values):
        assert not re.search(r"\b(nan|inf)\b", words)
    assert 1 <= len(found.verdict) <= 2
    for sentence in (*found.verdict, *found.notes):
        assert sentence in " ".join(text.split())
    return found


BIT = 64 * np.log(2)  # nats of one bit per dimension, on the 64 pixels of made-up studies


class TestCombine:
    def test_the_numbers_of_two_whole_studies(self) -> None:
        far = {arm: [value * 2 + 7 for value in values if value] for arm, values in WINS.items()}
        found = joint(study("a", "digits", WINS), study("b", "mnist", far))
        tpe, sigma = found.arms
        regrets = [0.6, 0.7, 0.5, 0.65, 0.55, 1.2, 1.4, 1.0, 1.3, 1.1]
        assert tpe.regret.interval.mean == pytest.approx(scipy.stats.trim_mean(regrets, 0.25) / BIT)
        assert sigma.regret.interval.mean == pytest.approx(0, abs=1e-12)
        assert tpe.by_dataset == pytest.approx([0.6 / BIT, 1.2 / BIT])
        assert tpe.validation == pytest.approx(0.9 / BIT)
        (pair,) = found.pairs
        # Paired by seed, all differences of a dataset are equal: 0.6 and 1.2.
        assert pair.difference.interval.mean == pytest.approx(0.9 / BIT)
        assert pair.improvement.interval.mean == 1
        assert pair.ratios == (4.0, 4.0)
        assert [p.arm for p in found.profiles] == ["tpe", "sigma"]
        assert found.profiles[0].tau == found.profiles[1].tau
        assert found.profiles[0].share[-1] == found.profiles[1].share[-1] == 1

    def test_a_run_that_failed_is_the_worst_there_is(self) -> None:
        """As in each study by itself: an arm that fails on half of its seeds is no better bet."""
        half = {
            **WINS,
            "sigma": [value if i % 2 else None for i, value in enumerate(WINS["sigma"])],
        }
        whole = joint(study("a", "digits", WINS), study("b", "mnist", WINS))
        found = joint(study("a", "digits", half), study("b", "mnist", half))
        kept = sum(value is not None for value in half["sigma"]) / len(half["sigma"])
        assert whole.pairs[0].improvement.interval.mean == 1
        assert found.pairs[0].improvement.interval.mean == pytest.approx(kept)
        sigma = found.profiles[1]
        assert (sigma.arm, max(sigma.share)) == ("sigma", pytest.approx(kept))
        lost = len(half["sigma"]) - round(kept * len(half["sigma"]))
        assert any(f"sigma: runs failed, {lost} in a, {lost} in b" in note for note in found.notes)

    def test_the_verdict_answers_first_and_says_what_its_interval_covers(self) -> None:
        reports = [study("a", "digits", jitter(0)), study("b", "mnist", jitter(1))]
        found = joint(*reports)
        (pair,) = found.pairs
        assert pair.outcome is Outcome.DOES_NOT_PAY
        assert found.verdict[0].startswith(
            "Searching does not pay over 2 datasets (digits, mnist): by bits per dimension (lower "
            "is better) on test, automatic sigma is better than hand-tuned tpe, by 0.01"
        )
        assert found.verdict[0].endswith(
            " in the interquartile mean of 10 paired runs, an interval that covers 95-99 %; tpe "
            "costs 4.0x the images of sigma."
        )
        assert found.verdict[1].startswith("A run of sigma is better than one of tpe with prob")
        swapped = [{"tpe": of["sigma"], "sigma": of["tpe"]} for of in map(jitter, range(2))]
        turned = joint(study("a", "digits", swapped[0]), study("b", "mnist", swapped[1]))
        assert turned.pairs[0].outcome is Outcome.PAYS
        assert (
            "pays over 2 datasets (digits, mnist) where the gain is worth 4.0x" in turned.verdict[0]
        )
        assert "hand-tuned tpe found better models than sigma, by 0.01" in turned.verdict[0]

    def test_pairing_by_seed_cancels_what_runs_of_a_seed_share(self) -> None:
        noise = np.random.default_rng(0).normal(size=5)
        own = np.random.default_rng(1).normal(size=(2, 5)) * 0.01
        tests = {"tpe": (9.3 + noise + own[0]).tolist(), "sigma": (9 + noise + own[1]).tolist()}
        pair = joint(study("a", "digits", tests), study("b", "mnist", tests)).pairs[0]
        assert pair.difference.interval.half_width is not None
        assert pair.difference.interval.half_width < 0.05 / BIT
        assert pair.outcome is Outcome.DOES_NOT_PAY

    def test_levels_are_chosen_on_validation_and_no_pair_is(self) -> None:
        tests = {"flattered": [8.0, 8.1, 8.2], "tpe": [9.0, 9.1, 9.2], "sigma": [9.5, 9.6, 9.7]}
        gaps = {"flattered": -2.0, "tpe": 0.5, "sigma": 0.5}
        found = joint(*(study(n, n, tests, gaps=gaps) for n in "ab"))
        assert found.pair is None, "the best of two, chosen on the runs that compare them"
        assert found.verdict == [
            "Whether searching pays over 2 datasets (a, b) can't be told: not every study names or "
            "chooses a pair of arms, and the best of several would be chosen on the runs that "
            "compare them; name one in their specs, primary: {hand_tuned: ARM, automatic: ARM}."
        ]
        by_arm = {arm.arm: arm for arm in found.arms}
        assert by_arm["tpe"].by_dataset == pytest.approx([0, 0], abs=1e-12)
        assert by_arm["flattered"].by_dataset == pytest.approx([-1 / BIT] * 2)

    def test_each_study_speaks_of_its_own_pair(self) -> None:
        runs = [jitter(0), jitter(1)]
        other = {"random": runs[1]["tpe"], "optimal": runs[1]["sigma"]}
        arms = {"optimal": {**AUTOMATIC, "balancer": {"name": "optimal_sigma"}}}
        own = joint(study("a", "digits", runs[0]), study("b", "mnist", other, arms=arms))
        same = joint(study("a", "digits", runs[0]), study("b", "mnist", runs[1]))
        assert own.pair is not None
        assert same.pair is not None
        assert own.pair.difference == same.pair.difference
        assert (own.arms, own.pairs) == ([], [])
        assert (
            "automatic sigma or optimal is better than hand-tuned tpe or random, by 0.01"
            in (own.verdict[0])
        )
        assert (
            "The verdict compares the pair of each study's own design: a: tpe against sigma; b: "
            "random against optimal." in own.notes
        )

    def test_an_arm_that_fails_where_its_rival_runs_is_not_said_to_be_better(self) -> None:
        runs = [jitter(0, 6), jitter(1, 6)]
        failing: Tests = {**runs[1], "sigma": [None, *runs[1]["sigma"][1:]]}
        found = joint(study("a", "digits", runs[0]), study("b", "mnist", failing))
        assert found.pair is not None
        assert found.pair.difference.interval.lower is not None
        assert found.pair.difference.interval.lower > 0
        assert (found.pair.failed, found.pair.outcome) == ((0, 1), Outcome.NOT_SHOWN)
        assert found.verdict[0].startswith("Inconclusive over 2 datasets ")
        assert "tpe minus sigma is 0.01" in found.verdict[0]
        assert "; sigma failed on 1 seed where its rival ran: it is not said to" in found.verdict[0]
        turned = {"tpe": failing["sigma"], "sigma": failing["tpe"]}
        assert joint(study("b", "mnist", turned)).pairs[0].outcome is Outcome.NOT_SHOWN

    def test_no_fixed_interval_is_claimed_of_seeds_that_were_looked_at(self) -> None:
        runs = [jitter(0, 8), jitter(1, 8)]
        reports = [study("a", "digits", runs[0]), study("b", "mnist", runs[1])]
        looked = replace(reports[1], design=replace(reports[1].design, until_decided=True))
        found = joint(reports[0], looked)
        assert found.pair is not None
        assert (found.pair.looked, found.pair.outcome) == (["b"], Outcome.UNKNOWN)
        assert found.verdict[0].startswith("Whether searching pays over 2 datasets (digits, mnist)")
        assert "which does not hold for seeds that were looked at before (b)" in found.verdict[0]

    def test_distances_are_compared_by_their_logarithm(self) -> None:
        tests = {"tpe": [40.0, 44.0, 42.0], "sigma": [20.0, 22.0, 21.0]}
        more = {arm: [10 * value for value in values] for arm, values in tests.items()}
        settings = {"objective": "fid_gen1", "evaluation": {"features": ["inception"]}}
        found = joint(
            study("a", "digits", tests, **settings), study("b", "mnist", more, **settings)
        )
        assert found.score.name == "log_fid_gen1"
        assert found.pairs[0].difference.interval.mean == pytest.approx(np.log(2))

    def test_a_distance_without_logarithm_is_left_out_and_said(self) -> None:
        tests = {"tpe": [40.0, 0.0, 42.0, 43.0], "sigma": [20.0, 22.0, 21.0, 20.5]}
        settings = {"objective": "fid_gen1", "evaluation": {"features": ["inception"]}}
        found = joint(*(study(n, n, tests, **settings) for n in "ab"))
        assert len(found.arms[0].runs[0]) == 3
        assert any("tpe: distances of 0 or less in a have no logarithm" in n for n in found.notes)

    def test_no_worse_on_all_takes_every_study(self) -> None:
        def made(*margins: float | None) -> SeveralReport:
            return joint(
                *(study(f"s{i}", f"d{i}", jitter(i, 6), margin=m) for i, m in enumerate(margins))
            )

        whole, part, none = made(0.1, 0.2), made(0.1, None), made(None, None)
        assert whole.pairs[0].no_worse_on_all is True
        assert whole.verdict[1].endswith(
            "sigma is no worse by the margin of each study, on all 2 datasets at once."
        )
        assert (part.pairs[0].no_worse, part.pairs[0].no_worse_on_all) == (["s0"], None)
        assert part.verdict[1].endswith(
            "sigma is shown to be no worse by the study's margin on 1 of 2 datasets, 1 of which "
            "have one."
        )
        assert none.verdict[1].endswith("no study sets a margin by which automatic may be worse.")

    def test_arms_that_not_all_studies_have_are_named(self) -> None:
        more = {**WINS, "grid": WINS["tpe"]}
        found = joint(study("a", "digits", more), study("b", "mnist", WINS))
        assert [arm.arm for arm in found.arms] == ["tpe", "sigma"]
        assert any(note.startswith("a: grid left out") for note in found.notes)

    def test_an_arm_of_one_name_and_two_balancers_is_two_arms(self) -> None:
        other = {"sigma": {**AUTOMATIC, "balancer": {"name": "optimal_sigma"}}}
        found = joint(study("a", "digits", WINS), study("b", "mnist", WINS, arms=other))
        assert [arm.arm for arm in found.arms] == ["tpe"]
        assert found.pair is not None
        assert found.pair.automatic == "sigma (learned_sigma) or sigma (optimal_sigma)"

    def test_no_common_arm(self) -> None:
        found = joint(study("a", "x", {"tpe": [9.0]}), study("b", "y", {"sigma": [9.0]}))
        assert (found.arms, found.pairs, found.profiles) == ([], [], [])
        assert "no hand-tuned arm in common" in found.verdict[0]

    def test_an_arm_without_a_finished_run_in_one_study(self) -> None:
        found = joint(
            study("a", "digits", WINS), study("b", "mnist", {**WINS, "sigma": [None] * 5})
        )
        assert found.verdict[0].startswith(
            "Whether searching pays over 2 datasets (digits, mnist) can't be told: by bits per "
            "dimension (lower is better) on test, tpe against sigma can't be compared: a dataset "
            "has no run; sigma failed on 5 seeds where its rival ran: "
        )
        assert "sigma: no finished run in b." in found.notes
        assert found.arms[1].by_dataset[1] is None

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_too_few_seeds_for_an_interval(self, seeds: int) -> None:
        tests = {arm: values[:seeds] for arm, values in WINS.items()}
        found = joint(study("a", "digits", tests), study("b", "mnist", tests))
        assert found.pairs[0].outcome is Outcome.UNKNOWN
        assert "it takes three runs at least on each dataset" in found.verdict[0]

    def test_a_dataset_that_is_there_twice_is_said(self) -> None:
        others = {arm: [value + 0.01 for value in values] for arm, values in WINS.items()}
        found = joint(study("a", "digits", WINS), study("b", "digits", others))
        assert "a, b are on the same dataset, digits: it weighs 2 times." in found.notes

    def test_studies_that_do_not_go_together_are_refused(self) -> None:
        a, b = study("a", "digits", WINS), study("b", "mnist", WINS, objective="bits_per_dim")
        with pytest.raises(UserError, match="different objectives") as error:
            combine([a, b])
        assert "a: calibrated_negative_elbo; b: bits_per_dim" in str(error.value)
        with pytest.raises(UserError, match="study 'a' is given twice"):
            combine([a, a])

    def test_runs_that_two_studies_have_in_common_are_refused(self) -> None:
        """As a study's and its fork's of listed seeds: the same to the last bit."""
        others = {
            arm: [*values[:2], *(value + 0.01 for value in values[2:])]
            for arm, values in WINS.items()
        }
        with pytest.raises(UserError, match="'a' and 'b' have the same runs on digits") as error:
            combine([study("a", "digits", WINS), study("b", "digits", others)])
        assert "tpe, seed " in error.value.where
        assert error.value.where.endswith(" and 1 more")

    def test_an_answer_from_unfinished_studies_is_one_so_far(self) -> None:
        a, b = study("a", "digits", WINS), replace(study("b", "mnist", WINS), finished=False)
        whole, part = combine([a, replace(b, finished=True)]), combine([a, b])
        assert whole.verdict[0].startswith("Searching does not pay over 2 datasets")
        assert part.verdict[0].startswith(
            "So far (not every study is finished): searching does not pay over 2 datasets"
        )

    def test_lines_fit_a_screen(self) -> None:
        tests = {"random-beta": WINS["tpe"], "sigma": WINS["sigma"]}
        text = as_text(joint(*(study(d, d, tests) for d in ("digits", "mnist", "cifar10"))))
        assert max(map(len, text.splitlines())) <= 80
        assert "auto, or hand-tuned (random-beta: searches beta)" in " ".join(text.split())


def jitter(i: int, runs: int = 5) -> dict[str, list[float]]:
    """Runs of which sigma's are better, with some noise."""
    noise = np.random.default_rng(i).normal(size=(2, runs)) * 0.1
    return {"tpe": (9.6 + noise[0]).tolist(), "sigma": (9 + noise[1]).tolist()}


class TestCommand:
    @pytest.fixture
    def home(self, tell: Callable[..., Any], told_spec: Any, tmp_path: Path) -> Path:
        for name, seeds in (("one", [0, 1]), ("two", [2, 3])):
            tell({**told_spec.to_dict(), "name": name, "seeds": seeds}, tmp_path)
        return tmp_path

    @pytest.fixture
    def output(self, home: Path) -> Callable[..., str]:
        def report(*options: str) -> str:
            words = ["report", "one", "two", *options, "--home", str(home)]
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0
            return result.stdout

        return report

    def test_several_names_have_their_verdicts_and_a_joint_answer(
        self, output: Callable[..., str]
    ) -> None:
        text = output("--full")
        assert re.findall(r"^one: |^two: |^one, two, together$", text, re.MULTILINE) == [
            "one: ", "two: ", "one, two, together",
        ]  # fmt: skip

    def test_a_program_gets_them_as_json(self, output: Callable[..., str]) -> None:
        values = json.loads(output("--format", "json"))
        assert [study["name"] for study in values["studies"]] == ["one", "two"]
        assert values["together"]["studies"] == ["one", "two"]
        assert len(values["together"]["verdict"]) == 2

    def test_each_has_its_page(self, output: Callable[..., str]) -> None:
        pages = output("--format", "html").splitlines()[:2]
        assert all(Path(page).is_file() for page in pages)

    def test_a_study_named_twice_is_refused(self, home: Path) -> None:
        result = CliRunner().invoke(main, ["report", "one", "one", "--home", str(home)])
        assert result.exit_code != 0
        assert "study 'one' is given twice" in result.stderr
