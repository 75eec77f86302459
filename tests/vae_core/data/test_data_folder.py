import os
import struct

import numpy as np
import pytest
from PIL import Image

from vae_core.data import Dataset, prepare
from vae_core.data.decode import decode
from vae_core.data.splits import hold_out
from vae_core.data.store import read
from vae_core.errors import DataError


def prepared(path, store, **settings):
    return prepare({"name": "folder", "path": str(path), **settings}, store)


def pixels(data, split):
    return read(data.files[split]).pixels


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_train_and_test_folders_are_read_in_order_of_name(images, picture, store):
    names = ["train/a/deep/1.png", "train/b/1.bmp", "train/b/2.PNG", "test/b/9.png"]
    made = {name: picture(images / name).ravel() for name in names}
    (images / "train" / "notes.txt").write_text("not an image")
    (images / "train" / "._1.png").write_text("not an image")
    data = prepared(images, store)
    assert data.shape == (1, 6, 6)
    np.testing.assert_array_equal(pixels(data, "train"), [made[name] for name in names[:3]])
    np.testing.assert_array_equal(pixels(data, "test"), [made["test/b/9.png"]])
    assert read(data.files["train"]).labels.tolist() == [0, 1, 1]
    # Class b keeps its number, though test has no class a.
    assert read(data.files["test"]).labels.tolist() == [1]


def test_without_split_folders_one_image_in_ten_is_test(images, picture, store):
    made = np.array([picture(images / f"{i:02}.png").ravel() for i in range(40)])
    data = prepared(images, store)
    kept, held = hold_out(40, 4)
    np.testing.assert_array_equal(pixels(data, "train"), made[kept])
    np.testing.assert_array_equal(pixels(data, "test"), made[held])


def test_colour_images_are_stored_channels_first(images, picture, store):
    made = [picture(images / split / "1.png", 4, 5, "RGB") for split in ("train", "test")]
    data = prepared(images, store)
    assert data.shape == (3, 4, 5)
    np.testing.assert_array_equal(pixels(data, "train")[0], made[0].transpose(2, 0, 1).ravel())


def test_palettes_and_opaque_alpha_become_rgb(images, picture, store):
    made = picture(images / "train" / "1.png", mode="RGB")
    opaque = np.dstack([made, np.full(made.shape[:2], 255, np.uint8)])
    Image.fromarray(opaque).save(images / "train" / "1.png")
    Image.new("P", (6, 6)).save(images / "train" / "2.png")
    picture(images / "test" / "1.png", mode="RGB")
    data = prepared(images, store)
    np.testing.assert_array_equal(pixels(data, "train")[0], made.transpose(2, 0, 1).ravel())


