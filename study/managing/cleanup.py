"""Freeing disk in a study's home, and nothing of what its report or its next launch needs.

What goes: checkpoints of trials that have ended (of all, once the study is finished), what killed
writers left unfinished, and what engines left word of that is in the journal by now.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.analysis.records.history import History
from study.formatting import size
from study.journal import Event, Journal, StudyHome, read_events
from study.journal.commands import ORDERS
from study.journal.heartbeats import FOLDER as ENGINES
from study.journal.home import TRIALS

QUIET = 600.0
"""Seconds an unfinished file must not have changed for: it may be somebody's who still writes."""


@dataclass(frozen=True)
class Item:
    """A file that is not needed."""

    path: Path
    """Within the study's home."""
    kind: str
    bytes: int


@dataclass(frozen=True)
class Cleaning:
    """What was removed from a study's home, or would be."""

    study: str
    items: Sequence[Item]
    done: bool
    """False: nothing has been touched."""

    @property
    def bytes(self) -> int:
        """Disk space of it all."""
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


def clean(home: StudyHome, *, dry_run: bool = False) -> Cleaning:
    """Remove from ``home`` what neither a report nor a resumption needs.

    The journal tells nothing of it. Links are not followed: what lies elsewhere stays.

    Args:
        home: a study's.
        dry_run: only find it; that may be done while the study runs, too.

    Raises:
        LeaseError: the study is running.
        JournalError: the journal cannot be read, so what is needed cannot be told.
    """
    root = home.path.resolve()
    if dry_run:
        return Cleaning(home.name, list(_needless(root, list(read_events(root)))), done=False)
    journal = Journal(root)
    try:
        items = list(_needless(root, journal.events))
        for item in items:
            journal.check()
            (root / item.path).unlink(missing_ok=True)
        for folder in {root / item.path.parent for item in items}:
            if folder.parent == root / TRIALS and not any(folder.iterdir()):
                folder.rmdir()
    finally:
        journal.close()
    return Cleaning(home.name, items, done=True)


def _needless(root: Path, events: Sequence[Event]) -> Iterator[Item]:
    history = History(events)
    ended = {trial.trial for trial in history.trials.values() if trial.finished}
    trials = [root / TRIALS / entry.name for entry in _entries(root / TRIALS)]
    for folder in trials:
        if history.finished or folder.name in ended:
            yield from _items(root, folder, ".ckpt", "checkpoints")
    for folder in (root, root / "report", root / ENGINES, root / ORDERS, *trials):
        yield from _items(root, folder, ".partial", "unfinished files", quiet=QUIET)
    gone = {e.data["engine"] for e in events if e.kind == "engine" and e.data["state"] != "started"}
    for item in _items(root, root / ENGINES, ".json", "heartbeats of engines gone"):
        if item.path.stem in gone:
            yield item


def _items(
    root: Path, folder: Path, suffix: str, kind: str, *, quiet: float = 0.0
) -> Iterator[Item]:
    """Files right in ``folder`` of that suffix, unchanged for ``quiet`` seconds."""
    for entry in _entries(folder):
        if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
            found = entry.stat(follow_symlinks=False)
            if time.time() - found.st_mtime >= quiet:
                yield Item(folder.relative_to(root) / entry.name, kind, found.st_size)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in ``folder``, by name; nothing where it is a link, which may lead anywhere."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)
