"""The command line's verbs as functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pyarrow as pa
import pytest
import yaml

import study
from study import api
from study.journal import HomeError, Journal, StudyHome, read_entries
from study.journal.backend import ReadOnlyError
from study.journal.events import LaunchBegan, StudyDescribed
from study.spec import SpecError, StudySpec, arm_roles, warnings
from study.spec.seeds import own_seeds


def test_the_package_offers_the_verbs():
    assert study.load is api.load
    for verb in study.__all__:
        assert getattr(study, verb) is getattr(api, verb)
    offered = {"launch", "resume", "fork", "stop", "retry", "clean", "verify", "report", "load"}
    offered |= {"export", "init", "plan", "replay", "storage", "compare", "doctor"}
    offered |= {"status", "studies", "dry_run"}
    assert offered | {"StudyWarning", "UserError"} == set(study.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        study.lunch  # noqa: B018


class TestLoad:
    def test_as_pandas(self, told):
        tables = study.load("told", home=told.studies)
        assert set(tables) == {"records", "trials"}
        trials, records = tables["trials"], tables["records"]
        assert isinstance(trials, pd.DataFrame)
        assert len(trials) == 3 + 2 + 2
        assert trials.state.value_counts().to_dict() == {"complete": 6, "failed": 1}
        assert len(records) == 6 * 2 + 1
        whole = records[records.trial == "optimal.confirm.r0.fixed.0000"]
        assert list(whole.images) == [1350, 2700]
        assert whole.validation_calibrated_negative_elbo.is_monotonic_decreasing

    def test_as_arrow_holds_the_same(self, told):
        tables = study.load("told", home=str(told.studies), arrow=True)
        assert all(isinstance(table, pa.Table) for table in tables.values())
        found = study.load("told", home=told.studies)
        found["trials"] = without_parameters(found["trials"])
        for name, table in tables.items():
            pd.testing.assert_frame_equal(table.to_pandas(), found[name])

    def test_searched_parameters_are_columns(self, told):
        trials = study.load("told", home=told.studies)["trials"]
        given = [json.loads(params).get("beta") for params in trials.params]
        assert trials.params_beta.tolist() == pytest.approx(
            [b or float("nan") for b in given], nan_ok=True
        )
        assert trials.params_beta.notna().sum() == 3 + 2

    def test_the_home_comes_from_the_environment(self, told, monkeypatch):
        monkeypatch.setenv("STUDY_HOME", str(told.studies))
        assert len(study.load("told")["trials"]) == 7

    def test_a_study_that_still_runs(self, conducting, tmp_path):
        conducting(3)
        trials = study.load("told", home=tmp_path)["trials"]
        assert list(trials.state)[:2] == ["complete", "failed"]


def test_report_writes_tables_report_and_figure(told):
    found = study.report("told", home=told.studies)
    assert found.name == "told"
    assert found.finished
    assert [arm.arm for arm in found.arms] == ["random", "optimal"]
    text = (told.report / "report.txt").read_text()
    assert "What does a reader see?" in text
    assert (told.figures / "search.png").read_bytes().startswith(b"\x89PNG")
    stored = pd.read_parquet(told.path / "trials.parquet")
    loaded = study.load("told", home=told.studies)["trials"]
    pd.testing.assert_frame_equal(stored, without_parameters(loaded))


def without_parameters(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.loc[:, ~trials.columns.str.startswith("params_")]


def test_the_studies_of_a_home_and_their_state(told, tmp_path):
    (told.studies / "data").mkdir(exist_ok=True)
    (told.studies / "begun_only").mkdir()
    assert [found.name for found in study.studies(home=told.studies)] == ["told"]
    assert str(study.status("told", home=told.studies)).startswith("told: ")
    assert study.studies(home=tmp_path / "nowhere") == []


def test_what_is_unfair_is_a_warning(told_spec, tmp_path, monkeypatch):
    monkeypatch.setattr("study.launching.driver.run", lambda *given: "a report")
    (tmp_path / "told.yaml").write_text(yaml.safe_dump(told_spec.to_dict()))
    with pytest.warns(study.StudyWarning) as found:
        study.launch(tmp_path / "told.yaml", home=tmp_path)
    expected = warnings(told_spec, arm_roles(told_spec))
    assert [str(each.message) for each in found] == expected
    assert found[0].filename == __file__


def test_the_frozen_spec_is_the_one_launched(told, told_spec):
    assert api.frozen_spec(told) == told_spec


class TestRunning:
    """What is handed to the driver; that it runs studies is shown elsewhere."""

    @pytest.fixture
    def ran(self, monkeypatch):
        """What the driver was asked to run: a spec and its options, one after another."""
        asked: list[Any] = []

        def run(spec, options, *aside):
            asked.extend((spec, options))
            return "a report"

        monkeypatch.setattr("study.launching.driver.run", run)
        return asked

    def test_resume_as_it_was_launched(self, told, told_spec, ran):
        assert study.resume("told", home=told.studies) == "a report"
        spec, options = ran
        assert spec == told_spec
        assert (options.home, options.data_root, options.address) == (told, None, None)
        assert not options.take_over

    def test_resume_with_changes(self, told, told_spec, ran):
        study.resume(
            "told",
            ["arms.random.search.trials=5", "seeds=[0, 1, 2]", "max_hours=2"],
            home=told.studies,
            data_root="here",
            address="auto",
            take_over=True,
        )
        spec, options = ran
        assert spec.arms["random"].search.trials == 5
        assert (spec.seeds, spec.max_hours) == ([0, 1, 2], 2)
        assert spec.training == told_spec.training
        assert (options.data_root, options.address) == (Path("here"), "auto")
        assert options.take_over

    def test_launch_takes_over(self, told_spec, tmp_path, ran):
        (tmp_path / "told.yaml").write_text(yaml.safe_dump(told_spec.to_dict()))
        study.launch(tmp_path / "told.yaml", home=tmp_path, take_over=True)
        assert ran[1].take_over
        study.launch(tmp_path / "told.yaml", home=tmp_path)
        assert not ran[3].take_over

    def test_fork_is_the_same_study_under_another_name(self, told, told_spec, ran):
        study.fork("told", "again", home=told.studies)
        spec, options = ran
        assert spec.to_dict() == {**told_spec.to_dict(), "name": "again"}
        assert options.home == StudyHome(told.studies, "again")
        assert not options.take_over

    def test_fork_has_seeds_of_its_own_unless_they_are_listed(self, tell, told_spec, tmp_path, ran):
        """Who forks has seen what the former seeds showed."""
        data = told_spec.to_dict()
        tell({**data, "name": "own", "seeds": own_seeds("own", 2)}, tmp_path)
        tell({**data, "name": "listed"}, tmp_path)
        for name in ("own", "listed"):
            study.fork(name, f"{name}-2", home=tmp_path)
        assert ran[0].seeds == own_seeds("own-2", 2)
        assert not {*ran[0].seeds} & {*own_seeds("own", 2)}
        assert ran[2].seeds == data["seeds"]

    def test_a_study_keeps_the_roles_that_it_began_with(self, told_spec, tmp_path, ran):
        """Under an earlier version a search of sigma's lower bound was automatic."""
        search = {"space": {"sigma_min": {"low": 0.01, "high": 0.1}}, "trials": 3}
        data = told_spec.to_dict()
        data["arms"]["optimal"] = {"balancer": "learned_sigma", "search": search}
        data["primary"] = {"hand_tuned": "random", "automatic": "optimal"}
        spec = StudySpec.from_dict(data)
        home = StudyHome(tmp_path, "told")
        home.make()
        journal = Journal(home.path)
        roles = {arm: {"hand_tuned": arm == "random", "why": ""} for arm in spec.arms}
        journal.append(StudyDescribed("told", spec.to_dict(), spec.hash, "1", roles=roles))
        journal.append(LaunchBegan(1, 1, "host", ["study"]))
        journal.commit()
        journal.close()
        assert arm_roles(spec)["optimal"]["hand_tuned"]
        study.resume("told", ["engines.count=1"], home=tmp_path)
        assert ran[0].engines.count == 1
        assert "no hand-tuned and automatic arm" not in str(study.plan(ran[0], home=tmp_path))

    def test_fork_with_what_no_extension_may_change(self, told, ran):
        study.fork("told", "longer", ["training.epochs=4", "model.latent=3"], home=told.studies)
        assert (ran[0].training.epochs, ran[0].model.latent) == (4, 3)

    def test_fork_of_a_study_that_chose_its_pair_may_name_it(self, tell, told_spec, tmp_path, ran):
        data = told_spec.to_dict()
        data["arms"]["learned"] = {"balancer": "learned_sigma"}
        home = tell({**data, "choosing_seeds": 2}, tmp_path)
        named = "primary={hand_tuned: random, automatic: optimal}"
        study.fork("told", "other", [named], home=home.studies)
        spec, _ = ran
        assert (spec.design, spec.choosing_seeds) == ("named", None)
        with pytest.raises(SpecError, match="begun by choosing its pair of arms") as caught:
            study.resume("told", [named], home=home.studies)
        assert caught.value.where == f"--set {named}: primary"
        assert "leave primary out, or begin another: `study fork" in str(caught.value)

    def test_fork_of_a_grid_with_more_points_visits_them_all(self, tell, told_spec, tmp_path, ran):
        data = told_spec.to_dict()
        space = {"beta": {"low": 0.001, "high": 10, "log": True, "points": 5}}
        data["arms"]["random"]["search"] = {"space": space, "sampler": "grid"}
        home = tell(data, tmp_path)
        points = "arms.random.search.space.beta.points=10"
        study.fork("told", "finer", [points], home=home.studies)
        study.fork("told", "part", [points, "arms.random.search.trials=7"], home=home.studies)
        assert [ran[i].arms["random"].search.trials for i in (0, 2)] == [10, 7]

    def test_no_fork_over_a_study(self, told, ran):
        with pytest.raises(HomeError, match="there is a study 'told' already") as caught:
            study.fork("told", "told", home=told.studies)
        assert "study resume told" in caught.value.remedy
        with pytest.raises(HomeError, match=r"'\.\./x' cannot be a study's name"):
            study.fork("told", "../x", home=told.studies)
        assert ran == []

    def test_fork_to_where_a_launch_died_before_it_began(self, conducting, ran):
        _, home = conducting(0)
        StudyHome(home.studies, "new").journal.mkdir(parents=True)
        study.fork("told", "new", home=home.studies)
        assert ran[0].name == "new"

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ("name=other", "the study's name is 'told'"),
            ("training.epoch=3", "unknown key 'epoch'"),
            ("training.epochs=-3", "-3"),
            ("arms.optimal.balancer=optimal", "unknown balancer 'optimal'"),
            ("seeds", "not an override"),
        ],
    )
    def test_changes_that_cannot_be_made(self, told, ran, change, what):
        with pytest.raises(SpecError, match=what) as caught:
            study.resume("told", [change], home=told.studies)
        assert caught.value.where.startswith(f"--set {change}")
        assert ran == []

    def test_the_settings_of_what_has_run_cannot_be_changed(self, told):
        with pytest.raises(SpecError, match=r"training\.epochs: 2\.0 -> 3.0"):
            study.resume("told", ["training.epochs=3"], home=told.studies)


