"""What a person sees of a study from outside."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.made_up import begin
from study import api
from study.journal import Journal, StudyHome
from study.journal.commands import send
from study.journal.events import (
    CapReached,
    LaunchBegan,
    Reported,
    StudyDescribed,
    StudyFinished,
    TrialSuspended,
)
from study.managing.showing import data_text, trial_text
from study.managing.status import Status, studies, studies_text, study_status
from study.metrics import metric
from study.search import Conductor
from study.spec import StudySpec
from vae_core.data import prepare
from vae_core.errors import UserError

CRASHED, RUNNING = "random.search.r0.0001", "random.search.r0.0002"


def arms(status: Status) -> dict[str, tuple[int, int]]:
    return {arm.arm: (arm.done, arm.planned) for arm in status.arms}


class TestStatus:
    def test_a_finished_study(self, told):
        status = study_status(told)
        assert (status.state, status.done, status.planned) == ("finished", 7, 7)
        assert arms(status) == {"random": (5, 5), "optimal": (2, 2)}
        assert status.left is None
        assert status.command.startswith("study report told")
        (wrong,) = status.wrong
        assert wrong.startswith(f"1 trial failed; the first was {CRASHED}: ")
        first, *_, last = str(status).splitlines()
        assert first.startswith("told: finished; 7 of 7 trials done; last entry 20")
        assert last == f"next: `{status.command}`"

    def test_the_best_of_an_arm_and_what_made_it(self, told):
        random, optimal = study_status(told).arms
        trials = api.load("told", home=told.studies, arrow=True)["trials"].to_pylist()
        values = {t["trial"]: t["objective"] for t in trials if t["objective"] is not None}
        least = min(value for trial, value in values.items() if trial.startswith("random"))
        assert random.best is not None
        assert random.best <= least, "a trial may have been better before its end"
        assert random.setting.startswith("beta=")
        assert optimal.setting == ""

    def test_a_study_that_chose_its_pair_and_looked_at_it(self, tell, told_spec, tmp_path):
        data = told_spec.to_dict()
        data["arms"]["learned"] = {"balancer": "learned_sigma"}
        seeds = {"until": "decided", "at_most": 9}
        status = study_status(tell({**data, "seeds": seeds, "choosing_seeds": 2}, tmp_path))
        assert arms(status) == {"random": (14, 14), "optimal": (11, 11), "learned": (2, 2)}
        pair, look = status.said
        assert pair == "the pair, chosen on validation: hand-tuned random against automatic optimal"
        assert look.startswith("look at 9 seeds: undecided, difference ")

    def test_a_study_that_searches_until_bounded(self, tell, told_spec, tmp_path):
        data = told_spec.to_dict()
        until = {"until": "bounded", "at_most": 3}
        data["arms"]["random"]["search"]["trials"] = until
        home = tell({**data, "choosing_seeds": 2}, tmp_path)
        (line,) = [line for line in study_status(home).said if "look at" in line]
        assert line.startswith("look at 3 trials of random: ")
        assert line.endswith(", not bounded")

    def test_one_that_is_still_searching_until_bounded(self, told_spec, tmp_path, follow_up):
        data = told_spec.to_dict()
        until = {"until": "bounded", "at_most": 30}
        data["arms"]["random"]["search"]["trials"] = until
        spec = StudySpec.from_dict({**data, "choosing_seeds": 2, "objective": "bits_per_dim"})
        home = StudyHome(tmp_path, "told")
        journal = begin(spec, home, [])
        follow_up(Conductor(spec, journal, dims=64, slots=1), 4)
        journal.close()
        status = study_status(home)
        assert status.state == "not running"
        assert arms(status)["random"][1] == 32, "at most, and the choosing runs"

    def test_the_best_has_its_objectives_digits(self, told):
        random = replace(study_status(told).arms[0], objective=metric("bits_per_dim"), best=0.24624)
        assert "best on validation 0.2462 by" in str(replace(study_status(told), arms=[random]))

    def test_a_verdict_is_of_the_last_report(self, told, tmp_path):
        shutil.copytree(told.path, tmp_path / "told")
        home = StudyHome(tmp_path, "told")
        api.report("told", home=tmp_path)
        (one,) = studies(tmp_path)
        assert (one.state, "before" in one.verdict) == ("finished", False)
        journal = Journal(home.path)  # as `study clean` opens it
        journal.close()
        assert studies(tmp_path)[0].state == "finished"
        journal = Journal(home.path)
        journal.append(LaunchBegan(journal.epoch, 1, "h", []))
        journal.commit()
        journal.close()
        (later,) = studies(tmp_path)
        assert later.state == "not running"
        assert later.verdict == f"{one.verdict} (before its last launch)"
        api.report("told", home=tmp_path)
        assert "before" not in studies(tmp_path)[0].verdict

    def test_a_study_that_is_not_running(self, conducting):
        conductor, home = conducting(3)
        conductor.journal.close()
        status = study_status(home)
        assert status.state == "not running"
        assert status.command.startswith("study resume told")
        assert arms(status)["random"] == (2, 5)

    def test_a_study_that_is_running(self, conducting):
        conductor, home = conducting(4)
        status = study_status(home)
        assert status.state == "running"
        assert status.left is None or status.left >= 0
        assert status.command.startswith("study watch told")
        conductor.journal.close()
        assert study_status(home).state == "not running"

    def test_a_study_whose_driver_is_gone(self, abandoned):
        status = study_status(abandoned)
        assert (status.state, status.left) == ("not running", None)
        assert status.wrong[-1].startswith("its driver sends no heartbeat any more, and a resume ")
        assert status.command.startswith("study resume told")
        assert [one.state for one in studies(abandoned.studies)] == ["not running"]

    def test_what_waits_and_what_was_wasted(self, conducting):
        conductor, home = conducting(4)
        assert len(study_status(home).wrong) == 1, "the trial that failed"
        seconds = {"training": 1.5, "evaluation": 0.5}
        conductor.note(Reported(RUNNING, 1, 1350, {}, seconds, "e2", redone=True))
        send(home.path, {"order": "retry", "trial": CRASHED})
        send(home.path, {"order": "stop", "arm": "optimal"})
        assert list(study_status(home).wrong[1:]) == [
            "1 report was trained for again",
            f"not executed yet: retry trial {CRASHED}",
            "not executed yet: stop arm optimal",
        ]

    def test_caps_and_what_is_spent_of_them(self, conducting):
        conductor, home = conducting(4)
        caps = {"max_images": 12_345_678, "max_device_hours": 0.5}
        spec = {**conductor.spec.to_dict(), **caps}
        conductor.note(StudyDescribed("told", spec, "", "1", roles={}))
        images, device_hours = study_status(home).said
        trained = sum(api.load("told", home=home.studies)["trials"].images)
        assert images == f"max_images 12,345,678: {trained:,} by the last entry"
        assert device_hours.startswith("max_device_hours 0.500: ")

    @pytest.mark.parametrize("copy", [None, "", "a: [", "max_images: 5\nobjective: none"])
    def test_the_copy_of_the_spec_for_people_changes_nothing(self, told, tmp_path, copy):
        shutil.copytree(told.path, tmp_path / "told")
        home = StudyHome(tmp_path, "told")
        if copy is None:
            home.spec.unlink()
        else:
            home.spec.write_text(copy)
        assert replace(study_status(home.recorded()), command="") == replace(
            study_status(told), command=""
        )
        assert [one.name for one in studies(tmp_path)] == ["told"]
        assert api.resume_spec("told", home=tmp_path) == api.resume_spec("told", home=told.studies)

    def test_a_study_that_a_cap_has_ended(self, conducting):
        conductor, home = conducting(4)
        conductor.note(CapReached("max_images", 2000, 4050.0))
        conductor.journal.close()
        assert study_status(home).state == "ended by max_images: 4,050 of 2,000"

    def test_a_finished_study_that_goes_on(self, conducting, follow_up):
        conductor, home = conducting(0)
        follow_up(conductor)
        conductor.note(StudyFinished())
        conductor.note(LaunchBegan(2, 1, "h", []))
        conductor.journal.close()
        assert study_status(home).state == "not running"


class TestList:
    def test_one_that_cannot_be_read_is_named_beside_the_others(self, told, tmp_path):
        shutil.copytree(told.path, tmp_path / "told")
        shutil.copytree(told.path, tmp_path / "file")
        (tmp_path / "file/journal/000001.log").unlink()
        (tmp_path / "file/journal/000001.log").mkdir()  # root may read all else
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/journal").symlink_to("journal")
        (tmp_path / "no_study").mkdir()
        found = {one.name: one for one in studies(tmp_path)}
        assert {name: one.state for name, one in found.items()} == {
            "told": "finished" if found["told"].verdict else "not running",
            "file": "unreadable",
            "folder": "unreadable",
        }
        assert f"unreadable   -{' ' * 24}{tmp_path}/folder/journal: cannot" in studies_text(
            tmp_path
        )
        for name, what in (("file", "Is a directory"), ("folder", "Too many levels of symb")):
            with pytest.raises(UserError, match=f"{name}/journal.*: cannot be read: {what}") as e:
                api.status(name, home=tmp_path)
            assert "--home" in e.value.remedy
        with pytest.raises(UserError, match=r"no study 'tell'\n.* file, folder, told"):
            api.status("tell", home=tmp_path)

    def test_while_a_launch_takes_the_lease(self, told, tmp_path):
        shutil.copytree(told.path, tmp_path / "told")
        beside = tmp_path / "told/journal/.000002.0123"  # removed as soon as it is linked
        beside.symlink_to("gone")
        assert [one.name for one in studies(tmp_path)] == ["told"]


class TestTrial:
    def test_what_happened_to_it(self, conducting):
        conductor, home = conducting(4)
        seconds = {"training": 1.0, "evaluation": 0.0}
        conductor.died(RUNNING, "e1")
        conductor.note(Reported(RUNNING, 1, 1350, {"beta": 77.0}, seconds, "e2", redone=True))
        conductor.note(TrialSuspended(RUNNING, "e2", {"training": 1.25}))
        conductor.stop(trial=RUNNING)
        text = trial_text(home, RUNNING)
        log = [line.partition("UTC  ")[2] for line in text.splitlines()[-7:]]
        assert log[0] == "asked"
        assert log[1].startswith("trains on e1")
        assert log[2:] == [
            "the process of e1, which trained it, died",
            "report 1 made again on e2",
            "suspended by e2, 1.2 s after its last report",
            "stopped by command, by itself",
            "pruned: stopped by hand after report 1",
        ]
        assert "77" not in text, "a report made again is in the log, not in the curve"

    def test_of_an_arm_that_was_stopped(self, conducting):
        conductor, home = conducting(4)
        conductor.stop(arm="random")
        text = trial_text(home, RUNNING)
        assert "stopped by command, with its arm\n" in text
        assert "stopped by command" not in trial_text(home, "optimal.confirm.r0.fixed.0000")

    def test_and_its_retry(self, conducting):
        conductor, home = conducting(4)
        again = conductor.retry(CRASHED)
        assert f"\nretried as {again}\n" in trial_text(home, CRASHED)
        assert f"asked, as a retry of {CRASHED}" in trial_text(home, again)

    def test_settings_curve_and_log(self, told):
        text = trial_text(told, "random.search.r0.0000")
        beta = text.split('searched: {"beta": ')[1].split("}")[0]
        assert text.startswith("random.search.r0.0000: search 0 of arm random, seed ")
        assert 'model: {"name": "mlp", "latent": 4, "width": 8}' in text
        assert f'balancer: {{"name": "fixed_beta", "beta": {beta}}}' in text
        assert '"epochs": 2.0' in text
        lines = [line.split() for line in text.splitlines()]
        curve = [line for line in lines if line[:1] in (["1"], ["2"])]
        assert [line[:4] for line in curve] == [
            ["1", "1,350", "3.2", "3"],
            ["2", "2,700", "3.2", "3"],
        ]
        assert "asked" in text
        assert 'trains on e1 ({"device": "cpu", "threads": 1, "width": 1})' in text
        assert "complete after report 2, value 1" in text
        assert "Traceback" not in text

    def test_a_crashed_trial_shows_why(self, told):
        text = trial_text(told, "random.search.r0.0001")
        assert "failed: crashed after report 1\n" in text
        assert text.endswith("RuntimeError: the decoder met its end")

    def test_an_unknown_trial_gives_the_nearest(self, told):
        with pytest.raises(UserError) as caught:
            trial_text(told, "optimal.confirm.r0.fixed.001")
        assert caught.value.what == "no trial 'optimal.confirm.r0.fixed.001'"
        assert caught.value.remedy.startswith("the nearest: optimal.confirm.r0.fixed.0001, ")

    def test_a_trial_of_a_study_that_has_none(self, tmp_path):
        home = StudyHome(tmp_path, "told")
        Journal(home.path).close()
        with pytest.raises(UserError, match="it has no trial yet"):
            trial_text(home, "x")


class TestData:
    def test_sources_and_what_is_prepared(self, tmp_path):
        assert data_text(tmp_path).splitlines() == [
            "sources: celeba, cifar10, digits, fashion_mnist, folder, mnist, parquet"
        ]
        prepared = prepare({"name": "digits"}, tmp_path / "data")
        np.testing.assert_array_equal(
            sorted(data_text(tmp_path).splitlines()[1:]),
            [
                f"  digits test: 297 images, {prepared.files['test']}",
                f"  digits train: 1,500 images, {prepared.files['train']}",
            ],
        )
