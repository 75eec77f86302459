import io
import json
from datetime import date
from decimal import Decimal

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
    path.parent.mkdir(parents=True, exist_ok=True)
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
    check(data, "validation", range(30, 34))
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
    write(folder / "train-0.parquet", (), **columns)
    write(folder / "test-0.parquet", (), **{**columns, "after": other})
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


@pytest.mark.parametrize(
    ("train", "test", "kind", "numbers"),
    [
        ([2.0, None], [0.0, 5.0], pa.float64(), [2, -1, 0, 5]),  # pandas: whole numbers and a null
        ([2.0, float("nan")], [0.0, 5.0], pa.float32(), [2, -1, 0, 5]),
        ([1.5, -0.5], [0.0, 1.5], pa.float64(), [2, 0, 1, 2]),
        ([True, False], [None, True], pa.bool_(), [1, 0, -1, 1]),
        ([7, 3], [None, 7], pa.uint8(), [7, 3, -1, 7]),
        ([["b"], ["a", "b"]], [["b"], []], pa.list_(pa.string()), [1, 0, 1, 2]),
        (
            [date(2020, 1, 2), date(1999, 1, 1)],
            [None, date(2020, 1, 2)],
            pa.date32(),
            [1, 0, -1, 1],
        ),
        ([Decimal("0.5"), None], [Decimal("0.1")] * 2, pa.decimal128(3, 1), [1, -1, 0, 0]),
    ],
)
def test_labels_of_any_type_become_numbers(folder, store, train, test, kind, numbers):
    for split, labels, start in (("train", train, 0), ("test", test, 2)):
        images = pa.array([cell(start), cell(start + 1)], IMAGE)
        write(folder / f"{split}-0.parquet", (), picture=images, target=pa.array(labels, kind))
    data = prepared(folder, store)
    found = [*read(data.files["train"]).labels, *read(data.files["test"]).labels]
    assert found == numbers
    nulls = numbers[:2].count(-1)
    noted = {"labelled by column 'target'": 2 - nulls, "without a label": nulls}
    assert data.notes["train"] == {note: count for note, count in noted.items() if count}


def test_labels_that_are_numbers_here_and_text_there_are_refused(folder, store):
    for split, labels in (("train", [0, 1]), ("test", ["cat", "dog"])):
        images = pa.array([cell(0), cell(1)], IMAGE)
        write(folder / f"{split}-0.parquet", (), picture=images, label=labels)
    with pytest.raises(DataError, match="'label' are int64, and in other files they are not"):
        prepared(folder, store)


def test_a_label_of_more_than_64_bits_is_named(folder, store):
    images = pa.array([cell(0), cell(1)], IMAGE)
    labels = pa.array([0, 2**64 - 1], pa.uint64())
    write(folder / "train-0.parquet", (), picture=images, label=labels)
    with pytest.raises(DataError, match="no number of 64 bits") as error:
        prepared(folder, store)
    assert error.value.where.endswith("train-0.parquet, row 1")


def about(**features):
    """The metadata that Hugging Face's datasets writes: the features of each column."""
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.mark.parametrize(
    ("metadata", "labels"),
    [
        (
            about(image={"_type": "Image"}, kind={"names": ["a", "b"], "_type": "ClassLabel"}),
            [1, 0],
        ),
        (about(**{name: {"_type": "ClassLabel"} for name in ("kind", "other")}), [0, 0]),
        (about(gone={"_type": "ClassLabel"}), [0, 0]),
        ({"huggingface": "[1"}, [0, 0]),
        ({"huggingface": '{"info": [2]}'}, [0, 0]),
    ],
)
def test_labels_of_another_name_are_known_by_hugging_faces_metadata(
    folder, store, metadata, labels
):
    images = pa.array([cell(0), cell(1)], IMAGE)
    table = pa.table({"image": images, "other": [8, 9], "kind": [1, 0]})
    folder.mkdir()
    pq.write_table(table.replace_schema_metadata(metadata), folder / "train.parquet")
    write(folder / "test.parquet", range(2, 4))
    data = prepared(folder, store)
    assert read(data.files["train"]).labels.tolist() == labels
    assert ("without a label" in data.notes["train"]) == (labels == [0, 0])


