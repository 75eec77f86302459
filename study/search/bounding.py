"""How many trials a search has that goes on until its break-even is bounded.

Batch by batch random trials are added, and break-even is looked at after each, with bounds that
hold at all looks together: it is bounded once their upper end is no more than the trials made. The
level to reach is that of the best choosing run of the automatic arm that is best on validation over
its choosing seeds: the report takes that arm's mean on fresh seeds at the worse end of its own
interval, about as low. Seeds that compare the pair are never looked at.

All of this follows from results, never from when a trial ended; what was bounded once stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from study.journal.events import SearchLooked
from study.search.phases import Search
from study.search.queue import Queue, QueuedTrial
from study.spec import StudySpec


@dataclass(frozen=True)
class Level:
    """What searches are to reach; without an ``arm`` there is nothing, as no run is complete."""

    arm: str = ""
    score: float = inf
    """On test."""


class Bounding:
    """Follows the searches of a study that go on until they are bounded.

    Args:
        spec: the study.
        queue: its trials; followed, never changed.
        stopped: arms stopped by hand; followed likewise.
        level: what is to be reached; None while runs that say it are missing.

    Attributes:
        searches: those searches.
    """

    def __init__(
        self,
        spec: StudySpec,
        queue: Queue,
        stopped: set[str],
        level: Callable[[], Level | None],
    ) -> None:
        self.searches: list[Search] = []
        self._spec, self._queue, self._stopped, self._level = spec, queue, stopped, level
        self._looks: dict[str, SearchLooked] = {}  # by arm, the last one

    def follow(self, look: SearchLooked) -> None:
        """Take in an event of the journal."""
        self._looks[look.arm] = look

    def goes_on(self, search: Search) -> bool:
        """Whether it may be asked for trials later: it is one of these, and not over."""
        return search in self.searches and not self.over(search)

    def over(self, search: Search) -> bool:
        """Whether all its trials have ended, and no more are needed or there is no level."""
        if not search.asked or not self._queue.batch(search).over:
            return False
        look, level = self._looked(search), self._level()
        if look is not None and (look.bounded or search.asked >= search.search.trials):
            return True
        return level is not None and not level.arm

    def trials(self, search: Search) -> int:
        """How many trials it is to have by now."""
        if self._looked(search) is None or self.over(search):
            return search.trials
        return min(search.asked + search.batch, search.search.trials)

    def planned(self, arm: str) -> int:
        """How many trials each search of ``arm`` is to have, as far as known."""
        search = self._spec.arms[arm].search
        over = [one.asked for one in self.searches if one.arm == arm and self.over(one)]
        return over[0] if over else search.trials if search else 0

    def looks(self) -> Iterator[SearchLooked]:
        """A look at each search whose batch has ended, if the level is known."""
        for search in self.searches:
            level = self._level()
            if search.arm in self._stopped or level is None or not level.arm:
                continue
            ended = search.asked and self._queue.batch(search).over
            if ended and self._looked(search) is None:
                yield self._look(search, level)

    def _looked(self, search: Search) -> SearchLooked | None:
        """The look at all trials that it has now."""
        last = self._looks.get(search.arm)
        return last if last is not None and last.trials == search.asked else None

    def _look(self, search: Search, level: Level) -> SearchLooked:
        from study.statistics.order_statistics import trials_to_level_bounds  # with SciPy

        last = {q.trial.asked.number: q for q in self._queue.of(search)}  # of retries the last
        validation, test = np.array([self._scores(last[n]) for n in sorted(last)]).T
        scores = test[np.argsort(validation, kind="stable")]
        ends = trials_to_level_bounds(scores, (level.score, level.score), looks=True)
        lower, upper = (int(end) if isfinite(end) else None for end in ends)
        reached = int((scores <= level.score).sum())
        assert lower is not None
        return SearchLooked(search.arm, len(scores), reached, level.arm, level.score, lower, upper)

    def _scores(self, queued: QueuedTrial) -> tuple[float, float]:
        """On validation and on test, infinite of a trial that is not complete."""
        trial, end = queued.trial, queued.end
        if trial.state != "complete" or trial.value is None or end is None:
            return inf, inf
        test = end.metrics.get(f"test/{self._spec.objective}")
        return trial.value, inf if test is None or not isfinite(test) else test
