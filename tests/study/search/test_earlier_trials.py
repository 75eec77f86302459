"""Settings tried first, and trials of an earlier search: told, never trained, never chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation import TWO, Simulation, hand, spec

from study.journal import Journal
from study.journal.events import TrialsTold

LUCKY = [{"beta": beta, "training.lr": 1e-3} for beta in (0.8, 1.0, 1.25, 5.0)]


def told(arm: str, trials: list[dict[str, Any]]) -> TrialsTold:
    """An earlier search whose values are lower than any that a simulated trial reaches."""
    values = [{"params": params, "value": -1.0 - i} for i, params in enumerate(trials)]
    return TrialsTold(arm, "study 'before'", values, 0, images=1000, billed=10.0, standard=None)


def asked(simulation: Simulation) -> list[Any]:
    return [queued.trial.asked for queued in simulation.conductor.trials.values()]


class TestEnqueue:
    @pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "gp", "cmaes"])
    def test_every_search_tries_them_first(self, tmp_path: Path, sampler: str) -> None:
        given = [{"beta": 1.0}, {"beta": 0.1}]
        arm = hand(sampler, trials=5, enqueue=given, replicates=2)
        found = asked(Simulation(tmp_path, spec({"a": arm}), slots=4).run(order=0))
        for replicate in (0, 1):
            search = [a for a in found if a.phase == "search" and a.replicate == replicate]
            assert [a.params for a in search[:2]] == given
            assert [a.drawn_by == "enqueue" for a in search] == [True] * 2 + [False] * 3

    def test_what_is_not_given_is_drawn(self, tmp_path: Path) -> None:
        arm = hand("random", trials=3, space=TWO, enqueue=[{"beta": 1.0}], replicates=2)
        found = asked(Simulation(tmp_path, spec({"a": arm}), slots=4).run(order=0))
        first = [a.params for a in found if a.phase == "search" and a.number == 0]
        assert [params["beta"] for params in first] == [1.0, 1.0]
        assert first[0]["training.lr"] != first[1]["training.lr"]

    def test_no_crash_changes_a_draw(self, tmp_path: Path) -> None:
        arms = {"a": hand("tpe", trials=8, enqueue=[{"beta": 1.0}])}
        whole = Simulation(tmp_path / "whole", spec(arms), slots=2).run(order=0)
        torn = Simulation(tmp_path / "torn", spec(arms), slots=2).run(order=1, crash_every=3)
        assert torn.table() == whole.table()


class TestTold:
    def simulate(self, home: Path, trials: int = 6, replicates: int = 1) -> Simulation:
        arms = {"a": hand("tpe", trials=trials, space=TWO, replicates=replicates)}
        if not home.exists():
            journal = Journal(home)
            journal.append(told("a", LUCKY))
            journal.commit()
            journal.close()
        return Simulation(home, spec(arms), slots=4)

    def test_the_sampler_chooses_from_the_first_trial_on(self, tmp_path: Path) -> None:
        found = asked(self.simulate(tmp_path / "j").run(order=0))
        drawn = [a.drawn_by for a in found if a.phase == "search"]
        assert drawn == ["tpe"] * 6

    def test_they_are_no_trials_and_none_of_them_is_chosen(self, tmp_path: Path) -> None:
        simulation = self.simulate(tmp_path / "j").run(order=0)
        found = asked(simulation)
        search = [a for a in found if a.phase == "search"]
        assert [a.number for a in search] == list(range(6))
        (chosen,) = {a.chosen_from for a in found if a.phase == "confirm"}
        assert next(a for a in search if a.number == chosen).params not in LUCKY

    def test_they_draw_the_search_to_where_they_were_good(self, tmp_path: Path) -> None:
        high = [{"beta": 8.0 + i / 10, "training.lr": 1e-3} for i in range(10)]
        low = [{"beta": 1e-3 * (i + 1), "training.lr": 1e-3} for i in range(10)]

        def median(name: str, trials: list[dict[str, Any]]) -> float:
            journal = Journal(tmp_path / name)
            journal.append(told("a", trials))
            journal.commit()
            journal.close()
            arms = {"a": hand("tpe", trials=12, space=TWO, batch=12)}
            found = asked(Simulation(tmp_path / name, spec(arms), slots=4).run(order=0))
            return float(np.median([a.params["beta"] for a in found if a.phase == "search"]))

        # The last ones told are the best.
        assert median("high", [*low, *high]) > 10 * median("low", [*high, *low])

    @pytest.mark.parametrize("synchronous", [False, True])
    def test_the_pruner_does_not_count_them(self, tmp_path: Path, synchronous: bool) -> None:
        """It starts after 6 trials: 8 in batches of 4 are too few, and 12 told ones would do."""
        pruner = {"name": "median", "n_startup_trials": 6, "synchronous": synchronous}
        arms = {"a": hand("tpe", trials=8, batch=4, space=TWO, pruner=pruner)}
        journal = Journal(tmp_path / "j")
        journal.append(told("a", LUCKY * 3))
        journal.commit()
        journal.close()
        found = Simulation(tmp_path / "j", spec(arms), slots=4).run(order=0)
        queued = found.conductor.trials.values()
        states = [q.trial.state for q in queued if q.trial.asked.phase == "search"]
        assert states == ["complete"] * 8

    def test_a_later_replicate_is_told_the_same(self, tmp_path: Path) -> None:
        self.simulate(tmp_path / "j").run(order=0).journal.close()
        more = self.simulate(tmp_path / "j", replicates=2).run(order=0)
        drawn = {a.drawn_by for a in asked(more) if a.phase == "search" and a.replicate == 1}
        assert drawn == {"tpe"}

    def test_no_crash_changes_a_draw(self, tmp_path: Path) -> None:
        whole = self.simulate(tmp_path / "whole").run(order=0)
        torn = self.simulate(tmp_path / "torn").run(order=1, crash_every=3)
        assert torn.table() == whole.table()
