"""The first study file that is written for images of one's own, or copied."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import study
from study.launching.first_study import COPIES, FEWEST, FirstStudyError, study_of
from study.spec import StudySpec, arm_roles, load_spec, warnings
from study.spec.shipped import shipped_studies
from vae_core.data.look import Look
from vae_core.errors import DataError

SIDE = 8


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDY_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def images(folder: Path, count: int, mode: str = "RGB", side: int = SIDE) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side, len(mode)), np.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / f"{i:04}.png")
    return folder


def test_a_folder_of_images_becomes_a_study_that_loads_without_a_warning(place):
    made = study.init("folder", images(place / "My photos", 140))
    assert made.file == Path("My-photos.yaml")
    assert made.launch == "study launch My-photos"
    spec = load_spec("My-photos")
    assert spec.name == "My-photos"
    assert warnings(spec, arm_roles(spec)) == []
    source = spec.data.settings
    assert source["path"] == str(place / "My photos")
    assert (source["resize"], source["channels"], spec.data.validation) == (SIDE, 3, 0.2)
    assert spec.model.name == "mlp"
    assert spec.training.epochs == 95  # 600 batches of 16, of 101 images

    text = made.file.read_text()
    comment = " ".join(text.partition("\nname:")[0].replace("#", " ").split())
    trials, each, total = (
        int(number.replace(",", ""))
        for number in re.search(r"([\d,]+) trials of ([\d,]+) images, ([\d,]+)", comment).groups()
    )
    assert trials == sum(arm.trials for arm in made.estimate.arms) == 24 + 4 * 2 + 2 * 12
    assert trials * each == total
    assert "126 train, 14 test images, colour, 8x8" in comment
    assert [line for line in text.splitlines() if len(line) > 100 and "path: " not in line] == []
    assert str(made).splitlines()[-1] == "next: study launch My-photos"


def test_it_is_not_overwritten(place):
    (place / "photos.yaml").write_text("mine")
    with pytest.raises(FirstStudyError, match="not overwritten"):
        study.init("folder", images(place / "photos", 140))
    assert (place / "photos.yaml").read_text() == "mine"
    assert not (place / "studies").exists()


def test_settings_are_changed_before_it_is_written_and_count_for_what_follows(place):
    path = images(place / "photos", 140)
    given = ["name=other", "data.resize=4", "data.channels=1", "training.epochs=3"]
    made = study.init("folder", path, given, home=place / "elsewhere")
    assert made.file == Path("other.yaml")
    assert made.launch == f"study launch other --home {place}/elsewhere"
    spec = load_spec("other")
    assert (spec.data.settings["resize"], spec.data.settings["channels"]) == (4, 1)
    assert spec.training.epochs == 3
    assert spec.margin == pytest.approx(0.005 * np.log(2) * 16, rel=0.5)
    assert tuple(made.estimate.data.shape) == (1, 4, 4)


def test_a_parquet_file_with_images_of_its_own_for_validation_and_transparency(place):
    rng = np.random.default_rng(0)
    for split, count in {"train": 120, "validation": 20, "test": 20}.items():
        path = images(place / "files" / split, count, "RGBA")
        rows = [file.read_bytes() for file in sorted(path.iterdir())]
        table = pa.table({"image": rows, "label": rng.integers(0, 3, count)})
        (place / "table").mkdir(exist_ok=True)
        pq.write_table(table, place / "table" / f"{split}.parquet")
    spec = load_spec(study.init("parquet", place / "table").file)
    assert spec.data.name == "parquet"
    assert spec.data.settings["background"] == "white"
    text = (place / "table.yaml").read_text()
    assert "validation" not in yaml.safe_load(text)["data"]
    assert "validation images that the data bring" in " ".join(text.replace("#", " ").split())


@pytest.mark.parametrize(
    ("side", "device", "resize", "model"),
    [
        (70, "cpu", 32, "mlp"),
        (70, "cuda", 64, "conv"),
        (28, "cpu", 28, "mlp"),
        (28, "cuda", 28, "conv"),
        (20, "cuda", 20, "mlp"),
    ],
)
def test_size_and_model_follow_the_images_and_the_device(side, device, resize, model):
    counts = {"train": 5000, "test": 500}
    found = Look(counts, (side, side + 10), (side, side + 10), side, grey=True, transparent=False)
    made = study_of("mine", {"name": "folder", "path": "/p"}, found, device)
    assert (made["data"]["resize"], made["model"]["name"]) == (resize, model)
    assert made["data"]["validation"] == 0.1
    assert made["training"]["epochs"] == 9  # 600 batches of 64, of 4,500 images
    assert StudySpec.from_dict(made).margin == made["margin"]


def test_too_few_images_are_refused_before_anything_is_made(place):
    with pytest.raises(DataError, match="too few") as caught:
        study.init("folder", images(place / "photos", FEWEST))  # one in ten is test
    assert caught.value.where == str(place / "photos")
    assert sorted(path.name for path in place.iterdir()) == ["photos"]


@pytest.mark.parametrize("kind", [*COPIES, "fashion_mnist"])
def test_a_shipped_study_is_copied_as_it_is(place, kind):
    made = study.init(kind)
    name = COPIES.get(kind, kind)
    assert made.file.read_bytes() == shipped_studies()[name].read_bytes()
    assert str(made) == f"wrote {name}.yaml\nnext: study launch {name}"
    with pytest.raises(FirstStudyError, match="not overwritten"):
        study.init(kind)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "photos"), "'digits' is copied as it is"),
        (("digits", None, ["training.epochs=3"]), "'digits' is copied as it is"),
        (("folder",), "'folder' needs the folder of the images"),
        (("fold", "photos"), "'fold' is no kind of study"),
    ],
)
def test_arguments_that_do_not_go_together(place, arguments, message):
    with pytest.raises(FirstStudyError, match=message):
        study.init(*arguments)
    assert not [*place.iterdir()]
