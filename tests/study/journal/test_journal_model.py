"""Lease and journal against a model of them: drivers that come, go, freeze, die and tear files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from journals import group_ends, note, note_line

import study.journal.journal as module
from study.journal import (
    Entry,
    Journal,
    JournalError,
    LeaseError,
    LeaseLostError,
    holder,
    journal_file,
    read_entries,
)
from study.journal.events import OptunaOperation
from study.journal.files import Follower, Scan, scan

BEAT, LAPSE = 0.002, 250.0
SIZES = st.integers(1, 4)


def numbers(entries: Iterable[Entry]) -> list[int]:
    """The numbers of a test's own events."""
    events = (entry.event for entry in entries)
    return [event.operation["n"] for event in events if isinstance(event, OptunaOperation)]


@dataclass
class Driver:
    """A journal, what its observer heard, and what the model says it should have."""

    journal: Journal
    pending: list[int] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    failed: bool = False


class Drivers(RuleBasedStateMachine):
    """The study is a list of numbers; each event holds one that was never used before.

    The model: events count once their commit returns, and a driver's commits return until another
    driver is there. What was frozen with a driver, or lay unfinished when it died, never counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="journal-model-"))
        self.numbers = 0
        self.study: list[int] = []
        self.current: Driver | None = None
        self.frozen: list[Driver] = []
        self.drivers: list[Driver] = []
        self.free = True
        """Whether the next driver finds the lease released."""
        self.epoch = 0
        self.accepted = 0
        """How many events the newest file goes on from."""
        self.follower = Follower(self.home)
        self.lost = False
        """Whether events that a follower may have seen are gone."""

    def teardown(self) -> None:
        for driver in self.drivers:
            self._closed(driver)
        shutil.rmtree(self.home)

    # -- drivers ---------------------------------------------------------------------------------

    @rule()
    @precondition(lambda self: self.current is None)
    def open(self) -> None:
        """At once, if the one before let go; else it is taken over."""
        self._take(lambda: Journal(self.home, take_over=not self.free, beat=BEAT, lapse=LAPSE))

    @rule()
    @precondition(lambda self: self.current is not None)
    def refuse(self) -> None:
        with pytest.raises(LeaseError):
            Journal(self.home, beat=BEAT, lapse=LAPSE)

    @rule(size=SIZES)
    @precondition(lambda self: self.current is not None)
    def append(self, size: int) -> None:
        assert self.current is not None
        self._append(self.current, size)

    @rule(size=SIZES)
    @precondition(lambda self: self.current is not None)
    def commit(self, size: int) -> None:
        driver = self.current
        assert driver is not None
        self._append(driver, size)
        if driver.failed:
            with pytest.raises(JournalError, match="No space left"):
                driver.journal.commit()
            driver.pending.clear()
        else:
            driver.journal.commit()
            self._count(driver)

    @rule()
    @precondition(lambda self: self.current is not None)
    def close(self) -> None:
        driver = self.current
        assert driver is not None
        driver.journal.close()
        driver.pending.clear()
        self.current, self.free = None, True

    @rule(size=SIZES)
    @precondition(lambda self: self.current is not None)
    def fill_the_disk(self, size: int) -> None:
        """Half the group is written, then there is no room."""
        driver = self.current
        assert driver is not None
        real = os.write

        def write(file: int, data: bytes) -> int:
            if len(data) > 60:
                return real(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self._append(driver, size)
        with mock.patch("os.write", write), pytest.raises(JournalError, match="No space left"):
            driver.journal.commit()
        driver.pending.clear()
        driver.failed = True

    # -- freezing and thawing --------------------------------------------------------------------

    @rule()
    @precondition(lambda self: self.current is not None)
    def take_over(self) -> None:
        """From a driver that is frozen, whatever it had in mind."""
        self._freeze()
        self._take(lambda: Journal(self.home, take_over=True, beat=BEAT, lapse=LAPSE))

    @rule(size=SIZES, before=st.booleans())
    @precondition(lambda self: self.current is not None and not self.current.failed)
    def take_over_from_one_that_writes(self, size: int, before: bool) -> None:
        """Its group is written once the other's file is there, before or after it is read.

        Either way its own commit does not return. Read by the other, the group counts: as it
        would if its driver had died before hearing that it was on disk.
        """
        frozen = self._freeze()
        self._append(frozen, size)

        def late(home: Path, below: int | None = None) -> Scan:
            if before:
                self._thawed(frozen)
                self.study += numbers(scan(home, below=below).entries)[len(self.study) :]
                return scan(home, below=below)
            found = scan(home, below=below)
            self._thawed(frozen)
            return found

        def opened() -> Journal:
            with mock.patch.object(module, "scan", late):
                return Journal(self.home, take_over=True, beat=BEAT, lapse=LAPSE)

        expected = [*self.study, *frozen.pending] if before else list(self.study)
        self._take(opened)
        assert self.study == expected

    @rule(data=st.data(), size=SIZES)
    @precondition(lambda self: self.frozen)
    def thaw(self, data: st.DataObject, size: int) -> None:
        frozen = data.draw(st.sampled_from(self.frozen))
        self._append(frozen, size)
        self._thawed(frozen)
        assert not frozen.journal.held()

    @rule(data=st.data())
    @precondition(lambda self: self.frozen)
    def thaw_and_close(self, data: st.DataObject) -> None:
        frozen = data.draw(st.sampled_from(self.frozen))
        self._closed(frozen)
        self.frozen.remove(frozen)

    # -- dying and tearing -----------------------------------------------------------------------

    @rule(size=SIZES, whole=st.booleans(), cut=st.integers(0, 60))
    @precondition(lambda self: self.current is not None and not self.current.failed)
    def die(self, size: int, whole: bool, cut: int) -> None:
        """As it writes a group: all of it is on disk, and nobody was told; or not all of it."""
        driver = self.current
        assert driver is not None
        driver.pending.clear()
        made = [self._number() for _ in range(size)]
        first = len(self.study)
        group = b"".join(
            note_line(driver.journal.epoch, first + i, "x", last=n == made[-1], n=n)
            for i, n in enumerate(made)
        )
        with journal_file(self.home, driver.journal.epoch).open("ab") as file:
            file.write(group if whole else group[: len(group) - 1 - cut])
        if whole:
            self.study += made
        self.current, self.free = None, False

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: self.current is None and self.epoch)
    def tear(self, share: float) -> None:
        """The disk loses the newest file's end, up to all its events."""
        path = journal_file(self.home, self.epoch)
        ends, size = group_ends(path), path.stat().st_size
        least = sorted(ends)[1]  # after the line that says what it goes on from
        length = least + round(share * (size - least))
        os.truncate(path, length)
        kept = self.accepted + max(events for end, events in ends.items() if end <= length)
        self.lost |= kept < len(self.study)
        del self.study[kept:]
        self.free &= length == size

    # -- what always holds -----------------------------------------------------------------------

    @invariant()
    def anyone_reads_what_counts(self) -> None:
        entries = list(read_entries(self.home))
        assert numbers(entries) == self.study
        assert [entry.sequence for entry in entries] == list(range(len(entries)))

    @invariant()
    def a_driver_knows_what_counts_and_nobody_else_hears(self) -> None:
        if self.current is not None:
            assert numbers(self.current.journal.entries) == self.study
            assert self.current.journal.held()
        for driver in self.drivers:
            assert driver.heard == driver.counted

    @invariant()
    def a_follower_sees_what_counts(self) -> None:
        try:
            self.follower.poll()
            shown = numbers(self.follower.entries)
            assert self.lost or shown == self.study
        except JournalError:
            assert self.lost
        if self.lost:
            self.follower, self.lost = Follower(self.home), False

    @invariant()
    def it_is_said_who_holds_it(self) -> None:
        assert (holder(self.home) is None) == (self.current is None and self.free)

    # -- the model's own steps -------------------------------------------------------------------

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    def _append(self, driver: Driver, size: int) -> None:
        for _ in range(size):
            number = self._number()
            driver.journal.append(note("x", n=number))
            driver.pending.append(number)

    def _count(self, driver: Driver) -> None:
        self.study += driver.pending
        driver.counted += driver.pending
        driver.pending.clear()

    def _freeze(self) -> Driver:
        assert self.current is not None
        frozen, self.current = self.current, None
        self.frozen.append(frozen)
        return frozen

    def _thawed(self, frozen: Driver) -> None:
        with pytest.raises(JournalError if frozen.failed else LeaseLostError):
            frozen.journal.commit()

    def _closed(self, driver: Driver) -> None:
        """Close a driver that may not know yet that it is not the newest."""
        with contextlib.suppress(LeaseLostError):
            driver.journal.close()

    def _take(self, make: Callable[[], Journal]) -> None:
        driver = Driver(make())
        driver.journal.observe(lambda entry: driver.heard.extend(numbers([entry])))
        assert driver.journal.epoch == self.epoch + 1
        self.epoch, self.accepted = driver.journal.epoch, len(self.study)
        self.current, self.free = driver, False
        self.drivers.append(driver)


Drivers.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestDrivers = Drivers.TestCase
