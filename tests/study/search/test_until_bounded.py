"""Searches that go on until their break-even is bounded: from made-up results alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from entries import of_kind
from simulation import REPORTS, Simulation, hand, outcome, spec

from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.journal.events import ConfigurationChosen, SearchLooked, TrialAsked
from study.launching.remaining import remaining
from study.search import Request
from study.spec import StudySpec, arm_roles
from study.spec.design import as_begun, settled
from study.statistics.sequences import proportion_sequence

OBJECTIVE = "calibrated_negative_elbo"
LEVEL = 0.0


def until(at_most: int = 30, batch: int = 4) -> dict[str, Any]:
    return {"until": "bounded", "at_most": at_most, "batch": batch}


def arms(trials: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "hand": hand("random", trials=until() if trials is None else trials),
        "auto": {"balancer": "learned_sigma"},
        **more,
    }


def study(found: dict[str, Any], **changes: Any) -> StudySpec:
    """As a first launch settles it."""
    made = spec(found, **changes)
    return settled(made, arm_roles(made))


def extended(simulation: Simulation, found: dict[str, Any], **changes: Any) -> Simulation:
    """The study that ``simulation`` began, launched again with another spec."""
    simulation.journal.close()
    now = as_begun(spec(found, **changes), simulation.spec, {})
    return Simulation(simulation.home, now, simulation.slots, simulation.make)


class Chance:
    """Trials that reach the automatic arm's level with a chance; ``failing`` ones fail."""

    def __init__(self, chance: float = 0.5, failing: tuple[str, ...] = ()) -> None:
        self.chance, self.failing = chance, set(failing)

    def __call__(self, request: Request, step: int) -> dict[str, Any]:
        found = outcome(request, step)
        value = LEVEL + request.seed % 97 / 1e3
        if request.phase == "search":
            luck = random.Random(f"{request.seed}").random()
            value = luck - self.chance  # below the level with that chance
        found["metrics"] = {f"validation/{OBJECTIVE}": value + 1 / step}
        if step == REPORTS:
            found["end"] = {"state": "complete", "metrics": {f"test/{OBJECTIVE}": value}}
            if request.trial in self.failing:
                found["end"] = {"state": "failed", "reason": "made to fail"}
        return found


def looks(simulation: Simulation) -> list[SearchLooked]:
    return of_kind(simulation.journal.entries, SearchLooked)


def searched(simulation: Simulation, arm: str = "hand") -> int:
    asked = of_kind(simulation.journal.entries, TrialAsked)
    return len({one.number for one in asked if (one.arm, one.phase) == (arm, "search")})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    home = tmp_path_factory.mktemp("bounded") / "j"
    return Simulation(home, study(arms()), 3, Chance(0.3)).run(order=1)


