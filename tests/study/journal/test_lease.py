"""The lease between real processes: taken by one, kept while alive, lost by the frozen."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from journals import names, note

from study.journal import (
    Journal,
    JournalError,
    Lease,
    LeaseError,
    LeaseLostError,
    holder,
    journal_file,
    read_entries,
    silent,
    superseded,
)
from study.journal.lease import Holder, _machine, _started
from study.journal.lines import control

BEAT = 0.1
LONG = 250.0
"""Seconds no test would wait for."""

DRIVER = """
import sys
from pathlib import Path
from study.journal import Journal
from study.journal.events import OptunaOperation
from vae_core.errors import UserError

told = []
for line in sys.stdin:
    verb, _, argument = line.strip().partition(" ")
    try:
        if verb == "open":
            home, beat, lapse = argument.split()
            journal = Journal(Path(home), beat=float(beat), lapse=float(lapse))
            journal.observe(lambda entry: told.append(entry.event.operation["note"]))
            print("held", journal.epoch)
        elif verb == "commit":
            journal.append(OptunaOperation({"note": argument}))
            journal.commit()
            print("told", *told)
        elif verb == "close":
            journal.close()
            print("closed")
    except UserError as error:
        print(type(error).__name__, error.exit_code, *told, error.what)
    sys.stdout.flush()
"""


class Driver:
    """A process that opens journals, commits and closes as it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __call__(self, *words: object) -> str:
        self.begin(*words)
        return self.answer()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture
def driver() -> Iterator[Callable[[], Driver]]:
    started: list[Driver] = []

    def start() -> Driver:
        started.append(Driver())
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def kinds(home: Path) -> list[str]:
    return names(read_entries(home))


def commit(journal: Journal, kind: str) -> None:
    journal.append(note(kind))
    journal.commit()


def held_by(home: Path, **changes: Any) -> Path:
    """A first launch's file, written by somebody else."""
    me = Holder(os.getpid(), _started(os.getpid()) or 0, "elsewhere", _machine(), 1e9)
    accept = {"base": 0, "bytes": 0, "events": 0}
    path = journal_file(home, 1)
    path.parent.mkdir()
    path.write_bytes(
        control(1, 1e9, "lease", {**asdict(me), **changes}) + control(1, 1e9, "accept", accept)
    )
    return path


