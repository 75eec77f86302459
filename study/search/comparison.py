"""Which pair of arms a study compares and on how many seeds, as its results decide.

In two stages every arm trains on a few *choosing seeds* first. The hand-tuned and the automatic arm
that are best on validation there are the pair, and they alone train on the study's seeds, the
*comparing seeds*. Given the choice, these runs are independent of it: what is valid for a pair that
was named in advance is valid for the chosen one, however many arms there were.

A study *until decided* adds comparing seeds batch by batch, and looks at the pair's difference on
test after each, with bounds that hold at all looks together.

All of this follows from results and the order of arms in the spec, never from when a trial ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import fsum, inf, isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study import image_scores
from study.journal.events import Event, Looked, PairChosen, SearchLooked, TrialEnded
from study.search.bounding import Bounding, Level
from study.search.phases import Confirm, Phase, Search, confirm_name
from study.search.queue import Queue, QueuedTrial
from study.spec import StudySpec
from study.spec.design import confirm_runs, first_look
from study.statistics import FEWEST_LOOKED
from study.statistics.seeds import over_replicates

Floats = NDArray[np.float64]
ImageScores = Callable[[TrialEnded], Floats | None]
"""The objective of every test image [N] by a trial that ended; None where it is not recorded."""
Runs = Mapping[str, Mapping[int, QueuedTrial]]
"""By confirm phase and number, its run that ended."""
Key = tuple[str, int]
"""An arm, and a replicate of its search."""

DECIDED = frozenset({"pays", "does_not_pay"})
"""Outcomes of a look after which no seed is added."""


def recorded_scores(objective: str, dims: int, home: Path) -> ImageScores:
    """Reads what trials recorded in the study's ``home``; a distance has no score of an image.

    ``dims`` is D, observed dimensions of an image.
    """

    def read(end: TrialEnded) -> Floats | None:
        file = end.artifacts.get(image_scores.ARTIFACT)
        if file is None or objective not in image_scores.OBJECTIVES:
            return None
        return image_scores.ImageScores.read(home / file).by(objective, dims).values

    return read


class Comparison:
    """Follows a study's phases, and says how many trials each is to have where results decide.

    Args:
        spec: the study, its design settled.
        roles: by arm, whether it is ``hand_tuned``.
        queue: its trials; followed, never changed.
        choices: by arm and replicate, the search trial chosen last; followed likewise.
        stopped: arms stopped by hand; followed likewise.
        image_scores: reads the scores of a trial's test images.

    Attributes:
        confirms: the confirm phases that stand, of the arms and replicates whose search is over;
            None where it found no configuration.
        pair: the last choice; None before the first.
        bounding: how many trials searches have that go on until their break-even is bounded.
    """

    def __init__(
        self,
        spec: StudySpec,
        roles: Mapping[str, Mapping[str, object]],
        queue: Queue,
        choices: Mapping[Key, int | None],
        stopped: set[str],
        image_scores: ImageScores,
    ) -> None:
        self.confirms: dict[Key, Confirm | None] = {}
        self.pair: PairChosen | None = None
        self.bounding = Bounding(spec, queue, stopped, self._level)
        self._spec, self._roles, self._queue = spec, roles, queue
        self._choices, self._stopped, self._image_scores = choices, stopped, image_scores
        self._configurations: Mapping[Key, int | None] = {}  # of the pair, when it was chosen
        self._look: Looked | None = None
        self._first = 0 if spec.until is None else first_look(spec)
        self._pairs = 0  # that were chosen so far
        self._wanted = self._first  # comparing seeds of the pair, until it is decided

    def follow(self, event: Event) -> None:
        """Take in an event of the journal."""
        if isinstance(event, PairChosen):
            self.pair, self._look, self._wanted = event, None, self._first
            self._pairs += 1
            self._configurations = self._configurations_of(event.hand, event.automatic)
        elif isinstance(event, Looked):
            self._look = event
        elif isinstance(event, SearchLooked):
            self.bounding.follow(event)

    def keep_stopped(self, phases: Mapping[str, Phase]) -> None:
        """Let what stopped arms have chosen stand: their searches choose nothing more."""
        for (arm, replicate), number in self._choices.items():
            if arm in self._stopped and (arm, replicate) not in self.confirms:
                name = None if number is None else confirm_name(arm, replicate, number)
                found = None if name is None else phases[name]
                assert found is None or isinstance(found, Confirm)
                self.confirms[arm, replicate] = found

    def planned(self, arm: str) -> int:
        """How many confirm runs each configuration of ``arm`` is to have, as far as known."""
        primary, pair = self._spec.primary, self.pair
        arms: tuple[str, ...] = (pair.hand, pair.automatic) if pair else ()
        compared = arm in ((primary.hand_tuned, primary.automatic) if primary else arms)
        found = confirm_runs(self._spec, compared=compared)
        if compared and self._spec.until is not None:
            more = 0 if self._decided else self._wanted  # runs that are asked stay
            return found - len(self._spec.seeds) + more
        return found

    @property
    def _decided(self) -> bool:
        return self._look is not None and self._look.outcome in DECIDED

    def trials(self, phase: Phase) -> int:
        """How many trials a phase is to have by now: of confirm runs none that is not asked where
        the arm's search goes on, or chose another configuration since.
        """
        if phase in self.bounding.searches:
            assert isinstance(phase, Search)
            return self.bounding.trials(phase)
        stands = self.confirms.get((phase.arm, phase.replicate)) is phase
        return self.planned(phase.arm) if stands else phase.trials

    def waiting(self) -> list[Phase]:
        """The phases that can go on now: to have more trials, or to choose a configuration."""
        confirms = [confirm for confirm in self.confirms.values() if confirm is not None]
        phases: list[Phase] = [*self.bounding.searches, *confirms]
        chooses = {
            search.name
            for search in self.bounding.searches
            if search.arm not in self._stopped
            and (search.arm, search.replicate) not in self.confirms
            and self.bounding.over(search)
        }
        return [p for p in phases if p.name in chooses or p.trials < self.trials(p)]

    def advance(self) -> Iterator[Event]:
        """What is new: the pair, once it is known, and looks, once their batches have ended.

        Each event is to be journalled and followed before the next is asked for.
        """
        yield from self.bounding.looks()
        pair = self._choose()
        if pair is None:  # it is to be chosen anew
            self._wanted = self._first
        if pair is not None and (
            self.pair is None
            or (pair.hand, pair.automatic) != (self.pair.hand, self.pair.automatic)
            or self._configurations_of(pair.hand, pair.automatic) != self._configurations
        ):
            yield pair
        if pair is not None and self._spec.until is not None:
            yield from self._look_at(pair.hand, pair.automatic)

    # -- the choice of the pair -----------------------------------------------------------------

    def _choose(self) -> PairChosen | None:
        """The pair as it is best now; None while results are missing, or where there is none."""
        primary, spec = self._spec.primary, self._spec
        if primary is not None:
            arms = primary.hand_tuned, primary.automatic
            known = all(map(self._is_searched, arms)) and all(map(self._confirms_of, arms))
            return PairChosen(primary.hand_tuned, primary.automatic, {}) if known else None
        if spec.design != "two_stages" or not all(map(self._is_scored, spec.arms)):
            return None
        runs = self._ended()
        scored = {arm: self._score(arm, runs) for arm in spec.arms}
        hand = [arm for arm in spec.arms if self._roles[arm]["hand_tuned"]]
        kinds = hand, [arm for arm in spec.arms if arm not in hand]
        best = [self._best(kind, scored) for kind in kinds]
        if best[0] is None or best[1] is None:
            return None
        return PairChosen(best[0], best[1], {arm: score for arm, (score, _) in scored.items()})

    def _best(self, arms: list[str], scored: Mapping[str, tuple[float | None, bool]]) -> str | None:
        """The arm of the lowest score, the first of equals, of those without a failure if any."""
        before = (self.pair.hand, self.pair.automatic) if self.pair else ()
        there = [arm for arm in arms if arm not in self._stopped or arm in before]
        scores = {arm: score for arm in there if (score := scored[arm][0]) is not None}
        whole = {arm: score for arm, score in scores.items() if scored[arm][1]}
        ranked = whole or scores
        return min(ranked, key=lambda arm: ranked[arm], default=None)

    def _score(self, arm: str, runs: Runs) -> tuple[float | None, bool]:
        """The mean over the complete choosing runs of ``arm``, and whether all are complete."""
        count = self._spec.choosing_seeds or 0
        mine = [runs[c.name].get(n) for c in self._confirms_of(arm) for n in range(count)]
        values = [run.trial.value for run in mine if run is not None]
        complete = [value for value in values if value is not None]
        return fsum(complete) / len(complete) if complete else None, len(complete) == len(mine)

    def _level(self) -> Level | None:
        """What searches until bounded are to reach; None before all runs that say it have ended."""
        automatic = [arm for arm in self._spec.arms if not self._roles[arm]["hand_tuned"]]
        if not all(map(self._is_scored, automatic)):
            return None
        runs, count = self._ended(), self._spec.choosing_seeds or 0
        best = self._best(automatic, {arm: self._score(arm, runs) for arm in automatic})
        if best is None:
            return Level()
        tested, _ = self._tested(best, runs, range(count))
        return Level(best, min(tested.values())) if tested else Level()

    def _is_searched(self, arm: str) -> bool:
        """Whether all searches of ``arm`` are over."""
        search = self._spec.arms[arm].search
        replicates = range(search.replicates if search else 1)
        return arm in self._stopped or all((arm, r) in self.confirms for r in replicates)

    def _is_scored(self, arm: str) -> bool:
        """Whether its choosing runs are over, too."""
        count = self._spec.choosing_seeds or 0
        return self._is_searched(arm) and all(self._have_ended(arm, count))

    def _confirms_of(self, arm: str) -> list[Confirm]:
        found = (confirm for key, confirm in self.confirms.items() if key[0] == arm)
        return [confirm for confirm in found if confirm is not None]

    def _configurations_of(self, *arms: str) -> dict[Key, int | None]:
        return {key: number for key, number in self._choices.items() if key[0] in arms}

    # -- runs -----------------------------------------------------------------------------------

    def _have_ended(self, arm: str, count: int) -> Iterator[bool]:
        """For each configuration of ``arm``, whether its first ``count`` runs have ended."""
        for confirm in self._confirms_of(arm):
            living = (
                q.trial.asked.number for q in self._queue.batch(confirm).trials if not q.ended
            )
            asked = confirm.asked >= count or arm in self._stopped
            yield asked and all(number >= count for number in living)

    def _ended(self) -> Runs:
        """By confirm phase and number, its run: of retries the complete one, else the last."""
        found: dict[str, dict[int, QueuedTrial]] = defaultdict(dict)
        for queued in self._queue.trials.values():
            asked, runs = queued.trial.asked, found[queued.phase.name]
            if asked.phase == Confirm.phase and queued.ended:
                before = runs.get(asked.number)
                if before is None or before.trial.state != "complete":
                    runs[asked.number] = queued
        return found

    # -- looks ----------------------------------------------------------------------------------

    def _look_at(self, hand: str, automatic: str) -> Iterator[Looked]:
        """A look at the pair, if its whole batch has ended; then the next batch, if it is not
        decided.
        """
        spec, before, pair = self._spec, self._spec.choosing_seeds or 0, (hand, automatic)
        asked = [confirm.asked - before for arm in pair for confirm in self._confirms_of(arm)]
        self._wanted = min(asked) if self._decided else max(self._wanted, min(asked))
        if not all(all(self._have_ended(arm, before + self._wanted)) for arm in pair):
            return
        look = self._looked(hand, automatic, range(before, before + self._wanted))
        if look is not None and not _says_the_same(look, self._look):
            yield look
        if not self._decided and not self._stopped.intersection(pair):
            self._wanted = min(self._wanted + (spec.seeds_batch or 1), len(spec.seeds))

    def _looked(self, hand: str, automatic: str, numbers: range) -> Looked | None:
        """What the runs of ``numbers`` say; None where they are too few to look at."""
        from study.statistics.choice import error_of  # with SciPy, which a launch would wait for
        from study.statistics.paired import bounds, paired

        runs = self._ended()
        tested = [self._tested(arm, runs, numbers) for arm in (hand, automatic)]
        images = [self._of_images(arm, runs, numbers) for arm in (hand, automatic)]
        (one, lost), (other, also_lost) = tested
        difference = paired(one, other, *images)
        if difference.n < FEWEST_LOOKED:
            return None
        failed = len(other.keys() & lost), len(one.keys() & also_lost)
        difference = replace(difference, failed=failed)
        lower, upper = bounds(difference, error_of(self._pairs), looks=True) or (-inf, inf)
        outcome = "undecided"
        if lower > 0:
            outcome = "does_not_pay"
        elif upper < 0:
            outcome = "pays"
        low, high = (end if isfinite(end) else None for end in (lower, upper))
        return Looked(difference.n, outcome, difference.mean, low, high, sum(failed))

    def _tested(self, arm: str, runs: Runs, numbers: range) -> tuple[dict[int, float], list[int]]:
        """Seed -> the test objective, and the seeds that are lost, of the runs of ``numbers``."""
        name = f"test/{self._spec.objective}"
        scores = (
            (seed, end.metrics.get(name) if end.state == "complete" else None)
            for seed, end in self._ends(arm, runs, numbers)
        )
        return over_replicates(scores, len(self._confirms_of(arm)))

    def _of_images(self, arm: str, runs: Runs, numbers: range) -> dict[int, Floats]:
        """Seed -> the mean over replicates of test images' scores, where all have recorded them."""
        found: dict[int, list[Floats | None]] = defaultdict(list)
        for seed, end in self._ends(arm, runs, numbers):
            found[seed].append(self._image_scores(end))
        return {
            seed: np.mean(known, axis=0)
            for seed, of in found.items()
            if len(known := [one for one in of if one is not None]) == len(of)
        }

    def _ends(self, arm: str, runs: Runs, numbers: range) -> Iterator[tuple[int, TrialEnded]]:
        """Seed and end of the runs that completed or failed: of ``arm``, and of ``numbers``."""
        for confirm, number in product(self._confirms_of(arm), numbers):
            run = runs[confirm.name].get(number)
            if run is not None and run.end is not None and run.trial.state != "pruned":
                yield run.trial.asked.seed, run.end


def _says_the_same(look: Looked, before: Looked | None) -> bool:
    """Whether it is over as many seeds: a batch may add only seeds that one of the arms lost."""
    return before is not None and (look.seeds, look.failed) == (before.seeds, before.failed)
