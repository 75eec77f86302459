"""What the report's intervals really cover: synthetic studies of known distributions.

    python tests/study/statistics/simulate.py --studies 1000

prints the tables of docs/statistics.md. Trials score on test by a distribution that is known; a
search chooses on validation, which is test with noise of its own. Truths are exact where a formula
is at hand, else the mean of 200,000 draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import inf
from statistics import median

import numpy as np

from study.analysis.answers.break_even import Target, trials_to
from study.analysis.answers.cost_curves import cost_curve
from study.analysis.records.searches import ArmSearches, SearchTrials
from study.statistics import order_statistics as estimators
from study.statistics.intervals import mean_interval, win_interval
from study.statistics.paired import mean_bounds, paired

Floats = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def _tuned(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """What a log-uniform beta over five decades scores: a valley with the luck of seeds."""
    return 20 * np.abs(rng.uniform(-2, 3, shape)) ** 1.5 + rng.normal(0, 1, shape)


def _plateau(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """A fifth of the prior is equally good, the rest is far off."""
    u = np.abs(rng.uniform(-2, 3, shape))
    near = rng.normal(0, 0.3, shape)
    return np.where(u < 0.5, near, 10 + 5 * u + near)


TRIALS: dict[str, Draw] = {
    "valley": _tuned,
    "plateau": _plateau,
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "heavy tail": lambda rng, shape: rng.lognormal(0, 1, shape),
}
"""What one random trial scores on test."""

SEEDS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "skewed": lambda rng, shape: rng.gamma(9, 1 / 3, shape) - 3,
}
"""What runs of one setting score: mean 0."""

NOISE = {"none": 0.0, "a tenth": 0.1}
"""How far validation and test disagree on a trial, as a share of the scores' spread."""


@dataclass(frozen=True)
class Row:
    """How often an interval held the truth, over ``studies``."""

    what: str
    world: str
    shape: str
    covered: float
    studies: int


class World:
    """One distribution of trials, and the truths about it."""

    def __init__(self, name: str, noise: str, longest: int) -> None:
        self.name, self.draw, self.longest = name, TRIALS[name], longest
        rng = np.random.default_rng(0)
        test = self.draw(rng, (100_000, longest))
        self.spread = NOISE[noise] * float(np.subtract(*np.quantile(test[:, 0], [0.75, 0.25])))
        validation = test + self.spread * np.random.default_rng(1).normal(size=test.shape)
        chosen = np.minimum.accumulate(validation, axis=1)
        better = np.diff(chosen, axis=1, prepend=inf) < 0
        place = np.maximum.accumulate(np.where(better, np.arange(longest), 0), axis=1)
        self.found = np.take_along_axis(test, place, axis=1)  # (draws, n): deployed after n trials
        self.one = test[:, 0]

    def search(self, rng: np.random.Generator, count: int) -> SearchTrials:
        test = self.draw(rng, (count,))
        validation = test + self.spread * rng.normal(size=count)
        ones = np.ones(count)
        return SearchTrials(validation, test, ones, ones, ones)

    def trials_to(self, level: float) -> float:
        """The true break-even: the first n at which half of all searches are at the level."""
        reached = (self.found <= level).mean(axis=0) >= 0.5
        return float(reached.argmax() + 1) if reached.any() else inf


@cache
def world(name: str, noise: str, longest: int = 100) -> World:
    return World(name, noise, longest)


def independent(searches: list[SearchTrials]) -> ArmSearches:
    return ArmSearches("random", False, True, True, "random", searches, len(searches[0]), None)


def adaptive(searches: list[SearchTrials]) -> ArmSearches:
    return ArmSearches("adaptive", False, True, False, "tpe", searches, len(searches[0]), None)


def means(rng: np.random.Generator, studies: int) -> Iterator[Row]:
    """Means over seeds, paired differences, wins."""
    for name, draw in SEEDS.items():
        for n in (3, 5, 10):
            held = np.zeros(3)
            a, b = draw(rng, (200_000,)) + 0.5, draw(rng, (200_000,))
            chance = float((a < b).mean())
            for _ in range(studies):
                a = dict(enumerate(draw(rng, (n,)) + 0.5))
                b = dict(enumerate(draw(rng, (n,))))
                one, two = mean_interval(b.values()), mean_bounds(paired(a, b))
                wins = win_interval(a, b)
                held += [
                    one.lower <= 0 <= one.upper,
                    two[0] <= 0.5 <= two[1],
                    wins.lower <= chance <= wins.upper,
                ]
            for what, count in zip(("mean over seeds", "difference", "wins"), held, strict=True):
                yield Row(what, name, f"{n} seeds", count / studies, studies)


