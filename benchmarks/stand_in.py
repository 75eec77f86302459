"""An engine that trains nothing, and a study for it, to time everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from study.engine.config import EngineConfig
from study.journal import Entry
from study.spec import StudySpec

SEEDS = 5
SLEEP = 0.5
"""Seconds a :class:`Sleeper` takes to a report."""


class StandIn:
    """Has the methods of :class:`study.engine.actor.EngineActor` that the relay calls.

    Args:
        name: the engine's.
        width: its slots.
        seconds: how long it sleeps before each report.
    """

    def __init__(self, name: str, width: int, seconds: float = 0.0) -> None:
        self.name, self.width, self.seconds = name, width, seconds
        self._change = threading.Condition()
        self._begun: dict[str, tuple[dict[str, Any], float]] = {}  # request, its time

    def admit(self, request: dict[str, Any]) -> None:
        """Begin to sleep for a trial."""
        with self._change:
            self._begun.setdefault(request["trial"], (request, time.monotonic()))

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """The next report of ``trial``, alone; nothing once it is released."""
        with self._change:
            if trial not in self._begun:
                return []
            request, begun = self._begun[trial]
            wake = begun + (after + 1) * self.seconds
            left = self._change.wait_for(lambda: trial not in self._begun, wake - time.monotonic())
        return [] if left else [self._report(request, request["after"] + after + 1)]

    def release(self, trial: str) -> None:
        """Stop sleeping for a trial."""
        with self._change:
            self._begun.pop(trial, None)
            self._change.notify_all()

    def occupancy(self) -> tuple[int, list[str]]:
        """Its slots, and the trials that were admitted and not released."""
        with self._change:
            return self.width, list(self._begun)

    def _report(self, request: dict[str, Any], step: int) -> dict[str, Any]:
        names = [f"{split}/{name}" for split in ("train", "validation") for name in "SRLMA"]
        report = {
            "step": step,
            "images": 64 * step,
            "metrics": {
                **dict.fromkeys(names, 1.0),
                "validation/calibrated_negative_elbo": 1.0 / step,
            },
            "seconds": {"training": self.seconds / self.width, "evaluation": 0.0},
            "engine": self.name,
            "start": {
                "engine": self.name,
                "shape": "none",
                "key": {"width": self.width},
                "seconds_per_image": 0.0,
            },
        }
        if step == request["settings"]["training"]["reports"]:
            report["end"] = {"state": "complete", "metrics": dict.fromkeys(names, 1.0)}
        return report


class Sleeper(StandIn):
    """Has the methods that the fleet calls, too; each report takes :data:`SLEEP` seconds."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config.name, 1, SLEEP)
        self._born = time.monotonic()
        self._end = threading.Event()

    def prepare(
        self, data: Mapping[str, Any], validation: float, width: int, relay: Any
    ) -> dict[str, Any]:
        """Begin with ``width`` slots; return what the engine is."""
        self.width = width
        return {**self._identity(), "node": ray.get_runtime_context().get_node_id()}

    def serve(self) -> None:
        """Return when the engine stops."""
        self._end.wait()

    def suspend(self) -> dict[str, float]:
        """No-op: nothing was trained that would have to be saved."""
        return {}

    def stop(self) -> dict[str, Any]:
        """Its account: all of its time was waiting."""
        self._end.set()
        waited = {"waiting": time.monotonic() - self._born}
        return {**self._identity(), "seconds": waited, "unreported": {}}

    def _identity(self) -> dict[str, Any]:
        return {"engine": self.name, "device": "cpu", "width": self.width, "startup_seconds": 0.0}


def study_of(name: str, trials: int, reports: int, engines: dict[str, Any]) -> StudySpec:
    """A study of ``trials`` trials in all: a random search, then its confirm runs."""
    return StudySpec.from_dict(
        {
            "name": name,
            "question": "What does a trial cost that trains nothing?",
            "data": {"name": "digits", "validation": 220},
            "model": {"name": "mlp", "latent": 16, "width": 64},
            "training": {"epochs": reports, "batch_size": 64, "lr": 1e-3, "reports": reports},
            "objective": "calibrated_negative_elbo",
            "seeds": list(range(SEEDS)),
            "engines": engines,
            "arms": {
                "random": {
                    "balancer": "fixed_beta",
                    "search": {
                        "space": {"beta": {"low": 1e-4, "high": 10, "log": True}},
                        "sampler": "random",
                        "trials": trials - SEEDS,
                    },
                }
            },
        }
    )


def trials_a_second(ends: Sequence[Entry]) -> float:
    """From the first of these trials' ends to the last."""
    return (len(ends) - 1) / (ends[-1].time - ends[0].time)
