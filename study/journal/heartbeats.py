"""What engines leave word of every few seconds, in the study's home, should they die."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.journal import Event

FOLDER = "engines"


def closing(account: dict[str, Any], state: str, cause: str = "") -> dict[str, Any]:
    """The journal's closing entry of an engine, from its own account."""
    return {**account, "state": state, **({"cause": cause} if cause else {})}


def last_account(home: Path, engine: str) -> dict[str, Any]:
    """What ``engine`` last said of its time; its name alone where it never did."""
    nothing = {"engine": engine, "device": "", "width": 0, "startup_seconds": 0.0}
    return _read(home / FOLDER / f"{engine}.json") or nothing


def orphans(home: Path, events: Iterable[Event]) -> list[dict[str, Any]]:
    """Last accounts of engines whose end no driver lived to see."""
    open_engines: dict[str, None] = {}
    closed = set()
    for event in events:
        if event.kind == "engine":
            name = event.data["engine"]
            if event.data["state"] == "started":
                open_engines[name] = None
            else:
                closed.add(name)
    for path in sorted((home / FOLDER).glob("*.json")):
        if _read(path):
            open_engines[path.stem] = None
    return [last_account(home, name) for name in open_engines if name not in closed]


def forget(home: Path) -> None:
    """Remove every engine's word: it is in the journal."""
    for path in (home / FOLDER).glob("*.json*"):  # and what a killed engine left half written
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("engine") == path.stem else None
