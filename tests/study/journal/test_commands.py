"""Orders to a driver: given whole, read in order, and never more than data."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from study.journal import commands as orders
from study.journal.commands import described, give, given, waiting

STOP = {"order": "stop"}
STOP_ARM = {"order": "stop", "arm": "random"}
STOP_TRIAL = {"order": "stop", "trial": "random.search.r0.0001"}
RETRY = {"order": "retry", "trial": "random.search.r0.0002"}
ALL = [STOP_ARM, RETRY, STOP, STOP_TRIAL]


def test_orders_wait_in_the_order_they_were_given(tmp_path: Path) -> None:
    assert waiting(tmp_path) == []
    paths = [give(tmp_path, order) for order in ALL]
    assert waiting(tmp_path) == list(zip(paths, ALL, strict=True))
    paths[1].unlink()  # the driver took it
    assert [order for _, order in waiting(tmp_path)] == [STOP_ARM, STOP, STOP_TRIAL]


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"order": "launch"},
        {"order": "retry"},
        {"order": "retry", "arm": "random"},
        {"order": "stop", "arm": "random", "trial": "x"},
        {"order": "stop", "trial": 3},
        {"order": ["stop"]},
        {"order": "stop", "then": "rm"},
        ["stop"],
        "stop",
        None,
    ],
)
def test_what_is_no_order_is_neither_given_nor_taken(tmp_path: Path, order: object) -> None:
    with pytest.raises(ValueError, match="is no order"):
        give(tmp_path, order)  # type: ignore[arg-type]
    assert not (tmp_path / orders.ORDERS).exists()
    good = give(tmp_path, STOP)
    (good.parent / f"{10**18}-1.json").write_text(json.dumps(order))
    assert waiting(tmp_path) == [(good, STOP)]


def test_files_that_hold_no_order_are_passed_over(tmp_path: Path) -> None:
    good = give(tmp_path, RETRY)
    folder, text = good.parent, good.read_text()
    for length in range(len(text)):
        (folder / f"{10**18}-{length}.json").write_text(text[:length])
    (folder / f"{10**18}-1001.json").write_bytes(b"\xff\xfe\x00")
    (folder / f"{10**18}-1002.json").write_text("[" * 100_000)
    (folder / f"{10**18}-1003.json").mkdir()
    (folder / f"{10**18}-1004.json").symlink_to("/dev/zero")
    os.mkfifo(folder / f"{10**18}-1005.json")
    for name in (".1.json.partial", "1.json", f"{10**18}.json", f"{10**18}-1006.json.bak"):
        (folder / name).write_text(text)
    assert waiting(tmp_path) == [(good, RETRY)]


def test_a_reader_sees_whole_orders_only_and_each_of_them_once(tmp_path: Path) -> None:
    count, taken = 50, []
    givers = [
        threading.Thread(target=lambda: [give(tmp_path, order) for order in ALL * count])
        for _ in range(2)
    ]
    for giver in givers:
        giver.start()
    while any(giver.is_alive() for giver in givers) or waiting(tmp_path):
        for path, order in waiting(tmp_path):
            taken.append(order)
            path.unlink()
    assert len(taken) == 2 * len(ALL) * count
    assert all(taken.count(order) == 2 * count for order in ALL)


def test_an_orders_file_says_when_it_was_given(tmp_path: Path) -> None:
    before = time.time()
    assert before <= given(give(tmp_path, STOP)) <= time.time()


def test_orders_in_words() -> None:
    assert [described(order) for order in (STOP, STOP_ARM, RETRY)] == [
        "stop the study",
        "stop arm random",
        "retry trial random.search.r0.0002",
    ]
