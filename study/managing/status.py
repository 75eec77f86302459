"""Looking at a study from outside, running or not: its status, a trial, the data."""

from __future__ import annotations

import difflib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from study.analysis import build_tables
from study.journal import Event, StudyHome, holder, read_events
from study.journal.commands import described, given, waiting
from vae_core.errors import UserError


def status_text(home: StudyHome) -> str:
    """How far the study is, arm by arm, who is running it, and what waits for whoever does."""
    events = list(read_events(home.path))
    trials = build_tables(events)["trials"].to_pylist()
    lines = [f"{home.name}: {_state(home, events)}; last entry {_when(events[-1].time)}"]
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        for phase in ("search", "confirm"):
            mine = [t for t in trials if t["arm"] == arm and t["phase"] == phase]
            if mine:
                states = Counter(trial["state"] for trial in mine)
                counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
                lines.append(f"  {arm:<24} {phase:<8} {counts}")
    redone, lost = (
        sum(trial[f"{what}_seconds"] for trial in trials) for what in ("redone", "lost")
    )
    images = sum(trial["redone_images"] for trial in trials)
    if images or redone or lost:
        lines.append(
            f"  done twice: {images:,} images, {redone:.1f} s; lost: {lost:.1f} s of device time"
        )
    lines += _caps(home, events)
    for path, order in waiting(home.path):
        lines.append(f"  ordered {_when(given(path))} and not taken yet: {described(order)}")
    return "\n".join(lines)


def trial_text(home: StudyHome, trial: str) -> str:
    """A trial's settings, curve, traceback and log."""
    events = list(read_events(home.path))
    asked = {e.data["trial"]: e.data for e in events if e.kind == "trial"}
    if trial not in asked:
        raise no_trial(trial, asked, home.name)
    mine = [event for event in events if _concerns(event, asked[trial])]
    again = [name for name, other in asked.items() if other.get("retry_of") == trial]
    lines = [
        "{trial}: {phase} {number} of arm {arm}, seed {seed}".format(**asked[trial]),
        *([f"retried as {', '.join(again)}"] if again else []),
        f"searched: {json.dumps(asked[trial]['params'])}",
        *(f"{name}: {json.dumps(values)}" for name, values in asked[trial]["settings"].items()),
        "",
        *_curve([event for event in mine if _new_report(event)]),
        "",
        *(f"{_when(e.time)}  {_told(e)}" for e in mine if not _new_report(e)),
    ]
    for event in mine:
        if event.kind == "end" and event.data["traceback"]:
            lines += ["", event.data["traceback"].rstrip()]
    return "\n".join(lines)


def data_text(home: Path) -> str:
    """The sources known, and what is prepared."""
    from vae_core.data import SOURCES, headers

    lines = [f"sources: {', '.join(SOURCES.names())}"]
    for path, header in headers(home / "data"):
        lines.append(f"  {header.name} {header.split}: {header.count:,} images, {path}")
    return "\n".join(lines)


def no_trial(trial: str, known: Collection[str], study: str) -> UserError:
    """The error to raise about a ``trial`` that is not among those ``known`` of a study."""
    # Of thousands of trials, those that may have been meant.
    close = difflib.get_close_matches(trial, known, n=5, cutoff=0.0)
    remedy = f"the nearest: {', '.join(close)}" if close else "it has no trial yet"
    return UserError(f"no trial '{trial}'", where=study, remedy=remedy)


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
        values = [event.data["metrics"].get(name) for name in columns]
        cells = " ".join(f"{'' if v is None else f'{v:.6g}':>16}" for v in values)
        lines.append(f"{event.data['step']:>6} {event.data['images']:>12,} {cells}")
    return lines


def _concerns(event: Event, trial: Mapping[str, Any]) -> bool:
    if event.data.get("trial") == trial["trial"]:
        return True
    return event.kind == "stop" and event.data.get("arm") == trial["arm"]


def _new_report(event: Event) -> bool:
    return event.kind == "report" and not event.data.get("redone")


def _told(event: Event) -> str:
    data: dict[str, Any] = event.data
    match event.kind:
        case "trial":
            of = data.get("retry_of")
            return "asked" if of is None else f"asked, as a retry of {of}"
        case "start":
            return f"trains on {data['engine']} ({json.dumps(data['key'])})"
        case "report":
            return f"report {data['step']} made again on {data['engine']}"
        case "suspend":
            seconds = data["seconds"]["training"]
            return f"put down by {data['engine']}, {seconds:.1f} s after its last report"
        case "death":
            return f"the process of {data['engine']}, which trained it, died"
        case "stop":
            return f"ordered to stop, {'with its arm' if 'arm' in data else 'by itself'}"
        case "end":
            because = f": {data['reason']}" if data["reason"] else ""
            value = "" if data["value"] is None else f", value {data['value']:.6g}"
            return f"{data['state']}{because} after report {data['step']}{value}"
        case _:
            return event.kind


def _state(home: StudyHome, events: Sequence[Event]) -> str:
    who = holder(home.path)
    if who is not None:
        return f"being run by {who}"
    last = next((e for e in reversed(events) if e.kind in {"launch", "finish", "cap"}), None)
    match last:
        case Event(kind="finish"):
            return "finished"
        case Event(kind="cap", data=data):
            spent, limit = _amount(data["spent"]), _amount(data["limit"])
            return f"ended by {data['cap']}: {spent} of {limit}"
        case _:
            return "not running"


def _caps(home: StudyHome, events: Sequence[Event]) -> list[str]:
    """What was spent of each cap that the spec sets."""
    spec: Mapping[str, Any] = yaml.safe_load(home.spec.read_text())
    caps = {cap: spec.get(cap) for cap in ("max_images", "max_hours", "max_device_hours")}
    if not any(caps.values()):
        return []
    from study.search.budget import Spending  # and Optuna with it

    spending = Spending()
    for event in events:
        spending.follow(event)
    now = time.time() if holder(home.path) is not None else events[-1].time
    spent = {
        "max_images": spending.images,
        "max_hours": spending.hours(now),
        "max_device_hours": spending.device_hours(now),
    }
    return [
        f"  {cap} {_amount(limit)}: {_amount(spent[cap])} so far"
        for cap, limit in caps.items()
        if limit
    ]


def _amount(number: float) -> str:
    """Images whole, hours to what matters."""
    return f"{int(number):,}" if number == int(number) else f"{number:,.3f}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
