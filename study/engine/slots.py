"""An engine's slots: the trials it holds, shared by its threads under one lock."""

from __future__ import annotations

import threading
from typing import Any

from study.engine.account import TimeAccount
from study.engine.trial_run import Report, StorageError, TrialRun


class Slots:
    """The trials of an engine, and its time account.

    Attributes:
        change: the lock; notified when a trial arrives, leaves or reports, and at the end.
        width: how many slots there are: the rows of each bank.
        runs: by name, the trials that were admitted and not released.
        waiting: runs without a row, in order of admission.
        occupants: runs with a row; only the training thread adds and removes them.
        account: the engine's time.
        ended: whether the engine has ended.
        failure: what ended it, if that was an error.
    """

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.width = 1
        self.runs: dict[str, TrialRun] = {}
        self.waiting: list[TrialRun] = []
        self.occupants: list[TrialRun] = []
        self.account = TimeAccount()
        self.ended = threading.Event()
        self.failure: BaseException | None = None

    def admit(self, run: TrialRun) -> None:
        """Add a trial, which waits for a row."""
        with self.change:
            self.runs[run.trial] = run
            self.waiting.append(run)
            self.change.notify_all()

    def occupancy(self) -> tuple[int, list[str]]:
        """How many slots there are, and the trials that were admitted and not released."""
        with self.change:
            return self.width, list(self.runs)

    def is_current(self, run: TrialRun) -> bool:
        """Whether the run's deliverables may still be fetched."""
        return not run.released and not self.ended.is_set()

    def release(self, run: TrialRun) -> None:
        """Free the run's slot; the training thread then frees its row."""
        with self.change:
            self.runs.pop(run.trial, None)
            run.released = True
            if run in self.waiting:
                self.waiting.remove(run)
            if run not in self.occupants:
                self.account.keep_unreported(run)
            self.change.notify_all()

    def vacate(self, run: TrialRun) -> None:
        """Give the row of an occupant back."""
        run.leave()
        with self.change:
            self.occupants.remove(run)
            self.account.keep_unreported(run)

    def placed(self, run: TrialRun) -> None:
        """Note that a waiting run has a row now, or is over without one."""
        with self.change:
            if run.bank is not None:
                self.occupants.append(run)
            if run in self.waiting and (run.over or run.bank is not None):
                self.waiting.remove(run)
            if run.over:
                self.account.keep_unreported(run)
            self.change.notify_all()

    def requeue(self, run: TrialRun) -> None:
        """Have a run without a row wait for one, unless it was released."""
        with self.change:
            if run in self.occupants:
                self.occupants.remove(run)
            if run.released:
                self.account.keep_unreported(run)
            elif run not in self.waiting:
                self.waiting.append(run)

    def publish(self, run: TrialRun, report: Report, placement: dict[str, Any]) -> None:
        """Make a saved report available for delivery."""
        with self.change:
            run.publish(report, placement)
            self.change.notify_all()

    def fail_run(self, run: TrialRun, error: StorageError) -> None:
        """End a run here because of the storage."""
        with self.change:
            run.end_with_storage_error(str(error))
            self.change.notify_all()

    def charge(self, run: TrialRun, purpose: str, seconds: float) -> None:
        """Charge a run for device seconds."""
        with self.change:
            run.unreported[purpose] += seconds
            self.account.seconds[purpose] += seconds

    def end(self, failure: BaseException | None = None) -> None:
        """End the engine: nothing more is trained or delivered."""
        with self.change:
            self.failure = self.failure or failure
            self.ended.set()
            self.change.notify_all()

    def snapshot(self) -> dict[str, Any]:
        """The time account now (see :meth:`TimeAccount.snapshot`)."""
        with self.change:
            here = [*self.occupants, *self.waiting]
            here += [run for run in self.runs.values() if run not in here]
            return self.account.snapshot(here)
