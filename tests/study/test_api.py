"""The command line's verbs as functions."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
import yaml

import study
from study import api
from study.journal import HomeError, StudyHome


def test_the_package_offers_the_verbs():
    assert study.load is api.load
    assert {study.launch, study.resume, study.report} == {api.launch, api.resume, api.report}
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
        assert whole.validation_calibrated_elbo.is_monotonic_decreasing

    def test_as_arrow_holds_the_same(self, told):
        tables = study.load("told", home=str(told.studies), arrow=True)
        assert all(isinstance(table, pa.Table) for table in tables.values())
        expected = study.load("told", home=told.studies)
        for name, table in tables.items():
            pd.testing.assert_frame_equal(table.to_pandas(), expected[name])

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
    assert (told.report / "search.png").read_bytes().startswith(b"\x89PNG")
    stored = pd.read_parquet(told.path / "trials.parquet")
    pd.testing.assert_frame_equal(stored, study.load("told", home=told.studies)["trials"])


def test_the_frozen_spec_is_the_one_launched(told, told_spec):
    assert api.frozen_spec(told) == told_spec


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

    def test_a_launch_that_died_before_it_began(self, tmp_path, verb, told_spec):
        home = StudyHome(tmp_path, "told")
        home.make()
        home.journal.mkdir()
        with pytest.raises(HomeError, match="its launch ended before it began"):
            verb("told", home=tmp_path)
        home.spec.write_text(yaml.safe_dump(told_spec.to_dict()))
        with pytest.raises(HomeError, match="its launch ended before it began"):
            verb("told", home=tmp_path)
