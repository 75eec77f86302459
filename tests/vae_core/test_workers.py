"""Images decoded in other processes: in order, with the same errors, and gone when we are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from waiting import until

from vae_core.data import decode
from vae_core.data.decode import Decoded, decoded
from vae_core.data.sources.files import Conversion
from vae_core.data.sources.folder import _image
from vae_core.errors import DataError, UserError
from vae_core.workers import Worker, Workers


class TwoArgumentsError(Exception):
    """Comes back from no pickle: it would be made of one argument."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def fails(what: str) -> None:
    error = TwoArgumentsError(what, "it does")
    error.add_note("a note")
    raise error


def picture(number: int) -> Decoded:
    if number == 77:
        raise DataError("not a readable image", where="77.png", remedy="remove it")
    if number == 78:
        os.kill(os.getpid(), signal.SIGKILL)
    side = 3 if number == 79 else 2
    print("what a library prints")
    return Decoded(np.full((1, side, side), number % 251, np.uint8), ("turned",) * (number % 2))


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "FEW", 8)
    monkeypatch.setattr(decode, "CHUNK", 10)
    monkeypatch.setattr(decode, "_TASK", 3)


def read(numbers: range | list[int], notes: Counter[str] | None = None) -> list[tuple[int, int]]:
    chunks = decoded(((n, 2 * n) for n in numbers), picture, str, "resize", notes)
    return [
        (int(image[0, 0, 0]), int(label))
        for images, labels in chunks
        for image, label in zip(images, labels, strict=True)
    ]


def test_images_come_in_order_with_their_labels_and_notes() -> None:
    notes: Counter[str] = Counter()
    assert read(range(73), notes) == [(n % 251, 2 * n) for n in range(73)]
    assert notes == {"turned": 36}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (77, "77.png: not a readable image\n  remove it"),
        (78, "a process that reads images has ended (exit code -9)"),
        (79, "79: its shape is 1x3x3, the first image's 1x2x2\n  resize"),
    ],
    ids=["damaged", "killed", "shape"],
)
def test_what_goes_wrong_there_is_said_here(number: int, said: str) -> None:
    with pytest.raises(UserError) as raised:
        read([*range(40), number, *range(40)])
    assert str(raised.value).startswith(said)


def test_a_reader_that_stops_early_leaves_no_process() -> None:
    chunks = decoded(((n, n) for n in range(70)), picture, str, "")
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert not children(os.getpid())


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from vae_core.workers import Workers\n"
        "workers = Workers(abs, 'counts')\n"
        "assert workers.submit(-1).result() == 1\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    there = children(process.pid)
    assert there
    process.kill()
    process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in there), "their end")


def test_a_folder_of_many_is_read_as_one_of_few(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(25):
        pixels = generator.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    files = [(path, 0) for path in sorted(tmp_path.iterdir())]
    conversion = partial(_image, Conversion("folder", 4, None, None))
    many = np.concatenate([images for images, _ in decoded(files, conversion, str, "")])
    few = np.stack([conversion(path).pixels for path, _ in files])
    assert np.array_equal(many, few)


def children(pid: int) -> list[int]:
    """Processes of this module's workers below ``pid``."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    every = [int(child) for path in found for child in path.read_text().split()]
    return [c for c in every if "vae_core.workers" in Path(f"/proc/{c}/cmdline").read_text()]


def test_each_core_has_one() -> None:
    with Workers(abs, "counts") as workers:
        assert len(workers._workers) == min(16, len(os.sched_getaffinity(0)))
        assert [workers.submit(-n).result() for n in range(5)] == [0, 1, 2, 3, 4]


def test_an_error_that_cannot_be_sent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Worker(fails, "fails")) as worker:
        for _ in range(2):  # it goes on
            with pytest.raises(RuntimeError, match="TwoArgumentsError: model: it does") as raised:
                worker("model")
            assert raised.value.__notes__ == ["a note"]


def test_a_module_is_found_in_a_folder_whose_name_holds_a_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "2026-12-01T03:30"
    folder.mkdir()
    (folder / "own_double.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(folder)
    work = import_module("own_double").double
    with closing(Worker(work, "doubles")) as worker:
        assert worker(4) == 8
