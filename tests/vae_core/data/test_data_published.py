"""MNIST, Fashion-MNIST, CIFAR-10 and CelebA: their files, as made here and as they really are."""

import functools
import gzip
import hashlib
import pickle
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from vae_core.data import Dataset, build_source, prepare
from vae_core.data.source import DataRoot
from vae_core.errors import DataError

IDX_SIZES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


@pytest.fixture
def blank_mnist(tmp_path):
    """Files of MNIST's sizes, all of whose pixels are black."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, shape in IDX_SIZES.items():
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        with (raw / name).open("wb") as file:
            file.write(header)
            file.truncate(len(header) + int(np.prod(shape)))
    return tmp_path / "root"


def test_mnist_of_other_content_has_a_wrong_checksum(blank_mnist, store):
    with pytest.raises(DataError, match="wrong checksum") as error:
        prepare({"name": "mnist"}, store, blank_mnist)
    assert "mnist" in error.value.where
    assert not list(store.glob("*.arrow"))


@pytest.mark.parametrize(("name", "by"), [("images-idx3", -1), ("labels-idx1", -5000)])
def test_a_truncated_mnist_file_is_named(blank_mnist, store, name, by):
    path = blank_mnist / "MNIST" / "raw" / f"train-{name}-ubyte"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + by)
    with pytest.raises(DataError, match=r"truncated: [\d,]+ bytes instead of") as error:
        prepare({"name": "mnist"}, store, blank_mnist)
    assert error.value.where == str(path)
    assert not list(store.glob("*.arrow"))


def test_an_mnist_file_with_a_broken_header_is_refused(blank_mnist, store):
    with (blank_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte").open("r+b") as file:
        file.write(b"\0\0\0\0")
    with pytest.raises(DataError, match="MNIST cannot be read"):
        prepare({"name": "mnist"}, store, blank_mnist)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", ""),
        ("celeba", "celeba"),
    ],
)
def test_a_data_root_without_the_dataset_is_named_and_stays_as_it_is(
    tmp_path, store, name, missing
):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(DataError, match=r"missing|not there") as error:
        prepare({"name": name}, store, root)
    assert error.value.where == str(root / missing)
    assert error.value.remedy
    assert list(root.iterdir()) == []
    assert not list(store.glob("*.arrow"))


def test_cifar10_of_other_content_is_refused(tmp_path, store):
    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"not the batch")
    with pytest.raises(DataError, match=r"CIFAR10 cannot be read: .*corrupted"):
        prepare({"name": "cifar10"}, store, tmp_path / "root")


def test_a_download_that_fails_says_what_to_do(tmp_path, store, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{tmp_path.as_uri()}/none/"])
    with pytest.raises(DataError, match=r"MNIST cannot be downloaded(.|\n)*data root") as error:
        prepare({"name": "mnist"}, store)
    assert error.value.where == str(store / "downloads")
    assert not list(store.glob("*.arrow"))


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """Six images in CelebA's layout, whose files torchvision expects."""
    from torchvision import datasets

    root = tmp_path / "root"
    (root / "celeba" / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{i:06}.jpg" for i in range(1, 7)]
    for name in names:
        # Smooth, so that JPEG changes little: a random 11x9 picture made larger.
        small = Image.fromarray(rng.integers(0, 256, (11, 9, 3), np.uint8))
        large = small.resize((178, 218), Image.Resampling.BICUBIC)
        large.save(root / "celeba" / "img_align_celeba" / name, quality=95)
    lines = {
        "list_eval_partition.txt": [
            f"{n} {p}" for n, p in zip(names, (0, 0, 1, 2, 0, 2), strict=True)
        ],
        "identity_CelebA.txt": [f"{name} {10 + i}" for i, name in enumerate(names)],
        "list_attr_celeba.txt": ["6", "Smiling", *(f"{name} -1" for name in names)],
        "list_bbox_celeba.txt": ["6", "x_1", *(f"{name} 1" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "lefteye_x", *(f"{name} 1" for name in names)],
    }
    expected = []
    for name, content in lines.items():
        text = "\n".join(content) + "\n"
        (root / "celeba" / name).write_text(text)
        expected.append(("", hashlib.md5(text.encode()).hexdigest(), name))
    monkeypatch.setattr(datasets.CelebA, "file_list", expected)
    return root


@pytest.mark.parametrize(("crop", "top", "left"), [(128, 45, 25), (140, 39, 19), (148, 35, 15)])
def test_celeba_is_cropped_at_the_centre_and_resized(celeba, store, crop, top, left):
    prepared = prepare({"name": "celeba", "crop": crop}, store, celeba)
    assert prepared.shape == (3, 64, 64)
    assert prepared.counts == {"train": 3, "test": 2}
    assert f"[{top}:{top + crop}, {left}:{left + crop}]" in prepared.source
    data = Dataset.open(prepared, 1)
    assert sorted([*data.train.labels, *data.validation.labels]) == [10, 11, 14]
    assert data.test.labels.tolist() == [13, 15]
    with Image.open(celeba / "celeba" / "img_align_celeba" / "000004.jpg") as image:
        face = np.asarray(image)[top : top + crop, left : left + crop]
    face = np.asarray(Image.fromarray(face).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(data.test.pixels[0], face.transpose(2, 0, 1).ravel())


def test_a_celeba_image_that_is_not_aligned_is_named(celeba, store):
    path = celeba / "celeba" / "img_align_celeba" / "000002.jpg"
    Image.new("RGB", (200, 218)).save(path)
    with pytest.raises(DataError, match="200x218 pixels, not the 178x218") as error:
        prepare({"name": "celeba"}, store, celeba)
    assert error.value.where == str(path)


def test_a_missing_or_damaged_celeba_image_is_named(celeba, store):
    path = celeba / "celeba" / "img_align_celeba" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="not a readable image") as error:
        prepare({"name": "celeba"}, store, celeba)
    assert error.value.where == str(path)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        prepare({"name": "celeba"}, store, celeba)


def test_a_changed_celeba_list_is_refused(celeba, store):
    (celeba / "celeba" / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(DataError, match="CelebA cannot be read"):
        prepare({"name": "celeba"}, store, celeba)


@pytest.mark.parametrize("crop", [64, "140", None, 178])
def test_another_crop_is_refused(crop):
    with pytest.raises(DataError, match="is not one of 128, 140, 148"):
        build_source({"name": "celeba", "crop": crop})


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "train", "mean"),
    [
        ("mnist", (1, 28, 28), 60_000, 0.1307),
        ("fashion_mnist", (1, 28, 28), 60_000, 0.2860),
        ("cifar10", (3, 32, 32), 50_000, 0.4734),
    ],
)
def test_the_real_files_are_prepared_and_used_again(real_root, store, name, shape, train, mean):
    prepared = prepare({"name": name}, store, real_root)
    assert prepared.shape == shape
    assert prepared.counts == {"train": train, "test": 10_000}
    assert prepared.sha256 == build_source({"name": name}).sha256
    data = Dataset.open(prepared, 5000)
    assert data.train.pixels.mean() / 255 == pytest.approx(mean, abs=1e-4)
    assert np.bincount(data.test.labels).size == 10
    before = [path.stat().st_mtime_ns for path in store.glob("*.arrow")]
    assert prepare({"name": name}, store, real_root) == prepared
    assert [path.stat().st_mtime_ns for path in store.glob("*.arrow")] == before


@pytest.mark.data
def test_mnist_and_fashion_mnist_exchanged_have_a_wrong_checksum(real_root, tmp_path, store):
    shutil.copytree(real_root / "FashionMNIST", tmp_path / "root" / "MNIST")
    with pytest.raises(DataError, match="wrong checksum"):
        prepare({"name": "mnist"}, store, tmp_path / "root")


@pytest.mark.data
def test_cifar10_has_the_content_its_publishers_arrays_have(real_root):
    root = DataRoot(real_root, download=False)
    images, labels = zip(*build_source({"name": "cifar10"}).read("test", root), strict=True)
    pixels = np.concatenate(images).transpose(0, 2, 3, 1)
    assert hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest() == (
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
    )
    assert hashlib.sha256(np.concatenate(labels).astype(np.uint8)).hexdigest() == (
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"
    )


@pytest.mark.data
def test_a_damaged_cifar10_parquet_file_is_named(real_root, tmp_path, store):
    shutil.copytree(real_root / "cifar10", tmp_path / "root" / "cifar10")
    path = next((tmp_path / "root" / "cifar10").glob("train-*"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)
    with pytest.raises(DataError, match="damaged") as error:
        prepare({"name": "cifar10"}, store, tmp_path / "root")
    assert error.value.where == str(path)


@pytest.mark.data
def test_mnist_is_downloaded_beside_the_store_if_no_data_root_is_named(
    real_root, tmp_path, store, monkeypatch
):
    from torchvision import datasets

    resources = []
    for name in IDX_SIZES:
        packed = gzip.compress((real_root / "MNIST" / "raw" / name).read_bytes(), 1)
        (tmp_path / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror])
        downloaded = prepare({"name": "mnist"}, store)
        server.shutdown()
    assert (store / "downloads" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").is_file()
    # The same images from a data root are the same dataset, ready already.
    assert prepare({"name": "mnist"}, store, real_root) == downloaded


@pytest.mark.data
def test_cifar10_in_torchvisions_layout_is_the_same_dataset(
    real_root, tmp_path, store, monkeypatch
):
    from torchvision import datasets

    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def save(name, content):
        (folder / name).write_bytes(data := pickle.dumps(content))
        return [name, hashlib.md5(data).hexdigest()]

    lists = {}
    source, root = build_source({"name": "cifar10"}), DataRoot(real_root, download=False)
    for split in ("train", "test"):
        chunks = enumerate(source.read(split, root))
        lists[f"{split}_list"] = [
            save(f"{split}_{i}", {"data": x.reshape(len(x), -1), "labels": y.tolist()})
            for i, (x, y) in chunks
        ]
    meta = save("batches.meta", {"label_names": [str(i) for i in range(10)]})
    for name, value in lists.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", meta[1])
    prepared = prepare({"name": "cifar10"}, store, tmp_path / "root")
    assert prepared.sha256 == source.sha256
