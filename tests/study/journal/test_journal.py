"""The journal: durable groups, one writer, and what it does when it cannot write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import files, group_ends, names, note, note_line

from study.journal import (
    Journal,
    JournalError,
    LeaseLostError,
    has_events,
    journal_file,
    read_entries,
)
from study.journal.events import LaunchBegan, OptunaOperation
from study.journal.files import Follower, scan
from study.journal.lines import Line, decode, decode_all


def kinds(home: Path) -> list[str]:
    return names(read_entries(home))


def commit(journal: Journal, *kinds: str) -> None:
    for kind in kinds:
        journal.append(note(kind))
    journal.commit()


@given(st.integers(0, 9), st.integers(0, 10**9), st.text(), st.dictionaries(st.text(), st.floats()))
def test_a_line_comes_back_as_it_was(
    epoch: int, sequence: int, kind: str, data: dict[str, float]
) -> None:
    line = Line(epoch, sequence, 12.5, kind, data, 1)
    found = decode(line.encode())
    assert found is not None
    assert repr(found) == repr(line)


@pytest.mark.parametrize(
    "body",
    ["[]", "{}", "7", "[1,2,3,4,5]", '[1,"0",1.0,"x",{},1]', '[1,0,1.0,"x",[],1]', "[" * 9999],
)
def test_a_line_that_is_none_of_ours_is_no_line(body: str) -> None:
    raw = body.encode()
    assert decode(b"%08x %b\n" % (zlib.crc32(raw), raw)) is None


@given(
    st.lists(st.dictionaries(st.text(), st.floats() | st.none() | st.text()), min_size=1),
    st.data(),
)
def test_many_lines_are_read_as_each_of_them_is(
    data: list[dict[str, float | str | None]], draw: st.DataObject
) -> None:
    raws = [Line(1, n, n + 0.5, "x", found, n % 2).encode() for n, found in enumerate(data)]
    assert repr(decode_all(raws)) == repr([decode(raw) for raw in raws])
    torn = draw.draw(st.integers(0, len(raws) - 1))
    raws[torn] = raws[torn][: draw.draw(st.integers(0, len(raws[torn]) - 1))]
    assert repr(decode_all(raws)) == repr([decode(raw) for raw in raws])


class TestGroups:
    def test_what_is_committed_is_read_back_and_what_is_not_is_not(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        journal.append(LaunchBegan(1, 2, "ü\n", []))
        journal.append(OptunaOperation({"b": [1.5, None], "ü\n": float("inf")}))
        assert kinds(tmp_path) == []
        assert not has_events(tmp_path)
        journal.commit()
        assert has_events(tmp_path)
        journal.append(note("report"))
        assert [entry.event for entry in read_entries(tmp_path)] == [
            LaunchBegan(1, 2, "ü\n", []),
            OptunaOperation({"b": [1.5, None], "ü\n": float("inf")}),
        ]

    def test_an_event_is_at_once_what_it_will_be_read_back_as(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        data: dict[Any, Any] = {"pair": (1, 2), 3: "three"}
        entry = journal.append(OptunaOperation(data))
        data["pair"] = "changed since"
        journal.commit()
        assert entry.event == OptunaOperation({"pair": [1, 2], "3": "three"})
        assert list(read_entries(tmp_path)) == journal.entries == [entry]

    def test_what_cannot_be_written_is_refused_where_it_is_said(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        with pytest.raises(TypeError):
            journal.append(note("x", path=tmp_path))
        commit(journal, "next")
        assert kinds(tmp_path) == ["next"]

    def test_observers_hear_of_an_event_once_it_is_on_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal, synced = Journal(tmp_path), [0]
        heard: list[tuple[str, int, int]] = []
        journal.observe(
            lambda e: heard.append((*names([e]), len(scan(tmp_path).entries), synced[0]))
        )
        sync = os.fdatasync

        def counted(file: int) -> None:
            sync(file)
            synced[0] = os.fstat(file).st_size

        monkeypatch.setattr(os, "fdatasync", counted)
        journal.append(note("one"))
        journal.append(note("two"))
        assert heard == []
        journal.commit()
        size = journal_file(tmp_path, 1).stat().st_size
        assert heard == [("one", 2, size), ("two", 2, size)]

    def test_every_launch_has_its_own_file_and_goes_on_from_the_one_before(
        self, tmp_path: Path
    ) -> None:
        for epoch in range(1, 5):
            journal = Journal(tmp_path)
            assert journal.epoch == epoch
            assert [entry.sequence for entry in journal.entries] == list(range(2 * (epoch - 1)))
            commit(journal, "a", "b")
            journal.close()
        assert [path.name for path in files(tmp_path)] == [f"00000{n}.log" for n in range(1, 5)]
        assert {path.name for path in (tmp_path / "journal").iterdir()} == {
            path.name for path in files(tmp_path)
        }
        assert kinds(tmp_path) == ["a", "b"] * 4

    def test_a_closed_journal_takes_nothing_and_closes_once(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        journal.append(note("whole"))
        journal.commit()
        journal.append(note("cut short"))
        journal.close()
        journal.close()
        journal.append(note("after"))
        with pytest.raises(JournalError, match="is closed"):
            journal.commit()
        assert kinds(tmp_path) == ["whole"]

    def test_a_group_that_is_cut_short_never_happened_and_ends_the_journal(
        self, tmp_path: Path
    ) -> None:
        journal = Journal(tmp_path)
        with journal.group():
            journal.append(note("whole"))
        with pytest.raises(KeyError), journal.group():
            raise KeyError  # of nothing: what the driver knows and the file holds are the same

        def cut_short() -> None:
            with journal.group():
                journal.append(note("half"))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cut_short()
        journal.append(note("after"))
        with pytest.raises(JournalError, match=r"a decision that was cut short \(KeyboardInt"):
            journal.commit()
        journal.close()
        assert kinds(tmp_path) == ["whole"]


class TestLostLease:
    def test_its_commit_is_refused_and_counts_for_nothing(self, tmp_path: Path) -> None:
        frozen = Journal(tmp_path)
        told: list[str] = []
        frozen.observe(lambda entry: told.extend(names([entry])))
        commit(frozen, "before")
        assert frozen.held()
        successor = Journal(tmp_path, take_over=True)
        assert not frozen.held()
        commit(successor, "after")
        frozen.append(note("ghost"))
        with pytest.raises(LeaseLostError, match=rf"by process {os.getpid()} on ") as caught:
            frozen.commit()
        assert caught.value.exit_code == 1
        assert b"ghost" in journal_file(tmp_path, 1).read_bytes()  # it did write
        assert told == ["before"]
        assert names(frozen.entries) == ["before"]
        commit(successor, "later")
        assert kinds(tmp_path) == ["before", "after", "later"]
        assert names(Journal(tmp_path, take_over=True).entries) == kinds(tmp_path)

    def test_it_stays_lost(self, tmp_path: Path) -> None:
        frozen = Journal(tmp_path)
        Journal(tmp_path, take_over=True).close()
        with pytest.raises(LeaseLostError):
            frozen.check()
        frozen.append(note("ghost"))
        with pytest.raises(LeaseLostError):
            frozen.commit()
        frozen.close()
        assert "released" not in journal_file(tmp_path, 1).read_text()
        assert kinds(tmp_path) == []

    def test_who_removed_the_study_is_not_somebody_who_runs_it(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "study")
        for path in [*files(tmp_path / "study"), tmp_path / "study" / "journal"]:
            path.unlink() if path.is_file() else path.rmdir()
        with pytest.raises(LeaseLostError, match="was removed while it ran"):
            journal.check()
        journal.close()

    def test_a_group_the_former_holder_left_half_written_never_happened(
        self, tmp_path: Path
    ) -> None:
        first = Journal(tmp_path)
        commit(first, "kept")
        half = note_line(1, 1, "half", last=False)
        with journal_file(tmp_path, 1).open("ab") as file:
            file.write(half)
        second = Journal(tmp_path, take_over=True)
        assert second.cut == len(half)
        commit(second, "next")
        with journal_file(tmp_path, 1).open("ab") as file:  # its writer finishes, too late
            file.write(note_line(1, 2, "rest"))
        assert kinds(tmp_path) == ["kept", "next"]

    def test_a_launch_that_died_before_it_read_the_journal_is_passed_over(
        self, tmp_path: Path
    ) -> None:
        commit(Journal(tmp_path), "kept")
        Journal(tmp_path, take_over=True)
        lines = journal_file(tmp_path, 2).read_bytes().splitlines(keepends=True)
        journal_file(tmp_path, 2).write_bytes(lines[0])
        assert kinds(tmp_path) == ["kept"]
        third = Journal(tmp_path, take_over=True)
        assert third.epoch == 3
        commit(third, "next")
        assert kinds(tmp_path) == ["kept", "next"]


DISK = """
import os, resource, sys
from pathlib import Path
from study.journal import Journal, JournalError
from study.journal.events import OptunaOperation

