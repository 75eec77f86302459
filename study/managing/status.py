"""Where a study is, and which studies a home has; read-only, and light enough to be asked often.

The journal is folded trial by trial, without tables: those load statistics, which takes longer than
the answer may.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from study.formatting import NONE, duration, setting, timestamp
from study.journal import (
    Entry,
    JournalError,
    StudyHome,
    Trial,
    has_events,
    holder,
    journal_file,
    read_entries,
    silent,
)
from study.journal.commands import describe, pending
from study.journal.events import (
    CapReached,
    EngineChanged,
    LaunchBegan,
    Looked,
    PairChosen,
    Reported,
    SearchLooked,
    StudyDescribed,
    StudyFinished,
    StudyInterrupted,
    TrialAsked,
    TrialEnded,
)
from study.journal.files import epochs
from study.journal.home import study_names
from study.metrics import Metric, metric
from study.spec.trials import most_trials

RUNNING, FINISHED, NOT_RUNNING = "running", "finished", "not running"
UNREADABLE = "unreadable"
_ASIDE = 16  # studies of a home that are looked at at once


@dataclass(frozen=True)
class ArmStatus:
    """Where an arm is.

    Attributes:
        arm: Its name.
        states: Trials by state, as "complete" or "running".
        planned: Trials it is to have as far as is known, which a decided study need not run.
        best: Lowest objective on validation that a trial has reported.
        setting: What made it, as "beta=0.3"; "" where nothing is searched.
        objective: What is best by it.
    """

    arm: str
    states: Mapping[str, int]
    planned: int
    best: float | None
    setting: str
    objective: Metric

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return sum(self.states.get(state, 0) for state in ("complete", "pruned", "failed"))


@dataclass(frozen=True)
class Status:
    """Where a study is.

    Attributes:
        name: The study's name.
        state: "running", "finished", "not running" or how a cap ended it.
        since: When its last entry was written, in seconds since the Unix epoch.
        left: Seconds that what is left takes at the pace of this launch; None where not running,
            or before anything has ended.
        arms: Its arms, in the spec's order.
        said: What has been settled so far: the pair, the last look, caps.
        wrong: What went wrong, and what waits; empty where nothing did.
        command: What to type next.
    """

    name: str
    state: str
    since: float
    left: float | None
    arms: Sequence[ArmStatus]
    said: Sequence[str]
    wrong: Sequence[str]
    command: str

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return sum(arm.done for arm in self.arms)

    @property
    def planned(self) -> int:
        """Trials there are to be, as far as is known."""
        return sum(arm.planned for arm in self.arms)

    def __str__(self) -> str:
        left = "" if self.left is None else f", about {duration(self.left)} left"
        lines = [
            f"{self.name}: {self.state}; {self.done} of {self.planned} trials done{left}; "
            f"last entry {timestamp(self.since)}"
        ]
        width = max((len(arm.arm) for arm in self.arms), default=0)
        for arm in self.arms:
            others = ", ".join(
                f"{count} {state}"
                for state, count in sorted(arm.states.items())
                if state != "complete"
            )
            number = arm.objective.number(arm.best)
            best = "" if arm.best is None else f"best on validation {number}"
            by = f" by {arm.setting}" if best and arm.setting else ""
            found = "; ".join(filter(None, (others, best + by)))
            lines.append(
                f"  {arm.arm:<{width}}  {arm.done:>4} of {arm.planned:<4} {found}".rstrip()
            )
        lines += [f"  {line}" for line in self.said]
        lines += [f"  ! {line}" for line in self.wrong]
        lines.append(f"next: `{self.command}`")
        return "\n".join(lines)


def study_status(home: StudyHome) -> Status:
    """The status of the study in ``home``, from its journal."""
    entries = list(read_entries(home.path))
    spec = _spec(entries)
    trials, best = _folded(entries, f"validation/{spec['objective']}")
    held = holder(home.path)
    gone = held is not None and silent(home.path)
    state = _state(entries, held=held is not None and not gone)
    arms = _arms(spec, entries, trials, best, finished=state == FINISHED)
    running = state == RUNNING
    return Status(
        home.name,
        state,
        entries[-1].time,
        _left(entries, trials, sum(arm.planned for arm in arms)) if running else None,
        arms,
        [*_settled(entries), *_caps(spec, entries)],
        [
            *_wrong(entries),
            *_gone(held if gone and state == NOT_RUNNING else None),
            *_waiting(home),
        ],
        home.command("watch" if running else "resume" if state == NOT_RUNNING else "report"),
    )


@dataclass(frozen=True)
class Listed:
    """A study of a home, in a line.

    Attributes:
        name: Its name.
        state: "running", "finished", "not running" or "unreadable".
        verdict: The outcome that its last report has, "" without a report; or what cannot be read.
        changed: When its journal was last written, in seconds since the Unix epoch; 0 if that
            cannot be read.
    """

    name: str
    state: str
    verdict: str
    changed: float


def studies(home: Path) -> list[Listed]:
    """The studies in ``home``, the latest first; their journals are not read."""
    # Beside each other: some holders are watched for seconds (:func:`study.journal.silent`).
    with ThreadPoolExecutor(_ASIDE) as aside:
        listed = aside.map(_listed, (StudyHome(home, name) for name in study_names(home)))
        return sorted(filter(None, listed), key=lambda one: one.changed, reverse=True)


def arms_and_trials(home: StudyHome) -> tuple[list[str], list[str]]:
    """The names of a study's arms and trials."""
    entries = list(read_entries(home.path))
    return [*_spec(entries)["arms"]], [
        entry.event.trial for entry in entries if isinstance(entry.event, TrialAsked)
    ]


