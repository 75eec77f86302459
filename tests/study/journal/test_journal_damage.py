"""The journal's reader against damage: a tail is cut and said, the rest refused with the line."""

from __future__ import annotations

import itertools
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from journals import files, group_ends, late, launch, names, note, tear

from study.journal import Entry, Journal, JournalError, journal_file, read_entries
from study.journal.events import KINDS, Event, LaunchBegan, Reported, TrialAsked
from study.journal.files import Follower, Scan, scan
from study.journal.lines import decode

FLIPS = 1500
PLACE = re.compile(r"/(\d{6}\.log): line (\d+) ")


def shown(entries: list[Entry]) -> list[str]:
    return [repr(entry) for entry in entries]


def attempt(home: Path) -> Scan | str:
    """What is read, or why it is refused."""
    try:
        return scan(home)
    except JournalError as error:
        return str(error)


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    """The study of four launches, to be damaged."""
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def whole(kept: Path) -> list[str]:
    """Its events."""
    return shown(scan(kept).entries)


def at_newest(home: Path, length: int) -> Scan:
    """What is read when the newest file was written only so far."""
    newest = files(home)[-1]
    with newest.open("rb+") as file:
        file.truncate(length)
    return scan(home)


def test_every_prefix_of_the_newest_file_reads_up_to_its_last_whole_group(
    copy: Path, whole: list[str]
) -> None:
    newest = files(copy)[-1]
    size, ends = newest.stat().st_size, group_ends(newest)
    accepted = sorted(ends)[1]
    before = len(whole) - ends[max(ends)]
    for length in range(size, -1, -1):
        found = at_newest(copy, length)
        last = max((end for end in ends if end <= length), default=0)
        assert shown(found.entries) == whole[: before + ends.get(last, 0)]
        assert found.newest is not None
        if length >= accepted:
            assert found.newest.path == newest
            assert (found.newest.end, found.newest.cut) == (last, length - last)
        else:  # its launch ended before it said what it goes on from
            assert found.newest.path == files(copy)[-2]


def test_every_launchs_file_was_the_newest_once(copy: Path, whole: list[str]) -> None:
    rng = random.Random(0)
    while len(left := files(copy)) > 1:
        left[-1].unlink()
        newest = files(copy)[-1]
        for length in sorted(rng.sample(range(newest.stat().st_size), 100), reverse=True):
            found = at_newest(copy, length)
            events = shown(found.entries)
            shared = min(len(events), len(whole))
            # Lines written late come to light only where the launch that cut them off is gone.
            if events[:shared] != whole[:shared]:
                assert names(found.entries)[-1] == "late"
                assert events[:-1] == whole[: len(events) - 1]


