"""The status of a study, a trial's history and the prepared data, for people; read-only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from study.analysis import build_tables
from study.formatting import timestamp
from study.journal import Entry, Event, StudyHome, holder, read_entries, unknown_trial
from study.journal.commands import describe, pending, sent_at
from study.journal.events import (
    CapReached,
    LaunchBegan,
    Looked,
    PairChosen,
    Reported,
    SearchLooked,
    Stopped,
    StudyFinished,
    TrialAsked,
    TrialEnded,
)
from study.metrics import METRICS, Metric

_SPLITS = ("train", "", "validation", "test")  # in the order of the columns
_WIDTH = 16  # of a column


def status_text(home: StudyHome) -> str:
    """A study's state: trials by arm, device time lost, caps, and commands not executed yet."""
    entries = list(read_entries(home.path))
    trials = build_tables(entries)["trials"].to_pylist()
    lines = [f"{home.name}: {_state(home, entries)}; last entry {timestamp(entries[-1].time)}"]
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        for phase in ("search", "confirm", "choosing", "comparing"):
            mine = [t for t in trials if t["arm"] == arm and (t["stage"] or t["phase"]) == phase]
            if mine:
                states = Counter(trial["state"] for trial in mine)
                counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
                lines.append(f"  {arm:<24} {phase:<9} {counts}")
    lines += [f"  {found}" for found in _comparison(entries)]
    redone, lost = (
        sum(trial[f"{what}_seconds"] for trial in trials) for what in ("redone", "lost")
    )
    images = sum(trial["redone_images"] for trial in trials)
    if images or redone or lost:
        lines.append(
            f"  done twice: {images:,} images, {redone:.1f} s; lost: {lost:.1f} s of device time"
        )
    lines += _caps(home, entries)
    for path, command in pending(home.path):
        when = timestamp(sent_at(path))
        lines.append(f"  command of {when}, not executed yet: {describe(command)}")
    return "\n".join(lines)


def trial_text(home: StudyHome, trial: str) -> str:
    """A trial's settings, curve, traceback and log."""
    entries = list(read_entries(home.path))
    trials = {e.event.trial: e.event for e in entries if isinstance(e.event, TrialAsked)}
    if trial not in trials:
        raise unknown_trial(trial, trials, home.name)
    asked = trials[trial]
    mine = [entry for entry in entries if _concerns(entry.event, asked)]
    reports = [entry.event for entry in mine if isinstance(entry.event, Reported)]
    retries = [name for name, other in trials.items() if other.retry_of == trial]
    stage = f" ({asked.stage})" if asked.stage else ""
    lines = [
        f"{trial}: {asked.phase} {asked.number}{stage} of arm {asked.arm}, seed {asked.seed}",
        *([f"retried as {', '.join(retries)}"] if retries else []),
        f"searched: {json.dumps(asked.params)}",
        *(f"{name}: {json.dumps(values)}" for name, values in asked.settings.items()),
        "",
        *_curve([report for report in reports if not report.redone]),
        "",
        *(f"{timestamp(e.time)}  {e.event}" for e in mine if not _in_curve(e.event)),
    ]
    for entry in mine:
        if isinstance(entry.event, TrialEnded) and entry.event.traceback:
            lines += ["", entry.event.traceback.rstrip()]
    return "\n".join(lines)


def first_failure(home: StudyHome) -> str:
    """The first failed trial of a study, with its reason and the last line of its traceback."""
    for entry in read_entries(home.path):
        match entry.event:
            case TrialEnded(state="failed") as end:
                error = end.traceback.strip().rpartition("\n")[2]
                reason = f"{end.reason}: {error}" if error else end.reason
                return f"{end.trial} was the first to fail: {reason}"
            case _:
                pass
    return "none failed"


def data_text(home: Path) -> str:
    """The known sources, and the prepared images."""
    from vae_core.data import SOURCES, headers

    lines = [f"sources: {', '.join(SOURCES.names())}"]
    for path, header in headers(home / "data"):
        lines.append(f"  {header.name} {header.split}: {header.count:,} images, {path}")
    return "\n".join(lines)


def _curve(reports: Sequence[Reported]) -> Iterator[str]:
    shown = [(m, split) for split in _SPLITS for m in METRICS.values() if split in m.curve]
    headings = " ".join(f"{_heading(metric, split):>{_WIDTH}}" for metric, split in shown)
    yield f"report       images {headings}"
    for report in reports:
        names = (f"{split}/{metric.name}".lstrip("/") for metric, split in shown)
        values = (report.metrics.get(name) for name in names)
        cells = " ".join(f"{'' if v is None else f'{v:.6g}':>{_WIDTH}}" for v in values)
        yield f"{report.step:>6} {report.images:>12,} {cells}"


def _heading(metric: Metric, split: str) -> str:
    """A metric's label if it fits, with the split if it is also recorded in training."""
    short = metric.short.partition(" (")[0]  # its unit takes too much room
    name = metric.label if len(metric.label) <= _WIDTH else short
    return f"{split} {name}" if "train" in metric.splits else name


def _concerns(event: Event, asked: TrialAsked) -> bool:
    if isinstance(event, Stopped) and event.arm == asked.arm:
        return True
    return getattr(event, "trial", None) == asked.trial


def _in_curve(event: Event) -> bool:
    return isinstance(event, Reported) and not event.redone


def _state(home: StudyHome, entries: Sequence[Entry]) -> str:
    who = holder(home.path)
    if who is not None:
        return f"being run by {who}"
    decisive = (LaunchBegan, StudyFinished, CapReached)
    match next((e.event for e in reversed(entries) if isinstance(e.event, decisive)), None):
        case StudyFinished():
            return "finished"
        case CapReached(cap, limit, spent):
            return f"ended by {cap}: {_amount(spent)} of {_amount(limit)}"
        case _:
            return "not running"


def _comparison(entries: Sequence[Entry]) -> Iterator[str]:
    """The last look at each search that goes on until bounded, the pair, the last look at it."""
    searched = {e.event.arm: e.event for e in entries if isinstance(e.event, SearchLooked)}
    yield from map(str, searched.values())
    events = [e.event for e in entries if isinstance(e.event, PairChosen | Looked)]
    if pair := next((e for e in reversed(events) if isinstance(e, PairChosen)), None):
        yield str(pair)
    if events and isinstance(events[-1], Looked):
        yield str(events[-1])


def _caps(home: StudyHome, entries: Sequence[Entry]) -> list[str]:
    """What was spent of each cap that the spec sets."""
    spec: Mapping[str, Any] = yaml.safe_load(home.spec.read_text())
    caps = {cap: spec.get(cap) for cap in ("max_images", "max_hours", "max_device_hours")}
    if not any(caps.values()):
        return []
    from study.search.budget import Spending  # and Optuna with it

    spending = Spending()
    for entry in entries:
        spending.follow(entry)
    spent = spending.amounts(entries[-1].time)  # only the driver's own clock knows more
    return [
        f"  {cap} {_amount(limit)}: {_amount(spent[cap])} by the last entry"
        for cap, limit in caps.items()
        if limit
    ]


def _amount(number: float) -> str:
    """Images as an integer, hours to three digits."""
    return f"{int(number):,}" if number == int(number) else f"{number:,.3f}"
