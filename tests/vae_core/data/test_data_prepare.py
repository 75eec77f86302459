import fcntl
import inspect
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vae_core.data import SOURCES, Dataset, PreparedData, Source, build_source, prepare
from vae_core.errors import ContractError, DataError
from vae_core.geometry import ImageShape

DIGITS = {"name": "digits"}


def left_in(store: Path) -> list[str]:
    return sorted(p.name for p in store.iterdir() if p.suffix != ".lock")


@pytest.fixture
def digits(store):
    return prepare(DIGITS, store)


def test_the_digits_are_scikit_learns(digits):
    assert (digits.shape, digits.counts) == ((1, 8, 8), {"train": 1500, "test": 297})
    data = Dataset.open(digits, 0.1)
    assert data.shape == ImageShape(1, 8, 8)
    ours = np.concatenate([data.train.pixels, data.test.pixels])
    theirs = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))
    assert ours.max() == 255
    labelled = {bytes(x): y for x, y in zip(theirs, load_digits().target, strict=True)}
    for row, label in zip(data.test.pixels, data.test.labels, strict=True):
        assert labelled[bytes(row)] == label


def test_the_parts_are_disjoint_and_cover_the_files(digits):
    data = Dataset.open(digits, 200)
    assert (len(data.train), len(data.validation), len(data.test)) == (1300, 200, 297)
    assert sorted([*data.train.index, *data.validation.index]) == list(range(1500))
    assert data.test.index.tolist() == list(range(297))
    whole = Dataset.open(digits, 1)
    labels = np.empty(1500, np.int64)
    labels[data.train.index], labels[data.validation.index] = (
        data.train.labels,
        (data.validation.labels),
    )
    np.testing.assert_array_equal(labels[whole.train.index], whole.train.labels)


def test_train_and_validation_share_the_map_and_a_second_opening_splits_alike(digits):
    one, two = Dataset.open(digits, 0.2), Dataset.open(digits, 0.2, verify=False)
    assert np.shares_memory(one.train.pixels, one.validation.pixels)
    assert not one.train.pixels.flags.writeable
    np.testing.assert_array_equal(one.validation.index, two.validation.index)


def test_prepared_data_survives_json_and_pickle(digits):
    assert PreparedData.from_dict(json.loads(json.dumps(digits.to_dict()))) == digits
    assert pickle.loads(pickle.dumps(digits)) == digits


def test_prepared_data_are_used_again(store, digits):
    before = {p: Path(p).stat().st_mtime_ns for p in digits.files.values()}
    assert prepare(DIGITS, store) == digits
    assert {p: Path(p).stat().st_mtime_ns for p in digits.files.values()} == before


def test_what_is_prepared_needs_no_lock_as_it_may_be_another_users(store, digits):
    with (store / ".digits.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert prepare(DIGITS, store) == digits


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_damaged_files_are_refused_when_opened_and_made_anew_when_prepared(
    store, digits, split, damage
):
    path = Path(digits.files[split])
    whole = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flip":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"\.arrow: .*(damaged|missing).*\n.*launch the study"):
        Dataset.open(digits, 0.1)
    assert prepare(DIGITS, store) == digits
    assert path.read_bytes() == whole


def test_a_file_with_other_content_is_not_opened(store, digits, own):
    other = prepare({"name": own("Noise"), "side": 8}, store)
    Path(other.files["test"]).replace(digits.files["test"])
    with pytest.raises(DataError, match="not the images it was prepared as"):
        Dataset.open(digits, 0.1, verify=False)


def test_ones_own_source_by_import_path(store, own):
    prepared = prepare({"name": own("Noise"), "count": 30}, store)
    data = Dataset.open(prepared, 0.5)
    assert (prepared.name, prepared.shape) == (own("Noise"), (1, 3, 3))
    assert sorted([*data.train.labels, *data.validation.labels]) == list(range(30))


def test_the_source_in_the_docstring_is_one(store, tmp_path, monkeypatch):
    example = textwrap.dedent(inspect.getdoc(Source).split("source::")[1])
    text = f"import numpy as np\nfrom vae_core.data import Source\n{example}"
    (tmp_path / "example_source.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    prepared = prepare({"name": "example_source:Stripes", "count": 9}, store)
    assert (prepared.shape, prepared.counts["test"]) == ((1, 16, 16), 9)


def test_other_settings_make_other_files(store, own):
    small = prepare({"name": own("Noise"), "count": 30}, store)
    large = prepare({"name": own("Noise"), "count": 40}, store)
    assert (small.counts["test"], large.counts["test"]) == (30, 40)
    assert len(left_in(store)) == 4
    assert len(Dataset.open(small, 3).test) == 30


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("(x / 255, y)", "images are float64"),
        ("(x, y[:-1])", "labels are int64"),
        ("(x[..., :2], y)", "images of shape 1x3x2 after 1x3x3"),
    ],
)
def test_a_source_that_breaks_the_contract_leaves_nothing(store, own, fault, message):
    with pytest.raises(ContractError, match=message) as error:
        prepare({"name": own("Noise"), "fault": fault}, store)
    assert error.value.where == "dataset 'my_sources:Noise', test split"
    assert left_in(store) == []


