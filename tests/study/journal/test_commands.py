"""Commands to a driver: written whole, read in command, and never more than data."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from study.journal import HomeError
from study.journal.commands import describe, drop_stops, pending, send, sent_at
from study.journal.home import COMMANDS

STOP = {"order": "stop"}
STOP_ARM = {"order": "stop", "arm": "random"}
STOP_TRIAL = {"order": "stop", "trial": "random.search.r0.0001"}
RETRY = {"order": "retry", "trial": "random.search.r0.0002"}
ALL = [STOP_ARM, RETRY, STOP, STOP_TRIAL]


def test_commands_wait_in_the_order_they_were_sent(tmp_path: Path) -> None:
    assert pending(tmp_path) == []
    paths = [send(tmp_path, command) for command in ALL]
    assert pending(tmp_path) == list(zip(paths, ALL, strict=True))
    paths[1].unlink()  # the driver took it
    assert [command for _, command in pending(tmp_path)] == [STOP_ARM, STOP, STOP_TRIAL]


def test_and_in_that_order_even_if_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, when in zip(ALL, (4e18, 3e18, 4e18, 2e18), strict=True):
        monkeypatch.setattr(time, "time_ns", lambda when=when: int(when))
        send(tmp_path, command)
    assert [command for _, command in pending(tmp_path)] == ALL


def test_a_home_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / COMMANDS).touch()
    with pytest.raises(HomeError, match="the command cannot be written here: ") as caught:
        send(tmp_path, STOP)
    assert "ask them" in caught.value.remedy


@pytest.mark.parametrize(
    "command",
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
def test_what_is_no_command_is_neither_sent_nor_read(tmp_path: Path, command: object) -> None:
    with pytest.raises(ValueError, match="is no command"):
        send(tmp_path, command)  # type: ignore[arg-type]
    assert not (tmp_path / COMMANDS).exists()
    good = send(tmp_path, STOP)
    (good.parent / f"{10**18}-1.json").write_text(json.dumps(command))
    assert pending(tmp_path) == [(good, STOP)]


def test_files_that_hold_no_command_are_ignored(tmp_path: Path) -> None:
    good = send(tmp_path, RETRY)
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
    assert pending(tmp_path) == [(good, RETRY)]


def test_a_reader_sees_whole_commands_only_and_each_of_them_once(tmp_path: Path) -> None:
    count, taken = 50, []
    givers = [
        threading.Thread(target=lambda: [send(tmp_path, command) for command in ALL * count])
        for _ in range(2)
    ]
    for giver in givers:
        giver.start()
    while any(giver.is_alive() for giver in givers) or pending(tmp_path):
        for path, command in pending(tmp_path):
            taken.append(command)
            path.unlink()
    assert len(taken) == 2 * len(ALL) * count
    assert all(taken.count(command) == 2 * count for command in ALL)


def test_a_commands_file_says_when_it_was_sent(tmp_path: Path) -> None:
    before = time.time()
    assert before <= sent_at(send(tmp_path, STOP)) <= time.time()


def test_commands_in_words() -> None:
    assert [describe(command) for command in (STOP, STOP_ARM, RETRY)] == [
        "stop the study",
        "stop arm random",
        "retry trial random.search.r0.0002",
    ]


def test_a_new_driver_drops_only_what_would_have_ended_the_one_before(tmp_path: Path) -> None:
    for command in ALL:
        send(tmp_path, command)
    drop_stops(tmp_path)
    assert [command for _, command in pending(tmp_path)] == [STOP_ARM, RETRY, STOP_TRIAL]
