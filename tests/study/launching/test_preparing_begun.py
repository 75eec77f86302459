"""What a launch takes up of a study that was begun."""

from __future__ import annotations

from study.journal import Entry
from study.journal.events import StudyDescribed
from study.launching.preparing import as_begun
from vae_core.data import PreparedData

THREE = ("train", "validation", "test")
DATA = PreparedData(
    "folder",
    (1, 8, 8),
    files={split: f"/d/{split}.arrow" for split in THREE},
    sha256={split: split * 8 for split in THREE},
    counts={"train": 90, "validation": 10, "test": 20},
    source="images",
)


def begun_with(data: PreparedData) -> list[Entry]:
    return [Entry(0, 0.0, StudyDescribed("old", {}, "", "", data=data.to_dict()))]


def test_a_study_begun_without_the_validation_images_of_its_data_goes_on_without():
    held_out = DATA.without_validation()
    assert as_begun(DATA, begun_with(held_out)) == held_out
    assert as_begun(held_out, begun_with(held_out)) == held_out


def test_other_studies_use_them():
    assert as_begun(DATA, []) == DATA
    assert as_begun(DATA, begun_with(DATA)) == DATA