def ink(path, mode):
    """A black triangle on transparency, whose colours are black everywhere."""
    alpha = np.tril(np.full((6, 6), 255, np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "P":
        Image.fromarray(alpha // 255, "P").save(path, transparency=0)
    else:
        Image.fromarray(np.dstack([0 * alpha] * (len(mode) - 1) + [alpha]), mode).save(path)
    return 255 - alpha


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_the_background_that_is_given(images, picture, store, mode):
    drawn = ink(images / "train" / "1.png", mode)
    other = "L" if mode == "LA" else "RGB"
    picture(images / "train" / "2.png", mode=other)
    picture(images / "test" / "1.png", mode=other)
    with pytest.raises(DataError, match="transparent in places") as error:
        prepared(images, store)
    assert error.value.where == str(images / "train" / "1.png")
    assert "data.background" in error.value.remedy
    white, black = (prepared(images, store, background=b) for b in ("white", "black"))
    channels = 1 if mode == "LA" else 3
    np.testing.assert_array_equal(pixels(white, "train")[0], np.tile(drawn.ravel(), channels))
    assert not pixels(black, "train")[0].any()
    assert "over white" in white.source


def test_pictures_are_turned_upright(images, picture, store):
    picture(images / "test" / "1.png", 4, 5)
    upright = picture(images / "train" / "1.png", 4, 5)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(upright)).save(images / "train" / "1.png", exif=exif)
    np.testing.assert_array_equal(pixels(prepared(images, store), "train")[0], upright.ravel())


@pytest.mark.parametrize(("channels", "kind"), [(1, "L"), (3, "RGB")])
def test_grey_and_colour_become_one_kind(images, picture, store, channels, kind):
    picture(images / "test" / "3.png", mode=kind)
    grey = picture(images / "train" / "1.png")
    colour = picture(images / "train" / "2.png", mode="RGB")
    with pytest.raises(DataError, match="its shape is") as error:
        prepared(images, store)
    assert "data.channels to 1" in error.value.remedy
    data = prepared(images, store, channels=channels)
    assert data.notes == {"train": {f"made {'grey' if channels == 1 else 'RGB'}": 1}, "test": {}}
    wanted = [np.asarray(Image.fromarray(made).convert(kind)) for made in (grey, colour)]
    wanted = [made[..., None] if made.ndim == 2 else made for made in wanted]
    np.testing.assert_array_equal(
        pixels(data, "train"), [made.transpose(2, 0, 1).ravel() for made in wanted]
    )


@pytest.mark.parametrize("setting", [{"channels": 2}, {"channels": True}, {"background": "grey"}])
def test_a_setting_that_is_none_is_refused(images, store, setting):
    (key,) = setting
    with pytest.raises(DataError, match=f"{key} is"):
        prepared(images, store, **setting)


def test_images_that_are_all_the_same_are_refused(images, picture, store):
    for name in ("train/1.png", "train/2.png", "test/3.png"):
        path = images / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    with pytest.raises(DataError, match="all 2 train images are the same"):
        prepared(images, store)
    assert not list(store.glob("*.arrow"))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("training", "testing"),
        ("train_set", "TestSet"),
        ("train", "val"),
        ("seg_train", "seg_test"),
        ("DIV2K_train_HR", "DIV2K_valid_HR"),
        ("train2017", "val2017"),
        ("Training Images", "Test Images"),
    ],
)
def test_splits_are_known_by_any_usual_name(images, picture, store, train, test):
    made = [picture(images / train / "a" / f"{i}.png").ravel() for i in range(3)]
    held = picture(images / test / "a" / "9.png").ravel()
    data = prepared(images, store)
    np.testing.assert_array_equal(pixels(data, "train"), made)
    np.testing.assert_array_equal(pixels(data, "test"), [held])
    assert f"train from {train}/" in data.source or train == "train"
    assert f"test from {test}/" in data.source


def test_what_is_left_out_is_said(images, picture, store):
    for name in ("train/a/1.png", "test/a/2.png", "old/a/3.png", "more/4.png"):
        picture(images / name)
    (images / "train" / "a" / "5.heic").write_bytes(b"")
    picture(images / "train" / ".hidden" / "6.png")
    data = prepared(images, store)
    assert data.counts == {"train": 1, "test": 1}
    assert "left out: 1 (.heic), 2 (images outside them)" in data.source


@pytest.mark.parametrize("name", ["test2", "train-clean", "Val_1", "asl_test", "testA", "trainval"])
def test_a_folder_that_may_be_a_split_is_not_taken_for_a_class(images, picture, store, name):
    for child in ("cats", "dogs", "trainers", name):
        picture(images / child / "1.png")
    with pytest.raises(DataError, match="looks like a split") as error:
        prepared(images, store)
    assert error.value.what.startswith(f"{name} ")
    assert "if it is a class, give it another name" in error.value.remedy
    (images / name).rename(images / "valleys")
    for i in range(20):
        picture(images / "cats" / f"{i}.png")
    assert prepared(images, store).counts["test"] == 2


def test_two_folders_for_one_split_are_refused(images, picture, store):
    for child in ("Train", "training", "test"):
        picture(images / child / "1.png")
    with pytest.raises(DataError, match="training beside Train looks like a split"):
        prepared(images, store)


def test_validation_images_of_its_own_are_a_datasets_validation_split(images, picture, store):
    names = [f"{s}/{c}/{s}{c}.png" for s in ("train", "val", "test") for c in "ab"]
    made = {name: picture(images / name).ravel() for name in (*names, "val/aa/3.png")}
    data = prepared(images, store)
    assert data.counts == {"train": 2, "validation": 3, "test": 2}
    assert "validation from val/" in data.source
    assert "left out" not in data.source
    opened = Dataset.open(data, 0.5)
    for part, split in ((opened.train, "train"), (opened.validation, "val"), (opened.test, "test")):
        expected = [pixels for name, pixels in sorted(made.items()) if name.startswith(split)]
        np.testing.assert_array_equal(part.pixels[part.index], expected)
    # A class that only validation has is numbered last: train and test are as they would be alone.
    assert [part.labels.tolist() for part in (opened.train, opened.validation, opened.test)] == [
        [0, 1],
        [0, 2, 1],
        [0, 1],
    ]
    (images / "val").rename(images / "rest")
    assert prepared(images, store).sha256 == data.without_validation().sha256