class TestASearch:
    def test_goes_on_batch_by_batch_until_it_is_bounded(self, found: Simulation) -> None:
        seen = looks(found)
        assert [look.trials for look in seen] == [4 * n for n in range(1, len(seen) + 1)]
        assert [look.bounded for look in seen] == [False] * (len(seen) - 1) + [True]
        assert len(seen) > 1
        assert searched(found) == seen[-1].trials < 30
        assert found.conductor.all_ended

    def test_is_looked_at_with_bounds_that_hold_at_every_look(self, found: Simulation) -> None:
        for look in looks(found):
            low, high = proportion_sequence(look.reached, look.trials, 0.025)
            assert look.against == "auto"
            assert (1 - high) ** look.lower <= 0.5 + 1e-9
            assert look.upper is None or (1 - low) ** look.upper <= 0.5 + 1e-9

    def test_is_to_reach_the_best_choosing_run(self, found: Simulation) -> None:
        choosing = [
            q.end.metrics[f"test/{OBJECTIVE}"]
            for q in found.conductor.trials.values()
            if q.trial.asked.arm == "auto" and q.trial.asked.stage == "choosing" and q.end
        ]
        assert len(choosing) == 2
        assert {look.level for look in looks(found)} == {min(choosing)}

    def test_ends_before_seeds_that_compare_begin(self, found: Simulation) -> None:
        entries = [e.event for e in found.journal.entries]
        last = max(i for i, event in enumerate(entries) if isinstance(event, SearchLooked))
        comparing = [
            i
            for i, event in enumerate(entries)
            if isinstance(event, TrialAsked) and event.stage == "comparing"
        ]
        assert comparing
        assert last < min(comparing)

    def test_ends_at_its_cap(self, tmp_path: Path) -> None:
        capped = Simulation(tmp_path / "j", study(arms(until(10))), 3, Chance(0.0)).run(order=1)
        assert [look.trials for look in looks(capped)] == [4, 8, 10]
        assert not looks(capped)[-1].bounded
        assert capped.conductor.all_ended

    def test_is_planned_to_its_cap_until_it_is_bounded(self, tmp_path: Path) -> None:
        begun = Simulation(tmp_path / "j", study(arms()), 3, Chance(0.3))
        assert begun.conductor.arm_progress()[0].planned == 30 + 2
        begun.run(order=1)
        assert begun.conductor.arm_progress()[0].planned == searched(begun) + 4
        left = remaining(begun.spec, begun.journal.entries, lambda training: 400)
        assert [arm.trials for arm in left] == [0, 0]

    def test_waits_for_all_automatic_arms(self, tmp_path: Path) -> None:
        two = study(arms(other={"balancer": "optimal_sigma"}))
        begun = Simulation(tmp_path / "j", two, 20, Chance(0.0))
        running = []
        while request := begun.conductor.next():
            running.append(request)
        late = [r for r in running if r.trial.startswith("other.")]
        for request in [r for r in running if r not in late] + late:
            assert searched(begun) == 4, "no trial more before the level is known"
            for step in range(1, REPORTS + 1):
                begun.conductor.report(request.trial, begun.make(request, step))
            begun.conductor.returned(request.trial)
        assert searched(begun) == 8

    def test_of_no_automatic_result_makes_its_first_batch(self, tmp_path: Path) -> None:
        failing = tuple(f"auto.confirm.r0.fixed.000{n}" for n in (0, 1))
        lone = Simulation(tmp_path / "j", study(arms()), 3, Chance(0.3, failing)).run(order=1)
        assert (searched(lone), looks(lone)) == (4, [])
        assert of_kind(lone.journal.entries, ConfigurationChosen)
        lone.make.failing.clear()
        lone.conductor.retry("auto.confirm.r0.fixed.0001")
        lone.run(order=1)
        assert looks(lone)[-1].bounded
        assert searched(lone) == looks(lone)[-1].trials

    def test_that_was_bounded_stays_so(self, tmp_path: Path) -> None:
        failing = ("hand.search.r0.0001", "auto.confirm.r0.fixed.0001")
        make = Chance(0.3, failing)
        done = Simulation(tmp_path / "j", study(arms()), 3, make).run(order=1)
        before = looks(done)
        make.failing.clear()
        for crash in (False, True):
            done.conductor.retry(failing[crash])
            if crash:
                done.crash()
            done.run(order=1)
            assert looks(done) == before
            assert searched(done) == before[-1].trials
        more = extended(done, arms(until(60))).run(order=1)
        assert looks(more) == before

    def test_that_is_stopped_makes_no_trial_more(self, tmp_path: Path) -> None:
        begun = Simulation(tmp_path / "j", study(arms()), 3, Chance(0.3))
        begun.conductor.stop(arm="hand")
        begun.run(order=1)
        assert (searched(begun), looks(begun)) == (4, [])
        assert begun.conductor.all_ended


class TestGoingOn:
    def test_a_higher_cap(self, tmp_path: Path) -> None:
        first = Simulation(tmp_path / "j", study(arms(until(8))), 3, Chance(0.3)).run(order=1)
        assert not looks(first)[-1].bounded
        more = extended(first, arms()).run(order=1)
        assert looks(more)[-1].bounded
        assert [look.trials for look in looks(more)][:3] == [4, 8, 12]
        whole = Simulation(tmp_path / "k", study(arms()), 3, Chance(0.3)).run(order=1)
        assert looks(more) == looks(whole)

    def test_a_search_of_a_fixed_number(self, tmp_path: Path) -> None:
        two = arms(9, other={"balancer": "optimal_sigma"})
        first = Simulation(tmp_path / "j", study(two), 3, Chance(0.3)).run(order=1)
        assert not looks(first)
        more = extended(first, {**two, **arms()}).run(order=1)
        assert looks(more)[0].trials == 9
        assert looks(more)[-1].bounded


def test_two_searches_go_on_each_by_itself(tmp_path: Path) -> None:
    two = study(arms(wide=hand("random", trials=until(12, 6))))
    both = Simulation(tmp_path / "j", two, 3, Chance(0.3)).run(order=1)
    assert next(look.trials for look in looks(both) if look.arm == "wide") == 6
    assert {look.arm for look in looks(both)} == {"hand", "wide"}


@pytest.mark.parametrize(("slots", "order", "every"), [(1, 0, 1), (5, 7, 1), (3, 2, 3), (8, 4, 0)])
def test_neither_slots_nor_order_nor_a_crash_after_every_report_matters(
    found: Simulation, tmp_path: Path, slots: int, order: int, every: int
) -> None:
    again = Simulation(tmp_path / "j", study(arms()), slots, Chance(0.3))
    again.run(order, crash_every=every)
    assert again.table() == found.table()
    assert looks(again) == looks(found)


def test_the_report_says_what_the_looks_saw(found: Simulation) -> None:
    report = build_report(build_tables(found.journal.entries))
    one = report.break_even[0]
    assert one.trials.looks == [look.trials for look in looks(found)]
    assert one.trials.within == looks(found)[-1].trials
    listed = ", ".join(str(trials) for trials in one.trials.looks)
    (note,) = [note for note in report.notes if "until its break-even is bounded" in note]
    assert (
        f"Looked at after {listed} trials: bounded at 0.02, the best choosing run of auto" in note
    )