class TestStorage:
    def test_shows_the_searches_to_optuna(self, told):
        storage = study.storage("told", home=told.studies)
        names = optuna.get_all_study_names(storage)
        assert names == ["random.search.r0", "optimal.confirm.r0.fixed", "random.confirm.r0.from0"]
        search = optuna.load_study(study_name=names[0], storage=storage)
        assert [trial.state.name for trial in search.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
        trials = study.load("told", home=told.studies)["trials"]
        assert search.best_value == trials[trials.phase == "search"].objective.min()
        assert search.best_trial.intermediate_values.keys() == {1, 2}

    def test_follows_a_study_that_runs(self, conducting, follow_up):
        conductor, home = conducting(3)
        storage = study.storage("told", home=home.studies)
        search = optuna.load_study(study_name="random.search.r0", storage=storage)
        assert [trial.state.name for trial in search.trials] == ["RUNNING"] * 3
        for trial in conductor.trials.values():
            conductor.returned(trial.name)
        follow_up(conductor)
        assert [trial.state.name for trial in search.trials] == ["COMPLETE", "FAIL", "COMPLETE"]

    def test_changes_nothing(self, told):
        before = list(read_entries(told.path))
        storage = study.storage("told", home=told.studies)
        with pytest.raises(ReadOnlyError, match="this storage is read-only"):
            optuna.create_study(storage=storage)
        with pytest.raises(ReadOnlyError):
            optuna.load_study(study_name="random.search.r0", storage=storage).ask()
        assert list(read_entries(told.path)) == before


@pytest.mark.parametrize("verb", [study.load, study.report, study.resume])
class TestNoStudy:
    def test_an_unknown_name_gives_the_nearest(self, told, verb):
        with pytest.raises(HomeError) as caught:
            verb("tolt", home=told.studies)
        assert caught.value.what == "no study 'tolt'"
        assert caught.value.where == str(told.studies)
        assert caught.value.remedy == "did you mean 'told'? known: told"

    @pytest.mark.parametrize("name", ["../told", "a/b", ".", "", "data", "mlartifacts", "a" * 101])
    def test_a_name_no_study_can_have(self, told, verb, name):
        with pytest.raises(HomeError, match="cannot be a study's name"):
            verb(name, home=told.studies)

    def test_a_home_that_is_not_there(self, tmp_path, verb):
        with pytest.raises(HomeError, match="no study 'told'"):
            verb("told", home=tmp_path / "nowhere")
        assert not (tmp_path / "nowhere").exists()

    def test_a_launch_that_failed_before_anything_was_recorded(self, tmp_path, verb, told_spec):
        home = StudyHome(tmp_path, "told")
        home.make()
        home.journal.mkdir()
        with pytest.raises(HomeError, match="its launch failed before anything was recorded"):
            verb("told", home=tmp_path)
        home.spec.write_text(yaml.safe_dump(told_spec.to_dict()))
        with pytest.raises(HomeError, match="its launch failed before anything was recorded"):
            verb("told", home=tmp_path)
