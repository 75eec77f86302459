"""Tune's Searcher and TrialScheduler, both faces of the conductor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.search import Conductor


class StudySearcher(Searcher):
    """Hands Tune one trial of the study at a time, until the conductor has no more.

    It returns None only while some trial is running, for Tune sleeps on a None otherwise: batches
    are told and asked when a report is taken, before Tune hears that the trial is over.
    """

    def __init__(self, conductor: Conductor, pool: str) -> None:
        super().__init__()
        self._conductor, self._pool = conductor, pool
        self._names: dict[str, str] = {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """The study has its own objective; Tune's settings are not used."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial, None to wait, or FINISHED."""
        request = self._conductor.next()
        if request is None:
            return Searcher.FINISHED if self._conductor.finished else None
        self._names[trial_id] = request.trial
        return {"request": json.dumps(asdict(request)), "pool": self._pool}

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
        release: frees a trial's slot at its engine, at once.
    """

    def __init__(self, conductor: Conductor, release: Callable[[str], None]) -> None:
        super().__init__()
        self._conductor, self._release = conductor, release

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take the reports in ``result``.

        The Trainable never calls itself done: Tune would then pass the scheduler by.
        """
        name = result["trial"]
        over = False
        for report in result["reports"]:
            over = self._conductor.report(name, report)
            if over:
                break
        if over or result["over"]:
            self._release(name)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}