def test_a_source_may_bring_validation_images(store, own):
    prepared = prepare({"name": own("Three")}, store)
    assert prepared.counts == {"train": 20, "validation": 20, "test": 20}
    assert str(prepared).startswith("20 train, 20 validation and 20 test images of 1x3x3: noise")
    data = Dataset.open(prepared, 0.5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 20, 20]
    first = np.random.default_rng(1).integers(0, 256, (7, 9), np.uint8)
    np.testing.assert_array_equal(data.validation.pixels[data.validation.index[:7]], first)
    less = prepared.without_validation()
    assert set(less.files) == set(less.sha256) == set(less.counts) == {"train", "test"}
    assert len(Dataset.open(less, 0.5).validation) == 10


def test_other_splits_are_refused(store, own):
    with pytest.raises(ContractError, match="splits are train, rest"):
        prepare({"name": own("Halves")}, store)


def test_the_progress_can_be_watched(store, own):
    seen = []
    prepare({"name": own("Three")}, store, watch=lambda *state: seen.append(state))
    assert [done for split, done, _ in seen if split == "train"] == [0, 7, 14, 20]
    assert {count for *_, count in seen} == {None}
    prepare({"name": own("Three")}, store, watch=lambda *state: seen.append(state))
    assert len(seen) == 12  # nothing was prepared


def test_prepared_images_with_nothing_in_them_are_not_used(store, own, monkeypatch):
    from vae_core.data import dataset

    with monkeypatch.context() as before:  # as by a version that did not look
        before.setattr(dataset, "fault_of", lambda pixels, shape: None)
        prepare({"name": own("Blank")}, store)
    files = left_in(store)
    assert len(files) == 2
    with pytest.raises(DataError, match="all 9 train images are the same"):
        prepare({"name": own("Blank")}, store)
    assert left_in(store) == files


def test_an_interrupt_between_the_splits_leaves_nothing(store, own):
    with pytest.raises(KeyboardInterrupt):
        prepare({"name": own("Raising")}, store)
    assert left_in(store) == []


def test_splits_of_different_shapes_are_refused(store, own):
    with pytest.raises(DataError, match="test images of shape 1x2x2 beside train images"):
        prepare({"name": own("Shapes")}, store)
    assert left_in(store) == []


def test_an_empty_source_is_refused(store, own):
    with pytest.raises(ContractError, match="no images"):
        prepare({"name": own("Empty")}, store)


def test_a_pinned_source_with_other_content_has_a_wrong_checksum(store, own):
    with pytest.raises(DataError, match="wrong checksum"):
        prepare({"name": own("Pinned")}, store)
    assert left_in(store) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "digitz"}, "unknown dataset 'digitz'\n.*did you mean 'digits'"),
        ({"name": "digits", "crop": 3}, "dataset 'digits' has no setting 'crop'"),
        ({"name": "celeba", "corp": 3}, "no setting 'corp'\n.*did you mean 'crop'"),
        ({"name": "folder"}, "dataset 'folder': missing a required argument: 'path'"),
        ({"name": "no_such_module:Source"}, "cannot be imported"),
        ({"name": "my_sources:Other"}, "is not a data source"),
        ({"name": "my_sources:Unfinished"}, "lacks read"),
        ({"name": "../digits"}, "unknown dataset"),
    ],
)
def test_a_wrong_name_or_setting_is_refused(store, own, settings, message):
    with pytest.raises(ContractError, match=message):
        prepare(settings, store)
    assert not store.exists()


def test_a_missing_data_root_is_named_before_anything_is_made(store, tmp_path):
    with pytest.raises(DataError, match="no such folder") as error:
        prepare(DIGITS, store, tmp_path / "none")
    assert error.value.where == str(tmp_path / "none")
    assert "data root" in error.value.remedy
    assert not store.exists()


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write") as error:
        prepare(DIGITS, tmp_path / "file" / "store")
    assert error.value.where == str(tmp_path / "file" / "store")


def test_built_in_names_build_with_their_defaults():
    assert {"digits", "mnist", "fashion_mnist", "cifar10", "celeba", "folder", "parquet"} <= {
        *SOURCES.names()
    }
    for name in ("digits", "mnist", "fashion_mnist", "cifar10", "celeba"):
        build_source({"name": name})


def test_two_processes_prepare_the_same_data_at_once(store, own):
    script = (
        "import sys; from pathlib import Path; from vae_core.data import prepare; "
        "print(prepare({'name': sys.argv[2]}, Path(sys.argv[1])).sha256['train'])"
    )
    command = [sys.executable, "-c", script, str(store), own("Noise")]
    environment = {**os.environ, "PYTHONPATH": str(store.parent / "own_module")}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    said = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    assert len(left_in(store)) == 2


def test_a_light_process_opens_the_store_without_torch(store, digits):
    script = """
import sys
from pathlib import Path
from vae_core.data import Dataset, prepare
Dataset.open(prepare({"name": "digits"}, Path(sys.argv[1])), 0.1)
heavy = {"torch", "torchvision", "sklearn", "ray", "optuna", "mlflow"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", script, str(store)], check=True)
