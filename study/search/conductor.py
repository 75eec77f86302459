"""What a study does next: a state machine over the journal, with no process of its own.

It asks the phases for batches, hands out one trial at a time, takes their reports, and decides when
to stop. Every decision is journalled before anything acts on it, and a conductor opened on that
journal later resumes from there.

It counts failures too. An engine's death is no trial's failure; but a trial that was being trained
at :data:`study.journal.trial.SUSPECT` consecutive deaths, with no report in between, trains alone
from then on, and at :data:`FATAL` it is the one that takes engines down.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from study.journal import Event, Journal, Trial
from study.journal.backend import JournalBackend
from study.journal.events import (
    CapReached,
    ConfigurationChosen,
    EngineDied,
    Looked,
    PairChosen,
    Reported,
    SearchLooked,
    ShapeTimed,
    Stopped,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
    told_by,
)
from study.journal.trial import SUSPECT
from study.search.arm_progress import ArmProgress, arm_progress
from study.search.budget import Spending
from study.search.comparison import Comparison, recorded_scores
from study.search.first_phases import first_phases
from study.search.phases import Chosen, Confirm, Phase, Search
from study.search.queue import Queue, QueuedTrial
from study.search.request import Request
from study.search.samplers import StudyStorage
from study.spec import StudySpec, last_description
from vae_core.errors import UserError

FATAL = 5
"""Consecutive deaths of engines with one trial, after which it has failed."""
BY_HAND = "stopped by hand"
_FATAL = (
    f"The process of the engine that trained it died {FATAL} times in a row without a report in "
    f"between, the last {FATAL - SUSPECT} times with no other trial on it.\n"
)


class Conductor:
    """Runs one study's arms through both phases.

    Args:
        spec: the study, possibly extended since its last launch.
        journal: its journal, held by this driver.
        dims: D, observed dimensions of an image.
        slots: how many trials may run at once.

    Attributes:
        interrupted: nothing more is handed out, and running trials are released.
        cap: the cap that ended the study, if one did.
        failure: the error that ended it, if one did.
    """

    def __init__(self, spec: StudySpec, journal: Journal, dims: int, slots: int) -> None:
        self.spec, self.journal, self.slots = spec, journal, slots
        self.interrupted = False
        self.cap: CapReached | None = None
        self.failure: Exception | None = None
        self._dims = dims
        self._storage = StudyStorage(JournalBackend(journal))
        self._phases: dict[str, Phase] = {}
        self._queue = Queue()
        self._pilots: set[str] = set()
        self._choices: dict[tuple[str, int], int | None] = {}
        self._stopped_arms: set[str] = set()
        described = last_description(journal.entries)
        roles = described.roles if described else {}
        followed = self._queue, self._choices, self._stopped_arms
        scores = recorded_scores(spec.objective, dims, journal.home)
        self._comparison = Comparison(spec, roles, *followed, scores)
        self._spending = Spending()
        self._lock = threading.RLock()
        with self._decision():
            self._restore()
            journal.observe(self._spending.follow)
            for phase in list(self._phases.values()):
                self._decide(phase)  # nothing shows that it was, where no value was finite
                self._advance(phase)
            self._compare()

    @property
    def trials(self) -> Mapping[str, QueuedTrial]:
        """All trials asked so far, by name, in the order they were asked."""
        return self._queue.trials

    # -- what the scheduler asks ----------------------------------------------------------------

    @property
    def drained(self) -> bool:
        """Nothing is left to hand out, and nothing is running."""
        with self._lock:
            return not self._queue.running and (self.interrupted or not self._queue.ready)

    @property
    def all_ended(self) -> bool:
        """Every trial of the study has ended."""
        with self._lock:
            return all(trial.ended for trial in self.trials.values())

    def running(self) -> set[str]:
        """The trials that were handed out and are not returned."""
        with self._lock:
            return set(self._queue.running)

    @property
    def has_work(self) -> bool:
        """Whether a trial is running, or could be."""
        with self._lock:
            return bool(self._queue.running or self._queue.ready)

    def next(self) -> Request | None:
        """A trial to start now, or None while all slots are taken or batches are incomplete."""
        with self._lock:
            if self.interrupted or len(self._queue.running) >= self.slots:
                return None
            queued = self._queue.first()
            if queued is None:
                return None
            self._queue.hand_out(queued)
            trial, asked = queued.trial, queued.trial.asked
            return Request(
                trial=asked.trial,
                phase=asked.phase,
                seed=asked.seed,
                settings={name: dict(values) for name, values in asked.settings.items()},
                after=trial.step,
                until=trial.step + 1 if queued.phase.synchronous else None,
                alone=trial.alone,
                course=asked.course,
            )

    def report(self, name: str, report: dict[str, Any]) -> bool:
        """Take a report of trial ``name``; return whether its slot is to be freed.

        ``report`` holds ``step``, ``images``, ``metrics``, ``seconds``, ``engine`` (which made
        it), ``start`` (where the trial is now) and, if it is the trial's last, ``end``. A report
        that is in the journal changes nothing; one that another engine has made before is work
        done twice, and recorded as redone.
        """
        with self._decision():
            queued = self._queue.trials[name]
            if "start" in report:
                self._place(queued.trial, report["start"])
            if not queued.ended and (report["engine"], report["step"]) not in queued.reported:
                if report["step"] > queued.trial.step or "end" in report:
                    self._record(queued, report)
                else:
                    self._journal_report(queued, report, redone=True)
            return queued.ended or queued.held or self.interrupted

    def died(self, name: str, engine: str) -> bool:
        """Record that the process of an engine died while it trained trial ``name``.

        Returns whether the trial has ended: it has taken too many engines down.
        """
        with self._decision():
            queued = self._queue.trials[name]
            if not queued.ended:
                self._append(queued, EngineDied(name, engine))
                if queued.trial.consecutive_deaths >= FATAL:
                    self._end(queued, {"state": "failed", "reason": "crashed", "traceback": _FATAL})
                    self._decide(queued.phase)
            return queued.ended

    def stop(self, *, arm: str | None = None, trial: str | None = None) -> list[str]:
        """End a trial, or an arm with all its trials, by hand; return those that were running.

        Raises:
            UserError: there is no such trial or arm, or it has ended.
        """
        with self._decision():
            if trial is not None:
                stopped = [self._queue.known(trial, self.spec.name)]
                if stopped[0].ended:
                    raise UserError(f"trial '{trial}' has ended already", where=self.spec.name)
            else:
                if arm not in self.spec.arms:
                    raise UserError(f"no arm '{arm}'", where=self.spec.name)
                stopped = [found for found in self._queue.of_arm(arm) if not found.ended]
                self._stopped_arms.add(arm)
                self._comparison.keep_stopped(self._phases)
            self.journal.append(Stopped(trial=trial) if trial is not None else Stopped(arm=arm))
            for found in stopped:
                self._end(found, {"state": "pruned", "reason": BY_HAND})
                self._decide(found.phase)
            self._compare()
            return [found.name for found in stopped if found.running]

    def retry(self, name: str) -> str:
        """Run a failed or pruned trial again, from its beginning; return the new trial's name.

        Optuna cannot reopen a trial that has ended. So the retry is a trial of its own, of equal
        configuration, number and seed, and both are charged.

        Raises:
            UserError: no such trial, one that has not failed and was not pruned, or one that was
                retried already: then the last retry is the one to retry.
        """
        with self._decision():
            old, attempts = self._queue.to_retry(name, self.spec.name)
            again = old.phase.ask_again(old.trial.asked, attempts)
            self._add(again, old.phase)
            phase = old.phase
            if isinstance(phase, Search) and phase.arm not in self._stopped_arms:
                # It may choose another configuration.
                self._comparison.confirms.pop((phase.arm, phase.replicate), None)
            return again.trial

    def check_caps(self, now: float) -> None:
        """End the study if one of its caps has been reached."""
        with self._lock:
            self.cap = self._spending.exceeded(self.spec, now) or self.cap
            self.interrupted = self.interrupted or self.cap is not None

    def fail(self, error: Exception) -> None:
        """End the study with ``error``."""
        with self._lock:
            self.failure = self.failure or error
            self.interrupted = True

    def note(self, event: Event) -> None:
        """Journal an event that decides nothing."""
        with self._decision():
            self.journal.append(event)

    def returned(self, name: str) -> None:
        """Record that trial ``name`` is in no slot any more, whatever its state.

        Only now may another take its place.
        """
        with self._lock:
            self._queue.take_back(self._queue.trials[name])

    def arm_progress(self) -> list[ArmProgress]:
        """Progress of every arm, in the spec's order."""
        with self._lock:
            trials = self._queue.trials.values()
            searched, runs = self._comparison.bounding.planned, self._comparison.planned
            return arm_progress(self.spec, trials, searched, runs)

    def interrupt(self) -> None:
        """Hand out nothing more, and release what runs."""
        with self._lock:
            self.interrupted = True

    @contextmanager
    def _decision(self) -> Iterator[None]:
        """A block that decides: it is journalled as a whole, or not at all."""
        with self._lock, self.journal.group():
            yield

    def _place(self, trial: Trial, start: dict[str, Any]) -> None:
        """Record a new place of training, or numerics key, and the first timing of a new shape."""
        if (trial.engine, trial.key) == (start["engine"], start["key"]):
            return
        shape = start["shape"]
        where = start["engine"], shape, start["key"], start.get("unrecorded", "")
        trial.apply(self.journal.append(TrialPlaced(trial.name, *where)).event)
        rate = start["seconds_per_image"]
        if rate is not None and shape not in self._pilots:  # there is none without a bank
            self._pilots.add(shape)
            self.journal.append(ShapeTimed(shape, start["key"]["width"], rate))

    # -- reports and ends -----------------------------------------------------------------------

    def _record(self, queued: QueuedTrial, report: dict[str, Any]) -> None:
        trial = queued.trial
        if report["step"] > trial.step:
            self._journal_report(queued, report)
            if not queued.phase.synchronous:
                self._report_to_optuna(queued)
        if "end" in report:
            self._end(queued, report["end"])
        elif queued.phase.synchronous:
            self._queue.hold(queued)
        elif queued.phase.should_prune(trial.asked.optuna):
            self._end(queued, {"state": "pruned"})
        self._decide(queued.phase)

    def _journal_report(
        self, queued: QueuedTrial, report: dict[str, Any], *, redone: bool = False
    ) -> None:
        fields = {k: report[k] for k in ("step", "images", "metrics", "seconds", "engine")}
        self._append(queued, Reported(queued.name, **fields, redone=redone))

    def _append(self, queued: QueuedTrial, event: Event) -> None:
        """Journal an event of a trial and apply it, as a later launch will."""
        self._apply(queued, self.journal.append(event).event)

    def _apply(self, queued: QueuedTrial, event: Event) -> None:
        over = queued.ended
        queued.apply(event, f"validation/{self.spec.objective}")
        if queued.ended and not over:
            self._queue.end(queued)

    def _end(self, queued: QueuedTrial, end: dict[str, Any]) -> None:
        step = queued.trial.step
        if end["state"] == "complete" and not _finite(queued.objective):
            end = {**end, "state": "failed", "reason": f"diverged at report {step}"}
        value = queued.objective if end["state"] == "complete" else None
        self._append(
            queued, TrialEnded(**{**end, "trial": queued.name, "step": step, "value": value})
        )
        self._advance(queued.phase)

    def _report_to_optuna(self, queued: QueuedTrial) -> None:
        value = queued.objective
        if value is not None and math.isfinite(value):
            queued.phase.report(queued.trial.asked.optuna, queued.trial.step, value)

    def _decide(self, phase: Phase) -> None:
        """Let a batch continue once all of it has reached a report, except what the pruner ends.

        A retry that joined the batch is behind it: it is decided on by itself until it catches up.
        """
        if not phase.synchronous:
            return
        batch = self._queue.batch(phase)
        if not batch.reached:
            return
        living = [queued for queued in batch.trials if not queued.ended]
        step = min(queued.trial.step for queued in living)
        decided = [queued for queued in living if queued.trial.step == step]
        for queued in decided:
            self._report_to_optuna(queued)
        pruned = [q for q in decided if phase.should_prune(q.trial.asked.optuna)]
        for queued in decided:
            self._queue.hold(queued, False)
        for queued in pruned:
            self._end(queued, {"state": "pruned"})

    # -- batches and phases ---------------------------------------------------------------------

    def _advance(self, phase: Phase) -> None:
        """Tell Optuna of a batch that has ended, and ask for the next one."""
        batch = self._queue.batch(phase)
        if not batch.over:
            return
        for queued in batch.trials:
            trial = queued.trial
            phase.tell(trial.asked.optuna, trial.state, trial.value)
        batch.trials.clear()
        phase.trials = max(phase.trials, self._comparison.trials(phase))
        asked = [] if phase.arm in self._stopped_arms else phase.ask_batch()
        for ask in asked:
            self._add(ask, phase)
        if isinstance(phase, Search) and phase.arm not in self._stopped_arms:
            if asked:  # it may choose another configuration
                self._comparison.confirms.pop((phase.arm, phase.replicate), None)
            elif not self._comparison.bounding.goes_on(phase):
                self._choose(phase)
        if not asked:
            self._compare()

    def _choose(self, search: Search) -> None:
        """Confirm the configuration that the search, which is over, found best on validation."""
        best, key = search.best(), (search.arm, search.replicate)
        number = None if best is None else best.number
        if self._choices.get(key, ...) != number:
            self._choices[key] = number
            value = None if best is None else best.value
            self.journal.append(ConfigurationChosen(*key, number, value))
        self._comparison.confirms[key] = None if best is None else self._confirm(search, best)

    def _compare(self) -> None:
        """Record what is known now of the pair, and ask for the trials that this takes."""
        for event in self._comparison.advance():
            self._comparison.follow(self.journal.append(event).event)
        for phase in self._comparison.waiting():
            self._advance(phase)

    def _confirm(self, search: Search, chosen: Chosen) -> Confirm:
        of = self._storage, self.spec, self._dims, search.arm, search.replicate
        confirm = Confirm(*of, chosen)
        known = self._phases.setdefault(confirm.name, confirm)
        assert isinstance(known, Confirm)
        return known

    def _restore(self) -> None:
        told = told_by(self.journal.entries)
        for phase in first_phases(self._storage, self.spec, self._dims, told):
            self._phases[phase.name] = phase
            if isinstance(phase, Confirm):
                self._comparison.confirms[phase.arm, phase.replicate] = phase
            elif isinstance(phase, Search) and phase.search.until is not None:
                self._comparison.bounding.searches.append(phase)
        for entry in self.journal.entries:
            self._replay(entry.event)
            self._spending.follow(entry)
        for phase in self._phases.values():
            self._queue.resume(phase)
        self._comparison.keep_stopped(self._phases)

    def _replay(self, event: Event) -> None:
        match event:
            case ConfigurationChosen():
                search = self._phases[f"{event.arm}.search.r{event.replicate}"]
                assert isinstance(search, Search)
                self._choices[event.arm, event.replicate] = event.number
                if event.number is not None:
                    tried = (queued.trial.asked for queued in self._queue.of(search))
                    asked = next(asked for asked in tried if asked.number == event.number)
                    self._confirm(search, Chosen.of(asked, event.value))
            case TrialAsked():
                self._queue.add(QueuedTrial(Trial(event), self._phases[event.phase_name]))
            case PairChosen() | Looked() | SearchLooked():
                self._comparison.follow(event)
            case ShapeTimed(seconds_per_image=float()):
                self._pilots.add(event.shape)
            case Stopped(arm=str() as arm):
                self._stopped_arms.add(arm)
            case Reported() | EngineDied() | TrialPlaced() | TrialEnded():
                self._apply(self._queue.trials[event.trial], event)
            case _:
                pass

    def _add(self, asked: TrialAsked, phase: Phase) -> None:
        entry = self.journal.append(asked)
        assert isinstance(entry.event, TrialAsked)
        self._queue.add(QueuedTrial(Trial(entry.event), phase))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
