"""Parts of one's own that break their contract, and interruptions, as a person meets them."""

from __future__ import annotations

import sys

import pytest
from commands import BY_LAUNCH, made, refusal, said, study


class TestOwn:
    """Things of the user's own, found in the current folder."""

    def test_all_of_them_in_a_dry_run(self, place, own):
        result = study(
            *("launch", "study.yaml", "--dry-run", "--set", "training.epochs=4"),
            *("--set", f"model={{name: '{own}:Plain', latent: 4}}"),
            *("--set", f"data={own}:Noise"),
            *("--set", f"arms.learned.balancer={own}:Halves"),
        )
        assert result.exit_code == 0, result.output
        assert "learned" in result.stdout

    @pytest.mark.parametrize("dry", [BY_LAUNCH, ["--dry-run"]])
    def test_a_model_that_breaks_its_contract(self, place, own, dry):
        change = f"model={{name: '{own}:Dropping', latent: 4}}"
        text = refusal("launch", "study.yaml", "--set", change, *dry)
        assert text.startswith("model: Dropping draws random numbers of its own, in the model")
        assert not (place / "home" / "small").exists()

    def test_a_balancer_that_breaks_its_contract(self, place, own):
        text = refusal("launch", "study.yaml", "--set", f"arms.learned.balancer={own}:Mixing")
        assert "balancer 'mixing' gives a member other numbers alone than among others" in text
        assert "arms.learned.balancer" in text
        assert not (place / "home").exists()

    @pytest.mark.parametrize(
        ("key", "name", "what"),
        [
            ("model.name", "Noise", "is not a model"),
            ("data", "Plain", "is not a data source"),
            ("arms.learned.balancer", "Plain", "is <class"),
            ("model.name", "Nothing", "has no attribute 'Nothing'"),
        ],
    )
    def test_something_else(self, place, own, key, name, what):
        text = refusal("launch", "study.yaml", "--set", f"{key}={own}:{name}")
        assert what in text
        assert not (place / "home").exists()


class TestInterruption:
    @pytest.mark.studies
    @pytest.mark.parametrize("name", ["CutShort", "Interrupted"])
    def test_exit_code_and_how_to_go_on(self, place, own, monkeypatch, name):
        change = f"data={own}:{name}"
        arguments = ["launch", "study.yaml", "--set", change]
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        assert result.stdout == ""
        assert said(result) == [
            f"interrupted; nothing is lost. Resume with: study launch study.yaml --set {change}"
        ]
        assert made(place) == ["data"]

    @pytest.mark.studies
    def test_going_on_takes_nothing_over(self, own, monkeypatch):
        arguments = ["launch", "study.yaml", "--take-over", "--set", f"data={own}:CutShort"]
        monkeypatch.setattr(sys, "argv", ["study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        assert result.stderr.endswith(f": study launch study.yaml --set data={own}:CutShort\n")

    def test_other_verbs(self, own):
        result = study("data", "prepare", "study.yaml", "--set", f"data={own}:CutShort")
        assert result.exit_code == 130
