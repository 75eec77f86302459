"""Searches that go on until break-even is bounded: how often are they wrong, what do they take?

    python tests/study/statistics/simulate_bounded.py --studies 4000

prints the tables of docs/statistics.md. The bounds are the product's own functions. First a look
after every single trial, at chances that are known: is the interval ever wrong by 400 trials? Then
whole studies as they run: batches, the level of the best choosing run while searching, that of
fresh seeds in the report, and a choice on validation that may miss on test.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf

import numpy as np
from simulate import World
from simulate_verdict import Cell, tabulate

from study.spec.trials import BATCH
from study.statistics.intervals import mean_interval
from study.statistics.order_statistics import (
    trials_to_level,
    trials_to_level_bounds,
    trials_to_success,
)
from study.statistics.planning import ERROR
from study.statistics.sequences import exceeds

Floats = np.ndarray

CAP = 400
"""Trials at which a search ends that is not bounded."""
TRUTHS = (3, 6, 10, 20)
"""Break-evens."""
CHOOSING, FRESH = 2, 12
"""Seeds of the automatic arm: those whose best is the level of the search, and the report's."""


def _chance(break_even: float) -> float:
    """Of one trial, where so many of them reach the level with a chance of 1/2."""
    return float(-np.expm1(np.log(0.5) / break_even))


@cache
def _misses(reached: int, trials: int, truth: int) -> tuple[bool, bool]:
    """Whether the interval's lower end is above the truth, or its upper end below."""
    above = exceeds(trials - reached, trials, 1 - _chance(truth), ERROR)
    return above, exceeds(reached, trials, _chance(truth - 1), ERROR)


def ever_wrong(rng: np.random.Generator, truth: int, studies: int, *, cap: int = CAP) -> Cell:
    """A look after every trial up to the cap, and none ends it: is the interval ever wrong?

    ``auto`` is a lower end above the truth, which speaks for the automatic arm.
    """
    wrong = np.zeros(2)
    for hits in np.cumsum(rng.random((studies, cap)) < _chance(truth), axis=1).tolist():
        wrong += np.any([_misses(X, N, truth) for N, X in enumerate(hits, 1)], axis=0)
    auto, hand = wrong / studies
    return Cell("break-even, ever", f"n* {truth}", "known chance", cap, auto, hand, studies)


def takes(rng: np.random.Generator, truth: int, studies: int) -> tuple[float, float]:
    """The median, and what 80 % of searches do with, of the trials until one is bounded."""
    hits = np.cumsum(rng.random((studies, CAP)) < _chance(truth), axis=1)
    needed = np.array([
        next(X for X in range(N + 2) if X > N or exceeds(X, N, _chance(N), ERROR))
        for N in range(1, CAP + 1)
    ])  # fmt: skip
    bounded = hits >= needed
    made = np.where(bounded.any(1), bounded.argmax(1) + 1, CAP)
    return float(np.median(made)), float(np.quantile(made, 0.8))


@dataclass(frozen=True)
class Whole:
    """What whole studies did: how often the report was wrong, and what the search came to."""

    cell: Cell
    trials: float
    """The median number."""
    bounded: float
    """The share of searches that a look ended, before the cap."""
    reported: float
    """The share of all whose report bounds break-even within the trials made, too."""
    low: float
    """The share of estimates below the truth."""


def whole(rng: np.random.Generator, world: World, share: float, studies: int, cap: int) -> Whole:
    """Studies of one search until bounded, of ``cap`` trials at most.

    Args:
        rng: Random numbers.
        world: How trials score.
        share: Of trials that reach the automatic arm's true mean.
        studies: How many.
        cap: Trials at most.
    """
    level = float(np.quantile(world.one, share))
    deployed, held = world.trials_to(level), trials_to_success(share)
    luck = abs(level - float(np.quantile(world.one, share / 2))) / 2
    found = np.array([_study(rng, world, level, luck, cap, deployed, held) for _ in range(studies)])
    made, bounded, reported, auto, hand, low = found.T
    shape = f"n* {held:g}, deployed {deployed:g}, validation {world.spread:.2g} off"
    cell = Cell("report", world.name, shape, cap, float(auto.mean()), float(hand.mean()), studies)
    rates = (float(one.mean()) for one in (bounded, reported, low))
    return Whole(cell, float(np.median(made)), *rates)


def _study(
    rng: np.random.Generator,
    world: World,
    level: float,
    luck: float,
    cap: int,
    deployed: float,
    held: float,
) -> tuple[float, ...]:
    seeds = level + luck * rng.standard_normal(CHOOSING + FRESH)
    looked, search = float(seeds[:CHOOSING].min()), world.search(rng, cap)
    for made in range(BATCH, cap + 1, BATCH):
        scores = search.test[:made][np.argsort(search.validation[:made], kind="stable")]
        bounded = trials_to_level_bounds(scores, (looked, looked), looks=True)[1] <= made
        if bounded:
            break
    known = mean_interval(seeds[CHOOSING:].tolist())
    assert known.mean is not None
    assert known.lower is not None
    assert known.upper is not None
    low, high = trials_to_level_bounds(scores, (known.lower, known.upper), looks=True)
    estimate = trials_to_level(scores, known.mean) or inf
    truth = deployed if high <= made else held
    return made, bounded, high <= made, low > held, high < truth, estimate < deployed


def wholes(rng: np.random.Generator, studies: int) -> Iterator[Whole]:
    """All kinds of them."""
    for name in ("valley", "plateau", "normal"):
        for noise in ("none", "a tenth"):
            world = World(name, noise, 100)
            for share in (0.2, 0.1):
                yield whole(rng, world, share, studies, 120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(12)
    tabulate("A look after every trial: ever wrong by 400", [
        ever_wrong(rng, truth, studies) for truth in TRUTHS
    ])  # fmt: skip
    print("\n| n* | median | 80 % |\n|---|---|---|")
    for truth in TRUTHS:
        print(f"| {truth} | {' | '.join(f'{n:g}' for n in takes(rng, truth, studies))} |")
    print("\n| trials | truth | wrong | trials made | bounded | in the report | estimate low |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for one in wholes(rng, studies // 20):
        cell, wrong = one.cell, f"{100 * one.cell.auto:.1f}/{100 * one.cell.hand:.1f}"
        shares = (f"{100 * rate:.0f}" for rate in (one.bounded, one.reported, one.low))
        row = [cell.kind, cell.shape, wrong, f"{one.trials:g}", *shares]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