ARRAY_3D = {
    b"ARROW:extension:name": b"datasets.features.features.Array3DExtensionType",
    b"ARROW:extension:metadata": b'[[5, 4, 3], "uint8"]',
}


def nested(depth, leaf, of=pa.list_):
    for _ in range(depth):
        leaf = of(leaf)
    return leaf


def tensors(pixels, permutation=None):
    """Pixels as tensors, stored as they are and read by ``permutation``."""
    kind = pa.fixed_shape_tensor(pa.uint8(), pixels.shape[1:], permutation=permutation)
    flat = pa.array(np.ascontiguousarray(pixels).ravel())
    rows = pa.FixedSizeListArray.from_arrays(flat, pixels[0].size)
    return pa.ExtensionArray.from_storage(kind, rows)


@pytest.mark.parametrize(
    ("make", "metadata"),
    [
        (lambda x: pa.array(x.tolist(), nested(3, pa.uint8())), None),
        (lambda x: pa.array(x.tolist(), nested(3, pa.uint8())), ARRAY_3D),
        (lambda x: pa.array(x.tolist(), nested(3, pa.int64(), pa.large_list)), None),
        (lambda x: pa.array(x.tolist(), pa.list_(pa.list_(pa.list_(pa.int32(), 3), 4), 5)), None),
        (lambda x: pa.array(x.transpose(0, 3, 1, 2).tolist(), nested(3, pa.int16())), None),
        (tensors, None),
        (lambda x: tensors(x.transpose(0, 3, 1, 2)), None),
        (lambda x: tensors(x.transpose(0, 3, 1, 2), [1, 2, 0]), None),
        (lambda x: tensors(x.transpose(0, 2, 3, 1), [2, 0, 1]), None),
    ],
)
def test_images_that_are_nested_lists_or_tensors(folder, store, make, metadata):
    folder.mkdir()
    for split, rows in (("train", range(30)), ("test", range(30, 40))):
        image = make(PIXELS[list(rows)])
        schema = pa.schema(
            [pa.field("image", image.type, metadata=metadata), ("label", pa.int64())]
        )
        table = pa.table([image, pa.array(rows)], schema=schema)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=8)
    data = prepared(folder, store)
    check(data, "train", range(30))
    check(data, "test", range(30, 40))


GREY = PIXELS[:, :4, :, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: pa.array(x.tolist(), nested(2, pa.uint8())),
        lambda x: pa.array(x[..., None].tolist(), nested(3, pa.uint8())),
        lambda x: pa.array(x[:, None].tolist(), nested(3, pa.uint8())),
        lambda x: pa.array(x.reshape(-1, 16).tolist(), pa.list_(pa.int64())),
        lambda x: pa.array(x.reshape(-1, 16).tolist(), pa.list_(pa.uint8(), 16)),
        tensors,
    ],
)
def test_grey_pixels_may_lack_channels_and_be_one_row(folder, store, make):
    write(folder / "train.parquet", (), pixels=make(GREY[:30]))
    write(folder / "test.parquet", (), pixels=make(GREY[30:]))
    data = prepared(folder, store)
    assert data.shape == (1, 4, 4)
    np.testing.assert_array_equal(read(data.files["train"]).pixels, GREY[:30].reshape(30, -1))


ONES = {1: [1] * 16, 2: [[1, 2]], 3: np.ones((5, 4, 3), int).tolist()}


