"""What a study does next, driven without any process: the order of events must not matter."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from entries import of_kind
from simulation import ARMS, REPORTS, Simulation, hand, outcome, spec

from study.journal import Entry, Event, Journal
from study.journal.events import ConfigurationChosen, ShapeTimed, TrialEnded, TrialPlaced
from study.journal.lines import JournalError
from study.search import Conductor, Request


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    home = tmp_path_factory.mktemp("reference")
    return Simulation(home, spec(ARMS), slots=1).run(order=0).table()


@pytest.mark.parametrize(("slots", "order"), [(2, 1), (4, 2), (50, 3)])
def test_the_table_does_not_depend_on_how_many_ran_nor_on_who_was_first(
    tmp_path: Path, reference: list[Any], slots: int, order: int
) -> None:
    assert Simulation(tmp_path / "j", spec(ARMS), slots).run(order).table() == reference


@pytest.mark.parametrize(("slots", "every"), [(3, 7), (8, 13), (2, 5)])
def test_a_driver_that_dies_again_and_again_ends_with_the_same_table(
    tmp_path: Path, reference: list[Any], slots: int, every: int
) -> None:
    found = Simulation(tmp_path / "j", spec(ARMS), slots).run(order=9, crash_every=every)
    assert found.table() == reference


class CutShortError(Exception):
    pass


class Failing(Journal):
    """Raises as the ``at``-th event from now on is appended, which then is in the group."""

    def __init__(self, home: Path, at: int) -> None:
        super().__init__(home, take_over=True)
        self._left = at

    def append(self, event: Event) -> Entry:
        entry = super().append(event)
        self._left -= 1
        if self._left == 0:
            raise CutShortError
        return entry


@pytest.mark.parametrize("first", range(1, 9))
def test_a_decision_that_is_cut_short_anywhere_never_happened(tmp_path: Path, first: int) -> None:
    """By a signal, which raises in the main thread, or an error of a sampler or of memory."""
    study = spec({"pbt": ARMS["pbt"], "tpe": ARMS["tpe"], "auto": ARMS["auto"]})
    expected = Simulation(tmp_path / "whole", study, slots=3).run(order=1).table()
    simulation, cut, over = Simulation(tmp_path / "cut", study, slots=3), 0, False
    while not over:
        simulation.journal.close()
        journal = Failing(simulation.home, at=first + 17 * cut % 211)
        try:
            simulation.conductor = Conductor(study, journal, 64, slots=3)
            simulation.journal, simulation.running = journal, []
            over = simulation.run(order=cut).conductor.all_ended
        except CutShortError:
            cut += 1
            with pytest.raises(JournalError, match="cut short"):
                journal.commit()
            journal.close()
    assert simulation.table() == expected
    assert cut > 5


def test_every_trial_ends_once_and_is_told_to_optuna_as_it_ended(
    tmp_path: Path, reference: list[Any]
) -> None:
    found = Simulation(tmp_path / "j", spec(ARMS), slots=4).run(order=5)
    ends = [end.trial for end in of_kind(found.journal.entries, TrialEnded)]
    assert sorted(ends) == [row[0] for row in reference]
    names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for queued in found.conductor.trials.values():
        assert queued.ended
        optuna_trial = queued.phase.trial(queued.trial.asked.number)
        assert optuna_trial.state.name == names[queued.trial.state]
    assert {row[3] for row in reference} == {"complete", "pruned"}


def test_the_searchs_best_on_validation_is_confirmed_on_the_studys_seeds(tmp_path: Path) -> None:
    found = Simulation(tmp_path / "j", spec(ARMS), slots=4).run(order=5)
    trials = [t for t in found.conductor.trials.values() if t.trial.asked.arm == "random"]
    searched = [t for t in trials if t.trial.asked.phase == "search"]
    best = min(searched, key=lambda t: t.objective or math.inf)
    confirmed = [t for t in trials if t.trial.asked.phase == "confirm"]
    assert [t.trial.asked.seed for t in confirmed] == [0, 1]
    assert {t.trial.asked.chosen_from for t in confirmed} == {best.trial.asked.number}
    assert all(t.trial.asked.params == best.trial.asked.params for t in confirmed)
    assert confirmed[0].name == f"random.confirm.r0.from{best.trial.asked.number}.0000"


def test_search_seeds_pair_across_arms_and_never_meet_the_studys(tmp_path: Path) -> None:
    found = Simulation(tmp_path / "j", spec(ARMS), slots=4).run(order=5)
    seeds: dict[tuple[int, int], set[int]] = {}
    for queued in found.conductor.trials.values():
        asked = queued.trial.asked
        if asked.phase == "search" and not asked.course.get("earlier"):
            seeds.setdefault((asked.replicate, asked.number), set()).add(asked.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len({seed for found in seeds.values() for seed in found}) == len(seeds)
    assert min(seed for found in seeds.values() for seed in found) > 2**32


def test_a_grid_is_visited_in_order_once(tmp_path: Path) -> None:
    found = Simulation(tmp_path / "j", spec(ARMS), slots=4).run(order=5)
    grid = [t for t in found.conductor.trials.values() if t.name.startswith("grid.search.r1")]
    assert [t.trial.asked.params["beta"] for t in grid] == [0.1, 1.0, 5.0]


def test_a_report_seen_twice_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    conductor = Conductor(spec({"auto": ARMS["auto"]}), journal, 64, slots=1)
    request = conductor.next()
    assert request is not None
    assert not conductor.report(request.trial, outcome(request, 1))
    before = len(journal.entries)
    assert not conductor.report(request.trial, outcome(request, 1))
    assert len(journal.entries) == before


def test_a_batch_without_a_finite_value_is_decided_on_again_where_it_is_resumed(
    tmp_path: Path,
) -> None:
    """Optuna is told of finite values only: nothing shows that it was decided on."""
    pruner = {"name": "median", "n_startup_trials": 0, "synchronous": True}
    study = spec({"a": hand("random", trials=3, pruner=pruner), "auto": ARMS["auto"]})

    def make(request: Request, step: int) -> dict[str, Any]:
        report = outcome(request, step)
        if request.phase == "search" and step == 2:
            report["metrics"]["validation/calibrated_negative_elbo"] = math.nan
        return report

    whole = Simulation(tmp_path / "whole", study, 8, make).run(order=0).table()
    assert Simulation(tmp_path / "cut", study, 8, make).run(0, crash_every=1).table() == whole


def test_a_shape_is_timed_by_its_first_bank_not_by_one_that_could_not_be_made(
    tmp_path: Path,
) -> None:
    simulation = Simulation(tmp_path / "j", spec({"auto": ARMS["auto"]}), slots=2)
    crashed, other = simulation.conductor.next(), simulation.conductor.next()
    assert crashed is not None
    assert other is not None
    failed = outcome(crashed, 1) | {"end": {"state": "failed", "reason": "crashed"}}
    failed["start"]["seconds_per_image"] = None
    simulation.conductor.report(crashed.trial, failed)
    simulation.conductor.report(other.trial, outcome(other, 1))
    (timed,) = of_kind(simulation.journal.entries, ShapeTimed)
    assert (timed.shape, timed.seconds_per_image) == ("x", 1e-4)


def test_an_asynchronous_pruner_stops_a_trial_at_once(tmp_path: Path) -> None:
    pruner = {"name": "threshold", "upper": 5.0}
    arms = {"hand": hand("random", trials=6, pruner=pruner), "auto": ARMS["auto"]}
    found = Simulation(tmp_path / "j", spec(arms), slots=2).run(order=1)
    searched = (q.trial for q in found.conductor.trials.values() if q.phase.phase == "search")
    states = {trial.state for trial in searched}
    assert states == {"pruned", "complete"}
    for queued in found.conductor.trials.values():
        high = queued.objective is not None and queued.objective > 5.0
        assert (queued.trial.state == "pruned") == high


def test_a_value_that_is_not_finite_is_a_failure_and_never_the_best(tmp_path: Path) -> None:
    arms = {"hand": hand("random", trials=3), "auto": ARMS["auto"]}
    journal = Journal(tmp_path / "j")
    conductor = Conductor(spec(arms), journal, 64, slots=1)
    while not conductor.drained:
        request = conductor.next()
        assert request is not None
        for step in range(1, REPORTS + 1):
            report = outcome(request, step)
            if request.phase == "search":
                report["metrics"]["validation/calibrated_negative_elbo"] = float("nan")
            conductor.report(request.trial, report)
        conductor.returned(request.trial)
    states = {t.name: t.trial.state for t in conductor.trials.values()}
    assert [state for name, state in states.items() if ".search." in name] == ["failed"] * 3
    choices = of_kind(journal.entries, ConfigurationChosen)
    assert choices == [ConfigurationChosen("hand", 0, None, None)]
    assert not any(name.startswith("hand.confirm") for name in states)


def test_extending_asks_only_what_is_new(tmp_path: Path) -> None:
    arms = {"random": hand("random", trials=4), "auto": ARMS["auto"]}
    first = Simulation(tmp_path / "j", spec(arms), slots=2).run(order=1)
    before = first.table()
    first.journal.close()
    more = {"random": hand("random", trials=6), "auto": ARMS["auto"], "new": ARMS["auto-lr"]}
    second = Simulation(tmp_path / "j", spec(more, seeds=[0, 1, 2]), slots=2).run(order=2)
    after = second.table()
    assert [row for row in after if row in before] == before
    names = {row[0] for row in after} - {row[0] for row in before}
    assert {"random.search.r0.0004", "random.search.r0.0005"} <= names
    assert "auto.confirm.r0.fixed.0002" in names
    assert sum(name.startswith("new.search") for name in names) == 3


def test_no_more_than_the_slots_are_handed_out_and_nothing_after_an_interrupt(
    tmp_path: Path,
) -> None:
    conductor = Conductor(spec(ARMS), Journal(tmp_path / "j"), 64, slots=3)
    requests = [conductor.next() for _ in range(5)]
    assert [r is None for r in requests] == [False, False, False, True, True]
    conductor.interrupt()
    for request in requests[:3]:
        assert request is not None
        assert conductor.report(request.trial, outcome(request, 1))
        conductor.returned(request.trial)
    assert conductor.drained
    assert conductor.next() is None


def train(conductor: Conductor, trials: int) -> None:
    """Run so many trials to their ends, one after the other."""
    for _ in range(trials):
        request = conductor.next()
        assert request is not None
        for step in range(1, REPORTS + 1):
            conductor.report(request.trial, outcome(request, step))
        conductor.returned(request.trial)


def lines(conductor: Conductor, trials: int) -> int:
    """How many lines of Python that takes."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        train(conductor, trials)
    finally:
        sys.settrace(former)
    return count


