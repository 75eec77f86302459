"""Trials of an earlier search: read from a study of the home, or from an Optuna storage."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from entries import of_kind
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.made_up import begin
from study.analysis.answers.cost_curves import cost_curve
from study.analysis.answers.report import build_report
from study.analysis.records.searches import arm_searches
from study.analysis.records.tables import build_tables
from study.journal import Journal, StudyHome
from study.journal.events import TrialsTold
from study.launching.warm_start import earlier_trials, other_trainings
from study.search import Conductor
from study.spec import SpecError, StudySpec

BETA = {"low": 1e-3, "high": 10, "log": True}


def later(warm_start: dict[str, Any], space: Any = None, **changes: Any) -> StudySpec:
    search = {"space": space or {"beta": BETA}, "sampler": "tpe", "trials": 3, "batch": 1}
    hand = {"balancer": "fixed_beta", "search": {**search, "warm_start": warm_start}}
    return StudySpec.from_dict(
        {
            "name": "later",
            "data": "digits",
            "model": {"name": "mlp", "latent": 4, "width": 8},
            "training": {"epochs": 2, "batch_size": 100, "reports": 2},
            "seeds": [0, 1],
            "arms": {"hand": hand, "optimal": {"balancer": "optimal_sigma"}},
            **changes,
        }
    )


def read(warm_start: dict[str, Any], home: Path, **changes: Any) -> TrialsTold:
    (event,) = earlier_trials(later(warm_start, **changes), StudyHome(home, "later"))
    return event


@pytest.fixture
def home(told: StudyHome, tmp_path: Path) -> Path:
    """A home of one finished study: three search trials, of which one crashed."""
    shutil.copytree(told.path, tmp_path / "told")
    return tmp_path


class TestStudiesOfThisHome:
    def test_complete_trials_are_told_and_all_are_charged(self, home: Path) -> None:
        event = read({"study": "told"}, home)
        assert event.source == "study 'told', arm 'random'"
        assert (len(event.trials), event.left_out) == (2, 1)
        # Two trials of two reports of 1350 images, and the one that crashed at its first.
        assert event.images == 5 * 1350
        # Of the 2 seconds of start-up it has its share: 5 of the study's 13 reports of 0.6 seconds.
        assert event.billed == pytest.approx(5 * 0.6 + 2 * 5 / 13)
        assert event.standard == pytest.approx(event.images * 1e-4)

    def test_those_outside_the_space_are_left_out(self, home: Path) -> None:
        betas = sorted(t["params"]["beta"] for t in read({"study": "told"}, home).trials)
        middle = math.sqrt(betas[0] * betas[1])
        event = read({"study": "told"}, home, space={"beta": {**BETA, "low": middle}})
        assert [t["params"]["beta"] for t in event.trials] == [betas[1]]
        assert event.left_out == 2
        assert event.images == 5 * 1350

    @pytest.mark.parametrize(
        ("warm_start", "changes", "what"),
        [
            ({"study": "other"}, {}, "there is no earlier study 'other'"),
            ({"study": "later"}, {}, "there is no earlier study 'later'"),
            ({"study": "told", "arm": "optimal"}, {}, "no arm 'optimal' that searches just beta"),
            ({"study": "told"}, {"objective": "bits_per_dim"}, "calibrated_negative_elbo"),
            ({"study": "told"}, {"space": {"beta": BETA, "training.lr": BETA}},
             "0 arms of study 'told' search beta and training.lr"),
            ({"study": "told"}, {"space": {"beta": {"low": 20, "high": 30}}}, "no trial of study"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_refused(self, home, warm_start, changes, what) -> None:
        with pytest.raises(SpecError, match=what):
            read(warm_start, home, **changes)

    def test_another_unit_of_beta_is_refused(self, home: Path) -> None:
        spec = later({"study": "told"}).to_dict()
        spec["arms"]["hand"]["balancer"]["reduction"] = "sum"
        with pytest.raises(SpecError, match="its beta is for another loss"):
            earlier_trials(StudySpec.from_dict(spec), StudyHome(home, "later"))

    def test_another_model_or_training_is_warned_of(self, home: Path) -> None:
        there = StudyHome(home, "later")
        assert [*other_trainings(later({"study": "told"}), there)] == []
        reports = {"epochs": 2, "batch_size": 100, "reports": 1}
        assert [*other_trainings(later({"study": "told"}, training=reports), there)] == []
        training = {**reports, "epochs": 4}
        model = {"name": "mlp", "latent": 4, "width": 16, "depth": 1}
        spec = later({"study": "told"}, model=model, training=training)
        assert [*other_trainings(spec, there)] == [
            "arm 'hand' is told trials of another training: model.width 8 instead of 16, "
            "model.depth nothing instead of 1, training.epochs 2.0 instead of 4.0; where their "
            "best beta is another, the search starts there"
        ]
        searched = {"beta": BETA, "model.width": {"low": 8, "high": 16}}
        space = later({"study": "told"}, searched, model={**model, "depth": 2})
        assert "model.width 8" not in "".join(other_trainings(space, there))

    def test_stages_of_a_population_are_no_trials(self, tell, told_spec, tmp_path) -> None:
        before = told_spec.to_dict()
        evolving = {"name": "pbt", "population": 2}
        before["arms"]["random"]["search"] |= {"sampler": evolving, "trials": 4, "batch": None}
        tell(before, tmp_path)
        with pytest.raises(SpecError, match=r"0 arms of study 'told' search beta .* a whole"):
            read({"study": "told"}, tmp_path)

    def test_another_balancer_is_warned_of(self, tell, told_spec, tmp_path) -> None:
        before = told_spec.to_dict()
        before["arms"]["random"]["balancer"] = "cyclical_beta"
        tell(before, tmp_path)
        (said,) = other_trainings(later({"study": "told"}), StudyHome(tmp_path, "later"))
        assert "another training: balancer cyclical_beta instead of fixed_beta; where" in said

    def test_other_images_are_refused(self, home: Path) -> None:
        spec = later({"study": "told"}, data={"name": "digits", "validation": 0.2})
        with pytest.raises(SpecError, match="has other images"):
            earlier_trials(spec, StudyHome(home, "later"))

    @pytest.mark.parametrize("same", [{"reconstruction": "half_sum"}, "pythae"])
    def test_the_same_loss_under_another_name_is_the_same(self, home: Path, same: Any) -> None:
        spec = later({"study": "told"}).to_dict()
        spec["arms"]["hand"]["balancer"] = {"name": "fixed_beta", "convention": same}
        (event,) = earlier_trials(StudySpec.from_dict(spec), StudyHome(home, "later"))
        assert len(event.trials) == 2

    @pytest.mark.parametrize(
        ("kl", "same", "other"),
        [
            ("batch_sum", {}, {"training": {"batch_size": 50}}),
            ("mean", {"training": {"batch_size": 50}}, {"model": {"latent": 8}}),
        ],
        ids=["batch", "latents"],
    )
    def test_a_loss_that_depends_on_sizes_is_another_where_these_are_others(
        self, tell, told_spec, tmp_path, kl: str, same: Any, other: Any
    ) -> None:
        convention = {"reconstruction": "half_sum", "kl": kl}
        balancer = {"name": "fixed_beta", "convention": convention}
        before = told_spec.to_dict()
        assert (before["training"]["batch_size"], before["model"]["latent"]) == (100, 4)
        before["arms"]["random"]["balancer"] = balancer
        tell(before, tmp_path)

        def found(sizes: dict[str, dict[str, int]]) -> list[TrialsTold]:
            spec = later({"study": "told"}).to_dict()
            for section, changed in sizes.items():
                spec[section] |= changed
            spec["arms"]["hand"]["balancer"] = balancer
            return earlier_trials(StudySpec.from_dict(spec), StudyHome(tmp_path, "later"))

        assert [len(event.trials) for event in found(same)] == [2]
        with pytest.raises(SpecError, match="its beta is for another loss"):
            found(other)

    def test_a_retried_trial_is_told_as_it_ended_last(self, told_spec, tmp_path, follow_up) -> None:
        journal = begin(told_spec, StudyHome(tmp_path, "told"), [])
        conductor = Conductor(told_spec, journal, dims=64, slots=1)
        follow_up(conductor)
        conductor.retry("random.search.r0.0001")
        follow_up(conductor)
        journal.close()
        event = read({"study": "told"}, tmp_path)
        assert (len(event.trials), event.left_out) == (3, 0)
        assert event.images == 5 * 1350 + 2700, "both attempts are charged"

    def test_a_study_that_has_begun_reads_nothing_again(self, home: Path) -> None:
        there = StudyHome(home, "later")
        spec = later({"study": "told"})
        (event,) = earlier_trials(spec, there)
        there.make()
        journal = begin(spec, there, [])
        journal.append(event)
        journal.commit()
        journal.close()
        spec = later({"study": "told"}, model={"name": "mlp", "latent": 4, "width": 16})
        assert [*other_trainings(spec, there)] == []
        shutil.rmtree(home / "told")
        assert earlier_trials(spec, there) == [event]


class TestCost:
    @pytest.fixture
    def tables(self, home: Path, follow_up: Callable[[Conductor], None]) -> Any:
        spec, there = later({"study": "told"}), StudyHome(home, "later")
        events = earlier_trials(spec, there)
        journal = begin(spec, there, events)
        follow_up(Conductor(spec, journal, dims=64, slots=1))
        entries = list(journal.entries)
        journal.close()
        assert len(of_kind(entries, TrialsTold)) == 1
        return build_tables(entries)

    def test_a_model_costs_what_the_earlier_search_took_too(self, tables) -> None:
        report = build_report(tables, later({"study": "told"}).to_dict(), [])
        (hand,) = (arm for arm in report.arms if arm.arm == "hand")
        assert hand.cost.told.images == 5 * 1350
        assert hand.cost.search.images == 5 * 1350 + 3 * 2700
        assert hand.cost.total.images == 5 * 1350 + 4 * 2700
        assert hand.cost.measurement.images == 2700  # the other seed: the earlier study's own no
        assert any("began with 2 trials of study 'told', arm 'random'" in n for n in report.notes)
        assert (hand.draws.chosen, hand.draws.recorded) == (3, 3)

    def test_a_third_search_pays_for_both_before_it(
        self, home: Path, follow_up: Callable[[Conductor], None]
    ) -> None:
        spec, there = later({"study": "told"}), StudyHome(home, "later")
        journal = begin(spec, there, earlier_trials(spec, there))
        follow_up(Conductor(spec, journal, dims=64, slots=1))
        journal.close()
        third = StudySpec.from_dict({**later({"study": "later"}).to_dict(), "name": "third"})
        (event,) = earlier_trials(third, StudyHome(home, "third"))
        assert len(event.trials) == 3
        assert event.images == 5 * 1350 + 3 * 2700

    def test_no_curve_of_the_search_is_free_of_it(self, tables) -> None:
        found = arm_searches(
            tables["trials"], later({"study": "told"}).to_dict(), "calibrated_negative_elbo"
        )
        (search,) = found["hand"].searches
        assert search.images.tolist() == [2700, 2700, 2700]
        assert found["hand"].elsewhere[0] == 5 * 1350
        curve = cost_curve(found["hand"])
        assert curve.images == [5 * 1350 + 2700 * n for n in (1, 2, 3)]


@pytest.fixture(params=["sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage of Optuna with a study of 12 trials, some of them pruned, failed or running."""
    file = tmp_path / "optuna.db"
    url = f"sqlite:///{file}"
    given: Any = url if request.param == "sqlite" else JournalStorage(JournalFileBackend(str(file)))
    study = optuna.create_study(study_name="old", storage=given)
    for number in range(12):
        trial = study.ask({"beta": optuna.distributions.FloatDistribution(1e-3, 10, log=True)})
        study._storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", "not a pickle")
        if number < 9:
            study.tell(trial, float(number))
        elif number == 9:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif number == 10:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return url if request.param == "sqlite" else str(file)


