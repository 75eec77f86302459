"""Heartbeat files: each engine's time account, rewritten every 5 s so that it survives a crash."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study.journal.events import EngineChanged, Entry

FOLDER = "engines"
"""Of the study's home: where the heartbeat files are, and marks."""

Account = Mapping[str, Any]
"""Fields of :class:`EngineChanged` that an engine states itself: its name and its time."""


def heartbeat_file(home: Path, engine: str) -> Path:
    """The heartbeat file of ``engine`` in the study's ``home``."""
    return home / FOLDER / f"{engine}.json"


def closing(account: Account, state: str, cause: str = "") -> EngineChanged:
    """The last event of an engine, from its own account.

    Args:
        account: as the engine returned it, or as :func:`last_account` found it.
        state: ``stopped`` or ``lost``.
        cause: of a loss.
    """
    return EngineChanged.read({**account, "state": state, "cause": cause})


def last_account(home: Path, engine: str) -> Account:
    """The last heartbeat of ``engine``; its name alone where there is none."""
    return _read(heartbeat_file(home, engine)) or {"engine": engine}


def orphans(home: Path, entries: Iterable[Entry]) -> list[Account]:
    """Last accounts of engines that no driver closed in the journal."""
    started: dict[str, None] = {}
    closed = set()
    for entry in entries:
        match entry.event:
            case EngineChanged(engine=name, state="started"):
                started[name] = None
            case EngineChanged(engine=name):
                closed.add(name)
    for path in sorted((home / FOLDER).glob("*.json")):
        if _read(path):
            started[path.stem] = None
    return [last_account(home, name) for name in started if name not in closed]


def forget(home: Path) -> None:
    """Remove what engines left: the journal has their accounts."""
    for path in (home / FOLDER).glob("*"):  # with unfinished files of killed engines
        path.unlink(missing_ok=True)


def _read(path: Path) -> Account | None:
    """The account in a heartbeat file, or None where it holds none of that engine."""
    try:
        found = json.loads(path.read_text())
        account = EngineChanged.read({**found, "state": ""})
    except (OSError, ValueError, TypeError):
        return None
    return found if account.engine == path.stem else None
