"""A study's journal folded into trials, reports and engines."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from math import fsum, nan
from typing import Any

from study.analysis.events import Event
from study.costs import EngineClock, EngineTime


@dataclass
class TrialHistory:
    """One trial as far as the journal tells.

    ``images`` counts the examples trained on once, ``redone_images`` those trained on again after
    a crash; ``seconds`` are device seconds by purpose; ``last`` is the row of its last report
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
    state: str = "waiting"
    reason: str = ""
    value: float | None = None
    engine: str = ""
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
        self.time, self.training, self.evaluation = array("d"), array("d"), array("d")
        self.metrics: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self.trials)

    def append(self, trial: TrialHistory, time: float, data: Mapping[str, Any]) -> None:
        """Add one report of ``trial``."""
        row = len(self.trials)
        self.trials.append(trial)
        self.engines.append(trial.engine)
        self.step.append(data["step"])
        self.images.append(trial.images)
        self.time.append(time)
        seconds = data.get("seconds", {})
        self.training.append(seconds.get("training", 0.0))
        self.evaluation.append(seconds.get("evaluation", 0.0))
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
    ``seconds`` are those since the report before; an end's ``seconds`` are those since the last
    report. A report of a (trial, step) already seen is ignored; marked ``redone`` its images and
    seconds are charged as work done twice.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.study: Mapping[str, Any] = {}
        self.trials: dict[str, TrialHistory] = {}
        self.reports = Reports()
        self.engines: dict[str, EngineClock] = {}
        self.rates: dict[str, float] = {}  # bank shape -> seconds per image
        self.choices: dict[tuple[str, int], int | None] = {}  # (arm, replicate) -> number
        self.finished = False
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
            "choice": self._on_choice,
            "finish": self._on_finish,
        }
        for event in events:
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event.time, event.data)
        self.reports.close()
        self.engine_times = [self._settle(clock) for clock in self.engines.values()]

    def chosen(self, trial: TrialHistory) -> bool:
        """Whether ``trial`` is, or trains again, the configuration its arm stands by now."""
        number = self.choices.get((trial.arm, trial.replicate))
        return (trial.number if trial.phase == "search" else trial.chosen_from) == number

    def _on_study(self, time: float, data: Mapping[str, Any]) -> None:
        self.study = data

    def _on_pause(self, time: float, data: Mapping[str, Any]) -> None:
        self.finished = False
        for trial in self.trials.values():
            if trial.state == "running":
                trial.state = "interrupted"

    def _on_engine(self, time: float, data: Mapping[str, Any]) -> None:
        clock = self._clock(data["engine"])
        clock.state = data["state"]
        if clock.state == "started":
            clock.device, clock.width = str(data.get("device", "")), int(data.get("width", 0))
            clock.startup += data.get("startup_seconds", 0.0)
            return
        if data.get("seconds"):
            clock.clock = {p: s for p, s in data["seconds"].items() if p != "start_up"}
        clock.aboard = [
            t.trial
            for t in self.trials.values()
            if t.engine == clock.engine and t.state in ("running", "interrupted")
        ]

    def _on_pilot(self, time: float, data: Mapping[str, Any]) -> None:
        self.rates.setdefault(data["shape"], data["seconds_per_image"])

    def _on_trial(self, time: float, data: Mapping[str, Any]) -> None:
        names = ["trial", "arm", "phase", "replicate", "number", "seed", "params", "settings"]
        trial = TrialHistory(**{n: data[n] for n in names}, chosen_from=data.get("chosen_from"))
        self.trials.setdefault(trial.trial, trial)

    def _on_start(self, time: float, data: Mapping[str, Any]) -> None:
        trial = self.trials[data["trial"]]
        trial.engine, trial.shape = data["engine"], data.get("shape", "")
        trial.key = data.get("key", {})
        trial.started = time if trial.started is None else trial.started
        if not trial.finished:
            trial.state = "running"

    def _on_report(self, time: float, data: Mapping[str, Any]) -> None:
        trial, step, images = self.trials[data["trial"]], data["step"], data["images"]
        if step not in trial.steps:
            # A trial that crashes reports no images: what it trained on before still counts.
            trial.steps[step] = trial.images = max(trial.images, images)
            trial.last = len(self.reports)
            self.reports.append(trial, time, data)
            self._charge(trial, data)
        elif data.get("redone"):
            trial.redone_images += images - trial.steps.get(step - 1, 0)
            self._charge(trial, data, purpose="redone")

    def _on_end(self, time: float, data: Mapping[str, Any]) -> None:
        trial = self.trials[data["trial"]]
        if trial.finished:
            return
        trial.state, trial.reason, trial.ended = data["state"], data.get("reason", ""), time
        trial.value = data.get("value")
        trial.metrics, trial.artifacts = data.get("metrics", {}), data.get("artifacts", {})
        trial.images = data.get("images", trial.images)
        self._charge(trial, data)

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

    def _charge(self, trial: TrialHistory, data: Mapping[str, Any], purpose: str = "") -> None:
        seconds: Mapping[str, float] = data.get("seconds", {})
        for spent_on, amount in seconds.items():
            trial.spend(purpose or spent_on, amount)
        self._clock(trial.engine).charge(trial.trial, fsum(seconds.values()))
