"""The classifier's features: learned, deterministic, made once, and honest about labels."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from vae_core.data import prepare
from vae_core.data.store import read
from vae_core.errors import DataError
from vae_core.evaluation.features import classifier
from vae_core.evaluation.kept import _head
from vae_core.geometry import ImageShape

module = sys.modules["vae_core.evaluation.features.classifier"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def digits(store):
    return prepare({"name": "digits"}, store)


@pytest.fixture(scope="module")
def features(digits, store):
    return classifier(digits, store, "cpu")


def images(prepared, split):
    stored = read(prepared.files[split])
    return torch.from_numpy(np.array(stored.pixels)).view(-1, *prepared.shape), stored.labels


def kept_file(store):
    (file,) = store.glob("*.kept")
    return file


def test_digits_are_classified(features, digits):
    about = features.describe()
    assert about["test_error"] < 0.05
    train, labels = images(digits, "train")
    test, answers = images(digits, "test")
    known, unseen = features(train / 256), features(test / 256)
    assert unseen.shape == (len(test), about["dims"])
    assert known.square().mean() == pytest.approx(1, rel=1e-5)
    # The features themselves hold what was learned: the nearest class's mean is nearly right.
    means = torch.stack([known[torch.from_numpy(labels == c)].mean(dim=0) for c in range(10)])
    nearest = torch.cdist(unseen, means).argmin(dim=1).numpy()
    assert np.mean(nearest == answers) > 0.95


def test_training_again_gives_the_same_network_whatever_was_drawn_before(
    features, digits, tmp_path
):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    with torch.no_grad():  # as a caller may be
        again = classifier(digits, tmp_path, "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert again.describe() == features.describe()
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(again(x), features(x), rtol=0, atol=0)


def test_features_do_not_depend_on_the_images_around(features):
    x = torch.rand(700, 1, 8, 8)
    whole = features(x)
    torch.testing.assert_close(features(x[600:601]), whole[600:601], rtol=1e-5, atol=1e-5)


def test_images_are_seen_as_bytes(features):
    values = torch.randint(256, (40, 1, 8, 8))
    dequantised = (values + torch.rand(values.shape) * 0.99) / 256
    torch.testing.assert_close(features(dequantised), features(values / 256), rtol=0, atol=0)


def test_it_is_trained_once_for_one_content(features, digits, store, monkeypatch):
    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "_trained", never)
    assert classifier(digits, store, "cpu").describe() == features.describe()
    elsewhere = type(digits).from_dict({**digits.to_dict(), "files": {}, "source": "a copy"})
    assert classifier(elsewhere, store, "cpu").describe() == features.describe()
    other = type(digits).from_dict({**digits.to_dict(), "sha256": {"train": "0", "test": "1"}})
    with pytest.raises(AssertionError, match="trained again"):
        classifier(other, store, "cpu")


def test_a_damaged_or_forged_file_is_made_anew(features, digits, store, tmp_path, monkeypatch):
    sound = kept_file(store)
    made = sound.read_bytes().partition(b"\n")[2]
    monkeypatch.setattr(module, "_trained", lambda *args: made)
    file = tmp_path / sound.name
    x = torch.rand(3, 1, 8, 8)
    forged = {"state": Touch(tmp_path / "harmed"), "classes": 10, "test_error": 0.0}
    torch.save(forged, tmp_path / "forged")
    body = (tmp_path / "forged").read_bytes()
    for content in (sound.read_bytes()[:-1], _head(body) + b"\n" + body):
        file.write_bytes(content)
        torch.testing.assert_close(classifier(digits, tmp_path, "cpu")(x), features(x))
        assert file.read_bytes() == sound.read_bytes()
    assert not (tmp_path / "harmed").exists()


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


TWICE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from vae_core.data import PreparedData
from vae_core.evaluation.features import classifier
module = sys.modules["vae_core.evaluation.features.classifier"]
train, store = module._trained, Path(sys.argv[1])

def counted(*args):
    with (store / "trainings").open("a") as file:
        file.write("once\\n")
    return train(*args)

module._trained = counted
prepared = PreparedData.from_dict(json.loads((store / "prepared.json").read_text()))
print(classifier(prepared, store, "cpu").describe()["sha256"])
"""


def test_two_processes_at_once_train_it_once(features, digits, tmp_path):
    (tmp_path / "prepared.json").write_text(json.dumps(digits.to_dict()))
    command = [sys.executable, "-c", TWICE, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate(timeout=120)[0].strip() for process in both}
    assert answers == {features.describe()["sha256"]}
    assert (tmp_path / "trainings").read_text() == "once\n"


def folder(path, labels, size=(9, 12), mode="RGB"):
    """A dataset of noise, brighter from class to class."""
    rng = np.random.default_rng(0)
    channels = (3,) if mode == "RGB" else ()
    for split in ("train", "test"):
        for i, label in enumerate(labels):
            pixels = rng.integers(0, 100, (*size, *channels)) + 100 * label
            file = path / split / str(label) / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return {"name": "folder", "path": str(path)}


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0] * 60, "60 training images of 1 class "), (range(20), "20 training images of 20 classes")],
)
def test_labels_that_teach_nothing_are_refused(tmp_path, labels, words):
    prepared = prepare(folder(tmp_path / "images", labels), tmp_path / "store", tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        classifier(prepared, tmp_path / "store", "cpu")
    assert "inception" in caught.value.remedy
    assert not list((tmp_path / "store").glob("*.kept"))


def test_colour_images_that_are_not_square(tmp_path):
    prepared = prepare(folder(tmp_path / "images", [0, 1] * 60), tmp_path / "store", tmp_path)
    features = classifier(prepared, tmp_path / "store", "cpu")
    assert prepared.shape == (3, 9, 12)
    assert features.describe()["test_error"] == 0
    assert features(torch.rand(4, 3, 9, 12)).shape == (4, 64)


@pytest.mark.parametrize(
    ("shape", "side"), [((1, 8, 8), 4), ((1, 28, 28), 7), ((3, 32, 32), 4), ((3, 64, 64), 4)]
)
def test_the_last_map_is_small_whatever_the_image(shape, side):
    network = module.Network(ImageShape(*shape), 10, 32)
    convolutions = torch.nn.Sequential(
        *[
            layer
            for layer in network.hidden
            if not isinstance(layer, torch.nn.Linear | torch.nn.Flatten)
        ]
    )
    assert convolutions(torch.zeros(2, *shape)).shape == (2, 64, side, side)


def test_images_that_are_not_what_was_prepared_are_refused(digits, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    files = {split: str(shutil.copy(file, store)) for split, file in digits.files.items()}
    swapped = {**digits.to_dict(), "files": {"train": files["test"], "test": files["train"]}}
    with pytest.raises(DataError, match="not the images it was prepared as"):
        classifier(type(digits).from_dict(swapped), store, "cpu")


def test_a_store_that_cannot_be_written_is_an_error_for_people(digits, tmp_path):
    blocked = tmp_path / "store"
    blocked.write_text("a file")
    with pytest.raises(DataError, match="cannot write to the data store"):
        classifier(digits, blocked, "cpu")
