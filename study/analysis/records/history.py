"""A study's journal folded into trials, reports and engines."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from math import fsum, nan
from sys import intern
from typing import Any

import numpy as np

from study.analysis.records.engine_time import EngineClock, EngineTime
from study.journal.events import (
    ArmPiloted,
    CapReached,
    ConfigurationChosen,
    EngineChanged,
    EngineDied,
    Entry,
    LaunchBegan,
    Looked,
    Numbers,
    PairChosen,
    Reported,
    SearchLooked,
    ShapeTimed,
    Stopped,
    StudyDescribed,
    StudyFinished,
    StudyInterrupted,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
    TrialsTold,
    TrialSuspended,
)
from study.journal.trial import Trial, standing
from study.statistics import FEWEST


@dataclass(slots=True, eq=False)
class TrialHistory:
    """A trial, and what only the tables need of it."""

    trial: Trial
    reason: str = ""
    """Why it ended, unless it is complete."""
    reported_by: str = ""
    """The engine that made its last report."""
    deaths: int = 0
    """Engines that died while they trained it."""
    shape: str = ""
    """Of the bank that it trained in last."""
    started: float | None = None
    """When it first took a slot, in seconds since 1970; likewise ``ended``."""
    ended: float | None = None
    redone_images: int = 0
    """Trained on again after a crash; ``trial.images`` counts every image once."""
    images_by: array[int] = field(default_factory=lambda: array("q"))
    """By step, images trained on by then; -1 of a step, like 0, that it did not report."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Device seconds by purpose."""
    metrics: Numbers = field(default_factory=dict)
    """On test."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    last: int = -1
    """Row of its last report among the study's reports, -1 before the first."""

    def images_at(self, step: int) -> int | None:
        """Images trained on by ``step``; None if it did not report it."""
        images = self.images_by[step] if step < len(self.images_by) else -1
        return None if images < 0 else images

    def reported(self, step: int, images: int) -> None:
        """Note that it reported ``step``, with ``images`` trained on by then."""
        missing = step + 1 - len(self.images_by)
        self.images_by.extend(repeat(-1, missing))
        self.images_by[step] = images

    def spend(self, purpose: str, seconds: float) -> None:
        """Charge device ``seconds`` for ``purpose``."""
        self.seconds[purpose] = self.seconds.get(purpose, 0.0) + seconds


class _Alike:
    """Metrics of reports that have the same ones."""

    def __init__(self) -> None:
        self.rows, self.values = array("q"), array("d")  # of each row, a value for each name


