import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vae_core.data import prepare
from vae_core.data.splits import hold_out
from vae_core.data.store import read
from vae_core.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def cell(i):
    return {"bytes": png(PIXELS[i]), "path": f"{i}.png"}


def write(path, rows, **columns):
    path.parent.mkdir(exist_ok=True)
    columns = columns or {"img": pa.array([cell(i) for i in rows], IMAGE), "label": list(rows)}
    pq.write_table(pa.table(columns), path, row_group_size=8)


def prepared(folder, store, **settings):
    return prepare({"name": "parquet", "path": str(folder), **settings}, store)


def expected(rows):
    return PIXELS[list(rows)].transpose(0, 3, 1, 2).reshape(len(rows), -1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "hub"


def check(data, split, rows):
    stored = read(data.files[split])
    np.testing.assert_array_equal(stored.pixels, expected(rows))
    assert stored.labels.tolist() == list(rows)


def test_splits_are_the_files_of_their_prefix_in_order(folder, store):
    write(folder / "train-00001-of-00002.parquet", range(10, 30))
    write(folder / "train-00000-of-00002.parquet", range(10))
    write(folder / "validation-00000-of-00001.parquet", range(30, 34))
    write(folder / "test-00000-of-00001.parquet", range(34, 40))
    data = prepared(folder, store)
    assert data.shape == (3, 5, 4)
    check(data, "train", range(30))
    check(data, "test", range(34, 40))


def test_validation_files_are_the_test_split_if_there_is_no_other(folder, store):
    write(folder / "train-0.parquet", range(10))
    write(folder / "validation-0.parquet", range(30, 34))
    check(prepared(folder, store), "test", range(30, 34))


def test_one_row_in_ten_is_test_without_files_for_it(folder, store):
    write(folder / "train-0.parquet", range(15))
    write(folder / "train-1.parquet", range(15, 40))
    kept, held = hold_out(40, 4)
    data = prepared(folder, store)
    check(data, "train", kept)
    check(data, "test", held)


def test_columns_may_be_named(folder, store):
    other = pa.array([cell(i) for i in range(20, 23)], IMAGE)
    this = pa.array([cell(i) for i in range(3)], IMAGE)
    columns = {"before": other, "after": this, "label": [7, 7, 7], "fine": [0, 1, 2]}
    for split in ("train", "test"):
        write(folder / f"{split}-0.parquet", (), **columns)
    check(prepared(folder, store, image="after", label="fine"), "train", range(3))
    with pytest.raises(DataError, match=r"2 columns of images.*\n.*data.image.*before, after"):
        prepared(folder, store)
    with pytest.raises(DataError, match=r"no image column 'aftr'\n.*did you mean 'after'"):
        prepared(folder, store, image="aftr")
    with pytest.raises(DataError, match=r"no label column 'fin'\n.*did you mean 'fine'"):
        prepared(folder, store, image="after", label="fin")


def test_labels_that_are_missing_are_0_and_those_that_are_null_minus_1(folder, store):
    images = pa.array([cell(i) for i in range(2)], IMAGE)
    write(folder / "train-0.parquet", (), picture=images)
    write(folder / "test-0.parquet", (), picture=images, label=pa.array([3, None], pa.int64()))
    data = prepared(folder, store)
    assert read(data.files["train"]).labels.tolist() == [0, 0]
    assert read(data.files["test"]).labels.tolist() == [3, -1]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), None])
@pytest.mark.parametrize("name", ["label", "labels", "class"])
def test_labels_that_are_text_are_numbered_over_both_splits(folder, store, kind, name):
    words = {"train": ["dog", "bird"], "test": ["cat", None]}
    for split, start in (("train", 0), ("test", 2)):
        images = pa.array([cell(start), cell(start + 1)], IMAGE)
        labels = pa.array(words[split], kind or pa.string())
        labels = labels if kind else labels.dictionary_encode()
        write(folder / f"{split}-0.parquet", (), picture=images, **{name: labels})
    data = prepared(folder, store)
    assert read(data.files["train"]).labels.tolist() == [2, 0]
    assert read(data.files["test"]).labels.tolist() == [1, -1]


