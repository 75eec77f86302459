"""What a study has spent, and the caps that end it."""

from __future__ import annotations

from study.journal import Entry
from study.journal.events import (
    CapReached,
    EngineChanged,
    LaunchBegan,
    Reported,
    StudyDescribed,
)
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
        self._seconds = self._device_seconds = 0.0
        self._up: set[str] = set()  # engines
        self._last: float | None = None  # time of the last entry; None: there is none

    def follow(self, entry: Entry) -> None:
        """Add the journal's next event."""
        match entry.event:
            case StudyDescribed() | LaunchBegan():  # the driver before and its engines have ended
                self._up.clear()
            case _:
                passed = self._since_last(entry.time)
                self._seconds += passed
                self._device_seconds += passed * len(self._up)
        match entry.event:
            case Reported() as report:
                self._trained_on(report)
            case EngineChanged(state="started") as engine:
                self._up.add(engine.engine)
                self._device_seconds += engine.startup_seconds
            case EngineChanged() as engine:
                self._up.discard(engine.engine)
        self._last = entry.time

    def hours(self, now: float) -> float:
        """Hours a driver ran, the running one until ``now``, by the clock of its entries."""
        return (self._seconds + self._since_last(now)) / _HOUR

    def device_hours(self, now: float) -> float:
        """Hours engines were up, those still up until ``now``."""
        return (self._device_seconds + self._since_last(now) * len(self._up)) / _HOUR

    def amounts(self, now: float) -> dict[str, float]:
        """By the spec's key of its cap, what was spent until ``now``."""
        return {
            "max_images": float(self.images),
            "max_hours": self.hours(now),
            "max_device_hours": self.device_hours(now),
        }

    def exceeded(self, spec: StudySpec, now: float) -> CapReached | None:
        """The first cap of ``spec`` that has been reached, if any."""
        for cap, amount in self.amounts(now).items():
            limit = getattr(spec, cap)
            if limit is not None and amount >= limit:
                return CapReached(cap, limit, amount)
        return None

    def _trained_on(self, report: Reported) -> None:
        trained = self._trained.setdefault(report.trial, {0: 0})
        before = trained.get(report.step - 1, report.images)
        self.images += max(0, report.images - before)
        trained[report.step] = report.images

    def _since_last(self, now: float) -> float:
        """Seconds since the last entry; older versions recorded clocks that may be set back."""
        return 0.0 if self._last is None else max(0.0, now - self._last)