@pytest.mark.parametrize("below", ["archive/train", "archive/seg_test", "cats/train", "a/b/val"])
def test_splits_further_down_are_not_pooled(images, picture, store, below):
    picture(images / below / "1.png")
    picture(images / "dogs" / "1.png")
    with pytest.raises(DataError, match=f"{below} looks like a split") as error:
        prepared(images, store)
    assert str((images / below).parent) in error.value.remedy


def test_splits_in_the_names_of_files_are_not_pooled(images, picture, store):
    for name in ("steam_train_1", "test_tube_1", "cat_train_1"):
        picture(images / f"{name}.png")
    prepared(images, store)
    picture(images / "cat_test_2.png")
    with pytest.raises(DataError, match="test and train in the names of images"):
        prepared(images, store)


def test_train_and_test_that_are_the_same_images_are_refused(images, picture, store):
    for name in ("1.png", "2.png"):
        picture(images / "train" / name)
    (images / "test").symlink_to(images / "train")
    with pytest.raises(DataError, match="the test images are the train images"):
        prepared(images, store)
    assert not list(store.glob("*.arrow"))


@pytest.mark.parametrize("target", ["gone.png", "train/2.png"], ids=["gone", "itself"])
def test_a_link_to_nothing_is_named(images, picture, store, target):
    for split in ("train", "test"):
        picture(images / split / "1.png")
    (images / "train" / "2.png").symlink_to(images / target)
    with pytest.raises(DataError, match="a link to nothing") as error:
        prepared(images, store)
    assert error.value.where == str(images / "train" / "2.png")


