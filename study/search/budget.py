"""What a study has spent, and the caps that end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from study.journal import Event
from study.spec import StudySpec

_HOUR = 3600.0


@dataclass(frozen=True)
class Cap:
    """A limit of the spec that has been reached."""

    cap: str
    """The spec's key."""
    limit: float
    spent: float
    """In the cap's unit: images, hours, device hours."""


class Spending:
    """Follows a study's journal and adds up what the caps are about.

    Images are those trained on, work done again included. Hours are those a driver was at work,
    from its launch to its last entry. Device hours are those engines were up, each one counted by
    itself, idle time included: what a cluster bills.
    """

    def __init__(self) -> None:
        self.images = 0
        self._trained: dict[str, dict[int, int]] = {}  # trial -> step -> images by then
        self._hours = self._device_hours = 0.0
        self._launched = self._last = 0.0
        self._up: dict[str, float] = {}  # engine -> when its process came up

    def follow(self, event: Event) -> None:
        """Take in the journal's next event."""
        match event.kind:
            case "launch":
                self._close(self._last)
                self._launched = event.time
            case "report":
                self._trained_on(event.data)
            case "engine":
                self._engine(event)
        self._last = event.time

    def hours(self, now: float) -> float:
        """Hours a driver was at work, the running one's until ``now`` (seconds since 1970)."""
        return self._hours + max(0.0, now - self._launched) / _HOUR if self._launched else 0.0

    def device_hours(self, now: float) -> float:
        """Hours engines were up, those that are until ``now``."""
        up = sum(max(0.0, now - since) for since in self._up.values())
        return self._device_hours + up / _HOUR

    def exceeded(self, spec: StudySpec, now: float) -> Cap | None:
        """The first cap of ``spec`` that has been reached, if any."""
        spent = {
            "max_images": float(self.images),
            "max_hours": self.hours(now),
            "max_device_hours": self.device_hours(now),
        }
        for cap, amount in spent.items():
            limit = getattr(spec, cap)
            if limit is not None and amount >= limit:
                return Cap(cap, limit, amount)
        return None

    def _trained_on(self, data: dict[str, Any]) -> None:
        trained = self._trained.setdefault(data["trial"], {0: 0})
        before = trained.get(data["step"] - 1, data["images"])
        self.images += max(0, data["images"] - before)
        trained[data["step"]] = data["images"]

    def _engine(self, event: Event) -> None:
        engine = event.data["engine"]
        if event.data["state"] == "started":
            self._up[engine] = event.time - event.data["startup_seconds"]
        elif engine in self._up:
            self._device_hours += max(0.0, event.time - self._up.pop(engine)) / _HOUR

    def _close(self, time: float) -> None:
        """A driver has gone, and its engines with it, at ``time``."""
        if self._launched:
            self._hours += max(0.0, time - self._launched) / _HOUR
        for since in self._up.values():
            self._device_hours += max(0.0, time - since) / _HOUR
        self._up.clear()
