"""Population based training: who goes on from whom, with which settings, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial
from simulation import TWO, Simulation, hand, outcome, spec

from study.journal.course import Course
from study.journal.events import TrialAsked
from study.search import Request
from study.search.population import FACTORS, PopulationSampler

POPULATION, GENERATIONS = 4, 4


def study(**sampler: Any) -> Any:
    pbt = {"name": "pbt", "population": POPULATION, **sampler}
    return spec({"pbt": hand(pbt, trials=POPULATION * GENERATIONS, space=TWO)})


def played(home: Path, make: Any = outcome, **sampler: Any) -> Simulation:
    return Simulation(home, study(**sampler), slots=3, make=make).run(order=1)


def searched(found: Simulation) -> list[TrialAsked]:
    trials = [queued.trial.asked for queued in found.conductor.trials.values()]
    return [asked for asked in trials if asked.phase == "search"]


def course_of(asked: TrialAsked) -> Course:
    course = Course.of(asked.course)
    assert course is not None
    return course


def value_of(found: Simulation, name: str) -> float:
    value = found.conductor.trials[name].trial.value
    return float("inf") if value is None else value


def test_every_generation_goes_on_from_the_one_before(tmp_path: Path) -> None:
    found = played(tmp_path / "j")
    trials = searched(found)
    by_name = {asked.trial: asked for asked in trials}
    assert len(trials) == POPULATION * GENERATIONS
    for asked in trials:
        course, generation = course_of(asked), asked.number // POPULATION
        assert (course.first, len(course.earlier)) == (generation, generation)
        # One generation of four is a report of four, and a quarter of an epoch.
        assert asked.settings["training"]["reports"] == 1
        assert asked.settings["training"]["epochs"] == 0.25
        if generation:
            parent = by_name[course.parent]
            assert parent.number // POPULATION == generation - 1
            assert asked.seed == parent.seed
            assert course.earlier[-1]["params"] == parent.params
            assert course.earlier[:-1] == list(course_of(parent).earlier)
        else:
            assert course.parent == ""
            assert asked.drawn_by == "random"


def test_the_worst_is_replaced_by_a_changed_copy_of_the_best(tmp_path: Path) -> None:
    found = played(tmp_path / "j", resample=0)
    trials, space = searched(found), hand("pbt", space=TWO)["search"]["space"]
    for start in range(POPULATION, len(trials), POPULATION):
        before = trials[start - POPULATION : start]
        ranked = sorted(before, key=lambda asked: (value_of(found, asked.trial), asked.number))
        for asked in trials[start : start + POPULATION]:
            parent, own = course_of(asked).parent, before[asked.number % POPULATION]
            if own is not ranked[-1]:
                assert (parent, asked.params) == (own.trial, own.params)
                continue
            assert parent == ranked[0].trial
            for key, value in asked.params.items():
                low, high = space[key]["low"], space[key]["high"]
                moved = [min(max(ranked[0].params[key] * by, low), high) for by in FACTORS]
                assert value in [pytest.approx(one) for one in moved]


def test_a_confirm_run_trains_the_whole_course_under_its_own_seed(tmp_path: Path) -> None:
    found = played(tmp_path / "j")
    best = min(searched(found), key=lambda asked: (value_of(found, asked.trial), asked.number))
    confirms = [
        queued.trial.asked
        for queued in found.conductor.trials.values()
        if queued.trial.asked.phase == "confirm"
    ]
    assert [asked.seed for asked in confirms] == [0, 1]
    for asked in confirms:
        course = course_of(asked)
        assert asked.chosen_from == best.number
        assert (course.first, course.parent) == (0, "")
        assert list(course.earlier) == list(course_of(best).earlier)
        assert asked.params == best.params
        stages = len(course.earlier) + 1
        assert asked.settings["training"]["reports"] == stages
        assert asked.settings["training"]["epochs"] == pytest.approx(stages / GENERATIONS)


def failing(*numbers: int) -> Any:
    """Trials of these numbers of the search fail."""

    def make(request: Request, step: int, engine: str = "e") -> dict[str, Any]:
        report = outcome(request, step, engine)
        if request.phase == "search" and int(request.trial.split(".")[3][:4]) in numbers:
            report["end"] = {"state": "failed", "reason": "crashed", "traceback": ""}
        return report

    return make


def test_a_member_that_failed_is_replaced(tmp_path: Path) -> None:
    found = played(tmp_path / "j", failing(2))
    second = searched(found)[POPULATION : 2 * POPULATION]
    names = {asked.trial for asked in searched(found)[:POPULATION]}
    parents = [course_of(asked).parent for asked in second]
    assert "pbt.search.r0.0002" not in parents
    assert set(parents) <= names


def test_a_generation_of_which_nothing_is_left_ends_the_search(tmp_path: Path) -> None:
    found = played(tmp_path / "j", failing(*range(POPULATION, 2 * POPULATION)))
    assert len(searched(found)) == 2 * POPULATION
    chosen = {
        queued.trial.asked.chosen_from
        for queued in found.conductor.trials.values()
        if queued.trial.asked.phase == "confirm"
    }
    assert chosen <= set(range(POPULATION))
    # The best of the first generation: a quarter of a training, and so are its confirm runs.
    epochs = {
        queued.trial.asked.settings["training"]["epochs"]
        for queued in found.conductor.trials.values()
    }
    assert epochs == {0.25}


def test_a_retried_member_has_its_course_and_seed(tmp_path: Path) -> None:
    found = played(tmp_path / "j", failing(POPULATION + 1))
    old = found.conductor.trials[f"pbt.search.r0.{POPULATION + 1:04d}"].trial.asked
    again = found.conductor.trials[found.conductor.retry(old.trial)].trial.asked
    assert (again.course, again.seed, again.params) == (old.course, old.seed, old.params)


def ranked(count: int) -> list[FrozenTrial]:
    return [create_trial(value=float(value)) for value in range(count)]


def draws(sampler: PopulationSampler, parameter: float, count: int = 400) -> Sequence[float]:
    space = {"beta": FloatDistribution(1e-3, 10, log=True)}
    return [sampler.explored({"beta": parameter}, space)["beta"] for _ in range(count)]


class TestSampler:
    """The rules of the paper, by themselves."""

    def test_the_worst_quarter_copies_the_best_quarter(self) -> None:
        sampler, members = PopulationSampler(1, population=8), ranked(8)
        for member in members[:6]:
            assert sampler.parent(members, member) is member
        for member in members[6:]:
            parents = {id(sampler.parent(members, member)) for _ in range(60)}
            assert parents == {id(members[0]), id(members[1])}

    def test_a_copy_s_setting_is_multiplied_or_drawn_anew(self) -> None:
        never = draws(PopulationSampler(1, population=4, resample=0), 0.1)
        assert {round(value, 9) for value in never} == {0.08, 0.12}
        always = draws(PopulationSampler(1, population=4, resample=1), 0.1)
        # Log-uniform over four decades: half of them lie below the geometric mean of the ends.
        assert sum(value < 0.1 for value in always) / len(always) == pytest.approx(0.5, abs=0.1)
        assert min(always) >= 1e-3
        assert max(always) <= 10

    def test_by_default_a_quarter_of_a_copy_s_settings_is_drawn_anew(self) -> None:
        found = draws(PopulationSampler(1, population=4), 0.1)
        anew = sum(round(value, 9) not in (0.08, 0.12) for value in found)
        assert anew / len(found) == pytest.approx(0.25, abs=0.08)  # 3.7 standard deviations

    def test_a_copy_s_setting_stays_in_its_range(self) -> None:
        sampler = PopulationSampler(1, population=4, resample=0)
        assert max(draws(sampler, 9.5)) == 10
        assert min(draws(sampler, 1.1e-3)) == 1e-3


def test_optuna_knows_the_trials_as_its_own(tmp_path: Path) -> None:
    found = played(tmp_path / "j")
    phase = found.conductor._phases["pbt.search.r0"]
    trials = phase._study.get_trials()
    assert len(trials) == POPULATION * GENERATIONS
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert [trial.params for trial in trials] == [asked.params for asked in searched(found)]
