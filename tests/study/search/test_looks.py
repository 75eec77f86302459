"""Until when a pair is compared: what looks at it see, and what ends them."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from compared import AUTO, FOUR, LEVELS, Results, asked, extended, fixed, looks, pairs, study
from entries import of_kind
from simulation import REPORTS, Simulation, hand

from study.analysis.answers.report import build_report
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.tables import build_tables
from study.image_scores import ARTIFACT, ImageScores
from study.journal.events import Looked, TrialEnded
from study.search import Request
from study.spec import StudySpec
from study.statistics import FEWEST_LOOKED
from study.statistics.paired import Differences, bounds, fewest, image_variance

TWO = {"hand": fixed(), "auto": AUTO}


UNITS = {"calibrated_negative_elbo": 1.0, "bits_per_dim": 1 / (64 * np.log(2))}
"""By objective, its unit in nats an image of 64 dimensions."""


def until(at_most: int = 20, batch: int = 3, **changes: Any) -> StudySpec:
    seeds = {"until": "decided", "at_most": at_most, "from": 50, "batch": batch}
    return study(TWO, seeds=seeds, **changes)


def test_the_fewest_seeds_that_a_look_can_decide_by_are_those_of_the_sign_test() -> None:
    agreeing = [Differences(tuple(1 + i / 100 for i in range(n))) for n in (6, 7)]
    assert fewest(looks=True) == FEWEST_LOOKED == 7
    assert bounds(agreeing[0], looks=True) is None
    assert bounds(agreeing[1], looks=True) is not None


def test_a_look_in_words_whatever_bounds_there_are() -> None:
    look = Looked(9, "undecided", 1.0, 0.5, None, 3)
    assert str(look) == (
        "look at 9 seeds and 3 that one arm lost: undecided, difference 1 [0.5, inf]"
    )
    assert str(Looked(9, "undecided", 1.0, None, None)).endswith("difference 1")


class TestUntilDecided:
    @pytest.mark.parametrize(
        ("hand", "auto", "outcome"), [(9.0, 1.0, "does_not_pay"), (1.0, 9.0, "pays")]
    )
    def test_a_clear_difference_ends_it_at_the_first_look(
        self, tmp_path: Path, hand: float, auto: float, outcome: str
    ) -> None:
        results = Results({"hand": hand, "auto": auto})
        found = Simulation(tmp_path / "j", until(), 4, results).run(order=1)
        (look,) = looks(found)
        assert (look.seeds, look.outcome) == (9, outcome)
        assert len(asked(found, "hand")) == len(asked(found, "auto")) == 9
        assert found.conductor.all_ended

    def test_equal_arms_are_looked_at_up_to_the_cap(self, tmp_path: Path) -> None:
        results = Results({"hand": 5.0, "auto": 5.0})
        found = Simulation(tmp_path / "j", until(13), 4, results).run(order=1)
        assert [look.seeds for look in looks(found)] == [9, 12, 13]
        assert {look.outcome for look in looks(found)} == {"undecided"}
        assert len(asked(found, "auto")) == 13

    @pytest.mark.parametrize(("batch", "seen"), [(1, [7, 8, 9]), (4, [8, 9]), (5, [9])])
    def test_looks_come_after_whole_batches(
        self, tmp_path: Path, batch: int, seen: list[int]
    ) -> None:
        results = Results({"hand": 5.0, "auto": 5.0})
        found = Simulation(tmp_path / "j", until(9, batch=batch), 4, results).run(order=1)
        assert [look.seeds for look in looks(found)] == seen

    def test_a_look_is_that_of_the_statistics(self, tmp_path: Path) -> None:
        results = Results({"hand": 5.4, "auto": 5.0})
        found = Simulation(tmp_path / "j", until(), 4, results).run(order=1)
        by_seed: dict[str, dict[int, float]] = {"hand": {}, "auto": {}}
        for end in of_kind(found.journal.entries, TrialEnded):
            ask = found.conductor.trials[end.trial].trial.asked
            by_seed[ask.arm][ask.seed] = end.metrics["test/calibrated_negative_elbo"]
        for look in looks(found):
            seeds = range(50, 50 + look.seeds)
            values = tuple(by_seed["hand"][s] - by_seed["auto"][s] for s in seeds)
            lower, upper = bounds(Differences(values), looks=True)
            assert (look.lower, look.upper) == (lower, upper)
            assert look.difference == pytest.approx(fmean(values))
            assert (look.outcome == "does_not_pay") == (lower > 0)
        assert looks(found)[-1].outcome == "does_not_pay"

    @pytest.mark.parametrize(("objective", "unit"), [*UNITS.items()])
    def test_images_widen_it_where_their_scores_are_there(
        self, tmp_path: Path, objective: str, unit: float
    ) -> None:
        """By the variance that the statistics find in all differences, in the objective's unit."""
        rng = np.random.default_rng(0)
        of_images = {arm: rng.normal(0, 5 / unit, 50) for arm in TWO}

        class WithImages(Results):
            def __call__(self, request: Request, step: int) -> dict[str, Any]:
                found = super().__call__(request, step)
                found["metrics"][f"validation/{objective}"] = 1.0
                if "end" in found:
                    value = found["end"]["metrics"]["test/calibrated_negative_elbo"]
                    scores = value / unit + of_images[request.trial.partition(".")[0]]
                    file = f"trials/{request.trial}.parquet"
                    (tmp_path / "j/trials").mkdir(exist_ok=True)
                    path = tmp_path / "j" / file
                    path.write_bytes(ImageScores(scores, np.zeros(1)).to_bytes())
                    found["end"]["metrics"] = {f"test/{objective}": value}
                    found["end"]["artifacts"] = {ARTIFACT: file}
                return found

        results = WithImages({"hand": 6.0, "auto": 5.0})
        spec = until(9, objective=objective)
        look = looks(Simulation(tmp_path / "j", spec, 4, results).run(order=1))[0]
        noise = [[random.Random(f"{arm} {50 + i}").gauss(0, 0.3) for i in range(9)] for arm in TWO]
        values = 1.0 + np.subtract(*noise)
        images = unit * (of_images["hand"] - of_images["auto"])
        differences = Differences(tuple(values), image_variance(values[:, None] + images), 50)
        assert (look.lower, look.upper) == pytest.approx(bounds(differences, looks=True), abs=1e-3)
        seeds_only = bounds(Differences(tuple(values)), looks=True)
        assert seeds_only is not None
        assert look.lower < seeds_only[0]

    def test_a_failed_run_counts_against_its_arm(self, tmp_path: Path) -> None:
        """Of 9 seeds one is lost: 8 of 9 signs decide nothing at a look, 11 of 12 do."""
        results = Results({"hand": 9.0, "auto": 1.0})
        results.failing = {"auto.confirm.r0.fixed.0003"}
        found = Simulation(tmp_path / "j", until(), 4, results).run(order=1)
        seen = [(look.seeds, look.outcome) for look in looks(found)]
        assert seen == [(8, "undecided"), (11, "does_not_pay")]
        results.failing.clear()
        found.conductor.retry("auto.confirm.r0.fixed.0003")
        found.run(order=1)
        assert [look.seeds for look in looks(found)] == [8, 11, 12]

    def test_seeds_that_one_arm_loses_are_looked_at_too(self, tmp_path: Path) -> None:
        """They count against it, though the seeds that both have stay as many."""
        results = Results({"hand": 5.0, "auto": 5.2})
        results.failing = {f"auto.confirm.r0.fixed.{i:04d}" for i in range(9, 40)}
        found = Simulation(tmp_path / "j", until(30), 4, results).run(order=1, crash_every=20)
        seen = [(look.seeds, look.failed) for look in looks(found)]
        assert seen == [(9, lost) for lost in range(0, 22, 3)]
        assert {look.outcome for look in looks(found)} == {"undecided"}, "9 means are not apart"
        report = build_report(build_tables(found.journal.entries))
        assert any(remark.startswith("Looked at 8 times, at 9, 9,") for remark in report.remarks)
        assert report.headline is not None
        assert report.headline.differences.failed == (0, 21)
        assert report.headline.outcome is Outcome.NOT_SHOWN

    @pytest.mark.parametrize("end", ["failed", "no number"])
    def test_a_seed_counts_with_all_replicates_or_is_lost(self, tmp_path: Path, end: str) -> None:
        """Configurations at 1 and 17, so 9 on average; the worse one is lost on two seeds."""

        class Replicated(Results):
            def __call__(self, request: Request, step: int) -> dict[str, Any]:
                found = super().__call__(request, step)
                if "end" in found and ".confirm.r1." in request.trial:
                    found["end"]["metrics"]["test/calibrated_negative_elbo"] += 16
                    if request.seed in (51, 54):
                        metrics = {"test/calibrated_negative_elbo": float("nan")}
                        found["end"] |= {"state": "failed"} if end == "failed" else {}
                        found["end"]["metrics"] = metrics
                return found

        arms = {"hand": hand("random", trials=2, replicates=2), "auto": AUTO}
        spec = study(arms, seeds={"until": "decided", "at_most": 20, "from": 50})
        results = Replicated({"hand": 1.0, "auto": 5.0})
        found = Simulation(tmp_path / "j", spec, 4, results).run(order=1)
        (look,) = looks(found)
        assert (look.seeds, look.outcome) == (7, "does_not_pay")
        assert 3.5 < look.difference < 4.5
        report = build_report(build_tables(found.journal.entries)).headline
        assert report is not None
        assert (report.differences.n, report.differences.failed) == (7, (2, 0))
        assert report.ends is not None
        assert (report.ends[0], report.difference.mean) == (look.lower, look.difference)

    def test_fewer_than_can_decide_are_not_looked_at(self, tmp_path: Path) -> None:
        results = Results({"hand": 9.0, "auto": 1.0})
        results.failing = {f"auto.confirm.r0.fixed.000{i}" for i in range(3)}
        found = Simulation(tmp_path / "j", until(), 4, results).run(order=1)
        assert looks(found)[0].seeds == 9  # of 12: of 9 seeds they shared 6

    def test_a_higher_cap_goes_on_and_a_decision_does_not(self, tmp_path: Path) -> None:
        results = Results({"hand": 5.0, "auto": 5.0})
        first = Simulation(tmp_path / "j", until(9), 4, results).run(order=1)
        more = extended(first, TWO, seeds={"until": "decided", "at_most": 12, "from": 50})
        more.run(order=1)
        assert [look.seeds for look in looks(more)] == [9, 12]
        results = Results({"hand": 9.0, "auto": 1.0})
        first = Simulation(tmp_path / "k", until(9), 4, results).run(order=1)
        more = extended(first, TWO, seeds={"until": "decided", "at_most": 12, "from": 50})
        more.run(order=1)
        assert len(asked(more, "hand")) == 9

    def test_a_study_of_fixed_seeds_may_go_on_until_it_is_decided(self, tmp_path: Path) -> None:
        ten = study(TWO, seeds={"from": 50, "count": 10})
        first = Simulation(tmp_path / "j", ten, 4, Results({"hand": 5.0, "auto": 5.0}))
        first.run(order=1)
        assert not looks(first)
        more = extended(first, TWO, seeds={"until": "decided", "at_most": 14, "from": 50})
        more.run(order=1)
        assert [look.seeds for look in looks(more)] == [10, 13, 14]

    @pytest.mark.parametrize(("slots", "order", "every"), [(1, 0, 0), (7, 3, 0), (3, 2, 4)])
    def test_neither_slots_nor_order_nor_crashes_matter(
        self, tmp_path: Path, slots: int, order: int, every: int
    ) -> None:
        results = Results({**LEVELS, "h2": 4.3})
        arms = study(FOUR, seeds={"until": "decided", "at_most": 15})
        one = Simulation(tmp_path / "j", arms, 4, results).run(order=1)
        other = Simulation(tmp_path / "k", arms, slots, results).run(order, crash_every=every)
        assert len(looks(one)) > 1
        assert other.table() == one.table()
        assert (pairs(other), looks(other)) == (pairs(one), looks(one))