@pytest.mark.parametrize(
    "search",
    [
        {"batch": 5},
        {"batch": 5, "sampler": "grid", "space": {"beta": [1 + i / 1000 for i in range(230)]}},
        {"pruner": {"name": "threshold", "upper": 1e9, "synchronous": True}, "batch": 1},
    ],
    ids=["random", "grid", "synchronous"],
)
def test_a_trial_takes_no_more_steps_after_many_others(tmp_path: Path, search: Any) -> None:
    arms = {"hand": hand(**{"sampler": "random", "trials": 230, **search})}
    conductor = Conductor(spec(arms), Journal(tmp_path / "j"), 64, slots=2)
    train(conductor, 5)
    early = lines(conductor, 10)
    train(conductor, 200)
    assert lines(conductor, 10) < 1.1 * early


def test_a_changed_numerics_key_is_recorded_once_a_trial_and_launch(tmp_path: Path) -> None:
    conductor = Conductor(spec({"auto": ARMS["auto"]}), Journal(tmp_path / "j"), 64, slots=1)
    request = conductor.next()
    assert request is not None
    for step, width in ((1, 8), (2, 8), (3, 4)):
        report = outcome(request, step)
        report["start"]["key"] = {"width": width}
        conductor.report(request.trial, report)
    starts = of_kind(conductor.journal.entries, TrialPlaced)
    assert [start.key for start in starts] == [{"width": 8}, {"width": 4}]
    assert len({start.engine for start in starts}) == 1


@pytest.mark.parametrize(("arm", "population"), [("cmaes", 6), ("cmaes-beta", 4)])
def test_cmaes_draws_all_but_its_first_population_over_one_range_or_more(
    tmp_path: Path, arm: str, population: int
) -> None:
    found = Simulation(tmp_path / "j", spec({arm: ARMS[arm], "auto": ARMS["auto"]}), slots=2)
    found.run(order=1)
    searched = [q for q in found.conductor.trials.values() if q.phase.phase == "search"]
    attributes = [q.phase.trial(q.trial.asked.optuna).system_attrs for q in searched]
    drawn = [any(key.startswith("cma:") for key in each) for each in attributes]
    assert drawn == [False] * population + [True] * (8 - population)
