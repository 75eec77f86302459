"""What a study does next: a state machine over the journal, with no process of its own.

It asks the phases for batches, hands out one trial at a time, takes their reports, and says when
to stop. Whatever it decides is in the journal before anyone hears of it, and a conductor opened on
that journal later goes on from there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from optuna.storages import JournalStorage

from study.journal import Event, Journal
from study.journal.backend import JournalBackend
from study.search.phases import Ask, Confirm, Phase, Search
from study.spec import StudySpec


@dataclass(frozen=True)
class Request:
    """A trial to be trained by an engine, from its newest checkpoint if it has one."""

    trial: str
    phase: str
    seed: int
    settings: dict[str, dict[str, Any]]
    """``model``, ``training`` and ``balancer``, resolved."""
    after: int
    """The last report that is in the journal; 0 before the first."""
    until: int | None
    """Report after which the engine lets the trial go, to be decided on; None: train to the end."""


@dataclass
class Trial:
    """A trial the study has asked."""

    ask: Ask
    phase: Phase
    settings: dict[str, dict[str, Any]]
    step: int = 0
    """Last report in the journal."""
    value: float | None = None
    """The objective at that report, on validation."""
    state: str | None = None
    """How it ended; None while it has not."""
    running: bool = False
    """Handed out and not back."""
    engine: str = ""
    """Where it last trained, in this launch."""
    held: bool = False
    """At a report where its whole batch is to be decided on."""


@dataclass(frozen=True)
class Standing:
    """How far an arm is."""

    arm: str
    ended: int
    running: int
    planned: int
    """Trials in all, confirm runs included, as far as can be told."""
    work: float
    """Trials done, parts of running ones included."""
    best: float | None
    """Lowest objective reported on validation so far."""


class Conductor:
    """Runs one study's arms through both phases.

    Args:
        spec: the study, possibly extended since its last launch.
        journal: its journal, held by this driver.
        dims: D, observed dimensions of an image.
        slots: how many trials may run at once.
    """

    def __init__(self, spec: StudySpec, journal: Journal, dims: int, slots: int) -> None:
        self.spec, self.journal, self.slots = spec, journal, slots
        self.trials: dict[str, Trial] = {}
        self.interrupted = False
        self._dims = dims
        self._storage = JournalStorage(JournalBackend(journal))
        self._phases: dict[str, Phase] = {}
        self._members: dict[str, list[Trial]] = {}
        self._pilots: set[str] = set()
        self._lock = threading.RLock()
        with self._lock:
            self._restore()
            for phase in list(self._phases.values()):
                self._advance(phase)
            journal.commit()

    # -- what the scheduler asks ----------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Nothing is left to hand out, and nothing is running."""
        with self._lock:
            return not self._running() and (self.interrupted or not any(self._ready()))

    @property
    def startable(self) -> int:
        """How many trials could be running at once now."""
        with self._lock:
            return min(self.slots, self._running() + sum(1 for _ in self._ready()))

    def next(self) -> Request | None:
        """A trial to start now, or None while all slots are taken or batches are incomplete."""
        with self._lock:
            if self.interrupted or self._running() >= self.slots:
                return None
            # The arm with most batches ahead of it first: the others fill the slots it leaves.
            trial = max(self._ready(), key=lambda t: t.phase.batches_left(), default=None)
            if trial is None:
                return None
            trial.running = True
            return Request(
                trial=trial.ask.trial,
                phase=trial.ask.phase,
                seed=trial.ask.seed,
                settings=trial.settings,
                after=trial.step,
                until=trial.step + 1 if trial.phase.synchronous else None,
            )

    def report(self, name: str, report: dict[str, Any]) -> bool:
        """Take a report of trial ``name``; return whether its slot is to be given up.

        ``report`` holds ``step``, ``images``, ``metrics``, ``seconds``, ``start`` (where it
        trains, if it did) and, if it is a trial's last, ``end``. A report that is in the journal
        already changes nothing.
        """
        with self._lock:
            trial = self.trials[name]
            if "start" in report:
                self._place(trial, report["start"])
            if trial.state is None and (report["step"] > trial.step or "end" in report):
                self._record(trial, report)
                self.journal.commit()
            return trial.state is not None or trial.held or self.interrupted

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Record something that decides nothing."""
        with self._lock:
            self.journal.append(kind, data)
            self.journal.commit()

    def returned(self, name: str) -> None:
        """Say that trial ``name`` is not in a slot any more, whatever became of it.

        Only now may another take its place: Tune then has the trial's process free to use again.
        """
        with self._lock:
            self.trials[name].running = False

    def standings(self) -> list[Standing]:
        """How far every arm is, in the spec's order."""
        with self._lock:
            return [self._standing(arm) for arm in self.spec.arms]

    def interrupt(self) -> None:
        """Hand out nothing more; running trials are let go at their next report."""
        with self._lock:
            self.interrupted = True

    def _standing(self, arm: str) -> Standing:
        spec = self.spec.arms[arm]
        trials = [trial for trial in self.trials.values() if trial.ask.arm == arm]
        searched = spec.search.trials * spec.search.replicates if spec.search else 0
        confirmed = len(self.spec.seeds) * (spec.search.replicates if spec.search else 1)
        values = [t.value for t in trials if t.value is not None and math.isfinite(t.value)]
        reports = self.spec.training.reports
        return Standing(
            arm=arm,
            ended=sum(trial.state is not None for trial in trials),
            running=sum(trial.running for trial in trials),
            planned=max(searched + confirmed, len(trials)),
            work=sum(1.0 if trial.state else trial.step / reports for trial in trials),
            best=min(values, default=None),
        )

    def _place(self, trial: Trial, start: dict[str, Any]) -> None:
        """Record a new place of training, and the first timing of a new shape."""
        if trial.engine == start["engine"]:
            return
        trial.engine, shape = start["engine"], start["shape"]
        place = {key: start[key] for key in ("engine", "shape", "key")}
        self.journal.append("start", {"trial": trial.ask.trial, **place})
        if shape not in self._pilots:
            self._pilots.add(shape)
            timing = {
                "width": start["key"]["width"],
                "seconds_per_image": start["seconds_per_image"],
            }
            self.journal.append("pilot", {"shape": shape, **timing})

    # -- reports and ends -----------------------------------------------------------------------

    def _record(self, trial: Trial, report: dict[str, Any]) -> None:
        step = report["step"]
        if step > trial.step:
            trial.step = step
            trial.value = report["metrics"].get(f"validation/{self.spec.objective}")
            fields = {key: report[key] for key in ("step", "images", "metrics", "seconds")}
            self.journal.append("report", {"trial": trial.ask.trial, **fields})
            if not trial.phase.synchronous:
                self._report_to_optuna(trial)
        if "end" in report:
            self._end(trial, report["end"])
        elif trial.phase.synchronous:
            trial.held = True
        elif trial.phase.should_prune(trial.ask.number):
            self._end(trial, {"state": "pruned"})
        if trial.phase.synchronous:
            self._decide(trial.phase)

    def _end(self, trial: Trial, end: dict[str, Any]) -> None:
        trial.state, trial.held = end["state"], False
        if trial.state == "complete" and not _finite(trial.value):
            trial.state = "failed"
            end = {**end, "state": "failed", "reason": f"diverged at report {trial.step}"}
        filled = {"reason": "", "metrics": {}, "seconds": {}, "artifacts": {}, "traceback": ""}
        value = trial.value if trial.state == "complete" else None
        fixed = {"trial": trial.ask.trial, "step": trial.step, "value": value}
        self.journal.append("end", {**filled, **end, **fixed})
        self._advance(trial.phase)

    def _report_to_optuna(self, trial: Trial) -> None:
        if trial.value is not None and math.isfinite(trial.value):
            trial.phase.report(trial.ask.number, trial.step, trial.value)

    def _decide(self, phase: Phase) -> None:
        """Let a batch that has reached a report whole go on, less what the pruner takes out."""
        batch = self._open(phase)
        living = [trial for trial in batch if trial.state is None]
        if not living or not all(trial.held for trial in living):
            return
        if len({trial.step for trial in living}) > 1:
            return
        for trial in living:
            self._report_to_optuna(trial)
        pruned = [trial for trial in living if phase.should_prune(trial.ask.number)]
        for trial in living:
            trial.held = False
        for trial in pruned:
            self._end(trial, {"state": "pruned"})

    # -- batches and phases ---------------------------------------------------------------------

    def _advance(self, phase: Phase) -> None:
        """Tell a batch that has ended, and ask what follows it."""
        batch = self._open(phase)
        if any(trial.state is None for trial in batch):
            return
        for trial in batch:
            assert trial.state is not None
            phase.tell(trial.ask.number, trial.state, trial.value)
        asked = phase.ask_batch()
        for ask in asked:
            settings = self.spec.resolve(ask.arm, ask.params, self._dims)
            self._add(Trial(ask, phase, settings))
            self.journal.append("trial", {**asdict(ask), "settings": settings})
        if not asked and isinstance(phase, Search):
            self._choose(phase)

    def _choose(self, search: Search) -> None:
        """Open the confirm phase of the configuration the search found best on validation."""
        best = search.best()
        confirm = None
        if best is not None:
            confirm = Confirm(self._storage, self.spec, search.arm, search.replicate, best)
            if confirm.name in self._phases:
                return
        self.journal.append(
            "choice",
            {
                "arm": search.arm,
                "replicate": search.replicate,
                "number": None if best is None else best.number,
                "value": None if best is None else best.value,
            },
        )
        if confirm is not None:
            self._phases[confirm.name] = confirm
            self._members[confirm.name] = []
            self._advance(confirm)

    def _restore(self) -> None:
        for arm, spec in self.spec.arms.items():
            for replicate in range(spec.search.replicates if spec.search else 1):
                phase: Phase
                if spec.search:
                    phase = Search(self._storage, self.spec, arm, replicate)
                else:
                    phase = Confirm(self._storage, self.spec, arm, replicate, None)
                self._phases[phase.name] = phase
        self._members = {name: [] for name in self._phases}
        for event in self.journal.events:
            self._replay(event)
        for trial in self.trials.values():
            trial.held = (
                trial.state is None
                and trial.phase.synchronous
                and trial.step > trial.phase.reported(trial.ask.number)
            )

    def _replay(self, event: Event) -> None:
        data = event.data
        if event.kind == "choice" and data["number"] is not None:
            search = self._phases[f"{data['arm']}.search.r{data['replicate']}"]
            assert isinstance(search, Search)
            chosen = search.trial(data["number"])
            confirm = Confirm(self._storage, self.spec, search.arm, search.replicate, chosen)
            self._phases[confirm.name] = confirm
            self._members[confirm.name] = []
        elif event.kind == "trial":
            fields = {key: data[key] for key in Ask.__dataclass_fields__}
            ask = Ask(**fields)
            phase = self._phases[ask.trial.rpartition(".")[0]]
            self._add(Trial(ask, phase, data["settings"]))
        elif event.kind == "report":
            trial = self.trials[data["trial"]]
            trial.step = data["step"]
            trial.value = data["metrics"].get(f"validation/{self.spec.objective}")
        elif event.kind == "pilot":
            self._pilots.add(data["shape"])
        elif event.kind == "end":
            self.trials[data["trial"]].state = data["state"]

    def _add(self, trial: Trial) -> None:
        self.trials[trial.ask.trial] = trial
        self._members[trial.phase.name].append(trial)

    def _open(self, phase: Phase) -> list[Trial]:
        """The batch that has been asked and not told, in order."""
        return [t for t in self._members[phase.name] if not phase.told(t.ask.number)]

    def _ready(self) -> Iterator[Trial]:
        for trial in self.trials.values():
            if trial.state is None and not trial.running and not trial.held:
                yield trial

    def _running(self) -> int:
        return sum(trial.running for trial in self.trials.values())


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