class TestWhatACrashMustNotChange:
    """The pair, the runs and the looks are those of a driver that never died."""

    ARMS = {
        "tuned": hand("random", trials=3),
        "h2": fixed(2.0),
        "a1": AUTO,
        "a2": {"balancer": "optimal_sigma"},
    }

    @pytest.mark.parametrize("crash", [False, True])
    @pytest.mark.parametrize("over", [False, True])
    def test_a_stopped_arm_keeps_what_it_chose(
        self, tmp_path: Path, crash: bool, over: bool
    ) -> None:
        results = Results({"tuned": 1.0, "h2": 3.0, "a1": 4.0, "a2": 9.0})
        found = Simulation(tmp_path / "j", study(self.ARMS), 2, results)
        while not pairs(found) or (over and found.conductor.has_work):
            request = found.conductor.next()
            assert request is not None
            for step in range(1, REPORTS + 1):
                found.conductor.report(request.trial, results(request, step))
            found.conductor.returned(request.trial)
        found.conductor.stop(arm="tuned")
        if crash:
            found.crash()
        found.run(order=1)
        assert [(pair.hand, pair.automatic) for pair in pairs(found)] == [("tuned", "a1")]
        assert len(asked(found, "h2")) == 2, "its choosing runs"

    @pytest.mark.parametrize("crash", [False, True])
    def test_a_retry_that_becomes_the_choice_begins_the_looks_anew(
        self, tmp_path: Path, crash: bool
    ) -> None:
        class Better(Results):
            def __call__(self, request: Request, step: int) -> dict[str, Any]:
                found = super().__call__(request, step)
                if ".search." in request.trial and "retry" in request.trial:
                    found["metrics"] = {"validation/calibrated_negative_elbo": -50.0 + 1 / step}
                if "from2" in request.trial and step == REPORTS:
                    found["end"]["metrics"]["test/calibrated_negative_elbo"] -= 6
                return found

        arms = {"t": hand("random", trials=3), "h2": fixed(2.0), "a1": AUTO}
        results = Better({"t": 5.0, "h2": 8.0, "a1": 5.0})
        results.failing = {"t.search.r0.0002"}
        seeds = {"until": "decided", "at_most": 20, "from": 50}
        found = Simulation(tmp_path / "j", study(arms, seeds=seeds), 3, results).run(order=1)
        results.failing.clear()
        found.conductor.retry("t.search.r0.0002")
        if crash:
            found.crash()
        found.run(order=1)
        assert len([ask for ask in asked(found, "t") if ask.chosen_from == 2]) == 2 + 9
        last = looks(found)[-1]
        assert (last.seeds, last.outcome) == (9, "pays")
        report = build_report(build_tables(found.journal.entries))
        assert report.design.error == 0.0125, "the second pair on these seeds"
        assert report.headline is not None
        assert report.headline.ends == pytest.approx((last.lower, last.upper))

    @pytest.mark.parametrize(("most", "batch"), [(7, 3), (8, 3), (9, 10)])
    def test_a_decided_study_asks_for_nothing_more(
        self, tmp_path: Path, most: int, batch: int
    ) -> None:
        results = Results({"hand": 9.0, "auto": 1.0})
        first = Simulation(tmp_path / "j", until(most), 4, results).run(order=1)
        wider = {"until": "decided", "at_most": 30, "from": 50, "batch": batch}
        more = extended(first, TWO, seeds=wider).run(order=1)
        assert [look.seeds for look in looks(more)] == [most]
        assert len(asked(more, "auto")) == most
