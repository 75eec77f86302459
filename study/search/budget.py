"""What a study has spent, and the caps that end it."""

from __future__ import annotations

from study.journal import Entry
from study.journal.events import CapReached, EngineChanged, LaunchBegan, Reported
from study.spec import StudySpec

_HOUR = 3600.0


class Spending:
    """Follows a study's journal and adds up what the caps limit.

    Images are those trained on, redone work included. Hours are those a driver ran, from its launch
    to its last entry. Device hours are the sum over engines of the time each was up, idle time
    included: what a cluster bills.
    """

    def __init__(self) -> None:
        self.images = 0
        self._trained: dict[str, dict[int, int]] = {}  # trial -> step -> images by then
        self._hours = self._device_hours = 0.0
        self._launched = self._last = 0.0
        self._up: dict[str, float] = {}  # engine -> when its process came up

    def follow(self, entry: Entry) -> None:
        """Add the journal's next event."""
        match entry.event:
            case LaunchBegan():
                self._close(self._last)
                self._launched = entry.time
            case Reported() as report:
                self._trained_on(report)
            case EngineChanged() as engine:
                self._engine(engine, entry.time)
        self._last = entry.time

    def hours(self, now: float) -> float:
        """Hours a driver ran, the running one until ``now`` (seconds since the Unix epoch)."""
        return self._hours + max(0.0, now - self._launched) / _HOUR if self._launched else 0.0

    def device_hours(self, now: float) -> float:
        """Hours engines were up, those still up until ``now``."""
        up = sum(max(0.0, now - since) for since in self._up.values())
        return self._device_hours + up / _HOUR

    def exceeded(self, spec: StudySpec, now: float) -> CapReached | None:
        """The first cap of ``spec`` that has been reached, if any."""
        spent = {
            "max_images": float(self.images),
            "max_hours": self.hours(now),
            "max_device_hours": self.device_hours(now),
        }
        for cap, amount in spent.items():
            limit = getattr(spec, cap)
            if limit is not None and amount >= limit:
                return CapReached(cap, limit, amount)
        return None

    def _trained_on(self, report: Reported) -> None:
        trained = self._trained.setdefault(report.trial, {0: 0})
        before = trained.get(report.step - 1, report.images)
        self.images += max(0, report.images - before)
        trained[report.step] = report.images

    def _engine(self, engine: EngineChanged, time: float) -> None:
        if engine.state == "started":
            self._up[engine.engine] = time - engine.startup_seconds
        elif engine.engine in self._up:
            self._device_hours += max(0.0, time - self._up.pop(engine.engine)) / _HOUR

    def _close(self, time: float) -> None:
        """A driver and its engines ended at ``time``."""
        if self._launched:
            self._hours += max(0.0, time - self._launched) / _HOUR
        for since in self._up.values():
            self._device_hours += max(0.0, time - since) / _HOUR
        self._up.clear()