class Reports:
    """The reports of all trials as columns, in journal order."""

    def __init__(self) -> None:
        self.trials: list[TrialHistory] = []
        self.engines: list[str] = []
        self.step, self.images = array("q"), array("q")
        self.time, self.training = array("d"), array("d")
        self.evaluation, self.second_stage = array("d"), array("d")
        self._metrics: dict[tuple[str, ...], _Alike] = {}

    def __len__(self) -> int:
        return len(self.trials)

    def append(self, history: TrialHistory, time: float, report: Reported) -> None:
        """Add a report of ``history``'s trial, which has applied it."""
        row, seconds, metrics = len(self.trials), report.seconds, report.metrics
        self.trials.append(history)
        self.engines.append(intern(report.engine))  # each line has its own copy of the name
        self.step.append(report.step)
        self.images.append(history.trial.images)
        self.time.append(time)
        self.training.append(seconds.get("training", 0.0))
        self.evaluation.append(seconds.get("evaluation", 0.0))
        self.second_stage.append(seconds.get("second_stage", 0.0))
        names = tuple(metrics)
        alike = self._metrics.get(names)
        if alike is None:
            alike = self._metrics[names] = _Alike()
        alike.rows.append(row)
        values: Collection[Any] = metrics.values()
        try:
            alike.values += array("d", values)
        except TypeError:  # some are None
            alike.values.extend(nan if value is None else value for value in values)

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that any of them has."""
        return {name for names in self._metrics for name in names}

    def metric(self, name: str, places: np.ndarray) -> np.ndarray:
        """A metric of every report, [len(self)], each in its place; NaN where there is none."""
        column = np.full(len(self), nan)
        for names, alike in self._metrics.items():
            if name in names:
                values = np.frombuffer(alike.values).reshape(-1, len(names))
                column[places[np.frombuffer(alike.rows, np.int64)]] = values[:, names.index(name)]
        return column


class History:
    """All of a study's journal that the analysis uses.

    A report's ``images`` count from the trial's beginning; its ``seconds`` are those of its
    ``engine`` since the report before, an end's are the same engine's since the last report. A
    report of a step that the trial has already is ignored; marked ``redone``, its images and
    seconds are charged as work done twice. An engine's own account comes with its stop or its
    loss, perhaps before the last report it made.

    Attributes:
        study: as the last launch ran it; without a name while the journal has no description.
        trials: by name, in the order in which they were asked for.
        rates: seconds per image by bank shape.
        reported_at: numbers of seeds that it was finished with, and could decide something, before
            others were added; ascending.
        capped: the last cap that was reached, if that is how the study ended.
        stopped: what was stopped by command, arms as "arm NAME" and trials by their names.
        told: by arm, the earlier search that its searches began with.
        piloted: by arm, the pilot that chose its settings.
        pair: the two arms that were chosen to be compared, if any were.
        looks: every look at their difference, the last one of each number of seeds, lost ones too.
        search_looks: by arm, every look at its search's break-even.
        earlier: pairs that were chosen before it, or had other configurations, with their looks.
        isolated: trials that were trained alone because engines had died while they trained them.
        features: networks that distances were measured with, by name: every different
            description that an engine gave of one.
        numerics_keys: every different numerics key that a trial trained under.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.study = StudyDescribed(name="", spec={}, spec_hash="", code_version="")
        self.trials: dict[str, TrialHistory] = {}
        self.reports = Reports()
        self.engines: dict[str, EngineClock] = {}
        self.rates: dict[str, float] = {}
        self.choices: dict[tuple[str, int], int | None] = {}
        self.finished = False
        self._finished_with = set[int]()
        self.capped: CapReached | None = None
        self.stopped: list[str] = []
        self.isolated: list[str] = []
        self.told: dict[str, TrialsTold] = {}
        self.piloted: dict[str, ArmPiloted] = {}
        self.pair: PairChosen | None = None
        self.looks: dict[tuple[int, int], Looked] = {}
        self.search_looks: dict[str, list[SearchLooked]] = {}
        self.earlier: list[tuple[PairChosen, list[Looked]]] = []
        self.features: dict[str, list[Mapping[str, Any]]] = {}
        self.numerics_keys: list[Mapping[str, Any]] = []
        for entry in entries:
            self._apply(entry)
        folded = (history.trial for history in self.trials.values())
        self._standing = {trial.name for trial in standing(folded, self.choices)}
        self.engine_times = [self._settle(clock) for clock in self.engines.values()]

    @property
    def reported_at(self) -> list[int]:
        seeds = len(self.study.spec.get("seeds", ()))
        return sorted(number for number in self._finished_with if FEWEST <= number < seeds)

    def chosen(self, name: str) -> bool:
        """Whether that trial is, or trains again, the configuration that its arm chose last."""
        return name in self._standing

    def _apply(self, entry: Entry) -> None:
        match entry.event:
            case Reported() as event:
                self._on_report(entry.time, event)
            case TrialAsked() as event:
                self.trials.setdefault(event.trial, TrialHistory(Trial(event)))
            case TrialPlaced() as event:
                self._on_placed(entry.time, event)
            case TrialEnded() as event:
                self._on_end(entry.time, event)
            case TrialSuspended() as event:
                self._charge(self.trials[event.trial], event.engine, event.seconds)
            case EngineDied() as event:
                self._on_death(event)
            case EngineChanged() as event:
                self._on_engine(event)
            case ShapeTimed(shape=shape, seconds_per_image=float() as rate):
                self.rates.setdefault(shape, rate)
            case ConfigurationChosen() as event:
                self.choices[event.arm, event.replicate] = event.number
            case LaunchBegan() | StudyInterrupted() | CapReached() as event:
                self.finished = False
                self.capped = event if isinstance(event, CapReached) else None
                for history in self.trials.values():
                    history.trial.apply(event)
            case Stopped() as event:
                what = event.trial if event.arm is None else f"arm {event.arm}"
                if what is not None and what not in self.stopped:
                    self.stopped.append(what)
            case TrialsTold() as event:
                self.told[event.arm] = event
            case ArmPiloted() as event:
                self.piloted[event.arm] = event
            case PairChosen() as event:
                if self.pair is not None:
                    self.earlier.append((self.pair, list(self.looks.values())))
                self.pair, self.looks = event, {}
            case Looked() as event:
                self.looks[event.seeds, event.failed] = event
            case SearchLooked() as event:
                self.search_looks.setdefault(event.arm, []).append(event)
            case StudyDescribed() as event:
                self.study = event
            case StudyFinished():
                self.finished = True
                self._finished_with.add(len(self.study.spec.get("seeds", ())))

    def _on_placed(self, time: float, event: TrialPlaced) -> None:
        history = self.trials[event.trial]
        if history.trial.ended:  # it ended while an engine still prepared its slot
            return
        history.trial.apply(event)
        history.shape = event.shape
        if event.key not in self.numerics_keys:
            self.numerics_keys.append(event.key)
        history.started = time if history.started is None else history.started

    def _on_report(self, time: float, event: Reported) -> None:
        history = self.trials[event.trial]
        if history.images_at(event.step) is None:
            history.trial.apply(event)
            history.reported(event.step, history.trial.images)
            history.last, history.reported_by = len(self.reports), event.engine
            self.reports.append(history, time, event)
            self._charge(history, event.engine, event.seconds)
        elif event.redone:
            before = history.images_at(event.step - 1) or 0
            history.redone_images += max(0, event.images - before)
            self._charge(history, event.engine, event.seconds, purpose="redone")

    def _on_end(self, time: float, event: TrialEnded) -> None:
        history = self.trials[event.trial]
        if history.trial.ended:
            return
        history.trial.apply(event)
        history.reason = event.reason
        # Older versions recorded what the clock said, and it may have been set back meanwhile.
        history.ended = time if history.started is None else max(time, history.started)
        history.metrics, history.artifacts = event.metrics, event.artifacts
        if event.seconds:
            engine = history.reported_by or history.trial.engine
            self._charge(history, engine, event.seconds)

    def _on_death(self, event: EngineDied) -> None:
        history = self.trials[event.trial]
        history.trial.apply(event)
        history.deaths += 1
        if history.trial.alone and event.trial not in self.isolated:
            self.isolated.append(event.trial)

    def _on_engine(self, event: EngineChanged) -> None:
        clock = self._clock(event.engine)
        # One that died before its first heartbeat is known by its name alone.
        clock.device = event.device or clock.device
        clock.width = event.width or clock.width
        clock.startup = max(clock.startup, event.startup_seconds)
        for name, description in event.features.items():
            known = self.features.setdefault(name, [])
            if description not in known:
                known.append(description)
        if clock.state == "started" and event.state != "started":
            clock.state = event.state
            clock.occupants = [
                name
                for name, history in self.trials.items()
                if history.trial.engine == clock.engine
                and history.trial.state in ("running", "interrupted")
            ]
        # A loss may be recorded again from a later heartbeat: the fuller account counts.
        account = {p: s for p, s in event.seconds.items() if p != "start_up"}
        if account and (clock.clock is None or fsum(account.values()) > fsum(clock.clock.values())):
            clock.clock, clock.unreported = account, dict(event.unreported)

    def _settle(self, clock: EngineClock) -> EngineTime:
        settlement = clock.settle()
        for purpose, shares in (("startup", settlement.startup), ("lost", settlement.lost)):
            for trial, seconds in shares.items():
                self.trials[trial].spend(purpose, seconds)
        return settlement.time

    def _clock(self, engine: str) -> EngineClock:
        clock = self.engines.get(engine)
        if clock is None:
            clock = self.engines[engine] = EngineClock(engine)
        return clock

    def _charge(
        self, history: TrialHistory, engine: str, seconds: Mapping[str, float], purpose: str = ""
    ) -> None:
        for spent_on, amount in seconds.items():
            history.spend(purpose or spent_on, amount)
        self._clock(engine).charge(history.trial.name, fsum(seconds.values()))
