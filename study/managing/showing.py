"""A trial's history and the prepared data, for people; read-only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.formatting import timestamp
from study.journal import Event, StudyHome, read_entries, unknown_trial
from study.journal.course import Course, in_words
from study.journal.events import Reported, Stopped, TrialAsked, TrialEnded
from study.metrics import METRICS, Metric

_SPLITS = ("train", "", "validation", "test")  # in the order of the columns
_WIDTH = 12  # of a column, at least
_LABEL = 24  # characters of a metric's label in a heading, at most


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
        *_course(asked),
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
    for entry in read_entries(home.path, TrialEnded):
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


def _course(asked: TrialAsked) -> Iterator[str]:
    course = Course.of(asked.course)
    if course is not None and course.earlier:
        words = (f"{key}={values}" for key, values in in_words(asked.params, course).items())
        onward = f", going on from the end of {course.parent}" if course.parent else ""
        yield f"by stages: {', '.join(words)}{onward}"


def _curve(reports: Sequence[Reported]) -> Iterator[str]:
    shown = [(m, split) for split in _SPLITS for m in METRICS.values() if split in m.curve]
    headings = [f"{_heading(metric, split):>{_WIDTH}}" for metric, split in shown]
    yield f"report       images {' '.join(headings)}"
    for report in reports:
        names = (f"{split}/{metric.name}".lstrip("/") for metric, split in shown)
        values = (report.metrics.get(name) for name in names)
        texts = ("" if value is None else f"{value:.6g}" for value in values)
        cells = (text.rjust(len(h)) for text, h in zip(texts, headings, strict=True))
        yield f"{report.step:>6} {report.images:>12,} {' '.join(cells)}"


def _heading(metric: Metric, split: str) -> str:
    """A metric's label if it fits, with the split if it is also recorded in training."""
    short = metric.short.partition(" (")[0]  # its unit takes too much room
    name = metric.label if len(metric.label) <= _LABEL else short
    return f"{split} {name}" if "train" in metric.splits else name


def _concerns(event: Event, asked: TrialAsked) -> bool:
    if isinstance(event, Stopped) and event.arm == asked.arm:
        return True
    return getattr(event, "trial", None) == asked.trial


def _in_curve(event: Event) -> bool:
    return isinstance(event, Reported) and not event.redone