def test_a_folder_as_found_in_the_wild(images, picture, store):
    for i, suffix in enumerate(["PNG", "png", "bmp", "tif", "Tiff"]):
        picture(images / "Train" / "cats" / "young" / f"{i}.{suffix}", mode="RGB")
    for i, suffix in enumerate(["jpg", "JPEG", "jfif", "webp"]):
        picture(images / "Test" / "dogs" / f"{i}.png", mode="RGB")
        kind = {"webp": "WEBP"}.get(suffix, "JPEG")
        Image.fromarray(FIRST[:6, :6]).save(images / "Test" / "dogs" / f"{i}.{suffix}", kind)
    for name in ("Train/cats/._0.PNG", "Train/.DS_Store", "__MACOSX/Train/._0.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(b"\0\5\x16\7")
    for name in ("Train/cats/Thumbs.db", "labels.csv", "images.zip"):
        (images / name).write_bytes(b"?")
    data = prepared(images, store)
    assert data.counts == {"train": 5, "test": 8}
    assert "left out: 1 (.csv), 1 (.db), 1 (.zip)" in data.source


def test_an_archive_is_not_a_folder_of_images(images, store):
    (images / "pictures.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"no images for the train split, only 1 \(.zip\)"):
        prepared(images, store)
    with pytest.raises(DataError, match="a file, not a folder"):
        prepared(images / "pictures.zip", store)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda rng: np.full((6, 6), rng.integers(256), np.uint8), "a single colour each"),
        (lambda rng: np.full((6, 6, 3), rng.integers(0, 256, 3), np.uint8), "a single colour each"),
        (lambda rng: rng.integers(0, 2, (6, 6), np.uint8), "pixels from 0 to 1 only"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_pictures_with_nothing_in_them_are_refused(images, picture, store, fill, reason, split):
    rng = np.random.default_rng(0)
    for name in ("train", "val", "test"):
        for i in range(5):
            at = images / name / f"{name}{i}.png"
            mode = "RGB" if np.ndim(fill(rng)) == 3 else "L"
            picture(at, mode=mode)
            if name == split:
                Image.fromarray(fill(rng)).save(at)
    with pytest.raises(DataError, match=f"all 5 {split}.* images .*{reason}"):
        prepared(images, store)
    assert not list(store.glob("*.arrow"))
    picture(images / split / f"{split}4.png", mode=mode)
    prepared(images, store)


def test_folders_that_link_to_each_other_are_walked_once(images, picture, store):
    for name in ("train/cats/1.png", "train/dogs/2.png", "test/cats/3.png"):
        picture(images / name)
    (images / "train" / "cats" / "more").symlink_to(images / "train" / "dogs")
    (images / "train" / "dogs" / "more").symlink_to(images / "train" / "cats")
    # Of each class its own image, and the one of the class that it links to.
    assert prepared(images, store).counts == {"train": 4, "test": 1}


def test_names_need_not_be_utf8(images, picture, store):
    """An old zip's: Python has them as surrogates, which cannot be encoded."""
    for number in range(4):
        picture(images / f"{number}.png")
        os.rename(images / f"{number}.png", os.fsencode(images) + b"/\xe9t\xe9%d.png" % number)
    assert sum(prepared(images, store).counts.values()) == 4


def test_links_are_followed_and_hidden_folders_are_not(images, picture, store, tmp_path):
    for split in ("train", "test"):
        picture(images / split / "a" / "1.png")
    elsewhere = [picture(tmp_path / "elsewhere" / f"{i}.png").ravel() for i in range(2)]
    (images / "train" / "b").symlink_to(tmp_path / "elsewhere")
    (images / "train" / "a" / "up").symlink_to(images)
    picture(images / "train" / ".thumbnails" / "1.png")
    data = prepared(images, store)
    np.testing.assert_array_equal(pixels(data, "train")[1:], elsewhere)
    assert read(data.files["train"]).labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("splits", [("",), ("train", "test"), ("train", "val", "test")])
def test_the_count_that_progress_shows_is_what_is_read(images, picture, store, splits):
    for i in range(12):
        for split in splits:
            picture(images / split / f"{split}{i}.png")
    told = {}
    settings = {"name": "folder", "path": str(images)}
    data = prepare(settings, store, watch=lambda split, done, count: told.update({split: count}))
    assert told == data.counts


def test_more_images_than_a_chunk_keep_their_order(images, store):
    for split, numbers in (("train", range(1100)), ("test", [99])):
        (images / split).mkdir()
        for i in numbers:
            image = np.array([[i // 256, i % 256]], np.uint8)
            Image.fromarray(image).save(images / split / f"{i:04}.pgm")
    rows = pixels(prepared(images, store), "train").astype(int)
    np.testing.assert_array_equal(rows @ [256, 1], np.arange(1100))


def test_resize_cuts_the_centred_square(images, store):
    wide = np.zeros((4, 8), np.uint8)
    wide[:2, 2:6], wide[2:, 2:6] = 200, 90
    for i in range(2):
        Image.fromarray(wide).save(images / f"{i}.png")
    data = prepared(images, store, resize=2)
    assert data.shape == (1, 2, 2)
    cut = Image.fromarray(wide[:, 2:6]).resize((2, 2), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels(data, "train"), [np.asarray(cut).ravel()])


def test_the_path_may_be_relative_to_the_data_root(images, picture, store):
    for i in range(3):
        picture(images / f"{i}.png")
    data = prepare({"name": "folder", "path": "images"}, store, images.parent)
    assert sum(data.counts.values()) == 3
    assert str(images) in data.source
    with pytest.raises(DataError, match="no such folder"):
        prepare({"name": "folder", "path": "image"}, store, images.parent)


def test_a_changed_folder_is_prepared_anew_and_the_old_images_stay(images, picture, store):
    for i in range(3):
        picture(images / f"{i}.png")
    before = prepared(images, store)
    assert prepared(images, store) == before
    picture(images / "3.png")
    after = prepared(images, store)
    assert (sum(before.counts.values()), sum(after.counts.values())) == (3, 4)
    Dataset.open(before, 1)
    stamp = (images / "3.png").stat()
    os.utime(images / "3.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert prepared(images, store).source != after.source


@pytest.mark.parametrize("shape", [(6, 7, "L"), (5, 6, "L"), (6, 6, "RGB")])
def test_an_image_of_another_shape_is_named(images, picture, store, shape):
    for i in range(3):
        picture(images / "train" / f"{i}.png")
    picture(images / "train" / "2_odd.png", *shape)
    picture(images / "test" / "1.png")
    with pytest.raises(DataError, match=r"its shape is .*, the first image's 1x6x6") as error:
        prepared(images, store)
    assert error.value.where == str(images / "train" / "2_odd.png")
    assert not list(store.glob("*.arrow"))


def test_a_test_split_of_another_shape_is_refused(images, picture, store):
    picture(images / "train" / "1.png")
    picture(images / "test" / "1.png", 7)
    with pytest.raises(
        DataError, match=r"test images of shape 1x7x6 beside train.*\n.*data.resize"
    ) as error:
        prepared(images, store)
    assert str(images) in error.value.where
    assert not list(store.glob("*.arrow"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_refused(images, picture, store, split):
    picture(images / "train" / "1.png")
    picture(images / "test" / "1.png")
    (images / split / "1.png").unlink()
    with pytest.raises(DataError, match=f"no images for the {split} split") as error:
        prepared(images, store)
    assert error.value.where == str(images)
    assert not list(store.glob("*.arrow"))


def test_an_empty_folder_is_refused(images, store):
    with pytest.raises(DataError, match=r"no images.*\n.*put images there"):
        prepared(images, store)


def test_a_single_image_cannot_be_split(images, picture, store):
    picture(images / "1.png")
    with pytest.raises(DataError, match="no images for the train split"):
        prepared(images, store)


def test_one_split_folder_without_the_other_is_refused(images, picture, store):
    picture(images / "train" / "1.png")
    with pytest.raises(DataError, match="there is train/ but no test/"):
        prepared(images, store)


@pytest.mark.parametrize("name", ["none", 7])
def test_a_missing_folder_is_named(tmp_path, store, name):
    with pytest.raises(DataError, match="no such folder") as error:
        prepare({"name": "folder", "path": name}, store, tmp_path)
    assert error.value.where == str(tmp_path / str(name))
    assert not store.exists()


FIRST, SECOND = (np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8) for i in range(2))
STACKS = (".gif", ".png", ".webp", ".tif")


@pytest.mark.parametrize("suffix", STACKS)
def test_a_file_of_several_images_is_refused(images, picture, store, suffix):
    for split in ("train", "test"):
        picture(images / split / "1.png", 8, 8, "RGB")
    stack = images / "train" / f"2{suffix}"
    first, second = map(Image.fromarray, (FIRST, SECOND))
    first.save(stack, save_all=True, append_images=[second])
    with pytest.raises(DataError, match="2 images in one file") as error:
        prepared(images, store)
    assert error.value.where == str(stack)
    first.save(stack)
    assert prepared(images, store).counts["train"] == 2


def tiff(path, channels=3, bits=8, sample_format=1):
    """An uncompressed TIFF by hand: RGB and as many further channels, or grey."""
    data = bytes(range(4 * 4 * channels * bits // 8))
    extra = [(338, 3, [0] * (channels - 3))] if channels > 3 else []
    entries = [
        (256, 3, [4]),
        (257, 3, [4]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [1 if channels == 1 else 2]),
        (273, 4, [1000]),
        (277, 3, [channels]),
        (278, 3, [4]),
        (279, 4, [len(data)]),
        *extra,
        (339, 3, [sample_format] * channels),
    ]
    table, beside = struct.pack("<H", len(entries)), b""
    for tag, kind, values in entries:
        content = struct.pack(f"<{len(values)}{'HI'[kind == 4]}", *values)
        if len(content) > 4:
            content, beside = struct.pack("<I", 500 + len(beside)), beside + content
        table += struct.pack("<HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
    whole = (b"II*\0\x08\0\0\0" + table + bytes(4)).ljust(500, b"\0") + beside
    path.write_bytes(whole.ljust(1000, b"\0") + data)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ({"channels": 5}, "5 channels, of which RGB is a part"),
        ({"channels": 4}, "4 channels, of which RGB is a part"),
        ({"bits": 16}, "16 bits a channel"),
        ({"channels": 1, "sample_format": 2}, "numbers with a sign"),
        ({"channels": 1, "bits": 32, "sample_format": 3}, "pixels of mode F"),
        ({"channels": 1, "bits": 32}, "pixels of mode I"),
    ],
)
def test_a_tiff_that_pillow_would_read_in_part_is_refused(images, picture, store, kind, reason):
    for split in ("train", "test"):
        picture(images / split / "1.png", 4, 4, "L" if kind.get("channels") == 1 else "RGB")
    tiff(images / "train" / "2.tif", **kind)
    with pytest.raises(DataError, match=reason):
        prepared(images, store)
    tiff(images / "train" / "2.tif", kind.get("channels", 3) if kind.get("channels") == 1 else 3)
    assert pixels(prepared(images, store), "train")[1].min() == 0


def test_bitmaps_of_five_and_six_bits_are_not_taken_for_16(images, picture, store):
    for split in ("train", "test"):
        picture(images / split / "1.png", 2, 2, "RGB")
    values = struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0xFFFF)
    head = struct.pack("<IiiHHIIiiII", 40, 2, -2, 1, 16, 3, 8, 0, 0, 0, 0)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    content = struct.pack("<2sIHHI", b"BM", 74, 0, 0, 66) + head + masks + values
    (images / "train" / "2.bmp").write_bytes(content)
    found = pixels(prepared(images, store), "train")[1].reshape(3, 4).T
    assert found.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["deep text", "deep", "shallow"])
def test_a_portable_pixmap_is_read_by_its_highest_value(images, picture, store, kind):
    for split in ("train", "test"):
        picture(images / split / "1.png", 1, 2, "RGB")
    path = images / "train" / "2.ppm"
    if kind == "shallow":
        path.write_bytes(b"P6 2 1 15\n" + bytes([0, 5, 15, 15, 10, 0]))
        found = pixels(prepared(images, store), "train")[1]
        assert found.tolist() == [0, 255, 85, 170, 255, 0]
        return
    values = [0, 257, 65535, 65535, 300, 0]
    if kind == "deep text":
        path.write_text("P3 2 1 65535\n" + " ".join(map(str, values)))
    else:
        path.write_bytes(b"P6 2 1 65535\n" + struct.pack(">6H", *values))
    with pytest.raises(DataError, match="16 bits a channel"):
        prepared(images, store)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")  # Pillow's, of TIFF
@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".webp", ".jfif", ".tif"])
def test_no_part_of_an_image_is_read_as_the_whole(images, store, suffix):
    path = images / f"1{suffix}"
    Image.fromarray(FIRST).save(path, format={".jfif": "JPEG"}.get(suffix))
    whole, content = decode(path, "").pixels, path.read_bytes()
    for length in range(0, len(content), 7):
        try:
            found = decode(content[:length], "").pixels
        except DataError:
            continue
        np.testing.assert_array_equal(found, whole)


def test_what_was_done_to_images_is_counted(images, picture, store):
    picture(images / "test" / "1.png", mode="RGB")
    Image.fromarray(picture(images / "train" / "1.png", mode="RGB")).convert("CMYK").save(
        images / "train" / "1.jpg"
    )
    ink(images / "train" / "2.png", "RGBA")
    ink(images / "train" / "3.png", "LA")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(FIRST[:6, :6]).save(images / "train" / "4.jpeg", exif=exif)
    data = prepared(images, store, background="white", channels=3)
    assert data.notes["train"] == {
        "CMYK made RGB": 1,
        "laid over white": 2,
        "made RGB": 1,
        "turned upright": 1,
    }
    assert "; train: 1 CMYK made RGB, 2 laid over white" in str(data)
    assert prepared(images, store, background="white", channels=3) == data


@pytest.mark.parametrize("damage", ["truncated", "text", "deep", "deep colour", "frames"])
def test_an_unreadable_image_is_named(images, picture, store, damage):
    for split in ("train", "test"):
        picture(images / split / "1.png", 40, 40)
    bad = images / "train" / "2.png"
    if damage == "truncated":
        bad.write_bytes((images / "train" / "1.png").read_bytes()[:700])
    elif damage == "text":
        bad.write_text("an image? no")
    elif damage == "deep":
        Image.fromarray(np.zeros((40, 40), np.uint16)).save(bad)
    elif damage == "deep colour":  # Pillow opens it as RGB of 8 bits
        bad = bad.with_suffix(".ppm")
        bad.write_bytes(b"P6 40 40 65535\n" + bytes(40 * 40 * 6))
    else:
        bad = bad.with_suffix(".tif")
        first, second = (Image.new("L", (40, 40), shade) for shade in (0, 9))
        first.save(bad, save_all=True, append_images=[second])
    with pytest.raises(DataError, match="not a readable image") as error:
        prepared(images, store)
    assert error.value.where == str(bad)


@pytest.mark.parametrize("resize", [0, -1, "64", 2.5, True])
def test_a_resize_that_is_no_side_is_refused(images, store, resize):
    with pytest.raises(DataError, match="resize is"):
        prepared(images, store, resize=resize)
