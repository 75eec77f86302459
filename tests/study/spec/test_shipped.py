"""Which file a name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.package import SHIPPED
from study.spec import SpecError, load_spec
from study.spec.shipped import STUDIES, shipped_studies, study_file

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_studies_are_the_repositorys():
    assert shipped_studies().keys() == {f.stem for f in (ROOT / "search_spaces").glob("*.yaml")}
    assert STUDIES.samefile(ROOT / "search_spaces")
    assert (SHIPPED / "docs").samefile(ROOT / "docs")


def test_a_name_is_that_of_a_file_here_before_a_shipped_one(place):
    assert study_file("quickstart") == STUDIES / "quickstart.yaml"
    assert load_spec("quickstart").name == "quickstart"
    (place / "quickstart").mkdir()  # a folder is no study
    assert study_file("quickstart") == STUDIES / "quickstart.yaml"
    (place / "quickstart.yaml").write_text((STUDIES / "cifar10.yaml").read_text())
    assert study_file("quickstart") == Path("quickstart.yaml")
    assert load_spec("quickstart").name == "cifar10"


def test_a_path_is_never_another_file(place):
    (place / "mine").write_text("")
    assert study_file("mine") == Path("mine")
    for path in ("quickstart.yaml", "sub/quickstart"):
        assert study_file(path) == Path(path)


def test_a_name_of_neither_says_which_there_are(place):
    (place / "mine.yaml").write_text("")
    with pytest.raises(SpecError, match="no such file") as caught:
        load_spec("quickstrat")
    assert "known: mine.yaml; shipped studies: did you mean 'quickstart'?" in caught.value.remedy
    with pytest.raises(SpecError, match="no such file") as caught:
        load_spec("quickstrat.yaml")
    assert "shipped" not in caught.value.remedy