def test_an_accepted_file_that_is_shorter_than_what_was_accepted_is_refused(copy: Path) -> None:
    rng = random.Random(1)
    for path, after in itertools.pairwise(files(copy)):
        content = path.read_bytes()
        line = decode(after.read_bytes().splitlines(keepends=True)[1])
        assert line is not None
        accepted = line.data["bytes"]
        for length in [0, 1, accepted - 1, *rng.sample(range(accepted), 100)]:
            path.write_bytes(content[:length])
            with pytest.raises(JournalError, match=r"continues it|continued from") as caught:
                scan(copy)
            assert path.name in str(caught.value)
        path.write_bytes(content[:accepted])
        scan(copy)
        path.unlink()
        with pytest.raises(JournalError, match=f"{path.name} is missing .* continues it"):
            scan(copy)
        path.write_bytes(content)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_flipped_bit_is_cut_at_the_tail_or_refused_with_file_and_line_and_never_read(
    copy: Path, whole: list[str], seed: int
) -> None:
    rng, outcomes = random.Random(seed), Counter[str]()
    ends = group_ends(files(copy)[-1])
    before = len(whole) - ends[max(ends)]
    counts = {before + events for events in ends.values()}
    accepted = {
        path.name: line.data["bytes"]
        for path, after in itertools.pairwise(files(copy))
        if (line := decode(after.read_bytes().splitlines(keepends=True)[1])) is not None
    }
    contents = {path: path.read_bytes() for path in files(copy)}
    places = [(path, bit) for path in contents for bit in range(8 * len(contents[path]))]
    for path, bit in rng.sample(places, FLIPS):
        flipped = bytearray(contents[path])
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        beyond = bit // 8 >= accepted.get(path.name, len(flipped))
        found = attempt(copy)
        if isinstance(found, str):
            place = PLACE.search(found)
            assert place is not None, found
            assert place[1] == path.name
            line = contents[path][: bit // 8].count(b"\n") + 1
            # A newline that is flipped joins two lines, one that appears makes two of one.
            assert abs(int(place[2]) - line) <= 1
            assert not beyond
            outcomes["refused"] += 1
        else:
            events = shown(found.entries)
            assert events == whole[: len(events)]
            assert len(events) in counts
            if len(events) == len(whole):
                assert beyond, f"{path.name} bit {bit}"
                outcomes["beyond"] += 1
            else:
                assert found.newest is not None
                assert found.newest.cut > 0
                outcomes["cut"] += 1
        path.write_bytes(contents[path])
    assert shown(scan(copy).entries) == whole
    assert set(outcomes) == {"refused", "beyond", "cut"}
    assert outcomes["refused"] > FLIPS / 2


def test_a_flipped_bit_never_brings_late_lines_to_light(tmp_path: Path) -> None:
    """Where the newest launch has only said what it goes on from, that line decides everything."""
    first = launch(tmp_path, 2)
    Journal(tmp_path, take_over=True)
    late(first)
    expected = shown(scan(tmp_path).entries)
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        newest.write_bytes(flipped)
        found = attempt(tmp_path)
        assert isinstance(found, str), shown(found.entries)[len(expected) :]
        assert PLACE.search(found)


def test_a_torn_tail_is_said_and_what_comes_after_goes_on(tmp_path: Path) -> None:
    first = launch(tmp_path, 2)
    kept = shown(first.entries)
    tear(first)
    size = journal_file(tmp_path, 1).stat().st_size
    second = Journal(tmp_path, take_over=True)
    assert shown(second.entries) == kept
    assert second.cut == size - max(group_ends(journal_file(tmp_path, 1))) > 0
    second.append(note("more"))
    second.commit()
    assert names(read_entries(tmp_path))[-1] == "more"
    assert journal_file(tmp_path, 1).stat().st_size == size  # nobody truncates another's file


def test_a_missing_line_is_refused(tmp_path: Path) -> None:
    launch(tmp_path, 2)
    path = journal_file(tmp_path, 1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(JournalError, match="line 5 has sequence number 3, expected 2"):
        scan(tmp_path)


def test_a_file_under_anothers_name_is_refused(tmp_path: Path) -> None:
    launch(tmp_path, 2).close()
    journal_file(tmp_path, 1).rename(journal_file(tmp_path, 2))
    with pytest.raises(JournalError, match="line 1 does not begin the file of launch 2"):
        scan(tmp_path)


def test_a_damaged_journal_is_not_written_to(tmp_path: Path) -> None:
    launch(tmp_path, 2).close()
    path = journal_file(tmp_path, 1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"trial"', b'"trail"', 1))
    with pytest.raises(JournalError, match=r"000001\.log: line \d+ is damaged"):
        Journal(tmp_path)
    path.write_bytes(content)
    with_all = Journal(tmp_path)  # at once: the launch that failed let go
    assert shown(with_all.entries) == shown(scan(tmp_path).entries)


@pytest.mark.parametrize("kinds", [[LaunchBegan], [Reported, TrialAsked], [*KINDS.values()]])
def test_only_events_of_the_kinds_that_are_wanted_are_read(
    kept: Path, kinds: list[type[Event]]
) -> None:
    wanted = [entry for entry in read_entries(kept) if type(entry.event) in kinds]
    assert wanted
    assert shown(list(read_entries(kept, *kinds))) == shown(wanted)


def test_a_follower_of_some_kinds_goes_on_in_later_launches(copy: Path) -> None:
    follower = Follower(copy, Reported)
    for seed in (5, 6):
        launch(copy, 2, seed).close()
        follower.poll()
        wanted = [e for e in read_entries(copy) if isinstance(e.event, Reported)]
        assert shown(follower.entries) == shown(wanted)


def test_lines_of_events_that_are_not_wanted_are_checked_as_all_are(copy: Path) -> None:
    first = files(copy)[0]
    lines = first.read_bytes().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if b'"optuna"' in line)
    first.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
    with pytest.raises(JournalError):
        list(read_entries(copy, LaunchBegan))
    damaged = lines[number].replace(b"optuna", b"Optuna")
    first.write_bytes(b"".join([*lines[:number], damaged, *lines[number + 1 :]]))
    with pytest.raises(JournalError, match=f"line {number + 1} is damaged"):
        list(read_entries(copy, LaunchBegan))
    line = decode(lines[number])
    assert line is not None
    first.write_bytes(
        b"".join([*lines[:number], line._replace(kind="Optuna").encode(), *lines[number + 1 :]])
    )
    with pytest.raises(JournalError, match=f"line {number + 1} is no event of format"):
        list(read_entries(copy, LaunchBegan))
