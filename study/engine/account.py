"""An engine's time account: its device seconds by purpose, and those that are in no report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from study.engine.trial_run import TrialRun

PURPOSES = (
    *("start_up", "training", "evaluation", "second_stage"),
    *("pilot", "idle_slots", "waiting"),
)


class TimeAccount:
    """Device seconds of one engine. Callers hold the engine's lock.

    Attributes:
        seconds: by purpose; an idle slot is charged for each step of its bank.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PURPOSES, 0.0)
        self._unreported_of_departed: dict[str, float] = {}
        self._waiting_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Charge the time within as waiting; a snapshot taken meanwhile includes it."""
        self._waiting_since = time.perf_counter()
        try:
            yield
        finally:
            self.seconds["waiting"] += time.perf_counter() - self._waiting_since
            self._waiting_since = None

    def keep_unreported(self, run: TrialRun) -> None:
        """Keep the unreported seconds of a run that leaves."""
        seconds = run.take_unreported()
        if run.released:
            seconds += run.take_undelivered()
        if seconds:
            before = self._unreported_of_departed.get(run.trial, 0.0)
            self._unreported_of_departed[run.trial] = before + seconds

    def snapshot(self, runs: Iterable[TrialRun]) -> dict[str, Any]:
        """The account now, as its heartbeats hold it.

        Args:
            runs: those in the engine.

        Returns:
            ``seconds`` by purpose, and by trial those of them that are ``unreported``.
        """
        seconds, unreported = dict(self.seconds), dict(self._unreported_of_departed)
        if self._waiting_since is not None:
            seconds["waiting"] += time.perf_counter() - self._waiting_since
        for run in runs:
            spent = run.unreported_seconds()
            if spent:
                unreported[run.trial] = unreported.get(run.trial, 0.0) + spent
        return {"seconds": seconds, "unreported": unreported}
