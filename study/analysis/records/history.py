"""A study's journal folded into trials, reports and engines."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from math import fsum, nan
from typing import Any

from study.analysis.records.engine_time import EngineClock, EngineTime
from study.analysis.records.events import Event

ALONE_AFTER = 2
"""Engines that die running with a trial aboard before it is trained alone."""


@dataclass
class TrialHistory:
    """One trial as far as the journal tells.

    ``images`` counts the examples trained on once, ``redone_images`` those trained on again after
    a crash; ``seconds`` are device seconds by purpose; ``engine`` is where it last took a slot,
    ``maker`` who made its last report, ``deaths`` how many engines died with it aboard and
    ``deaths_running`` how many since it last reported; ``last`` is the row of its last report
    among the study's reports, -1 before the first.
    """

    trial: str
    arm: str
    phase: str
    replicate: int
    number: int
    seed: int
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    chosen_from: int | None
    retry_of: str | None
    state: str = "waiting"
    reason: str = ""
    value: float | None = None
    engine: str = ""
    maker: str = ""
    deaths: int = 0
    deaths_running: int = 0
    shape: str = ""
    key: Mapping[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    images: int = 0
    redone_images: int = 0
    steps: dict[int, int] = field(default_factory=dict)  # step -> images trained on by then
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    last: int = -1

    @property
    def finished(self) -> bool:
        """Whether the trial has ended, in whatever state."""
        return self.ended is not None

    def spend(self, purpose: str, seconds: float) -> None:
        """Charge device ``seconds`` for ``purpose``."""
        self.seconds[purpose] = self.seconds.get(purpose, 0.0) + seconds


class Reports:
    """The reports of all trials as columns, in journal order. Absent metrics are NaN."""

    def __init__(self) -> None:
        self.trials: list[TrialHistory] = []
        self.engines: list[str] = []
        self.step, self.images = array("q"), array("q")
        self.time, self.training = array("d"), array("d")
        self.evaluation, self.second_stage = array("d"), array("d")
        self.metrics: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self.trials)

    def append(self, trial: TrialHistory, time: float, data: Mapping[str, Any]) -> None:
        """Add one report of ``trial``."""
        row = len(self.trials)
        self.trials.append(trial)
        self.engines.append(data["engine"])
        self.step.append(data["step"])
        self.images.append(trial.images)
        self.time.append(time)
        seconds = data["seconds"]
        self.training.append(seconds.get("training", 0.0))
        self.evaluation.append(seconds.get("evaluation", 0.0))
        self.second_stage.append(seconds.get("second_stage", 0.0))
        for name, value in data.get("metrics", {}).items():
            column = self.metrics.get(name)
            if column is None:
                column = self.metrics[name] = array("d")
            if len(column) < row:
                column.extend(repeat(nan, row - len(column)))
            column.append(nan if value is None else value)

    def close(self) -> None:
        """Give every metric its full length."""
        for column in self.metrics.values():
            column.extend(repeat(nan, len(self) - len(column)))


class History:
    """All of a study's journal that the analysis uses.

    Conventions of the events: a report's ``images`` count from the trial's beginning, its
    ``seconds`` are those of its ``engine``, its maker, since the report before; an end's
    ``seconds`` are the same engine's since the last report. A report of a (trial, step) already
    seen is ignored; marked ``redone`` its images and seconds are charged as work done twice. An
    engine's own account comes with its stop or its loss, perhaps before the last report it made.

    Attributes:
        capped: what the last ``cap`` event says, if that is how the study ended.
        stopped: what was stopped by hand, arms as "arm NAME" and trials by their names.
        isolated: trials that were trained alone, for engines had died with them aboard.
        features: networks that distances were measured with, by name: every different
            description that an engine gave of one.
        numerics_keys: every different numerics key that a trial trained under.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.study: Mapping[str, Any] = {}
        self.trials: dict[str, TrialHistory] = {}
        self.reports = Reports()
        self.engines: dict[str, EngineClock] = {}
        self.rates: dict[str, float] = {}  # bank shape -> seconds per image
        self.choices: dict[tuple[str, int], int | None] = {}  # (arm, replicate) -> number
        self.finished = False
        self.capped: Mapping[str, Any] | None = None
        self.stopped: list[str] = []
        self.isolated: list[str] = []
        self.features: dict[str, list[Mapping[str, Any]]] = {}
        self.numerics_keys: list[Mapping[str, Any]] = []
        handlers: dict[str, Callable[[float, Mapping[str, Any]], None]] = {
            "study": self._on_study,
            "launch": self._on_pause,
            "interrupted": self._on_pause,
            "engine": self._on_engine,
            "pilot": self._on_pilot,
            "trial": self._on_trial,
            "start": self._on_start,
            "report": self._on_report,
            "end": self._on_end,
            "suspend": self._on_suspend,
            "death": self._on_death,
            "stop": self._on_stop,
            "cap": self._on_cap,
            "choice": self._on_choice,
            "finish": self._on_finish,
        }
        for event in events:
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event.time, event.data)
        self.reports.close()
        self._attempts: dict[tuple[Any, ...], list[TrialHistory]] = {}
        for trial in self.trials.values():
            self._attempts.setdefault(_configuration(trial), []).append(trial)
        self.engine_times = [self._settle(clock) for clock in self.engines.values()]

    def chosen(self, trial: TrialHistory) -> bool:
        """Whether ``trial`` is, or trains again, the configuration its arm stands by now.

        Of a trial and its retries one does: one that came to its end, else the latest.
        """
        number = self.choices.get((trial.arm, trial.replicate))
        if (trial.number if trial.phase == "search" else trial.chosen_from) != number:
            return False
        attempts = self._attempts[_configuration(trial)]
        return trial is next((t for t in attempts if t.state == "complete"), attempts[-1])

    def _on_study(self, time: float, data: Mapping[str, Any]) -> None:
        self.study = data

    def _on_pause(self, time: float, data: Mapping[str, Any]) -> None:
        self.finished, self.capped = False, None
        for trial in self.trials.values():
            if trial.state == "running":
                trial.state = "interrupted"

    def _on_cap(self, time: float, data: Mapping[str, Any]) -> None:
        self._on_pause(time, data)
        self.capped = data

    def _on_engine(self, time: float, data: Mapping[str, Any]) -> None:
        clock = self._clock(data["engine"])
        # One that died before its first heartbeat is known by its name alone.
        clock.device = data["device"] or clock.device
        clock.width = data["width"] or clock.width
        clock.startup = max(clock.startup, data["startup_seconds"])
        for name, description in data.get("features", {}).items():
            known = self.features.setdefault(name, [])
            if description not in known:
                known.append(description)
        if clock.state == "started" and data["state"] != "started":
            clock.state = data["state"]
            clock.aboard = [
                t.trial
                for t in self.trials.values()
                if t.engine == clock.engine and t.state in ("running", "interrupted")
            ]
        # A loss that was seen may be told again from a later heartbeat: the fuller account counts.
        account = {p: s for p, s in data.get("seconds", {}).items() if p != "start_up"}
        if account and (clock.clock is None or fsum(account.values()) > fsum(clock.clock.values())):
            clock.clock, clock.unreported = account, dict(data["unreported"])

    def _on_pilot(self, time: float, data: Mapping[str, Any]) -> None:
        self.rates.setdefault(data["shape"], data["seconds_per_image"])

    def _on_trial(self, time: float, data: Mapping[str, Any]) -> None:
        names = ["trial", "arm", "phase", "replicate", "number", "seed", "params", "settings"]
        names += ["chosen_from", "retry_of"]
        trial = TrialHistory(**{name: data[name] for name in names})
        self.trials.setdefault(trial.trial, trial)

    def _on_start(self, time: float, data: Mapping[str, Any]) -> None:
        trial = self.trials[data["trial"]]
        if trial.finished:  # it ended while an engine still made ready for it
            return
        trial.engine, trial.shape, trial.key = data["engine"], data["shape"], data["key"]
        if trial.key not in self.numerics_keys:
            self.numerics_keys.append(trial.key)
        trial.started = time if trial.started is None else trial.started
        trial.state = "running"

    def _on_report(self, time: float, data: Mapping[str, Any]) -> None:
        trial, step, images = self.trials[data["trial"]], data["step"], data["images"]
        if step not in trial.steps:
            # A trial that crashes reports no images: what it trained on before still counts.
            trial.steps[step] = trial.images = max(trial.images, images)
            trial.last, trial.maker = len(self.reports), data["engine"]
            trial.deaths_running = 0
            self.reports.append(trial, time, data)
            self._charge(trial, data["engine"], data["seconds"])
        elif data.get("redone"):
            trial.redone_images += max(0, images - trial.steps.get(step - 1, 0))
            self._charge(trial, data["engine"], data["seconds"], purpose="redone")

    def _on_end(self, time: float, data: Mapping[str, Any]) -> None:
        trial = self.trials[data["trial"]]
        if trial.finished:
            return
        trial.state, trial.reason, trial.ended = data["state"], data.get("reason", ""), time
        trial.value = data.get("value")
        trial.metrics, trial.artifacts = data.get("metrics", {}), data.get("artifacts", {})
        if seconds := data.get("seconds"):
            self._charge(trial, trial.maker or trial.engine, seconds)

    def _on_suspend(self, time: float, data: Mapping[str, Any]) -> None:
        self._charge(self.trials[data["trial"]], data["engine"], data["seconds"])

    def _on_death(self, time: float, data: Mapping[str, Any]) -> None:
        trial = self.trials[data["trial"]]
        trial.deaths += 1
        trial.deaths_running += 1
        if trial.deaths_running == ALONE_AFTER and trial.trial not in self.isolated:
            self.isolated.append(trial.trial)

    def _on_stop(self, time: float, data: Mapping[str, Any]) -> None:
        what = f"arm {data['arm']}" if "arm" in data else data["trial"]
        if what not in self.stopped:
            self.stopped.append(what)

    def _on_choice(self, time: float, data: Mapping[str, Any]) -> None:
        self.choices[data["arm"], data["replicate"]] = data["number"]

    def _on_finish(self, time: float, data: Mapping[str, Any]) -> None:
        self.finished = True

    def _settle(self, clock: EngineClock) -> EngineTime:
        settlement = clock.settle()
        for purpose, shares in (("startup", settlement.startup), ("lost", settlement.lost)):
            for trial, seconds in shares.items():
                self.trials[trial].spend(purpose, seconds)
        return settlement.time

    def _clock(self, engine: str) -> EngineClock:
        return self.engines.setdefault(engine, EngineClock(engine))

    def _charge(
        self, trial: TrialHistory, engine: str, seconds: Mapping[str, float], purpose: str = ""
    ) -> None:
        for spent_on, amount in seconds.items():
            trial.spend(purpose or spent_on, amount)
        self._clock(engine).charge(trial.trial, fsum(seconds.values()))


def _configuration(trial: TrialHistory) -> tuple[Any, ...]:
    """What a trial and its retries have in common."""
    return trial.arm, trial.phase, trial.replicate, trial.chosen_from, trial.number
