"""Searches replayed on recorded trials, against what is known exactly."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import study
from benchmarks.made_up import begin
from study.cli import main
from study.replaying.recorded import Pool, Recorded, ReplayError
from study.replaying.result import pool_interval, sampling_interval
from study.replaying.search import Played, ReplayedSearch
from study.spec import SpecError, StudySpec
from study.statistics.order_statistics import expected_best

BETA = {"beta": {"low": 1e-3, "high": 10, "log": True}}
REPORTS, IMAGES = 9, 100


def spec(space: Mapping[str, Any] = BETA, **search: Any) -> StudySpec:
    """A study of one arm that searches."""
    return StudySpec.from_dict(
        {
            "name": "toy",
            "data": "digits",
            "model": {"name": "mlp", "latent": 4, "width": 8},
            "training": {"epochs": 2, "reports": REPORTS},
            "arms": {"hand": {"balancer": "fixed_beta", "search": {"space": space, **search}}},
        }
    )


def trial(beta: float, value: float, curve: list[float] | None = None) -> Recorded:
    curve = curve or [value + 1 / step for step in range(1, REPORTS)] + [value]
    images = [IMAGES * step for step in range(1, len(curve) + 1)]
    return Recorded({"beta": beta}, True, curve, images, value, value + 0.1, 1e-3)


def pool_of(trials: list[Recorded], space: Mapping[str, Any] = BETA) -> Pool:
    search = spec(space, sampler="random", trials=1).arms["hand"].search
    assert search is not None
    return Pool(search.space, trials)


def bowl(count: int = 40) -> Pool:
    """Trials evenly spread over the range, the best at beta 0.1."""
    betas = np.logspace(-3, 1, count)
    return pool_of([trial(float(b), math.log10(b / 0.1) ** 2) for b in betas])


def play(pool: Pool, repeat: int = 0, *, exchangeable: bool = False, **search: Any) -> list[Played]:
    found = ReplayedSearch(spec(**search), "hand", repeat, pool, exchangeable=exchangeable)
    return found.replay()


def images(played: list[Played]) -> int:
    return sum(one.images for one in played)


class TestNearestRecorded:
    def test_the_nearest_left_in_the_spaces_own_measure(self):
        # On a log range 0.01 is nearer to 0.1 than 1.2 is; on a linear one it would not be.
        pool = pool_of([trial(0.01, 1.0), trial(1.2, 2.0)])
        assert pool.distances({"beta": 0.1}).argmin() == 0
        moved = pool.moved({"beta": 0.1}, pool.trials[0])
        assert moved == {"beta": pytest.approx(1.0)}  # a decade

    def test_choices_are_equal_or_not(self):
        space = {"beta": [0.1, 1.0, 10.0]}
        pool = pool_of([trial(0.1, 1.0), trial(10.0, 2.0)], space)
        assert pool.moved({"beta": 1.0}, pool.trials[0]) == {"beta": 1.0}
        assert pool.distances({"beta": 10.0}).argmin() == 1

    def test_no_trial_twice_and_the_sampler_is_told_where_it_was(self):
        pool = bowl(20)
        search = ReplayedSearch(spec(sampler="tpe", trials=20), "hand", 0, pool, exchangeable=False)
        played = search.replay()
        assert {id(one.recorded) for one in played} == {id(one) for one in pool.trials}
        for number, one in enumerate(played):
            assert search.trial(number).params == one.recorded.params
            assert search.trial(number).value == one.recorded.value
        assert any(one.collision for one in played)
        assert not played[0].collision

    @pytest.mark.parametrize("sampler", ["tpe", "qmc", "random"])
    def test_every_draw_is_a_function_of_study_arm_and_repeat(self, sampler):
        def betas(repeat: int) -> list[Any]:
            found = play(bowl(), repeat, sampler=sampler, trials=10)
            return [one.recorded.params["beta"] for one in found]

        assert betas(3) == betas(3)
        assert betas(3) != betas(4)

    def test_tpe_finds_the_bowls_bottom(self):
        def mean(sampler: str) -> float:
            best = [
                min(
                    one.recorded.value or 0.0 for one in play(bowl(), r, sampler=sampler, trials=20)
                )
                for r in range(10)
            ]
            return float(np.mean(best))

        assert mean("tpe") < mean("random")

    def test_cmaes_has_its_generations(self):
        space = {**BETA, "training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
        rng = np.random.default_rng(0)
        trials = [
            Recorded({"beta": b, "training.lr": lr}, True, [b], [1], b, b, None)
            for b, lr in zip(
                10 ** rng.uniform(-3, 1, 60), 10 ** rng.uniform(-4, -2, 60), strict=True
            )
        ]
        found = spec(space, sampler="cmaes", trials=24)
        played = ReplayedSearch(
            found, "hand", 0, pool_of(trials, space), exchangeable=False
        ).replay()
        early, late = (np.mean([math.log(p.recorded.value or 1) for p in part])
                       for part in (played[:6], played[-6:]))  # fmt: skip
        assert late < early


class TestPruning:
    def test_a_pruned_trial_costs_what_it_trained_until_then(self):
        # A threshold prunes the bad half at its third report, and none of the good.
        good = [trial(b, 0.0, [0.5] * REPORTS) for b in (0.01, 0.1)]
        bad = [trial(b, 0.0, [0.5, 0.5, 9.0, *[0.0] * (REPORTS - 3)]) for b in (1.0, 5.0)]
        pruner = {"name": "threshold", "upper": 1.0}
        played = play(pool_of(good + bad), sampler="tpe", pruner=pruner, trials=4)
        assert sorted(one.state for one in played) == ["complete"] * 2 + ["pruned"] * 2
        assert images(played) == IMAGES * (2 * REPORTS + 2 * 3)

    def test_the_last_report_is_not_pruned(self):
        late = [trial(b, 9.0, [0.5] * (REPORTS - 1) + [9.0]) for b in (0.01, 0.1)]
        pruner = {"name": "threshold", "upper": 1.0}
        played = play(pool_of(late), sampler="tpe", pruner=pruner, trials=2)
        assert [one.state for one in played] == ["complete"] * 2

    @pytest.mark.parametrize("synchronous", [False, True])
    def test_hyperband_prunes_and_saves(self, synchronous):
        pruner = {"name": "hyperband", "max_resource": REPORTS, "synchronous": synchronous}
        pruned = [
            one
            for repeat in range(5)
            for one in play(bowl(), repeat, sampler="tpe", pruner=pruner, trials=16)
        ]
        assert {one.state for one in pruned} == {"complete", "pruned"}
        assert all(one.images < IMAGES * REPORTS for one in pruned if one.state == "pruned")
        assert images(pruned) < 5 * 16 * IMAGES * REPORTS

    def test_a_synchronous_batch_goes_report_by_report(self, monkeypatch):
        def reports(*, synchronous: bool) -> list[tuple[int, int]]:
            heard: list[tuple[int, int]] = []
            monkeypatch.setattr(
                ReplayedSearch,
                "report",
                lambda _, number, step, value: heard.append((number, step)),
            )
            trials = [trial(b, 1.0, [1.0] * 3) for b in (0.01, 1.0)]
            pruner = {"name": "threshold", "upper": 2.0, "synchronous": synchronous}
            play(pool_of(trials), sampler="tpe", pruner=pruner, trials=2, batch=2)
            return heard

        assert reports(synchronous=False) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
        # A study does not tell the pruner of reports after which nobody is left to decide on.
        assert reports(synchronous=True) == [(0, 1), (1, 1), (0, 2), (1, 2)]

    def test_a_failed_trial_fails_again(self):
        failed = Recorded({"beta": 0.1}, False, [1.0, None], [100, 200], None, None, 1e-3)
        at_once = Recorded({"beta": 1.0}, False, [], [], None, None, 0.0)
        played = play(pool_of([failed, at_once]), sampler="tpe", trials=2)
        assert [one.state for one in played] == ["failed"] * 2
        assert images(played) == 200


class TestIntervals:
    def test_both_intervals_cover_what_they_say(self):
        """Random search of pools drawn anew: n values out of N, uniform, so 1/(n + 1) at best."""
        count, repeats, ways, pools = 40, 100, 10, 400
        rng = np.random.default_rng(0)

        def best(values: np.ndarray, searches: int) -> np.ndarray:
            orders = rng.permuted(np.tile(values, (searches, 1)), axis=1)
            return np.minimum.accumulate(orders, axis=1)

        for n in (1, 4, 10):
            hits = {"pool": 0, "recorded": 0, "policy alone": 0}
            for _ in range(pools):
                values = rng.uniform(size=count)
                scores = best(values, repeats)[:, n - 1]
                halves = np.empty((ways, 2))
                for way in range(ways):
                    mixed = rng.permutation(values)
                    for side, half in enumerate((mixed[:20], mixed[20:])):
                        halves[way, side] = best(half, repeats // ways)[:, n - 1].mean()
                with_pool = pool_interval(scores, halves, n, count)
                alone = sampling_interval(scores)
                here = expected_best(np.sort(values), n)
                hits["pool"] += with_pool.lower <= 1 / (n + 1) <= with_pool.upper
                hits["policy alone"] += alone.lower <= 1 / (n + 1) <= alone.upper
                hits["recorded"] += alone.lower <= here <= alone.upper
            assert hits["pool"] / pools > 0.93, n
            assert hits["recorded"] / pools > 0.91, n
            assert hits["policy alone"] / pools < 0.9, n

    def test_searches_without_a_model_are_left_out(self):
        scores = np.array([1.0, math.nan, 3.0])
        assert sampling_interval(scores).mean == 2.0
        assert sampling_interval(scores).n == 2
        halves = np.array([[1.0, math.nan], [math.nan, math.nan]])
        found = pool_interval(scores, halves, 1, 8)
        assert (found.mean, found.lower) == (2.0, None)


# -- whole studies ---------------------------------------------------------------------------------


def study_of(**arms: Any) -> dict[str, Any]:
    return {
        "name": "whole",
        "data": "digits",
        "model": {"name": "mlp", "latent": 4, "width": 8},
        "training": {"epochs": 2, "batch_size": 100, "reports": 2},
        "seeds": [0, 1],
        "arms": {
            **{
                name: {"balancer": "fixed_beta", "search": {"space": BETA, **search}}
                for name, search in arms.items()
            },
            "optimal": {"balancer": "optimal_sigma"},
        },
    }


@pytest.fixture(scope="module")
def studies(tell, tmp_path_factory) -> Path:
    """Study ``whole``: arm `hand`, 24 random trials, and arm `tpe`, 8 of TPE."""
    arms = {"hand": {"trials": 24}, "tpe": {"sampler": "tpe", "trials": 8}}
    return tell(study_of(**arms), tmp_path_factory.mktemp("replay")).studies


class TestReplay:
    def test_random_is_what_order_statistics_say(self, studies):
        found = study.replay("whole", "random", trials=12, repeats=200, home=studies)
        assert found.arm == "hand"  # the only one that can answer
        rows = study.load("whole", home=studies)["trials"]
        rows = rows[(rows.arm == "hand") & (rows.phase == "search")].sort_values("objective")
        tests = list(rows.test_calibrated_negative_elbo)
        pairs = [tests[min(pair)] for pair in itertools.combinations(range(24), 2)]
        assert found.curve[1].random_baseline == pytest.approx(np.mean(pairs))
        for point in found.curve:
            assert point.random_baseline == pytest.approx(expected_best(np.array(tests), point.n))
            error = point.score.half_width / 1.96
            assert point.score.mean == pytest.approx(point.random_baseline, abs=4 * error)
            assert point.images == point.n * 2700
            assert point.seconds == pytest.approx(point.n * 2700 * 1e-4)
        assert found.moved == {}
        assert found.collisions == 0

    def test_tpe_reproduces_itself_and_says_how_far_it_was_moved(self, studies):
        first, again = (study.replay("whole", "tpe", repeats=20, home=studies) for _ in range(2))
        assert first == again
        assert len(first.curve) == 6
        assert 0 < first.moved["beta"] < 0.5
        assert first.halves == 40
        widths = [(p.pool.half_width, p.score.half_width) for p in first.curve]
        assert all(with_pool > alone for with_pool, alone in widths)

    def test_what_it_is_compared_with(self, studies):
        found = study.replay("whole", "tpe", trials=12, repeats=20, home=studies)
        own, optimal = found.levels
        assert (own.arm, optimal.arm) == ("hand", "optimal")
        rows = study.load("whole", home=studies)["trials"]
        confirmed = rows[(rows.arm == "optimal") & (rows.phase == "confirm")]
        assert optimal.score.mean == pytest.approx(confirmed.test_calibrated_negative_elbo.mean())
        searched = rows[(rows.arm == "hand") & (rows.phase == "search")]
        assert (
            own.score.mean
            == searched.sort_values("objective").test_calibrated_negative_elbo.iloc[0]
        )
        means = [point.score.mean for point in found.curve]
        reached = [n for n in range(1, 13) if all(m <= optimal.score.mean for m in means[n - 1 :])]
        assert optimal.n == (reached[0] if reached else None)

    def test_beyond_a_fourth_there_is_no_pool_interval(self, studies):
        found = study.replay("whole", "tpe", trials=12, repeats=4, home=studies)
        assert [p.n for p in found.curve if p.pool.lower is not None] == list(range(1, 7))
        assert "a fourth of 24" in found.curve[-1].pool.why

    def test_the_points_of_a_grid_are_no_sample(self, tell, tmp_path):
        space = {"beta": {**BETA["beta"], "points": 12}}
        home = tell(study_of(hand={"space": space, "sampler": "grid"}), tmp_path)
        found = study.replay("whole", "random", repeats=50, home=home.studies)
        assert all(point.pool.lower is None for point in found.curve)
        assert found.halves == 0
        # Points lie 4/11 decades apart, so the nearest of all is on average 1/11 away.
        assert 0.5 / 11 < found.moved["beta"] < 2.5 / 11
        assert "no random sample" in found.curve[0].pool.why
        assert "no interval over other trials" in str(found)

    def test_failed_trials_are_replayed_as_failed(self, tell, tmp_path):
        # The shared study has a trial that crashes in arms of this name.
        home = tell(study_of(random={"trials": 16}), tmp_path)
        found = study.replay("whole", "random", repeats=200, home=home.studies)
        assert found.pool == 16
        assert found.curve[0].score.n < 200
        error = found.curve[0].score.half_width / 1.96
        assert found.curve[0].score.mean == pytest.approx(
            found.curve[0].random_baseline, abs=4 * error
        )
        assert "1 of the 16 recorded trials failed" in str(found)

    def test_a_retry_stands_for_the_trial_it_runs_again(self, tell, tmp_path):
        home = tell(study_of(random={"trials": 16}), tmp_path)
        tables = study.load("whole", home=home.studies)["trials"]
        assert (tables.state == "failed").sum() == 1
        from study.journal import Journal
        from study.search import Conductor

        journal = Journal(home.path)
        conductor = Conductor(StudySpec.from_dict(study_of(random={"trials": 16})), journal, 64, 1)
        again = conductor.retry("random.search.r0.0001")
        assert again == "random.search.r0.0001.retry1"
        request = conductor.next()
        for step in (1, 2):
            report = {"step": step, "images": 1350 * step, "engine": "e1", "seconds": {},
                      "metrics": {"validation/calibrated_negative_elbo": 5.0}}  # fmt: skip
            end = {"end": {"state": "complete", "metrics": {"test/calibrated_negative_elbo": 5.0}}}
            conductor.report(request.trial, {**report, **(end if step == 2 else {})})
        journal.close()
        found = study.replay("whole", "random", repeats=10, home=home.studies)
        assert found.pool == 16
        assert "failed" not in str(found)

    def test_a_search_that_is_not_over(self, tell, tmp_path):
        home = tell(study_of(hand={"trials": 16}), tmp_path)
        more = StudySpec.from_dict(study_of(hand={"trials": 20}))
        begin(more, home, ()).close()  # a launch that was killed as it began
        found = study.replay("whole", "tpe", repeats=2, home=home.studies)
        assert found.pool == 16
        assert any(note.startswith("4 of the search's 20 trials") for note in found.notes)

    def test_a_search_until_bounded(self, tell, tmp_path):
        until = {"until": "bounded", "at_most": 16}
        home = tell({**study_of(hand={"trials": until}), "choosing_seeds": 2}, tmp_path)
        found = study.replay("whole", "random", trials=2, repeats=10, home=home.studies)
        assert any("goes on until its break-even is bounded" in note for note in found.notes)
        assert found.curve[-1].n == 2
        assert found.levels[0].what == "the best of its own trials"

    def test_the_command(self, studies):
        asked = ["replay", "whole", "--home", str(studies), "--repeats", "20", "--trials", "8"]
        policy = ["--sampler", "{name: tpe, n_startup_trials: 4}", "--pruner", "median"]
        text = CliRunner().invoke(main, [*asked, *policy])
        assert text.exit_code == 0, text.output
        assert "hand searched by tpe (n_startup_trials=4) with pruner median" in text.output
        found = json.loads(CliRunner().invoke(main, [*asked, *policy, "--format", "json"]).output)
        assert [point["n"] for point in found["curve"]] == list(range(1, 9))
        assert found["sampler"] == {"name": "tpe", "n_startup_trials": 4}


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"arm": "tpe"}, "chosen by tpe"),
            ({"arm": "optimal"}, "searches nothing"),
            ({"arm": "hnd"}, "did you mean 'hand'"),
            ({"trials": 13}, "13 trials of the 24 that are recorded"),
            ({"trials": 0}, "0 trials are no search"),
            ({"repeats": 1}, "1 repeats give no interval"),
            ({"sampler": "grid"}, "points of its own"),
        ],
    )
    def test_what_the_records_cannot_answer(self, studies, asked, words):
        policy: dict[str, Any] = {"sampler": "random", **asked}
        with pytest.raises(ReplayError, match=words):
            study.replay("whole", home=studies, **policy)

    @pytest.mark.parametrize(
        ("policy", "words"),
        [
            ({"sampler": "tpee"}, "did you mean 'tpe'"),
            ({"sampler": "tpe", "pruner": "hyperbnd"}, "did you mean 'hyperband'"),
            ({"sampler": "{name: tpe, n_startup: 4}"}, "did you mean 'n_startup_trials'"),
            ({"sampler": {"name": "tpe", "n_startup_trials": -1}}, "0 or more"),
            ({"sampler": "{name: tpe"}, "--sampler: not valid YAML"),
            ({"sampler": "tpe", "batch": 0}, "batch"),
        ],
    )
    def test_policies_that_a_study_file_could_not_have(self, studies, policy, words):
        with pytest.raises(SpecError, match=words):
            study.replay("whole", home=studies, **policy)

    def test_a_pool_that_was_pruned(self, tell, tmp_path):
        pruner = {"name": "threshold", "upper": 11.5, "n_warmup_steps": 0}
        home = tell(study_of(hand={"trials": 16, "pruner": pruner}), tmp_path)
        with pytest.raises(ReplayError, match="of its 16 trials were pruned"):
            study.replay("whole", "tpe", home=home.studies)

    def test_several_arms_none_or_too_few_trials(self, tell, tmp_path):
        for name, arms, words in (
            ("two", {"a": {"trials": 8}, "b": {"trials": 8}}, "a and b can all be"),
            ("none", {"a": {"trials": 4}, "b": {"sampler": "tpe", "trials": 4}}, "no arm's search"),
            ("few", {"a": {"trials": 7}}, "7 complete trials are too few"),
            ("automatic", {}, "no arm searches anything"),
        ):
            tell({**study_of(**arms), "name": name}, tmp_path)
            with pytest.raises(ReplayError, match=words):
                study.replay(name, "tpe", home=tmp_path)

    def test_search_trials_without_a_test_score(self, tell, tmp_path):
        data = study_of(hand={"trials": 8})
        evaluation = {"features": ["classifier"], "trials": "confirm"}
        data |= {"objective": "frechet_classifier_gen1", "evaluation": evaluation}
        with pytest.raises(ReplayError):
            study.replay("whole", "tpe", home=tell(data, tmp_path).studies)