def studies_text(home: Path) -> str:
    """The studies in ``home`` as lines."""
    found = studies(home)
    if not found:
        return f"no studies in {home}"
    width = max(len(one.name) for one in found)
    return "\n".join(
        f"{one.name:<{width}}  {one.state:<11}  "
        f"{timestamp(one.changed) if one.changed else NONE:<23}  {one.verdict or NONE}"
        for one in found
    )


def _listed(home: StudyHome) -> Listed | None:
    """A study in a line; None where nothing is recorded."""
    try:
        if not has_events(home.path):
            return None
        known = epochs(home.path)
        changed = max(journal_file(home.path, epoch).stat().st_mtime for epoch in known)
        running = holder(home.path) is not None and not silent(home.path)
    except JournalError as error:
        return Listed(home.name, UNREADABLE, f"{error.where}: {error.what}", 0.0)
    except FileNotFoundError:  # removed meanwhile
        return None
    try:
        said = json.loads(home.first_screen.read_text())
        verdict, preliminary = str(said["outcome"]), bool(said["so_far"])
        if has_events(home.path, after=int(said.get("launch", max(known)))):
            verdict, preliminary = f"{verdict} (before its last launch)", True
    except (OSError, ValueError, LookupError, TypeError):
        verdict, preliminary = "", True  # no report, or none of this version
    state = NOT_RUNNING if preliminary else FINISHED
    return Listed(home.name, RUNNING if running else state, verdict, changed)


def _spec(entries: Sequence[Entry]) -> Mapping[str, Any]:
    """The spec as described last, in the words of today's format: the frozen file has its own."""
    described = (e.event for e in reversed(entries) if isinstance(e.event, StudyDescribed))
    return next(described).spec


def _folded(entries: Sequence[Entry], objective: str) -> tuple[dict[str, Trial], dict[str, float]]:
    """The trials by name, and of each the lowest objective that it reported on validation."""
    trials, best = dict[str, Trial](), dict[str, float]()
    for entry in entries:
        event = entry.event
        if isinstance(event, TrialAsked):
            trials[event.trial] = Trial(event)
        elif (trial := trials.get(getattr(event, "trial", ""))) is not None:
            trial.apply(event)
        elif isinstance(event, LaunchBegan | StudyInterrupted | CapReached):
            for one in trials.values():
                one.apply(event)
        if isinstance(event, Reported) and (value := event.metrics.get(objective)) is not None:
            best[event.trial] = min(value, best.get(event.trial, inf))
    return trials, best


def _arms(
    spec: Mapping[str, Any],
    entries: Sequence[Entry],
    trials: Mapping[str, Trial],
    best: Mapping[str, float],
    *,
    finished: bool,
) -> list[ArmStatus]:
    pair = next((e.event for e in reversed(entries) if isinstance(e.event, PairChosen)), None)
    compared = {pair.hand, pair.automatic} if pair else set(spec["arms"])
    found = []
    for name, arm in spec["arms"].items():
        mine = [trial for trial in trials.values() if trial.asked.arm == name]
        states = dict[str, int]()
        for trial in mine:
            states[trial.state] = states.get(trial.state, 0) + 1
        runs = _runs(spec, compared=name in compared, chosen=bool(pair))
        planned = 0 if finished else _planned(arm, mine, runs)
        leader = min(mine, key=lambda trial: best.get(trial.name, inf), default=None)
        value = None if leader is None else best.get(leader.name)
        params = leader.asked.params if leader is not None else {}
        found.append(
            ArmStatus(
                name,
                states,
                max(planned, len(mine)),
                value,
                ", ".join(f"{key}={setting(param)}" for key, param in params.items()),
                metric(spec["objective"]),
            )
        )
    return found


