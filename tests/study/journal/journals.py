"""Journals as a real conductor writes them, over several launches."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna

from study.journal import Entry, Journal, journal_file
from study.journal.events import LaunchBegan, OptunaOperation
from study.journal.lines import Line, decode
from study.search import Conductor, Request
from study.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

REPORTS = 2
SPEC: dict[str, Any] = {
    "name": "kept",
    "data": "digits",
    "model": {"name": "mlp", "latent": 4},
    "training": {"epochs": 1, "reports": REPORTS},
    "seeds": [0],
    "arms": {
        "hand": {
            "balancer": "fixed_beta",
            "search": {
                "space": {"beta": {"low": 1e-3, "high": 10, "log": True}},
                "sampler": "random",
                "trials": 3,
                "batch": 2,
            },
        },
        "auto": {"balancer": "learned_sigma"},
    },
}


def report_of(request: Request, step: int) -> dict[str, Any]:
    """A made-up report, a function of settings, seed and step."""
    value = math.log(request.settings["balancer"].get("beta", 0.3)) ** 2 + 1 / step
    report: dict[str, Any] = {
        "step": step,
        "images": 100 * step,
        "metrics": {"validation/calibrated_negative_elbo": value, "train/S": float("nan")},
        "seconds": {"training": 1.0, "evaluation": 0.1},
        "engine": "e",
        "start": {"engine": "e", "shape": "x", "key": {"width": 1}, "seconds_per_image": 1e-4},
    }
    if step == REPORTS:
        report["end"] = {"state": "complete", "metrics": {"test/calibrated_negative_elbo": value}}
    return report


def launch(home: Path, reports: int, seed: int = 0) -> Journal:
    """One launch: a conductor on the study's journal, given so many reports in random order."""
    journal = Journal(home, take_over=True)
    conductor = Conductor(StudySpec.from_dict(SPEC), journal, 64, 2)
    journal.append(LaunchBegan(journal.epoch, 1, "host", ["study", "launch"]))
    journal.commit()
    rng, running = random.Random(seed), []
    while reports and not conductor.drained:
        while request := conductor.next():
            running.append((request, request.after))
        request, seen = running.pop(rng.randrange(len(running)))
        if conductor.report(request.trial, report_of(request, seen + 1)):
            conductor.returned(request.trial)
        else:
            running.append((request, seen + 1))
        reports -= 1
    return journal


def note(name: str, **data: Any) -> OptunaOperation:
    """An event of a test's own: the kind whose line holds whatever it is given."""
    return OptunaOperation({"note": name, **data})


def names(entries: Iterable[Entry]) -> list[str]:
    """What events are: the names of a test's own, the kinds of others."""
    return [
        entry.event.operation.get("note", "optuna")
        if isinstance(entry.event, OptunaOperation)
        else entry.event.kind
        for entry in entries
    ]


def note_line(epoch: int, sequence: int, name: str, *, last: bool = True, **data: Any) -> bytes:
    """The line of such an event, as it is in a file."""
    event = note(name, **data)
    return Line(epoch, sequence, 0.0, event.kind, event.to_data(), last).encode()


def tear(journal: Journal) -> None:
    """What a driver killed as it wrote a group leaves in its file."""
    half = note_line(journal.epoch, len(journal.entries), "half", last=False)
    with journal_file(journal.home, journal.epoch).open("ab") as file:
        file.write(half + half[:20])


def late(journal: Journal) -> None:
    """What a driver that has lost its lease still writes."""
    with journal_file(journal.home, journal.epoch).open("ab") as file:
        file.write(note_line(journal.epoch, len(journal.entries), "late", text="not the study's"))


def files(home: Path) -> list[Path]:
    """The journal's files, first to newest."""
    return sorted((home / "journal").glob("*.log"))


def group_ends(path: Path) -> dict[int, int]:
    """Where the whole groups of a file end, in bytes, and how many events it holds up to there."""
    ends, offset, events = {}, 0, 0
    for raw in path.read_bytes().splitlines(keepends=True):
        line = decode(raw)
        if line is None:
            break
        offset += len(raw)
        events += line.sequence >= 0
        if line.last:
            ends[offset] = events
    return ends
