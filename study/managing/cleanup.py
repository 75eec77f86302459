"""Freeing disk in a study's home, without any file that its report or next launch needs.

It removes checkpoints of trials that have ended (of all trials once the study is finished), partial
files of killed writers, and heartbeat files of engines whose end is in the journal.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.analysis.records.history import History
from study.formatting import size
from study.journal import Entry, Journal, JournalError, StudyHome, Trial, read_entries
from study.journal.events import EngineChanged
from study.journal.heartbeats import FOLDER as ENGINES
from study.journal.home import COMMANDS, TRIALS

QUIET = 600.0
"""Seconds without a change after which a partial file is removed: its writer may be running.

By the machine's clock, as a file's age is: one set forward meanwhile costs that writer its file."""


@dataclass(frozen=True)
class Item:
    """A file that is not needed."""

    path: Path
    """Within the study's home."""
    kind: str
    bytes: int


@dataclass(frozen=True)
class Cleanup:
    """What was removed from a study's home, or would be."""

    study: str
    items: Sequence[Item]
    done: bool
    """False: nothing has been removed."""

    @property
    def bytes(self) -> int:
        """Disk space of all of it."""
        return sum(item.bytes for item in self.items)

    def __str__(self) -> str:
        if not self.items:
            return f"{self.study}: there is nothing to free"
        counts = Counter(item.kind for item in self.items)
        kinds = ", ".join(f"{kind}: {count:,}" for kind, count in counts.items())
        if self.done:
            return f"{self.study}: freed {size(self.bytes)} ({kinds})"
        listed = [f"  {item.path} ({size(item.bytes)})" for item in self.items]
        return "\n".join([f"{self.study}: would free {size(self.bytes)} ({kinds})", *listed])


def clean(home: StudyHome, *, dry_run: bool = False) -> Cleanup:
    """Remove from ``home`` what neither a report nor a resumption needs.

    The journal records nothing of it. Links are not followed: files elsewhere stay.

    Args:
        home: a study's.
        dry_run: only find it; possible while the study runs, too.

    Raises:
        LeaseError: the study is running.
        JournalError: the journal cannot be read, so that it is unknown what is needed; or the disk
            is full, and of what is needed.
    """
    root = home.path.resolve()
    if dry_run:
        return Cleanup(home.name, list(_unneeded(root, list(read_entries(root)))), done=False)
    items: list[Item] = []
    try:
        journal = Journal(root)
    except JournalError as error:
        if not _is_full(error):
            raise
        items = _room_made(root)
        journal = Journal(root)
    try:
        more = list(_unneeded(root, journal.entries))
        items += more
        for item in more:
            journal.check()
            (root / item.path).unlink(missing_ok=True)
        for folder in {root / item.path.parent for item in items}:
            if folder.parent == root / TRIALS and not any(folder.iterdir()):
                folder.rmdir()
    finally:
        journal.close()
    return Cleanup(home.name, items, done=True)


def _is_full(error: JournalError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


def _room_made(root: Path) -> list[Item]:
    """Remove the largest file that is not needed, if there is one: a lease takes some space.

    No launch would miss it, whether or not one runs: what is not needed, none opens again.
    """
    largest = sorted(_unneeded(root, list(read_entries(root))), key=lambda item: item.bytes)[-1:]
    for item in largest:
        (root / item.path).unlink(missing_ok=True)
    return largest


def _unneeded(root: Path, entries: Sequence[Entry]) -> Iterator[Item]:
    history = History(entries)
    trials = (found.trial for found in history.trials.values())
    ended = {trial.name for trial in trials if trial.ended and not _goes_on(trial, history)}
    folders = [root / TRIALS / entry.name for entry in _entries(root / TRIALS)]
    for folder in folders:
        if history.finished or folder.name in ended:
            yield from _items(root, folder, ".ckpt", "checkpoints")
    for folder in (root, root / "report", root / ENGINES, root / COMMANDS, *folders):
        yield from _items(root, folder, ".partial", "unfinished files", quiet=QUIET)
    engines = (entry.event for entry in entries if isinstance(entry.event, EngineChanged))
    gone = {event.engine for event in engines if event.state != "started"}
    for item in _items(root, root / ENGINES, ".json", "heartbeats of engines gone"):
        if item.path.stem in gone:
            yield item


def _goes_on(trial: Trial, history: History) -> bool:
    """Whether the next generation of the trial's search may begin with its checkpoint."""
    asked = trial.asked
    over = (asked.arm, asked.replicate) in history.choices or f"arm {asked.arm}" in history.stopped
    return asked.phase == "search" and bool(asked.course) and not over


def _items(
    root: Path, folder: Path, suffix: str, kind: str, *, quiet: float = 0.0
) -> Iterator[Item]:
    """Files directly in ``folder`` of that suffix, unchanged for ``quiet`` seconds."""
    for entry in _entries(folder):
        if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
            found = entry.stat(follow_symlinks=False)
            if time.time() - found.st_mtime >= quiet:
                yield Item(folder.relative_to(root) / entry.name, kind, found.st_size)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in ``folder``, by name; nothing if it is a link, which may lead anywhere."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)
