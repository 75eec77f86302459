"""References: the right images, made once, checked when read, made anew when damaged."""

import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from vae_core.data import Dataset, prepare
from vae_core.errors import DataError
from vae_core.evaluation.distances import Statistics
from vae_core.evaluation.kept import kept
from vae_core.evaluation.references import References


class Halves:
    """The brightness of the upper and the lower half; counts what it has seen."""

    name = "halves"

    def __init__(self, version="1"):
        self.version, self.seen = version, 0

    def describe(self):
        return {"network": "means", "sha256": self.version, "dims": 2}

    def __call__(self, x):
        self.seen += len(x)
        return x.flatten(1).unflatten(1, (2, -1)).mean(dim=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare({"name": "digits"}, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def data(prepared):
    return Dataset.open(prepared, validation=300)


def test_a_reference_is_of_images_spread_evenly_over_the_split(prepared, data, tmp_path):
    found = References(prepared, tmp_path).of(Halves(), data.train, "train", 100)
    rows = data.train.index[np.arange(100) * len(data.train) // 100]
    expected = Halves()(torch.from_numpy(data.train.pixels[rows]).view(-1, 1, 8, 8) / 256)
    torch.testing.assert_close(found.features, expected, rtol=0, atol=0)
    assert found.features.dtype == torch.float32
    statistics = Statistics.of(expected)
    torch.testing.assert_close(found.statistics.mean, statistics.mean, rtol=0, atol=0)
    torch.testing.assert_close(found.statistics.cov, statistics.cov, rtol=0, atol=0)
    assert found.statistics.n == 100
    whole = References(prepared, tmp_path).of(Halves(), data.test, "test", 10**6)
    assert whole.statistics.n == len(data.test)


def test_it_is_computed_once_for_images_and_network(prepared, data, tmp_path):
    network = Halves()
    references = References(prepared, tmp_path)
    first = references.of(network, data.test, "test", 50)
    assert references.of(network, data.test, "test", 50) is first
    again = References(prepared, tmp_path).of(network, data.test, "test", 50)
    torch.testing.assert_close(again.features, first.features, rtol=0, atol=0)
    assert network.seen == 50
    less = Dataset.open(prepared, validation=200)
    others = [
        (Halves("2"), data.test, "test", 50),
        (Halves(), data.test, "test", 51),
        (Halves(), data.validation, "validation", 50),
        (Halves(), data.train, "train", 50),
        (Halves(), less.validation, "validation", 50),
        (Halves(), less.train, "train", 50),
    ]
    for features, *what in others:
        References(prepared, tmp_path).of(features, *what)
        assert features.seen == what[2]
    assert len(list(tmp_path.glob("*.kept"))) == 1 + len(others)


def test_validation_images_that_the_data_bring_are_told_from_those_held_out(
    prepared, data, tmp_path
):
    References(prepared, tmp_path).of(Halves(), data.validation, "validation", 50)
    own = replace(prepared, sha256={**prepared.sha256, "validation": "of its own"})
    network = Halves()
    References(own, tmp_path).of(network, data.validation, "validation", 50)
    assert network.seen == 50


def test_the_same_images_prepared_elsewhere_have_the_same_reference(prepared, data, tmp_path):
    References(prepared, tmp_path).of(Halves(), data.test, "test", 50)
    copy, network = prepare({"name": "digits"}, tmp_path / "copy"), Halves()
    References(copy, tmp_path).of(network, Dataset.open(copy, 300).test, "test", 50)
    assert network.seen == 0


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-100],
        lambda content: content.replace(b"mean", b"meen", 1),
        lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
        lambda content: b"",
    ],
)
def test_a_damaged_file_is_made_anew(prepared, data, tmp_path, harm):
    first = References(prepared, tmp_path).of(Halves(), data.test, "test", 200)
    (file,) = tmp_path.glob("*.kept")
    sound = file.read_bytes()
    file.write_bytes(harm(sound))
    assert file.read_bytes() != sound
    network = Halves()
    again = References(prepared, tmp_path).of(network, data.test, "test", 200)
    assert network.seen == 200
    torch.testing.assert_close(again.features, first.features, rtol=0, atol=0)
    assert file.read_bytes() == sound
    assert not list(tmp_path.glob(".*.partial"))


def test_what_fails_while_it_is_made_leaves_nothing(tmp_path):
    def fails():
        raise OSError("the network's own trouble")

    with pytest.raises(OSError, match="own trouble"):
        kept(tmp_path / "thing", fails, bytes.decode)
    assert not (tmp_path / "thing").exists()
    assert kept(tmp_path / "thing", lambda: b"made", bytes.decode) == "made"


def test_a_kept_thing_is_found_where_nothing_can_be_written(tmp_path):
    path = tmp_path / "thing"
    kept(path, lambda: b"made", bytes.decode)
    path.with_name(".thing.lock").unlink()
    path.with_name(".thing.lock").mkdir()  # opening it would fail
    assert kept(path, lambda: b"again", bytes.decode) == "made"
    path.unlink()
    with pytest.raises(DataError, match="cannot write to the data store"):
        kept(path, lambda: b"again", bytes.decode)


def test_many_at_once_make_it_once(tmp_path):
    made, found = [], []

    def make():
        made.append(1)
        time.sleep(0.2)
        return b"made"

    def ask():
        found.append(kept(Path(tmp_path / "thing"), make, bytes.decode))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["made"] * 4
    assert len(made) == 1
