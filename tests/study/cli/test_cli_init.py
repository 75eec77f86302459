"""``study init`` as it is typed, and shipped studies by name."""

from __future__ import annotations

from commands import refusal, study

from study.package import SHIPPED


def test_without_a_kind_the_digits_study_is_copied_and_the_next_command_said(place):
    result = study("init")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["wrote quickstart.yaml", "next: study launch quickstart"]
    assert (place / "quickstart.yaml").read_text().startswith("# Does it pay")
    assert refusal("init").startswith("quickstart.yaml: there is such a file already")


def test_a_kind_that_is_none_names_the_kinds():
    text = refusal("init", "parket")
    assert "did you mean 'parquet'?" in text
    assert "folder" in text


def test_a_home_of_ones_own_is_part_of_the_next_command(place):
    assert study("init", "paper", "--home", place / "there").stdout.splitlines()[-1] == (
        f"next: study launch lin2019_fashion --home {place}/there"
    )


def test_an_override_that_a_shipped_study_does_not_take_names_it():
    assert "--set training.epoch=1" in refusal("launch", "quickstart", "--set", "training.epoch=1")


def test_help_says_where_the_documents_are():
    assert str(SHIPPED / "README.md") in study("--help").stdout.replace("\n", "")
