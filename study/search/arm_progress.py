"""Progress of a study's arms, while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

from study.formatting import setting
from study.search.queue import QueuedTrial
from study.spec import StudySpec


@dataclass(frozen=True)
class ArmProgress:
    """Progress of an arm."""

    arm: str
    ended: int
    running: int
    planned: int
    """Trials in all, confirm runs included, as far as known."""
    work: float
    """Trials completed, fractions of running ones included."""
    best: float | None
    """Lowest objective reported on validation so far."""
    setting: str
    """What was searched by the trial that reported it, as "beta=0.3"."""
    phase: str
    """What its latest running trial is for: search, confirm, choosing or comparing; "" of none."""


def arm_progress(
    spec: StudySpec,
    trials: Collection[QueuedTrial],
    searched: Callable[[str], int],
    runs: Callable[[str], int],
) -> list[ArmProgress]:
    """Progress of every arm of ``spec``, in its order.

    Args:
        spec: the study.
        trials: those asked for.
        searched: how many trials each search of an arm is to have, as far as known.
        runs: likewise, confirm runs of each configuration.
    """
    by_arm: dict[str, list[QueuedTrial]] = {arm: [] for arm in spec.arms}
    for queued in trials:
        by_arm[queued.trial.asked.arm].append(queued)
    return [_progress(spec, arm, found, searched(arm) + runs(arm)) for arm, found in by_arm.items()]


def _reports(queued: QueuedTrial) -> int:
    reports: int = queued.trial.asked.settings["training"]["reports"]
    return reports


def _progress(spec: StudySpec, arm: str, trials: list[QueuedTrial], each: int) -> ArmProgress:
    search = spec.arms[arm].search
    replicates = search.replicates if search else 1
    leader = min(trials, key=lambda queued: queued.best, default=None)
    best = math.inf if leader is None else leader.best
    params = {} if leader is None else leader.trial.asked.params
    latest = next((queued.trial.asked for queued in reversed(trials) if queued.running), None)
    return ArmProgress(
        arm=arm,
        ended=sum(queued.ended for queued in trials),
        running=sum(queued.running for queued in trials),
        planned=max(each * replicates, len(trials)),
        work=sum(1.0 if q.ended else q.trial.step / _reports(q) for q in trials),
        best=None if math.isinf(best) else best,
        setting=", ".join(f"{key}={setting(value)}" for key, value in params.items()),
        phase="" if latest is None else latest.stage or latest.phase,
    )
