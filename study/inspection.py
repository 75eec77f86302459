"""Looking at a study from outside, running or not: its status, a trial, the data."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.analysis import build_tables
from study.journal import Event, StudyHome, holder, read_events
from vae_core.errors import UserError


def status_text(home: StudyHome) -> str:
    """How far the study is, arm by arm, and who is running it."""
    events = list(read_events(home.path))
    trials = build_tables(events)["trials"].to_pylist()
    running = holder(home.path)
    finished = any(event.kind == "finish" for event in events)
    state = f"being run by {running}" if running else ("finished" if finished else "not running")
    lines = [f"{home.name}: {state}; last entry {_when(events[-1])}" if events else home.name]
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        for phase in ("search", "confirm"):
            mine = [t for t in trials if t["arm"] == arm and t["phase"] == phase]
            if mine:
                states = Counter(trial["state"] for trial in mine)
                counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
                lines.append(f"  {arm:<24} {phase:<8} {counts}")
    return "\n".join(lines)


def trial_text(home: StudyHome, trial: str) -> str:
    """A trial's settings, curve, traceback and log."""
    events = [e for e in read_events(home.path) if e.data.get("trial")]
    mine = [event for event in events if event.data["trial"] == trial]
    if not mine:
        known = {event.data["trial"] for event in events}
        # Of thousands of trials, those that may have been meant.
        close = difflib.get_close_matches(trial, known, n=5, cutoff=0.0)
        remedy = f"the nearest: {', '.join(close)}" if close else "it has no trial yet"
        raise UserError(f"no trial '{trial}'", where=home.name, remedy=remedy)
    asked = mine[0].data
    lines = [
        f"{trial}: {asked['phase']} {asked['number']} of arm {asked['arm']}, seed {asked['seed']}",
        f"searched: {json.dumps(asked['params'])}",
        *(f"{name}: {json.dumps(values)}" for name, values in asked["settings"].items()),
        "",
        *_curve(mine),
        "",
        *(f"{_when(event)}  {_told(event)}" for event in mine if event.kind != "report"),
    ]
    end = next((event.data for event in mine if event.kind == "end"), None)
    if end and end["traceback"]:
        lines += ["", end["traceback"].rstrip()]
    return "\n".join(lines)


def data_text(home: Path) -> str:
    """The sources known, and what is prepared."""
    from vae_core.data import SOURCES, headers

    lines = [f"sources: {', '.join(SOURCES.names())}"]
    for path, header in headers(home / "data"):
        lines.append(f"  {header.name} {header.split}: {header.count:,} images, {path}")
    return "\n".join(lines)


def _curve(events: list[Event]) -> list[str]:
    columns = {
        "train/S": "train S",
        "train/R": "train R",
        "beta": "beta",
        "validation/MSE": "validation MSE",
        "validation/R": "validation R",
        "validation/calibrated_elbo": "calibrated -ELBO",
        "validation/bits_per_dim": "bits/dim",
    }
    lines = ["report       images " + " ".join(f"{name:>16}" for name in columns.values())]
    for event in events:
        if event.kind == "report":
            values = [event.data["metrics"].get(name) for name in columns]
            cells = " ".join(f"{'' if v is None else f'{v:.6g}':>16}" for v in values)
            lines.append(f"{event.data['step']:>6} {event.data['images']:>12,} {cells}")
    return lines


def _told(event: Event) -> str:
    data: dict[str, Any] = event.data
    match event.kind:
        case "trial":
            return "asked"
        case "start":
            return f"trains on {data['engine']} ({json.dumps(data['key'])})"
        case "end":
            because = f": {data['reason']}" if data["reason"] else ""
            value = "" if data["value"] is None else f", value {data['value']:.6g}"
            return f"{data['state']}{because} after report {data['step']}{value}"
        case _:
            return event.kind


def _when(event: Event) -> str:
    return datetime.fromtimestamp(event.time, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