def test_labels_that_are_no_classes_are_refused(folder, store):
    images = pa.array([cell(i) for i in range(2)], IMAGE)
    for split in ("train", "test"):
        write(folder / f"{split}-0.parquet", (), picture=images, label=[0.5, 1.5], kind=[1, 0])
    with pytest.raises(DataError, match=r"column 'label' are double\n.*data.label"):
        prepared(folder, store)
    assert read(prepared(folder, store, label="kind").files["train"]).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]),
    ],
)
def test_images_of_every_binary_type_are_read(folder, store, kind):
    for split, rows in (("train", range(3)), ("test", range(3, 5))):
        images = [cell(i) if pa.types.is_struct(kind) else cell(i)["bytes"] for i in rows]
        columns = {"pixels": pa.array(images, kind), "label": list(rows)}
        write(folder / f"{split}-0.parquet", (), **columns)
    check(prepared(folder, store), "train", range(3))


def test_an_image_that_is_null_is_named(folder, store):
    images = pa.array([cell(0), None], IMAGE)
    for split in ("train", "test"):
        write(folder / f"{split}-0.parquet", (), img=images)
    with pytest.raises(DataError, match="the image is null") as error:
        prepared(folder, store)
    assert error.value.where == f"{folder / 'train-0.parquet'}, row 1"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/0000.parquet", "test/0000.parquet"),
        ("train.parquet", "valid-00000-of-00001.parquet"),
        ("Train_0001.parquet", "dev.parquet"),
        ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "validation-0.parquet"),
    ],
)
def test_splits_are_known_by_any_usual_name(folder, store, train, test):
    (folder / train).parent.mkdir(parents=True, exist_ok=True)
    write(folder / train, range(10))
    write(folder / test, range(30, 34))
    data = prepared(folder, store)
    check(data, "train", range(10))
    check(data, "test", range(30, 34))


def test_files_of_no_split_are_all_train(folder, store):
    write(folder / "0000.parquet", range(15))
    write(folder / "0001.parquet", range(15, 40))
    kept, held = hold_out(40, 4)
    data = prepared(folder, store)
    check(data, "train", kept)
    check(data, "test", held)


@pytest.mark.parametrize("name", ["test2-0.parquet", "extra.parquet", "0000.parquet"])
def test_a_file_that_may_be_of_either_split_is_refused(folder, store, name):
    write(folder / "train-0.parquet", range(10))
    write(folder / name, range(10, 20))
    with pytest.raises(DataError, match="looks like a split") as error:
        prepared(folder, store)
    assert error.value.what.startswith(name)


def test_resize_applies(folder, store):
    write(folder / "train-0.parquet", range(12))
    assert prepared(folder, store, resize=2).shape == (3, 2, 2)


def test_the_path_may_be_relative_to_the_data_root(folder, store):
    write(folder / "train-0.parquet", range(12))
    data = prepare({"name": "parquet", "path": folder.name}, store, folder.parent)
    assert data.counts == {"train": 11, "test": 1}


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_the_files_is_refused(folder, store, exists):
    if exists:
        folder.mkdir()
    with pytest.raises(DataError, match=r"no file train-\*" if exists else "no such folder") as e:
        prepared(folder, store)
    assert e.value.where == str(folder)


def test_a_file_without_images_is_refused(folder, store):
    write(folder / "train-0.parquet", (), text=["a"])
    with pytest.raises(DataError, match=r"0 columns of images.*\n.*text \(string\)"):
        prepared(folder, store)


def test_an_image_given_by_path_only_is_named(folder, store):
    images = pa.array([cell(0), {"bytes": None, "path": "1.png"}], IMAGE)
    write(folder / "train-0.parquet", (), img=images)
    write(folder / "test-0.parquet", (), img=images)
    with pytest.raises(DataError, match="by path only") as error:
        prepared(folder, store)
    assert error.value.where == f"{folder / 'train-0.parquet'}, row 1"


def test_an_image_of_another_shape_is_named(folder, store):
    odd = {"bytes": png(PIXELS[0, :3]), "path": ""}
    for split in ("train", "test"):
        images = pa.array([*map(cell, range(3)), odd], IMAGE)
        write(folder / f"{split}-0.parquet", (), img=images)
    with pytest.raises(DataError, match=r"its shape is 3x3x4, the first image's 3x5x4") as error:
        prepared(folder, store)
    assert error.value.where == f"{folder / 'train-0.parquet'}, row 3"
    assert not list(store.glob("*.arrow"))


@pytest.mark.parametrize("damage", ["truncate", "middle"])
def test_a_damaged_file_is_named(folder, store, damage):
    path = folder / "train-0.parquet"
    write(path, range(40))
    whole = path.read_bytes()
    changed = whole[:-100] if damage == "truncate" else whole[:20] + b"\0" * 90 + whole[110:]
    path.write_bytes(changed)
    with pytest.raises(DataError, match=r"damaged|not a readable image") as error:
        prepared(folder, store)
    assert str(path) in error.value.where
    assert not list(store.glob("*.arrow"))
