"""Which pair is compared, on which seeds: from made-up results alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
from compared import AUTO, FOUR, LEVELS, PAIR, Results, asked, chosen, extended, fixed, pairs, study
from simulation import REPORTS, Simulation, hand

from study.journal.events import PairChosen
from vae_core.randomness import SEED_LIMIT


@pytest.fixture
def four(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path / "j", study(FOUR), 3, Results(LEVELS)).run(order=1)


class TestTwoStages:
    def test_the_pair_best_on_validation_alone_trains_on_the_studys_seeds(
        self, four: Simulation
    ) -> None:
        assert chosen(four) == ("h2", "a1")
        for arm in FOUR:
            choosing, comparing = asked(four, arm, "choosing"), asked(four, arm, "comparing")
            assert [ask.number for ask in choosing] == [0, 1]
            wanted = [*range(50, 58)] if arm in ("h2", "a1") else []
            assert [ask.seed for ask in comparing] == wanted
            assert [ask.number for ask in comparing] == [2 + i for i in range(len(wanted))]
        assert asked(four, "h2")[2].trial == "h2.confirm.r0.fixed.0002"
        assert four.conductor.all_ended

    def test_choosing_seeds_pair_the_arms_and_are_no_others(self, tmp_path: Path) -> None:
        arms = {**FOUR, "search": hand("random", trials=5)}
        levels = {**LEVELS, "search": 1.0}
        found = Simulation(tmp_path / "j", study(arms), 3, Results(levels)).run(order=1)
        seeds = [tuple(ask.seed for ask in asked(found, arm, "choosing")) for arm in arms]
        assert len({*seeds}) == 1
        assert min(seeds[0]) >= SEED_LIMIT
        trials = [q.trial.asked for q in found.conductor.trials.values()]
        assert not {*seeds[0]} & {a.seed for a in trials if a.stage != "choosing"}
        other = study(arms, name="other")
        elsewhere = Simulation(tmp_path / "k", other, 3, Results(levels)).run(order=1)
        assert not {*seeds[0]} & {ask.seed for ask in asked(elsewhere, "h1", "choosing")}

    def test_a_score_is_the_mean_over_the_choosing_runs_of_all_replicates(
        self, tmp_path: Path
    ) -> None:
        arms = {"tuned": hand("random", trials=3, replicates=2), **FOUR}
        results = Results({**LEVELS, "tuned": 1.0})
        found = Simulation(tmp_path / "j", study(arms), 4, results).run(order=2)
        (pair,) = pairs(found)
        values = {
            arm: [
                q.trial.value
                for q in found.conductor.trials.values()
                if q.trial.asked.arm == arm and q.trial.asked.stage == "choosing"
            ]
            for arm in arms
        }
        assert len(values["tuned"]) == 4
        assert pair.scores == {arm: pytest.approx(fmean(of)) for arm, of in values.items()}
        comparing = Counter(ask.replicate for ask in asked(found, "tuned", "comparing"))
        assert comparing == {0: 8, 1: 8}

    def test_of_equals_the_first_is_chosen(self, tmp_path: Path) -> None:
        results = Results(dict.fromkeys(FOUR, 1.0))
        results.noise = 0.0
        found = Simulation(tmp_path / "j", study(FOUR), 3, results).run(order=4)
        assert chosen(found) == ("h1", "a1")

    @pytest.mark.parametrize(("slots", "order", "every"), [(1, 0, 0), (5, 7, 0), (3, 2, 3)])
    def test_neither_slots_nor_order_nor_crashes_matter(
        self, four: Simulation, tmp_path: Path, slots: int, order: int, every: int
    ) -> None:
        again = Simulation(tmp_path / "k", study(FOUR), slots, Results(LEVELS))
        again.run(order, crash_every=every)
        assert again.table() == four.table()
        assert pairs(again) == pairs(four)


class TestFailures:
    def run(self, home: Path, *failing: str) -> Simulation:
        results = Results(LEVELS)
        results.failing = {f"{name}.confirm.r0.fixed.{n}" for name, _, n in map(_cut, failing)}
        return Simulation(home / "j", study(FOUR), 3, results).run(order=1)

    def test_an_arm_with_a_failure_is_passed_over(self, tmp_path: Path) -> None:
        assert chosen(self.run(tmp_path, "h2.0001")) == ("h1", "a1")

    def test_unless_all_of_its_kind_have_one(self, tmp_path: Path) -> None:
        assert chosen(self.run(tmp_path, "h1.0000", "h2.0001")) == ("h2", "a1")

    def test_but_never_without_a_complete_run(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "h1.0000", "h2.0000", "h2.0001")
        assert chosen(found) == ("h1", "a1")
        assert pairs(found)[0].scores["h2"] is None

    def test_without_a_pair_the_study_ends(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "h1.0000", "h1.0001", "h2.0000", "h2.0001")
        assert found.conductor.all_ended
        assert not pairs(found)
        assert not any(asked(found, arm, "comparing") for arm in FOUR)

    def test_a_retry_that_succeeds_may_change_the_choice(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "h2.0001")
        found.make.failing.clear()
        found.conductor.retry("h2.confirm.r0.fixed.0001")
        found.run(order=1)
        assert [(pair.hand, pair.automatic) for pair in pairs(found)] == [
            ("h1", "a1"),
            ("h2", "a1"),
        ]
        assert len(asked(found, "h2", "comparing")) == 8
        assert len(asked(found, "a1", "comparing")) == 8


def _cut(text: str) -> tuple[str, str, str]:
    return text.partition(".")


class TestStopped:
    def test_an_arm_stopped_before_the_choice_is_not_chosen(self, tmp_path: Path) -> None:
        found = Simulation(tmp_path / "j", study(FOUR), 3, Results(LEVELS))
        found.conductor.stop(arm="h2")
        found.run(order=1, crash_every=5)
        assert chosen(found) == ("h1", "a1")

    def test_the_last_one_waited_for(self, tmp_path: Path) -> None:
        found = Simulation(tmp_path / "j", study(FOUR), 1, Results(LEVELS))
        while (request := found.conductor.next()) and not request.trial.startswith("a2"):
            for step in range(1, REPORTS + 1):
                found.conductor.report(request.trial, found.make(request, step))
            found.conductor.returned(request.trial)
        assert request is not None
        found.conductor.stop(arm="a2")
        found.conductor.returned(request.trial)
        assert chosen(found) == ("h2", "a1")

    def test_a_choice_stands_if_an_arm_of_the_pair_is_stopped_after_it(
        self, tmp_path: Path
    ) -> None:
        found = Simulation(tmp_path / "j", study(FOUR), 2, Results(LEVELS))
        while not pairs(found):
            request = found.conductor.next()
            assert request is not None
            for step in range(1, REPORTS + 1):
                found.conductor.report(request.trial, found.make(request, step))
            found.conductor.returned(request.trial)
        found.conductor.stop(arm="a1")
        found.crash()
        found.run(order=1)
        assert len(pairs(found)) == 1
        assert found.conductor.all_ended

    def test_of_a_kind_without_another_arm_there_is_no_pair(self, tmp_path: Path) -> None:
        found = Simulation(tmp_path / "j", study(FOUR), 2, Results(LEVELS))
        for arm in ("a1", "a2"):
            found.conductor.stop(arm=arm)
        found.run(order=1)
        assert not pairs(found)
        assert found.conductor.all_ended


class TestExtended:
    def test_more_seeds_are_the_pairs_alone(self, four: Simulation) -> None:
        more = extended(four, FOUR, seeds={"from": 50, "count": 11}).run(order=1)
        assert len(pairs(more)) == 1
        counts = {arm: len(asked(more, arm)) for arm in FOUR}
        assert counts == {"h1": 2, "h2": 13, "a1": 13, "a2": 2}

    def test_a_better_arm_is_chosen_and_takes_the_place_of_another(self, four: Simulation) -> None:
        four.make.levels = four.make.test = {**LEVELS, "new": 1.0}
        more = extended(four, {**FOUR, "new": {"balancer": "running_average"}}).run(order=1)
        assert [(pair.hand, pair.automatic) for pair in pairs(more)] == [
            ("h2", "a1"),
            ("h2", "new"),
        ]
        assert [ask.seed for ask in asked(more, "new", "comparing")] == [*range(50, 58)]
        assert len(asked(more, "h2", "comparing")) == 8

    def test_a_worse_arm_changes_nothing(self, four: Simulation) -> None:
        four.make.levels = four.make.test = {**LEVELS, "new": 8.0}
        more = extended(four, {**FOUR, "new": {"balancer": "running_average"}}).run(order=1)
        assert len(pairs(more)) == 1
        assert len(asked(more, "new")) == 2

    def test_another_configuration_of_an_arm_of_the_pair_is_a_new_choice(
        self, tmp_path: Path
    ) -> None:
        arms = {**FOUR, "tuned": hand("random", trials=2)}
        first = Simulation(tmp_path / "j", study(arms), 3, Results({**LEVELS, "tuned": 1.0})).run(
            order=1
        )
        second = extended(first, {**FOUR, "tuned": hand("random", trials=20)})
        assert len(asked(second, "tuned")) == 10, "nothing new before the search is over"
        second.run(order=1)
        before, after = pairs(second)
        assert (before.hand, after.hand) == ("tuned", "tuned")
        assert len({ask.chosen_from for ask in asked(second, "tuned")}) == 2
        assert len(asked(second, "tuned")) == 20


class TestNamed:
    def test_all_arms_train_on_all_seeds(self, tmp_path: Path) -> None:
        arms = {"hand": fixed(), "auto": AUTO, "other": {"balancer": "optimal_sigma"}}
        levels = {"hand": 9.0, "auto": 5.0, "other": 1.0}
        found = Simulation(tmp_path / "j", study(arms, primary=PAIR), 3, Results(levels))
        found.run(order=1)
        for arm in arms:
            assert [(ask.seed, ask.stage) for ask in asked(found, arm)] == [
                (seed, "") for seed in range(50, 58)
            ]
        assert pairs(found) == [PairChosen("hand", "auto", {})]

    def test_the_others_train_until_the_first_look(self, tmp_path: Path) -> None:
        arms = {"hand": fixed(), "auto": AUTO, "other": {"balancer": "optimal_sigma"}}
        levels = {"hand": 5.0, "auto": 5.0, "other": 1.0}
        seeds = {"until": "decided", "at_most": 12}
        named = study(arms, primary=PAIR, seeds=seeds)
        found = Simulation(tmp_path / "j", named, 3, Results(levels)).run(order=1)
        assert {arm: len(asked(found, arm)) for arm in arms} == {"hand": 12, "auto": 12, "other": 9}