def curves(
    rng: np.random.Generator, studies: int, lengths: tuple[int, ...] = (12, 24, 72)
) -> Iterator[Row]:
    """The exact band of random search at all n together, and the expected best."""
    for name in TRIALS:
        for noise in NOISE:
            for count in lengths:
                truth = world(name, noise)
                medians = np.median(truth.found[:, :count], axis=0)
                expected = truth.found[:, : count // 4].mean(axis=0)
                band, best = 0, np.zeros(count // 4)
                for _ in range(studies):
                    pool = truth.search(rng, count)
                    low, high = estimators.median_best_band(pool.scores)
                    slack = 1e-9
                    band += bool(np.all((low <= medians + slack) & (medians <= high + slack)))
                    for n in range(2, count // 4 + 1 if count >= 20 else 0):
                        one = estimators.expected_best_interval(pool.scores, n)
                        best[n - 1] += one.lower <= expected[n - 1] <= one.upper
                label = f"{name}, noise {noise}"
                yield Row("median band", label, f"{count} trials", band / studies, studies)
                if count >= 20:
                    worst = float(best[1:].min()) / studies
                    shape = f"{count} trials, worst n"
                    yield Row("expected best", label, shape, worst, studies)


@dataclass(frozen=True)
class Bias:
    """How the estimate of break-even lies about the truth.

    The estimate is a count's: with N trials it can be N/2 or not within N, and nothing between.
    It is median-unbiased as far as that lets it be if neither share is above one half.

    Attributes:
        below: Share of studies whose estimate is below ``floor``, the value next to the truth
            that the estimate can have, from below.
        above: Share of studies whose estimate is above the truth; that it is not within N is
            right, if it isn't.
    """

    world: str
    trials: int
    truth: float
    floor: float
    estimate: float
    below: float
    above: float


def break_evens(
    rng: np.random.Generator, studies: int, bias: list[Bias] | None = None
) -> Iterator[Row]:
    """Break-even of random search against an automatic arm of 5 seeds, and against a target."""
    for name in TRIALS:
        for noise in NOISE:
            truth = world(name, noise)
            for count in (12, 24, 72):
                for share in (0.5, 0.2, 0.05):
                    level = float(np.quantile(truth.one, share))
                    luck = abs(level - float(np.quantile(truth.one, share / 2))) / 2
                    n = truth.trials_to(level)
                    held = known = 0
                    values = []
                    for _ in range(studies):
                        arm = independent([truth.search(rng, count)])
                        seeds = list(level + luck * rng.normal(size=5))
                        held += _holds(trials_to(arm, Target("auto", seeds)), n)
                        exact = trials_to(arm, Target("", [level]))
                        known += _holds(exact, n)
                        values.append(inf if exact.value is None else exact.value)
                    shape = f"{count} trials, n* = {n:g}"
                    label = f"{name}, noise {noise}"
                    yield Row("break-even", label, shape, held / studies, studies)
                    yield Row("target", label, shape, known / studies, studies)
                    if bias is not None:
                        got, floor = np.array(values), _floor(count, n)
                        below, above = float((got < floor).mean()), float((got > n).mean())
                        if n > count:
                            above = 0.0
                        bias.append(Bias(label, count, n, floor, median(values), below, above))


def _floor(count: int, n: float) -> float:
    """The largest break-even at or below ``n`` that some number of successes is estimated by."""
    ranks = np.arange(count)
    values = [estimators.trials_to_level(ranks, k) for k in range(count)]
    return max(value for value in values if value is not None and value <= n)


def _holds(count: object, n: float) -> bool:
    lower, upper, within = count.lower, count.upper, count.within
    return lower <= min(n, within + 1) and (upper is None or n <= upper)


def replicates(rng: np.random.Generator, studies: int) -> Iterator[Row]:
    """Searches whose trials depend on each other: bands and break-even of the median search."""
    length = 16
    truth = np.median(_adaptive(np.random.default_rng(0), 200_000, length), axis=0)
    for R in (6, 9, 12):
        for share in (0.25, 0.5, 0.9):
            level = float(truth[round(share * (length - 1))] + 1e-9)
            n = int(np.flatnonzero(truth <= level)[0]) + 1
            held, band = 0, np.zeros(length)
            for _ in range(studies):
                found = _adaptive(rng, R, length)
                arm = adaptive([_monotone(row) for row in found])
                seeds = list(level + 0.5 * rng.normal(size=5))
                held += _holds(trials_to(arm, Target("auto", seeds)), n)
                curve = cost_curve(arm)
                band += (np.array(curve.lower) <= truth) & (truth <= np.array(curve.upper))
            shape = f"{R} replicates, n* = {n}"
            yield Row("break-even", "adaptive search", shape, held / studies, studies)
        worst = float(band.min()) / studies
        yield Row("median interval", "adaptive search", f"{R} replicates, any n", worst, studies)


def _adaptive(rng: np.random.Generator, searches: int, length: int) -> Floats:
    """Best so far of searches that draw ever closer to the best they know: (searches, length)."""
    place = rng.uniform(-2, 3, searches)
    best = 4 * np.abs(place) ** 1.5 + rng.normal(0, 0.5, searches)
    found = [best]
    for i in range(1, length):
        tried = np.clip(place + rng.normal(0, 2 / (1 + i), searches), -2, 3)
        score = 4 * np.abs(tried) ** 1.5 + rng.normal(0, 0.5, searches)
        place = np.where(score < best, tried, place)
        best = np.minimum(best, score)
        found.append(best)
    return np.stack(found, axis=1)


def _monotone(found: Floats) -> SearchTrials:
    ones = np.ones(len(found))
    return SearchTrials(np.arange(len(found), 0, -1.0), found, ones, ones, ones)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(7)
    bias: list[Bias] = []
    print("| interval | distribution | shape | covers |\n|---|---|---|---|")
    rows = [
        *means(rng, studies), *curves(rng, studies), *break_evens(rng, studies, bias),
        *replicates(rng, studies),
    ]  # fmt: skip
    for row in rows:
        print(f"| {row.what} | {row.world} | {row.shape} | {row.covered:.3f} |", flush=True)
    print("\n| distribution | trials | n* | next value | median | below | above |")
    print("|---|---|---|---|---|---|---|")
    for b in bias:
        print(f"| {b.world} | {b.trials} | {b.truth:g} | {b.floor:g} | {b.estimate:g} "
              f"| {b.below:.3f} | {b.above:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
