"""What the verbs that run, fork and control a study do, as a person meets them."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from commands import VERBS, WITH_ANOTHER_NAME, made, refusal, said, study

from benchmarks.made_up import begin, follow
from study import api
from study.journal import StudyHome
from study.journal.events import EngineChanged, StudyFinished
from study.launching.driver import StudyInterruptedError
from study.managing.control import stop_study
from study.search import Conductor


class TestRun:
    @pytest.mark.parametrize("verb", [["launch"], ["launch", "--dry-run"], ["data", "prepare"]])
    @pytest.mark.parametrize("home", ["file/home", "/proc/home"])
    def test_a_home_that_cannot_be_written(self, place, verb, home):
        (place / "file").write_text("in the way")
        text = refusal(*verb, "study.yaml", "--home", home)
        assert str(place / home) in text  # an absolute path stays what it is
        assert "home" in text.splitlines()[-1]
        assert not os.path.exists(home)

    @pytest.mark.parametrize("verb", VERBS)
    def test_no_such_study(self, told, place, verb):
        more = ["x"] if verb in WITH_ANOTHER_NAME else []
        text = refusal(verb, "tolt", *more, "--home", told.studies)
        assert text == f"{told.studies}: no study 'tolt'\n  did you mean 'told'? known: told\n"
        text = refusal(verb, "tolt", *more)
        assert text == f"{place / 'home'}: no study 'tolt'\n  nothing is known here\n"
        assert not (place / "home").exists()

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("name", ["../told", "/told", "a b", "data"])
    def test_a_name_with_path_characters(self, told, verb, name):
        more = ["x"] if verb in WITH_ANOTHER_NAME else []
        text = refusal(verb, name, *more, "--home", told.studies)
        assert text.startswith(f"'{name}' cannot be a study's name\n")

    def test_an_unreachable_ray_address(self, place):
        text = refusal("launch", "study.yaml", "--address", "127.0.0.1:1")
        assert text.startswith("--address: no Ray cluster answers at '127.0.0.1:1': ")
        assert not (place / "home").exists()

    def test_an_unreachable_mlflow_server(self, place, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        text = refusal("launch", "study.yaml")
        assert text.startswith(
            "MLFLOW_TRACKING_URI: no MLflow server answers at 'http://127.0.0.1:9'"
        )
        assert not (place / "home").exists()

    def test_a_study_that_has_run_with_other_settings(self, told, place):
        shutil.copytree(told.studies, place / "home")
        before = made(place)
        text = refusal("launch", "study.yaml", "--set", "name=told")
        assert text.startswith(f"{place / 'home/told/spec.yaml'}: the study has run already")
        assert "training.epochs: 2.0 -> 1.0" in text
        assert made(place) == before


class TestOutcome:
    def test_a_study_of_which_no_trial_completed_fails_with_the_cause(
        self, told_spec, place, monkeypatch
    ):
        home = StudyHome(place / "home", told_spec.name)
        engine = EngineChanged("e1", "started", "cpu", 1)
        journal = begin(told_spec, home, [engine])
        conductor = Conductor(told_spec, journal, dims=64, slots=1)
        traceback = "Traceback (most recent call last):\nRuntimeError: shapes do not match\n"
        end = {"state": "failed", "reason": "crashed", "traceback": traceback}

        def crash(request, step):
            made = {"step": step, "images": 0, "metrics": {}, "seconds": {}, "engine": "e1"}
            return {**made, "end": end}

        follow(conductor, crash)
        conductor.note(StudyFinished())
        journal.close()
        report = api.report(told_spec.name)
        monkeypatch.setattr("study.launching.driver.run", lambda *given: report)
        result = study("resume", told_spec.name)
        assert result.exit_code == 1
        assert said(result)[-1] == (
            "error: no trial of told completed; random.search.r0.0000 was the first to fail: "
            "crashed: RuntimeError: shapes do not match"
        )


class TestFork:
    def test_a_dry_run(self, told):
        result = study("fork", "told", "new", "--dry-run", "--home", told.studies)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("new would run 7 trials on ")
        assert result.stderr.startswith("warning: ")
        assert not (told.studies / "new").exists()

    def test_over_a_study(self, told):
        text = refusal("fork", "told", "told", "--home", told.studies)
        assert text.startswith(f"{told.studies}: there is a study 'told' already\n")

    def test_with_a_wrong_change(self, told):
        text = refusal("fork", "told", "new", "--set", "model.latent=0", "--home", told.studies)
        assert text.startswith("--set model.latent=0: model.latent: 0 ")

    @pytest.mark.parametrize("far", [True, False])
    def test_interrupted_goes_on_by_what_is_there(self, told, place, monkeypatch, far):
        def interrupted(spec, options, *aside):
            if far:
                shutil.copytree(told.path, options.home.path)
            raise StudyInterruptedError

        shutil.copytree(told.studies, place / "other")
        monkeypatch.setattr("study.launching.driver.run", interrupted)
        arguments = ["fork", "told", "new", "--home", "other"]
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        again = f"resume new --home {place}/other" if far else "fork told new --home other"
        assert said(result)[-1].endswith(f"Resume with: study {again}")


class TestControl:
    def test_a_command_and_when_it_is_executed(self, conducting, place):
        _, home = conducting(4)
        result = study("stop", "told", "--arm", "optimal", "--home", home.studies)
        assert result.exit_code == 0
        assert result.stdout.startswith(
            "command sent; the study's driver executes it within seconds"
        )
        result = study("retry", "told", "random.search.r0.0001", "--home", home.studies)
        assert (result.exit_code, result.stderr) == (0, "")
        status = study("status", "told", "--home", home.studies).stdout
        assert "not executed yet: stop arm optimal\n" in status
        assert "not executed yet: retry trial random.search.r0.0001\n" in status

    def test_wrong_use(self, told):
        text = refusal("stop", "told", "--home", told.studies)
        assert text.startswith("told: the study is not running\n")
        text = refusal("retry", "told", "optimal.confirm.r0.fixed.0000", "--home", told.studies)
        assert text.startswith("told: trial 'optimal.confirm.r0.fixed.0000' is complete\n")

    def test_what_fails_on_the_way_has_an_exit_code_of_its_own(self, conducting, monkeypatch):
        _, home = conducting(4)
        monkeypatch.setattr(stop_study, "__defaults__", (0.3,))
        result = study("stop", "told", "--home", home.studies)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: told: its driver has not executed the command ")