class TestAlive:
    def test_a_live_holder_is_named_and_the_way_round_it(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        other, home = driver(), tmp_path / "mine"
        assert other("open", home, BEAT, LONG) == "held 1"
        with pytest.raises(LeaseError) as caught:
            Journal(home, beat=BEAT, lapse=LONG)
        assert caught.value.remedy == "wait for it, or end that process: nothing is recorded yet"
        assert other("commit", "first") == "told first"
        with pytest.raises(LeaseError) as caught:
            Journal(home, beat=BEAT, lapse=LONG)
        text = str(caught.value)
        assert f"being run by process {other.process.pid} on {socket.gethostname()} since " in text
        assert " UTC\n" in text
        assert f"`study stop mine --home {tmp_path}`" in text
        assert f"`study resume mine --home {tmp_path} --take-over`: the other then" in text
        assert caught.value.exit_code == 2
        assert holder(home) is not None
        assert f"process {other.process.pid} on " in holder(home)
        assert "last heartbeat " in holder(home)
        assert other("commit", "still") == "told first still"
        assert not superseded(home, 1)

    def test_it_may_be_taken_over_and_then_changes_nothing(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        other = driver()
        assert other("open", tmp_path, BEAT, LONG) == "held 1"
        assert other("commit", "before") == "told before"
        mine = Journal(tmp_path, take_over=True)
        commit(mine, "mine")
        assert other("commit", "ghost").startswith(
            f"LeaseLostError 1 before the study was taken over by process {os.getpid()} on "
        )
        assert other("close") == "closed"
        assert kinds(tmp_path) == ["before", "mine"]

    def test_one_that_lets_go_is_followed_at_once(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        other = driver()
        assert other("open", tmp_path, BEAT, LONG) == "held 1"
        assert other("close") == "closed"
        assert holder(tmp_path) is None
        assert Journal(tmp_path, lapse=LONG).epoch == 2

    def test_one_that_lets_go_while_it_is_watched_is_followed(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        other = driver()
        assert other("open", tmp_path, LONG, LONG) == "held 1"  # it gives no sign of life
        threading.Timer(0.3, other.begin, ["close"]).start()
        assert Journal(tmp_path, beat=BEAT, lapse=LONG).epoch == 2

    def test_the_same_process_is_refused_as_any_other(self, tmp_path: Path) -> None:
        first = Journal(tmp_path, beat=BEAT)
        with pytest.raises(LeaseError, match=f"process {os.getpid()} on"):
            Journal(tmp_path, beat=BEAT)
        first.close()
        assert Journal(tmp_path, lapse=LONG).epoch == 2


class TestFrozen:
    def test_it_is_taken_over_after_a_lapse_and_changes_nothing_when_it_wakes(
        self, tmp_path: Path, driver: Callable[[], Driver], caplog: pytest.LogCaptureFixture
    ) -> None:
        other = driver()
        assert other("open", tmp_path, BEAT, LONG) == "held 1"
        assert other("commit", "before") == "told before"
        other.send(signal.SIGSTOP)
        _state_of(other.process.pid, "T")
        with caplog.at_level(logging.WARNING):
            mine = Journal(tmp_path, beat=BEAT, lapse=1.0)
        assert f"process {other.process.pid} on " in caplog.text
        assert "sends no heartbeat: taking over in " in caplog.text
        assert names(mine.entries) == ["before"]
        commit(mine, "mine")
        size = journal_file(tmp_path, 1).stat().st_size
        other.begin("commit", "ghost")
        other.send(signal.SIGCONT)
        assert other.answer().startswith("LeaseLostError 1 before the study was taken over by")
        assert journal_file(tmp_path, 1).stat().st_size > size  # it did write
        assert kinds(tmp_path) == ["before", "mine"]
        assert other("commit", "again").startswith("LeaseLostError 1 before ")
        commit(mine, "more")
        mine.close()
        assert kinds(tmp_path) == ["before", "mine", "more"]
        assert names(Journal(tmp_path, lapse=LONG).entries) == kinds(tmp_path)

    def test_one_that_wakes_to_a_failed_disk_removes_nothing_its_successor_accepted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frozen, sync, successors = Journal(tmp_path), os.fdatasync, list[Journal]()

        def overtaken(file: int) -> None:
            monkeypatch.setattr(os, "fdatasync", sync)
            successors.append(Journal(tmp_path, take_over=True))
            commit(successors[0], "mine")
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fdatasync", overtaken)
        with pytest.raises(JournalError, match="could not be written"):
            commit(frozen, "accepted")
        assert kinds(tmp_path) == ["accepted", "mine"]
        for journal in (frozen, *successors):
            journal.close()
        assert kinds(tmp_path) == ["accepted", "mine"]

    def test_one_that_wakes_while_it_is_watched_keeps_the_study(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        other = driver()
        assert other("open", tmp_path, BEAT, LONG) == "held 1"
        other.send(signal.SIGSTOP)
        _state_of(other.process.pid, "T")
        threading.Timer(0.5, other.send, [signal.SIGCONT]).start()
        with pytest.raises(LeaseError, match=f"process {other.process.pid} on "):
            Journal(tmp_path, beat=BEAT, lapse=LONG)
        assert other("commit", "mine") == "told mine"


class TestDead:
    @pytest.mark.parametrize("reaped", [True, False])
    def test_it_is_followed_at_once(
        self, tmp_path: Path, driver: Callable[[], Driver], reaped: bool
    ) -> None:
        other = driver()
        assert other("open", tmp_path, BEAT, LONG) == "held 1"
        assert other("commit", "before") == "told before"
        other.send(signal.SIGKILL)
        if reaped:
            other.process.wait()
        else:
            _state_of(other.process.pid, "Z")
        assert holder(tmp_path) is None
        mine = Journal(tmp_path, lapse=LONG)
        assert mine.epoch == 2
        assert names(mine.entries) == ["before"]

    def test_a_process_number_used_again_is_another_process(self, tmp_path: Path) -> None:
        held_by(tmp_path, started=1)
        assert holder(tmp_path) is None
        assert Journal(tmp_path, lapse=LONG).epoch == 2

    def test_nobody_can_tell_of_a_process_on_another_machine(self, tmp_path: Path) -> None:
        path = held_by(tmp_path, pid=2**22 + 1, machine="another boot pid:[1]")
        assert (holder(tmp_path) or "").startswith(f"process {2**22 + 1} on elsewhere since 2001-")
        until = time.monotonic() + 0.5
        assert Journal(tmp_path, beat=BEAT, lapse=0.5).epoch == 2
        assert time.monotonic() >= until
        assert path.exists()

    def test_a_sign_of_life_from_another_machine_is_a_change_not_a_time(
        self, tmp_path: Path
    ) -> None:
        path = held_by(tmp_path, pid=1, machine="another boot pid:[1]")
        threading.Timer(0.3, os.utime, [path, (5.0, 5.0)]).start()  # its clock is far behind
        with pytest.raises(LeaseError, match="process 1 on elsewhere since 2001-09-09 01:46:40"):
            Journal(tmp_path, beat=BEAT, lapse=LONG)

    @pytest.mark.parametrize("head", [b"", b"deadbeef [torn", control(1, 0.0, "lease", {"pid": 1})])
    def test_a_holder_who_cannot_be_read_is_watched(self, tmp_path: Path, head: bytes) -> None:
        held_by(tmp_path).write_bytes(head)
        assert (holder(tmp_path) or "").startswith("another process, last heartbeat ")
        assert Journal(tmp_path, beat=BEAT, lapse=0.3).epoch == 2


class TestSilent:
    """A holder of whom nobody can tell whether it has ended, seen without waiting for a lapse."""

    def test_here_it_is_as_good_as_dead_once_its_heartbeat_is_old(self, tmp_path: Path) -> None:
        path = held_by(tmp_path, host=socket.gethostname(), machine="former boot pid:[1]")
        assert not silent(tmp_path)
        os.utime(path, (1e9, 1e9))
        assert holder(tmp_path) is not None
        assert silent(tmp_path)

    @pytest.mark.parametrize("beats", [True, False])
    def test_elsewhere_a_change_counts_and_not_its_clock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beats: bool
    ) -> None:
        monkeypatch.setattr("study.journal.lease.BEAT", 0.5)
        path = held_by(tmp_path, machine="another boot pid:[1]")
        os.utime(path, (1e9, 1e9))
        if beats:
            threading.Timer(0.2, os.utime, [path, (1e9 + 2, 1e9 + 2)]).start()
        assert silent(tmp_path) != beats

    def test_nobody_who_holds_nothing_is_silent(self, tmp_path: Path) -> None:
        assert not silent(tmp_path)
        os.utime(held_by(tmp_path, started=1), (1e9, 1e9))
        assert not silent(tmp_path)


class TestRace:
    def test_of_two_processes_exactly_one_takes_the_lease(
        self, tmp_path: Path, driver: Callable[[], Driver]
    ) -> None:
        pair, won = [driver(), driver()], [0, 0]
        for each in pair:
            assert each("open", tmp_path / f"warm{each.process.pid}", BEAT, LONG) == "held 1"
        for turn in range(20):
            home = tmp_path / f"home{turn}"
            if turn % 2:
                Journal(home).close()
            for each in pair:
                each.begin("open", home, BEAT, LONG)
            answers = [each.answer() for each in pair]
            assert sorted(answer.split()[0] for answer in answers) == ["LeaseError", "held"]
            winner = answers[0].startswith("LeaseError")
            assert f"process {pair[winner].process.pid} on" in answers[not winner]
            won[winner] += 1
            assert pair[winner]("commit", "mine").endswith(" mine")
            assert kinds(home) == ["mine"]
            assert {path.suffix for path in (home / "journal").iterdir()} == {".log"}

    def test_of_many_threads_exactly_one_puts_each_file_in_place(self, tmp_path: Path) -> None:
        """All at once, each taking over whoever is there: every epoch has one holder."""
        start, taken = threading.Barrier(8), []

        def take() -> None:
            start.wait()
            for _ in range(10):
                with contextlib.suppress(LeaseError):
                    taken.append(Lease(tmp_path, take_over=True))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {path.suffix for path in (tmp_path / "journal").iterdir()} == {".log"}
        epochs = [lease.epoch for lease in taken]
        assert sorted(epochs) == list(range(1, len(epochs) + 1))
        assert [lease.epoch for lease in taken if lease.held()] == [max(epochs)]
        for lease in taken:
            lease.release()
        assert holder(tmp_path) is None

    def test_one_that_is_overtaken_as_it_reads_the_journal_does_not_begin(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import study.journal.journal as module

        real = module.scan
        faster: list[Journal] = []

        def slow(home: Path, *, below: int | None = None) -> Any:
            found = real(home, below=below)
            if not faster:
                monkeypatch.setattr(module, "scan", real)
                faster.append(Journal(home, take_over=True))
                commit(faster[0], "mine")
            return found

        monkeypatch.setattr(module, "scan", slow)
        with pytest.raises(LeaseLostError):
            Journal(tmp_path)
        commit(faster[0], "more")
        assert kinds(tmp_path) == ["mine", "more"]


def _state_of(pid: int, state: str) -> None:
    """Wait until the process is in ``state``."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        time.sleep(0.01)
