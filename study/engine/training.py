"""An engine's training thread: fills rows, trains banks, makes reports, suspends.

Trials arrive and leave while the others train: continuous batching, for trials.
"""

from __future__ import annotations

import time
from itertools import count

import torch

from study.engine.banks import CHUNK_SECONDS, Banks, TimedBank
from study.engine.evaluation import Evaluation
from study.engine.faults import Faults
from study.engine.home import FencedError, HomeLostError
from study.engine.slots import Slots
from study.engine.trial_run import Stopwatch, StorageError, TrialRun


class _PostponedError(Exception):
    """A trial's final evaluation must wait: it starts over from the trial's checkpoint."""


class TrainingLoop:
    """Trains the trials in an engine's slots.

    Args:
        slots: the engine's trials.
        banks: its banks.
        evaluation: what its trials are measured on.
        faults: handles their exceptions.
    """

    def __init__(self, slots: Slots, banks: Banks, evaluation: Evaluation, faults: Faults) -> None:
        self._slots, self._banks = slots, banks
        self._evaluation, self._faults = evaluation, faults
        self._suspending = False
        self._suspended: dict[str, float] = {}

    def run(self) -> None:
        """Train until the engine ends."""
        torch.set_num_threads(1)  # of this thread: the setting is each thread's own
        try:
            for turn in count():
                if self._slots.ended.is_set():
                    return
                self._pass(turn)
        except FencedError:
            self._slots.end()
        except BaseException as error:
            self._slots.end(error)

    def _pass(self, turn: int) -> None:
        """Let trials leave and enter, and train one of the banks that have some.

        Banks that are dropped here must be gone by the next pass, which may need their memory: so
        nothing that outlives it names one.
        """
        if self._suspending:
            self._suspend_all()
        self._free_rows()
        self._fill_rows()
        if busy := self._banks.busy():
            self._advance(busy[turn % len(busy)])
        else:
            self._wait()

    def suspend(self) -> dict[str, float]:
        """Have the thread suspend every trial; called from another (see :meth:`Engine.suspend`)."""
        change = self._slots.change
        with change:
            self._suspending = True
            change.notify_all()
            while self._suspending and not self._slots.ended.is_set():
                change.wait()
            found, self._suspended = self._suspended, {}
            return found

    def _wait(self) -> None:
        """Sleep until a trial arrives or leaves."""
        slots = self._slots
        with slots.change, slots.account.waiting():
            if not (slots.waiting or self._suspending or slots.ended.is_set()):
                slots.change.wait()

    def _free_rows(self) -> None:
        """Free the rows of trials that were released or are over."""
        for run in [run for run in self._slots.occupants if run.released or run.over]:
            self._slots.vacate(run)

    def _fill_rows(self) -> None:
        """Give waiting trials the rows that are free; suspects one at a time."""
        with self._slots.change:
            waiting = list(self._slots.waiting)
        for run in waiting:
            suspects = [other for other in (*self._slots.occupants, *waiting) if other.suspect]
            if suspects and run is not suspects[0]:
                continue
            self._enter(run)

    def _enter(self, run: TrialRun) -> None:
        """Give a waiting trial a row, if there is one; names no bank longer, as :meth:`_pass`."""
        try:
            run.load()
            if not run.over:
                bank = self._banks.bank_of(run)
                if not bank.free:
                    return
                run.enter(bank)
        except (FencedError, HomeLostError):
            raise
        except StorageError as error:
            self._slots.fail_run(run, error)
        except Exception as error:  # a user's model may raise anything
            self._faults.handle([run], error)
        self._slots.placed(run)

    def _advance(self, timed: TimedBank) -> None:
        """Train a bank up to its next report, or for as long as a chunk may take."""
        runs = self._banks.members(timed)
        steps = min(run.steps_ahead() for run in runs)
        try:
            if steps > 0:
                self._train(timed, min(steps, self._chunk(timed)), runs)
        except Exception as error:  # likewise
            self._faults.handle(runs, error)
            return
        for run in runs:
            if run.bank is timed.bank and run.steps_to_report() <= 0 and not run.released:
                self._report(run)
            if run.bank is timed.bank:
                run.turn()

    def _chunk(self, timed: TimedBank) -> int:
        return max(1, int(CHUNK_SECONDS / timed.step_seconds))

    def _train(self, timed: TimedBank, steps: int, runs: list[TrialRun]) -> None:
        start, before = time.perf_counter(), timed.bank.recording_seconds
        try:
            timed.bank.train(steps)
        finally:
            recording = timed.bank.recording_seconds - before
            elapsed = time.perf_counter() - start - recording
            share = elapsed / timed.bank.width
            with self._slots.change:
                for run in runs:
                    run.unreported["training"] += share
                seconds = self._slots.account.seconds
                seconds["pilot"] += recording
                seconds["training"] += share * len(runs)
                seconds["idle_slots"] += share * (timed.bank.width - len(runs))
        timed.step_seconds = elapsed / steps  # not where an exception cut them short

    def _report(self, run: TrialRun) -> None:
        def charge(purpose: str, seconds: float) -> None:
            self._slots.charge(run, purpose, seconds)

        def check() -> None:
            if self._suspending or self._slots.ended.is_set() or run.released:
                raise _PostponedError

        try:
            report = run.report(self._evaluation, Stopwatch(charge), check)
        except (FencedError, HomeLostError):
            raise
        except StorageError as error:
            self._slots.fail_run(run, error)
        except _PostponedError:
            run.leave()
            self._slots.requeue(run)
        except Exception as error:  # a model's evaluation may raise, as its training
            self._faults.handle([run], error)
        else:
            self._slots.publish(run, report, self._banks.placement(run))
            if run.suspect:
                self._faults.clear_suspicion(run)

    def _suspend_all(self) -> None:
        slots, found = self._slots, {}
        for run in [run for run in (*slots.occupants, *slots.waiting) if not run.over]:
            try:
                run.suspend()
                saved = True
            except StorageError:
                saved = False  # it resumes from its last checkpoint, without what came since
            with slots.change:
                if saved and not run.released:
                    found[run.trial] = run.take_unreported()
                run.delivered = len(run.deliverables)  # the next engine delivers the rest
                slots.release(run)
        with slots.change:
            self._suspended, self._suspending = found, False
            slots.change.notify_all()
