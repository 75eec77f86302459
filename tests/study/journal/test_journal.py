"""The journal: durable groups, damaged tails, fenced writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.journal import Journal, JournalError, read_events
from study.journal.lines import Event, Line, decode, scan


def make(path: Path, groups: list[int]) -> Path:
    """A journal with groups of the given sizes."""
    journal = Journal(path)
    for size in groups:
        for _ in range(size):
            journal.append("report", {"n": len(journal.events), "text": "ü\n", "nan": float("nan")})
        journal.commit()
    journal.close()
    return path


def numbers(path: Path) -> list[int]:
    return [event.sequence for event in scan(path).events]


@given(st.integers(0, 9), st.integers(0, 10**9), st.text(), st.dictionaries(st.text(), st.floats()))
def test_a_line_comes_back_as_it_was(
    epoch: int, sequence: int, kind: str, data: dict[str, float]
) -> None:
    line = Line(epoch, Event(sequence, 12.5, kind, data), True)
    found = decode(line.encode())
    assert found is not None
    assert repr(found) == repr(line)


def test_what_is_committed_is_read_back_and_what_is_not_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    journal = Journal(path)
    journal.append("launch", {"a": 1})
    journal.append("trial", {"b": [1.5, None]})
    assert numbers(path) == []
    journal.commit()
    journal.append("report", {})
    assert [(e.kind, e.data) for e in read_events(tmp_path)] == [
        ("launch", {"a": 1}),
        ("trial", {"b": [1.5, None]}),
    ]


def test_observers_hear_of_an_event_once_it_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    journal = Journal(path)
    heard: list[tuple[str, int]] = []
    journal.observe(lambda event: heard.append((event.kind, len(scan(path).events))))
    journal.append("one", {})
    journal.append("two", {})
    assert heard == []
    journal.commit()
    assert heard == [("one", 2), ("two", 2)]


def test_every_prefix_of_a_journal_opens_at_a_whole_group(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", [1, 3, 2, 4]).read_bytes()
    path = tmp_path / "journal.log"
    ends = {0: 0, 1: 1, 4: 4, 6: 6, 10: 10}
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = numbers(path)
        assert found == list(range(len(found)))
        assert len(found) in ends
        assert len(found) == max(n for n in ends if whole[:length].count(b"\n") >= n)


def test_opening_cuts_the_tail_and_appending_goes_on_after_it(tmp_path: Path) -> None:
    path = make(tmp_path / "journal.log", [2, 2])
    whole = path.read_bytes()
    path.write_bytes(whole + b"deadbeef [torn")
    journal = Journal(path)
    assert journal.truncated == len(b"deadbeef [torn")
    journal.append("more", {})
    journal.close()
    assert numbers(path) == [0, 1, 2, 3, 4]
    assert path.read_bytes().startswith(whole)


def test_any_flipped_bit_is_cut_at_the_tail_or_refused_before_it(tmp_path: Path) -> None:
    path = make(tmp_path / "journal.log", [2, 3, 1, 2])
    whole, expected = path.read_bytes(), [repr(event) for event in scan(path).events]
    refused = 0
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            found = [repr(event) for event in scan(path).events]
        except JournalError:
            refused += 1
            continue
        assert len(found) < len(expected)
        assert found == expected[: len(found)]
    assert refused > 4 * len(whole)


def test_a_missing_line_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "journal.log", [1, 1, 1])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(JournalError, match="line 2 has sequence number 2, expected 1"):
        scan(path)


def test_a_writer_that_lost_the_lease_writes_to_the_file_and_not_to_the_study(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.log"
    frozen = Journal(path)
    frozen.append("before", {})
    frozen.commit()
    successor = Journal(path)
    assert successor.epoch == frozen.epoch + 1
    successor.append("after", {})
    successor.commit()
    frozen.append("ghost", {})
    frozen.commit()
    successor.append("later", {})
    successor.commit()
    assert [e.kind for e in scan(path).events] == ["before", "after", "later"]
    third = Journal(path)
    assert [e.kind for e in third.events] == ["before", "after", "later"]


def test_a_group_the_former_holder_left_half_written_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    first = Journal(path)
    first.append("kept", {})
    first.commit()
    half = Line(first.epoch, Event(1, 0.0, "half", {}), last=False).encode()
    with path.open("ab") as file:
        file.write(half)
    second = Journal(path)
    assert second.truncated == len(half)
    second.append("next", {})
    second.commit()
    assert [e.kind for e in scan(path).events] == ["kept", "next"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=12))
def test_reopening_any_number_of_times_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.log"
    journal, written = Journal(path), 0
    for size, reopen in plan:
        for _ in range(size):
            journal.append("x", {"n": written})
            written += 1
        journal.commit()
        if reopen:
            os.close(journal._file)
            journal = Journal(path)
    assert [e.data["n"] for e in scan(path).events] == list(range(written))