def note(name, **data):
    return OptunaOperation({"note": name, **data})

home = Path(sys.argv[1])
journal, told = Journal(home), []
journal.observe(lambda entry: told.append(entry.event.operation["note"]))
journal.append(note("kept"))
journal.commit()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
size = (home / "journal" / "000001.log").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, limits[1]))
for room in ("full", "freed"):
    try:
        for _ in range(10):
            journal.append(note(room, text="x" * 90))
        journal.commit()
    except JournalError as error:
        print(error.exit_code, error, sep="|", end="|")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print(told, len(journal.entries), flush=True)
if sys.argv[2] == "close":
    journal.close()
else:
    os._exit(1)
"""


class TestFullDisk:
    @pytest.mark.parametrize("ending", ["close", "die"])
    def test_a_commit_that_finds_no_room_is_refused_and_so_is_every_later_one(
        self, tmp_path: Path, ending: str
    ) -> None:
        home = tmp_path / "mine"
        command = [sys.executable, "-c", DISK, str(home), ending]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.stderr == ""
        code, first, again, second, state = ran.stdout.strip().split("|")
        assert code == again == "1"
        assert first == second
        assert "000001.log: could not be written: File too large" in first
        assert f"free some space, then resume with `study resume mine --home {tmp_path}`" in first
        assert state == "['kept'] 1"
        assert kinds(home) == ["kept"]
        following = Journal(home)
        assert following.cut == 0
        commit(following, "next")
        assert kinds(home) == ["kept", "next"]

    @pytest.mark.parametrize("call", ["write", "fdatasync"])
    def test_what_was_written_of_the_group_is_taken_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        journal = Journal(tmp_path)
        commit(journal, "kept")
        size = journal_file(tmp_path, 1).stat().st_size
        real = os.write

        def full(file: int, data: bytes = b"") -> int:
            if len(data) > 50:
                return real(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            journal.append(note("lost", text="x" * 500))
            with pytest.raises(JournalError, match="No space left on device"):
                journal.commit()
        assert journal_file(tmp_path, 1).stat().st_size == size
        with pytest.raises(JournalError, match="No space left on device"):
            journal.commit()
        journal.close()
        assert names(Journal(tmp_path).entries) == ["kept"]

    def test_an_interrupted_write_is_a_torn_tail(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = Journal(tmp_path)
        commit(journal, "kept")
        real = os.write

        def interrupted(file: int, data: bytes) -> int:
            real(file, data[:40])
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupted)
            journal.append(note("lost"))
            with pytest.raises(KeyboardInterrupt):
                journal.commit()
        journal.append(note("later"))
        with pytest.raises(JournalError, match="KeyboardInterrupt"):
            journal.commit()
        journal.close()  # must not write after the torn tail
        following = Journal(tmp_path, take_over=True)
        assert names(following.entries) == ["kept"]
        assert following.cut == 40


class TestFollower:
    def test_it_reads_what_is_committed_while_it_looks(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        follower = Follower(tmp_path)
        assert follower.entries == []
        for n in range(5):
            commit(journal, f"a{n}", f"b{n}")
            follower.poll()
            assert follower.entries == journal.entries
        journal.close()
        following = Journal(tmp_path)
        follower.poll()
        commit(following, "next")
        follower.poll()
        assert follower.entries == following.entries

    def test_it_sees_no_group_in_part(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        commit(journal, "first")
        follower = Follower(tmp_path)
        commit(journal, "a", "b", "c")
        path = journal_file(tmp_path, 1)
        whole, ends = path.read_bytes(), sorted(group_ends(path))
        for length in range(ends[-2], ends[-1]):
            path.write_bytes(whole[:length])
            follower.poll()
            assert names(follower.entries) == ["first"]
        path.write_bytes(whole)
        follower.poll()
        assert follower.entries == journal.entries

    def test_it_never_shows_what_a_driver_wrote_too_late(self, tmp_path: Path) -> None:
        frozen = Journal(tmp_path)
        commit(frozen, "before")
        follower = Follower(tmp_path)
        successor = Journal(tmp_path, take_over=True)
        whole = journal_file(tmp_path, 2).read_bytes()
        lines = whole.splitlines(keepends=True)
        journal_file(tmp_path, 2).write_bytes(lines[0])  # it has not said what it goes on from
        frozen.append(note("ghost"))
        with pytest.raises(LeaseLostError):
            frozen.commit()
        follower.poll()
        assert names(follower.entries) == ["before"]
        journal_file(tmp_path, 2).write_bytes(whole)
        commit(successor, "after")
        follower.poll()
        assert follower.entries == successor.entries

    def test_it_refuses_to_go_on_where_the_past_has_changed(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        commit(journal, "kept")
        commit(journal, "torn")
        follower = Follower(tmp_path)
        path = journal_file(tmp_path, 1)
        with path.open("rb+") as file:
            file.truncate(path.stat().st_size - 3)
        commit(Journal(tmp_path, take_over=True), "other", "events")
        with pytest.raises(JournalError, match="last events were not kept"):
            follower.poll()


def test_events_in_memory_share_their_keys(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    operations = [OptunaOperation({"validation/S": value}) for value in (1.0, 2.0)]
    made = [journal.append(operation) for operation in operations]
    journal.commit()
    journal.close()
    read = Journal(tmp_path / "j")
    entries = (*made, *read.entries)
    keys = [key for entry in entries for key in entry.event.to_data()]
    read.close()
    assert len(keys) == 4
    assert all(key is keys[0] for key in keys)