def _runs(spec: Mapping[str, Any], *, compared: bool, chosen: bool) -> int:
    """Confirm runs of a configuration; of a pair that is not chosen yet, the choosing runs."""
    choosing = int(spec.get("choosing_seeds") or 0)
    return choosing + (len(spec["seeds"]) if not choosing or (chosen and compared) else 0)


def _planned(arm: Mapping[str, Any], asked: Sequence[Trial], runs: int) -> int:
    """How many trials an arm is to have; of a search until bounded at most, until it is over."""
    search = arm.get("search")
    if not search:
        return runs
    searched = most_trials(search)
    if isinstance(search["trials"], Mapping) and any(t.asked.phase != "search" for t in asked):
        searched = len({t.asked.number for t in asked if t.asked.phase == "search"})
    return int(search.get("replicates", 1) * (searched + runs))


def _state(entries: Sequence[Entry], *, held: bool) -> str:
    if held:
        return RUNNING
    decisive = (LaunchBegan, StudyFinished, CapReached)
    match next((e.event for e in reversed(entries) if isinstance(e.event, decisive)), None):
        case StudyFinished():
            return FINISHED
        case CapReached(cap, limit, spent):
            return f"ended by {cap}: {_amount(spent)} of {_amount(limit)}"
        case _:
            return NOT_RUNNING


def _left(entries: Sequence[Entry], trials: Mapping[str, Trial], planned: int) -> float | None:
    """Seconds, at the pace at which trials have ended since this launch began."""
    began = next((e.time for e in reversed(entries) if isinstance(e.event, LaunchBegan)), None)
    if began is None:
        return None
    ended = sum(isinstance(e.event, TrialEnded) and e.time >= began for e in entries)
    done = sum(trial.ended for trial in trials.values())
    return (planned - done) * (entries[-1].time - began) / ended if ended else None


def _settled(entries: Sequence[Entry]) -> Iterator[str]:
    """The last look at each search that goes on until bounded, the pair, the last look at it."""
    searched = {e.event.arm: e.event for e in entries if isinstance(e.event, SearchLooked)}
    yield from map(str, searched.values())
    events = [e.event for e in entries if isinstance(e.event, PairChosen | Looked)]
    if pair := next((e for e in reversed(events) if isinstance(e, PairChosen)), None):
        yield str(pair)
    if events and isinstance(events[-1], Looked):
        yield str(events[-1])


def _caps(spec: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    """What was spent of each cap that the spec sets."""
    caps = {cap: spec.get(cap) for cap in ("max_images", "max_hours", "max_device_hours")}
    if not any(caps.values()):
        return
    from study.search.budget import Spending  # and Optuna with it

    spending = Spending()
    for entry in entries:
        spending.follow(entry)
    spent = spending.amounts(entries[-1].time)  # only the driver's own clock knows more
    for cap, limit in caps.items():
        if limit:
            yield f"{cap} {_amount(limit)}: {_amount(spent[cap])} by the last entry"


def _wrong(entries: Sequence[Entry]) -> Iterator[str]:
    failed = [e.event for e in entries if isinstance(e.event, TrialEnded)]
    failed = [end for end in failed if end.state == "failed"]
    if failed:
        count = "1 trial failed" if len(failed) == 1 else f"{len(failed)} trials failed"
        yield f"{count}; the first was {failed[0].trial}: {failed[0].reason}"
    lost = sum(isinstance(e.event, EngineChanged) and e.event.state == "lost" for e in entries)
    if lost:
        yield f"engines were lost {'once' if lost == 1 else f'{lost} times'}"
    if again := sum(isinstance(e.event, Reported) and e.event.redone for e in entries):
        yield f"{again} {'report was' if again == 1 else 'reports were'} trained for again"
    match entries[-1].event:
        case StudyInterrupted(error) if error:
            yield f"the last launch ended with an error: {error}"
        case _:
            pass


def _gone(held: str | None) -> Iterator[str]:
    if held is not None:
        yield f"its driver sends no heartbeat any more, and a resume takes over: {held}"


def _waiting(home: StudyHome) -> Iterator[str]:
    for _, command in pending(home.path):
        yield f"not executed yet: {describe(command)}"


def _amount(number: float) -> str:
    """Images as an integer, hours to three digits."""
    return f"{int(number):,}" if number == int(number) else f"{number:,.3f}"
