"""A study's engines and slots as gauges among Ray's own metrics.

A Prometheus that scrapes Ray's nodes finds them as ``ray_study_engines`` and ``ray_study_slots``;
Ray serves metrics only where ``ray[default]`` is installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ray.util.metrics import Gauge

from study.scheduling.pool import Occupancy


class Gauges:
    """The gauges of ``study``."""

    def __init__(self, study: str) -> None:
        self._tags = {"study": study}
        self._engines = Gauge("study_engines", "Engines that train.", ("study",))
        self._slots = Gauge("study_slots", "Slots of engines, busy and free.", ("study", "state"))

    def set(self, engines: Sequence[Occupancy]) -> None:
        """Set them to how ``engines`` are."""
        slots, busy = sum(e.slots for e in engines), sum(len(e.trials) for e in engines)
        self._engines.set(len(engines), self._tags)
        self._slots.set(busy, {**self._tags, "state": "busy"})
        self._slots.set(max(0, slots - busy), {**self._tags, "state": "free"})
