"""Tune's Searcher and TrialScheduler, both faces of the conductor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.scheduling.fleet import EngineError, Fleet
from study.search import Conductor


@contextmanager
def _fatal(conductor: Conductor) -> Iterator[None]:
    """End the study on an error of its own (a lost lease, a full disk).

    Tune would take it for the trial's, and run that again without end.
    """
    try:
        yield
    except Exception as error:
        conductor.fail(error)


class StudySearcher(Searcher):
    """Hands Tune one trial of the study at a time, until the conductor has no more.

    It returns None only while some trial is running, for Tune sleeps on a None otherwise: batches
    are told and asked when a report is taken, before Tune hears that the trial is over.
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
            return Searcher.FINISHED if self._conductor.finished else None
        self._names[trial_id] = request.trial
        return {"request": json.dumps(asdict(request))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The trial's slot is free; what became of it the conductor knows from its reports."""
        self._conductor.returned(self._names.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """The journal is what is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Likewise."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles searchers into snapshots that no one reads."""
        return {}


class StudyScheduler(FIFOScheduler):
    """Passes reports to the conductor and its word back: go on, or stop.

    Args:
        conductor: the study.
        fleet: where slots are freed.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet) -> None:
        super().__init__()
        self._conductor, self._fleet = conductor, fleet

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take the reports in ``result``, or the news that the trial's engine died.

        The Trainable never calls itself done: Tune would then pass the scheduler by.
        """
        over = True
        with _fatal(self._conductor):
            over = self._take(result) or result["over"]
        if over:
            self._fleet.release(result["trial"])
        return str(TrialScheduler.STOP if over else TrialScheduler.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nobody in particular: Tune starts what is pending in the order it came.

        To say the same, the scheduler this one is made from looks through all trials of the study.
        """

    def _take(self, result: dict[str, Any]) -> bool:
        """Pass on what a trial's process has to say; return whether the trial's slot is over."""
        conductor, name, engine = self._conductor, result["trial"], result["died"]
        counts = engine and not self._fleet.died_with_its_node(engine)
        if counts and conductor.died(name, engine):
            return True
        for report in result["reports"]:
            if "trouble" in report:
                remedy = "free some space, or mend what is wrong there, then go on with "
                raise EngineError(
                    report["trouble"], remedy=f"{remedy}`study resume {conductor.spec.name}`"
                )
            if conductor.report(name, report):
                return True
        self._fleet.isolate(name, conductor.trials[name].alone)
        return conductor.interrupted

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}
