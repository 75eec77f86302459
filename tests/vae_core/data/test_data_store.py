import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_core.data import headers
from vae_core.data.store import read, write
from vae_core.errors import ContractError, DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 3, 4, 5), np.uint8)
LABELS = RNG.integers(-3, 9, 50)
ABOUT = {"name": "made", "split": "train", "source": "a test", "request": "key"}


def chunks(size=16):
    for i in range(0, len(IMAGES), size):
        yield IMAGES[i : i + size], LABELS[i : i + size]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "made.arrow"
    write(path, chunks(), **ABOUT)
    return path


def test_what_is_read_is_what_was_written(file):
    stored = read(file)
    np.testing.assert_array_equal(stored.pixels, IMAGES.reshape(50, 60))
    np.testing.assert_array_equal(stored.labels, LABELS)
    assert stored.pixels.dtype == np.uint8
    assert stored.labels.dtype == np.int64
    header = stored.header
    assert (header.shape, header.count) == ((3, 4, 5), 50)
    assert {key: getattr(header, key) for key in ABOUT} == ABOUT


def test_the_hash_does_not_depend_on_the_chunks(tmp_path, file):
    other = write(tmp_path / "other.arrow", chunks(7), **ABOUT)
    assert other == read(file).header


def test_images_that_are_a_strided_view_are_written_in_order(tmp_path):
    view = IMAGES.transpose(0, 2, 3, 1)
    write(tmp_path / "view.arrow", [(view, LABELS)], **ABOUT)
    np.testing.assert_array_equal(read(tmp_path / "view.arrow").pixels, view.reshape(50, 60))


def test_pixels_are_a_read_only_view_of_the_mapped_file(file):
    before = pa.total_allocated_bytes()
    stored = read(file, verify=False)
    assert pa.total_allocated_bytes() - before < stored.pixels.nbytes
    assert not stored.pixels.flags.owndata
    assert not stored.pixels.flags.writeable
    # A byte changed in the file shows in the view: nothing was copied.
    raw = bytearray(file.read_bytes())
    at = raw.index(IMAGES[0].tobytes())
    with file.open("r+b") as handle:
        handle.seek(at)
        handle.write(bytes([raw[at] ^ 255]))
    assert stored.pixels[0, 0] == raw[at] ^ 255


def test_any_arrow_reader_opens_the_file(file):
    table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    assert table.column("label").to_pylist() == LABELS.tolist()
    assert table.column("image")[3].as_py() == IMAGES[3].tobytes()
    about = json.loads(table.schema.metadata[b"vae_core"])
    assert about["shape"] == [3, 4, 5]
    assert len(about["sha256"]) == 64


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match=r"none\.arrow: the prepared images are missing"):
        read(tmp_path / "none.arrow")


@pytest.mark.parametrize("keep", [0, 1, 100, 2000, -1])
def test_a_truncated_file_is_noticed_without_reading_all_of_it(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"made\.arrow: damaged.*\n.*launch") as error:
        read(file, verify=False)
    assert error.value.where == str(file)


def test_a_changed_pixel_is_noticed(file):
    raw = bytearray(file.read_bytes())
    raw[raw.index(IMAGES[10].tobytes())] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DataError, match="wrong checksum"):
        read(file)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_no_changed_byte_ever_gives_other_images(file, data):
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = file.with_name("changed.arrow")
    changed.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    try:
        stored = read(changed)
    except DataError:
        return
    np.testing.assert_array_equal(stored.pixels, IMAGES.reshape(50, 60))
    np.testing.assert_array_equal(stored.labels, LABELS)


@pytest.mark.parametrize("content", [b"", b"hello", b"ARROW1\0\0" + b"\0" * 500 + b"ARROW1"])
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "x.arrow"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.arrow: damaged"):
        read(path)


def test_an_arrow_file_of_something_else_is_refused(tmp_path):
    table = pa.table({"a": [1, 2]})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "x.arrow")


def test_an_error_in_the_middle_leaves_nothing(tmp_path):
    def broken():
        yield IMAGES, LABELS
        raise ValueError("in the source")

    with pytest.raises(ValueError, match="in the source"):
        write(tmp_path / "made.arrow", broken(), **ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_keeps_the_file_that_was_there(file):
    before = file.read_bytes()
    with pytest.raises(ContractError):
        write(file, [(IMAGES, LABELS), (IMAGES[:, :2], LABELS)], **ABOUT)
    assert file.read_bytes() == before


def test_a_process_killed_before_the_rename_leaves_no_file_of_the_final_name(tmp_path):
    script = """
import os, signal, sys, numpy as np
from pathlib import Path
from vae_core.data.store import write
Path.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
x = np.arange(20, dtype=np.uint8).reshape(5, 1, 2, 2)
write(Path(sys.argv[1]), [(x, np.zeros(5, np.int64))], name="n", split="s", source="", request="")
"""
    path = tmp_path / "made.arrow"
    done = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert not list(headers(tmp_path))
    write(path, chunks(), **ABOUT)
    assert [p.name for p in tmp_path.iterdir()] == ["made.arrow"]


def test_content_of_another_hash_than_the_pinned_is_refused(tmp_path):
    with pytest.raises(DataError, match="wrong checksum") as error:
        write(tmp_path / "made.arrow", chunks(), **ABOUT, expected="0" * 64)
    assert "made" in error.value.where
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot write to the data store: No such file"):
        write(tmp_path / "none" / "made.arrow", chunks(), **ABOUT)


def test_a_full_disk_is_an_error_for_people(tmp_path):
    path = tmp_path / "made.arrow"
    partial = tmp_path / ".made.arrow.partial"
    partial.symlink_to("/dev/full")
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with pytest.raises(DataError, match="No space left") as error:
        write(path, chunks(), **ABOUT)
    assert error.value.where == str(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ((IMAGES / 255, LABELS), r"images are float64 \(50, 3, 4, 5\)"),
        ((IMAGES[0], LABELS), r"images are uint8 \(3, 4, 5\)"),
        ((IMAGES, LABELS[:3]), r"labels are int64 \(3,\) beside 50 images"),
        ((IMAGES, LABELS / 2), "labels are float64"),
        ((IMAGES[..., :0], LABELS), "images of shape 3x4x0"),
        ((IMAGES[:0], LABELS[:0]), "no images"),
        (IMAGES, "a chunk is ndarray"),
        ((IMAGES, LABELS.tolist()), "a chunk is tuple"),
        (None, "a chunk is NoneType"),
    ],
)
def test_chunks_that_break_the_contract_are_refused(tmp_path, chunk, message):
    with pytest.raises(ContractError, match=message) as error:
        write(tmp_path / "made.arrow", [chunk], **ABOUT)
    assert error.value.where == "dataset 'made', train split"


def test_a_source_without_a_chunk_has_no_images(tmp_path):
    with pytest.raises(ContractError, match="no images"):
        write(tmp_path / "made.arrow", [], **ABOUT)


def test_headers_lists_what_can_be_opened(file):
    (file.parent / "broken.arrow").write_bytes(b"x")
    assert [(path, header.name) for path, header in headers(file.parent)] == [(file, "made")]
