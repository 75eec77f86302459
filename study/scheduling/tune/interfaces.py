"""Tune's Searcher and TrialScheduler, both backed by the conductor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.journal.home import command_line
from study.scheduling.fleet import Fleet
from study.scheduling.outages import EngineError
from study.search import Conductor


@contextmanager
def _fatal(conductor: Conductor) -> Iterator[None]:
    """End the study on an error of its own (a lost lease, a full disk).

    Tune would treat it as the trial's failure, and retry that without end.
    """
    try:
        yield
    except Exception as error:
        conductor.fail(error)


class StudySearcher(Searcher):
    """Gives Tune one trial of the study at a time, until the conductor has no more.

    It returns None only while a trial is running, because Tune sleeps after a None: the conductor
    closes batches and asks the next when it takes a report, before Tune knows that the trial is
    over.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet) -> None:
        super().__init__()
        self._conductor, self._fleet = conductor, fleet
        self._names: dict[str, str] = {}

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial, None to wait, or FINISHED."""
        request = None
        with _fatal(self._conductor):
            request = self._conductor.next()
            if request is not None:
                self._fleet.isolate(request.trial, request.alone)
        if request is None:
            return Searcher.FINISHED if self._conductor.drained else None
        self._names[trial_id] = request.trial
        return {"request": json.dumps(asdict(request))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The trial's slot is free; the conductor knows from its reports how it ended."""
        self._conductor.returned(self._names.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """No-op: the journal holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """No-op, likewise."""

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles searchers into snapshots that are never read."""
        return {}


class StudyScheduler(FIFOScheduler):
    """Passes reports to the conductor and its decision back: continue or stop.

    Args:
        conductor: the study.
        fleet: where slots are freed.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet) -> None:
        super().__init__()
        self._conductor, self._fleet = conductor, fleet

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take the reports in ``result``, or the death of the trial's engine.

        The Trainable never reports itself done: Tune would then not call the scheduler.
        """
        over = True
        with _fatal(self._conductor):
            over = self._take(result) or result["over"]
        if over:
            self._fleet.release(result["trial"])
        return str(TrialScheduler.STOP if over else TrialScheduler.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune starts pending trials in their order.

        The base class does the same, but searches all trials of the study first.
        """

    def _take(self, result: dict[str, Any]) -> bool:
        """Pass a trial's result to the conductor; return whether its slot is to be freed."""
        conductor, name, engine = self._conductor, result["trial"], result["died"]
        counts = engine and not self._fleet.died_with_its_node(engine)
        if counts and conductor.died(name, engine):
            return True
        for report in result["reports"]:
            if "storage_error" in report and conductor.trials[name].ended:
                return True  # pruned or stopped: what the engine was still saving has been removed
            if "storage_error" in report:
                raise EngineError(
                    report["storage_error"],
                    remedy="free some space, or repair the storage. Resume with: "
                    + command_line("resume", conductor.journal.home),
                )
            if conductor.report(name, report):
                return True
        self._fleet.isolate(name, conductor.trials[name].trial.alone)
        return conductor.interrupted

    def __getstate__(self) -> dict[str, Any]:
        """Empty, as for the searcher."""
        return {}
