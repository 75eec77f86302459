"""What a person sees of a study from outside."""

from __future__ import annotations

import numpy as np
import pytest

from study.inspection import data_text, status_text, trial_text
from study.journal import Journal, StudyHome
from vae_core.data import prepare
from vae_core.errors import UserError


class TestStatus:
    def test_a_finished_study(self, told):
        first, *arms = status_text(told).splitlines()
        assert first.startswith("told: finished; last entry 20")
        assert [line.split() for line in arms] == [
            ["random", "search", "2", "complete,", "1", "failed"],
            ["random", "confirm", "2", "complete"],
            ["optimal", "confirm", "2", "complete"],
        ]

    def test_a_study_nobody_runs(self, conducting):
        conductor, home = conducting(3)
        conductor.journal.close()
        text = status_text(home)
        assert text.startswith("told: not running; ")
        assert "1 complete" in text

    def test_a_study_that_is_run(self, conducting):
        conductor, home = conducting(3)
        assert status_text(home).startswith("told: being run by process ")
        conductor.journal.close()
        assert status_text(home).startswith("told: not running")


class TestTrial:
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