@pytest.mark.parametrize(
    ("image", "kind", "reason"),
    [
        ((PIXELS[1] / 255).tolist(), nested(3, pa.float32()), "numbers are float32"),
        ((PIXELS[1].astype(int) * 2).tolist(), nested(3, pa.int64()), "not bytes from 0 to 255"),
        ((PIXELS[1].astype(int) - 1).tolist(), nested(3, pa.int64()), "not bytes from 0 to 255"),
        ([[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]], nested(3, pa.uint8()), "rows differ in length"),
        ([[[1, 2, None]]], nested(3, pa.uint8()), "a null among its numbers"),
        (np.ones((3, 5, 3), int).tolist(), nested(3, pa.uint8()), "not clear which side"),
        (np.ones((5, 5, 5), int).tolist(), nested(3, pa.uint8()), "not clear which side"),
        (np.ones((1, 2, 3, 4), int).tolist(), nested(4, pa.uint8()), "no height, width and"),
        ([1] * 15, pa.list_(pa.uint8()), "15 numbers in a row are no grey square"),
        ([], pa.list_(pa.uint8()), "0 numbers"),
        (None, nested(3, pa.uint8()), "the image is null"),
        (None, pa.list_(pa.uint8()), "the image is null"),
    ],
)
def test_numbers_that_are_no_picture_are_named(folder, store, image, kind, reason):
    images = pa.array([ONES.get(str(kind).count("list"), image), image], kind)
    write(folder / "train.parquet", (), image=images)
    write(folder / "test.parquet", (), image=images)
    with pytest.raises(DataError, match=reason) as error:
        prepared(folder, store)
    assert f"{folder / 'train.parquet'}, row" in error.value.where


def test_files_are_preferred_to_numbers_and_all_can_be_named(folder, store):
    columns = {
        "box": pa.array([[0, 0, 2, 2]] * 3, pa.list_(pa.int64())),
        "image": pa.array([cell(i) for i in range(3)], IMAGE),
        "pixels": pa.array(GREY[:3].tolist(), nested(2, pa.uint8())),
    }
    write(folder / "train.parquet", (), **columns)
    write(folder / "test.parquet", (), **{**columns, "image": columns["image"].take([2, 1, 0])})
    np.testing.assert_array_equal(
        read(prepared(folder, store).files["train"]).pixels, expected(range(3))
    )
    with pytest.raises(DataError, match="the test images are the train images"):
        prepared(folder, store, image="pixels")
    with pytest.raises(DataError, match="column 'image' holds images, not labels"):
        prepared(folder, store, label="image")


def test_validation_files_beside_test_files_are_the_validation_split(folder, store):
    write(folder / "data" / "train-00000-of-00001.parquet", range(20))
    write(folder / "data" / "valid-00000-of-00001.parquet", range(20, 27))
    write(folder / "data" / "test-00000-of-00001.parquet", range(27, 40))
    data = prepared(folder, store)
    check(data, "train", range(20))
    check(data, "validation", range(20, 27))
    check(data, "test", range(27, 40))


@pytest.mark.parametrize("splits", [("train",), ("train", "dev"), ("train", "dev", "test")])
def test_the_count_that_progress_shows_is_what_is_read(folder, store, splits):
    for i, split in enumerate(splits):
        write(folder / f"{split}.parquet", range(12 * i, 12 * i + 11))
    told = {}
    settings = {"name": "parquet", "path": str(folder)}
    data = prepare(settings, store, watch=lambda split, done, count: told.update({split: count}))
    assert told == data.counts


def test_text_that_only_validation_has_is_numbered_last(folder, store):
    for split, words in (("train", ["m", "z"]), ("dev", ["a", "z"]), ("test", ["z", "b"])):
        start = {"train": 0, "dev": 2, "test": 4}[split]
        images = pa.array([cell(start), cell(start + 1)], IMAGE)
        write(folder / f"{split}.parquet", (), image=images, label=words)
    data = prepared(folder, store)
    labels = {split: read(file).labels.tolist() for split, file in data.files.items()}
    assert labels == {"train": [1, 2], "validation": [3, 2], "test": [2, 0]}


def test_several_datasets_in_one_folder_are_not_pooled(folder, store):
    for name in ("plain", "cropped"):
        write(folder / name / "train-0.parquet", range(10))
    with pytest.raises(DataError, match="files of 2 folders: cropped, plain"):
        prepared(folder, store)


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
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("cifar_train.parquet", "cifar_test.parquet"),
    ],
)
def test_splits_are_known_by_any_usual_name(folder, store, train, test):
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


def test_a_file_whose_images_are_all_given_by_path_says_so(folder, store):
    paths = pa.struct([("bytes", pa.null()), ("path", pa.string())])
    write(folder / "train.parquet", (), img=pa.array([{"path": "a.png"}, None], paths))
    with pytest.raises(DataError, match=r"by path only: a.png\n.*data.name to folder"):
        prepared(folder, store)


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
