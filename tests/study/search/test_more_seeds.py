"""A search of seeds alone: the luck of as many runs as a search has, at the arm's own settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulation import Simulation, hand, spec

from study.spec import SpecError

MORE = {"balancer": "learned_sigma", "search": {"sampler": "seeds", "trials": 6}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    arms = {"hand": hand("random", trials=6), "auto": MORE}
    return Simulation(tmp_path_factory.mktemp("seeds") / "j", spec(arms), slots=3).run(order=1)


def test_its_trials_have_one_setting_and_the_seeds_of_the_searches_beside_it(
    found: Simulation,
) -> None:
    asked = [q.trial.asked for q in found.conductor.trials.values()]
    auto, by_hand = (
        [a for a in asked if (a.arm, a.phase) == (arm, "search")] for arm in ("auto", "hand")
    )
    assert [a.params for a in auto] == [{}] * 6
    assert len({str(a.settings) for a in auto}) == 1
    assert len({a.seed for a in auto}) == 6
    assert [a.seed for a in auto] == [a.seed for a in by_hand]
    assert {a.drawn_by for a in auto} == {"seeds"}


def test_the_best_of_them_is_chosen_on_validation(found: Simulation) -> None:
    trials = [q for q in found.conductor.trials.values() if q.trial.asked.arm == "auto"]
    searched = [q for q in trials if q.trial.asked.phase == "search"]
    best = min(searched, key=lambda q: q.objective or 0.0)
    confirmed = [q.trial.asked for q in trials if q.trial.asked.phase == "confirm"]
    assert {asked.chosen_from for asked in confirmed} == {best.trial.asked.number}
    assert len({q.objective for q in searched}) == 6


def test_a_driver_that_dies_ends_with_the_same_table(tmp_path: Path, found: Simulation) -> None:
    crashed = Simulation(tmp_path / "j", found.spec, slots=2).run(order=4, crash_every=5)
    assert crashed.table() == found.table()


def test_it_takes_no_space_and_other_samplers_do() -> None:
    beta = {"beta": {"low": 1e-3, "high": 10, "log": True}}
    with pytest.raises(SpecError, match="repeats the arm's own settings under other seeds"):
        spec({"a": hand("seeds", trials=3, space=beta)})
    with pytest.raises(SpecError, match="nothing is searched"):
        spec({"a": {"balancer": "learned_sigma", "search": {"sampler": "random", "trials": 3}}})