class TestStorages:
    COST = {"images": 9000, "device_seconds": 90}

    def test_parameters_and_values_are_taken_and_nothing_else(self, storage, tmp_path) -> None:
        event = read({"study": "old", "storage": storage, **self.COST}, tmp_path)
        assert [sorted(trial) for trial in event.trials] == [["params", "value"]] * 9
        assert [trial["value"] for trial in event.trials] == list(range(9))
        assert event.left_out == 3
        assert (event.images, event.billed, event.standard) == (9000, 90.0, 90.0)

    @pytest.mark.parametrize(
        ("kind", "value", "told"),
        [
            (optuna.distributions.IntDistribution(1, 10), 3, 3.0),
            (optuna.distributions.FloatDistribution(1e-3, 11), 10.000000000000002, 10.0),
        ],
    )
    def test_values_are_read_as_the_space_has_them(self, tmp_path, kind, value, told) -> None:
        url = f"sqlite:///{tmp_path}/other.db"
        study = optuna.create_study(study_name="other", storage=url)
        given = {"params": {"beta": value}, "distributions": {"beta": kind}, "value": 1.0}
        study.add_trial(optuna.trial.create_trial(**given))
        event = read({"study": "other", "storage": url, **self.COST}, tmp_path)
        assert [trial["params"]["beta"] for trial in event.trials] == [told]

    def test_a_value_that_is_not_finite_is_left_out(self, storage, tmp_path) -> None:
        place: Any = storage
        if not storage.startswith("sqlite"):
            place = JournalStorage(JournalFileBackend(storage))
        study = optuna.load_study(study_name="old", storage=place)
        distributions = {"beta": optuna.distributions.FloatDistribution(1e-3, 10, log=True)}
        trial = {"params": {"beta": 1.0}, "distributions": distributions, "value": math.inf}
        study.add_trial(optuna.trial.create_trial(**trial))
        event = read({"study": "old", "storage": storage, **self.COST}, tmp_path)
        assert [trial["value"] for trial in event.trials] == list(range(9))
        assert event.left_out == 4

    def test_a_study_that_is_not_there(self, storage, tmp_path) -> None:
        with pytest.raises(SpecError, match="study 'new' cannot be read there"):
            read({"study": "new", "storage": storage, **self.COST}, tmp_path)

    @pytest.mark.parametrize("prefix", ["", "sqlite:///"])
    def test_no_file_is_made(self, tmp_path, prefix) -> None:
        missing = tmp_path / "missing.db"
        with pytest.raises(SpecError, match="there is no file"):
            read({"study": "old", "storage": f"{prefix}{missing}", **self.COST}, tmp_path)
        assert not missing.exists()

    def test_another_programs_database_is_left_as_it_is(self, tmp_path) -> None:
        file = tmp_path / "other.db"
        with closing(sqlite3.connect(file)) as database:
            database.execute("CREATE TABLE runs (name TEXT)")
        before = file.read_bytes()
        with pytest.raises(SpecError, match="is no storage of Optuna"):
            read({"study": "old", "storage": f"sqlite:///{file}", **self.COST}, tmp_path)
        assert file.read_bytes() == before

    def test_a_search_that_maximises_is_refused(self, tmp_path) -> None:
        file = tmp_path / "up.db"
        optuna.create_study(study_name="up", storage=f"sqlite:///{file}", direction="maximize")
        with pytest.raises(SpecError, match="does not minimise one value"):
            read({"study": "up", "storage": f"sqlite:///{file}", **self.COST}, tmp_path)


def test_a_journal_keeps_what_was_told(tmp_path: Path) -> None:
    trials = [{"params": {"beta": 0.5}, "value": 1.25}]
    event = TrialsTold("a", "study 'x'", trials, 2, images=10, billed=1.0, standard=None)
    journal = Journal(tmp_path / "j")
    journal.append(event)
    journal.commit()
    journal.close()
    again = Journal(tmp_path / "j")
    assert [entry.event for entry in again.entries] == [event]
    again.close()
