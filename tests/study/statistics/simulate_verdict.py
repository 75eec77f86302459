"""Every claim that the report makes, on studies whose truth is known: how often is it wrong?

    python tests/study/statistics/simulate_verdict.py --studies 4000

prints the tables of docs/statistics.md. The claims are the product's own functions; only data and
truth are made here. Bounds move with the data, so one run answers three questions: how often the
interval misses the truth, how often "pays" or "does not pay" is said of equal arms, and how often
"no worse by m" is said of an arm that is worse by m.

``auto`` is the share of studies that err in favour of the automatic arm (lower bound above the
truth), ``hand`` the share that err the other way; in percent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, inf, sqrt

import numpy as np
from simulate import NOISE, TRIALS, World

from study.statistics.choice import best_against_best
from study.statistics.collapse import collapses, typical, withstands
from study.statistics.intervals import mean_interval
from study.statistics.order_statistics import trials_to_level_bounds, trials_to_success
from study.statistics.paired import Differences, bounds, fewest, mean_bounds, over_seeds, paired

Floats = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

CAP = 40
"""Seeds at which a study that goes on until decided ends."""


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...], s: float) -> Floats:
    return (rng.lognormal(0, s, shape) - exp(s**2 / 2)) / sqrt((exp(s**2) - 1) * exp(s**2))


def _collapse(
    rng: np.random.Generator, shape: tuple[int, ...], share: float, core: float = 1.0
) -> Floats:
    return core * rng.standard_normal(shape) + 5 * ((rng.random(shape) < share) - share)


LAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "none": lambda rng, shape: np.zeros(shape),
    "lognormal .5": lambda rng, shape: _lognormal(rng, shape, 0.5),
    "lognormal 1": lambda rng, shape: _lognormal(rng, shape, 1.0),
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1,
    "t3": lambda rng, shape: rng.standard_t(3, shape) / sqrt(3),
    "collapse 10 %": lambda rng, shape: _collapse(rng, shape, 0.1),
    "collapse 20 %": lambda rng, shape: _collapse(rng, shape, 0.2),
    "quiet collapse 20 %": lambda rng, shape: _collapse(rng, shape, 0.2, 0.2),
    "ties": lambda rng, shape: np.round(rng.standard_normal(shape)),
}
"""What a run of one arm scores over seeds: mean 0, lower is better."""


@dataclass(frozen=True)
class Kind:
    """How the arms of a study score: the automatic arms' law, the hand-tuned arms' one, and more.

    Attributes:
        name: In the tables.
        automatic: Of :data:`LAWS`.
        hand: Likewise.
        alike: The share of variance that arms of one side have in common.
        uneven: What differs in scale: "arms", "seeds" or "".
    """

    name: str
    automatic: str
    hand: str = "normal"
    alike: float = 0.0
    uneven: str = ""

    def scores(
        self, rng: np.random.Generator, studies: int, hands: int, automatics: int, seeds: int
    ) -> tuple[Floats, Floats]:
        """Of hand-tuned and automatic arms, (studies, arms, seeds) each, mean 0."""
        found = []
        for law, arms in ((self.hand, hands), (self.automatic, automatics)):
            own, common = (LAWS[law](rng, (studies, m, seeds)) for m in (arms, 1))
            found.append(sqrt(self.alike) * common + sqrt(1 - self.alike) * own)
        hand, automatic = found
        if self.uneven == "arms":
            automatic = automatic * np.geomspace(2.0, 0.4, automatics)[:, None]
        if self.uneven == "seeds":
            scale = np.exp(0.5 * rng.standard_normal((studies, 1, seeds)))
            hand, automatic = hand * scale, automatic * scale
        return hand, automatic

    @property
    def median(self) -> float:
        """Of hand-tuned minus automatic, whose mean is 0."""
        return _median(self)


@cache
def _median(kind: Kind) -> float:
    hand, automatic = kind.scores(np.random.default_rng(0), 1_000_000, 1, 1, 1)
    return float(np.median(hand - automatic))


KINDS = (
    Kind("normal", "normal"),
    Kind("normal, arms alike", "normal", alike=0.7),
    Kind("t3", "t3", "t3"),
    Kind("ties", "ties", "ties"),
    Kind("uneven arms", "normal", uneven="arms"),
    Kind("uneven seeds", "normal", uneven="seeds"),
    Kind("exponential, both sides", "exponential", "exponential"),
    Kind("lognormal .5", "lognormal .5"),
    Kind("lognormal 1", "lognormal 1"),
    Kind("exponential", "exponential"),
    Kind("collapse 10 %", "collapse 10 %"),
    Kind("collapse 20 %", "collapse 20 %"),
)
"""Where one law is named, the hand-tuned arms are normal."""

PURE = (
    Kind("lognormal .5", "lognormal .5", "none"),
    Kind("lognormal 1", "lognormal 1", "none"),
    Kind("exponential", "exponential", "none"),
    Kind("collapse 10 %", "collapse 10 %", "none"),
    Kind("collapse 20 %", "collapse 20 %", "none"),
    Kind("quiet collapse 20 %", "quiet collapse 20 %", "none"),
)
"""All noise on the automatic side, skewed one way: the hardest case."""

SHAPES = ((1, 1), (1, 4), (4, 1), (4, 4), (1, 12), (12, 12))
"""Hand-tuned arms, automatic arms."""


@dataclass(frozen=True)
class Cell:
    """How often a claim errs in favour of the automatic arm, and of the hand-tuned one.

    ``said`` is the share of studies in which there is a claim at all; shares are of all studies.
    """

    claim: str
    kind: str
    shape: str
    n: int
    auto: float
    hand: float
    studies: int
    said: float = 1.0

    @property
    def both(self) -> float:
        """How often the claim is wrong."""
        return self.auto + self.hand


Ends = Sequence[tuple[float, float] | None]


def _cells(
    ends: Ends, truths: dict[str, Floats | float], kind: str, shape: str, n: int
) -> Iterator[Cell]:
    """How often ``ends``, one pair a study, miss each of ``truths``."""
    low, high = np.array([(-inf, inf) if one is None else one for one in ends]).T
    said = float(np.mean([one is not None for one in ends]))
    for claim, truth in truths.items():
        auto, hand = float((low > truth).mean()), float((high < truth).mean())
        yield Cell(claim, kind, shape, n, auto, hand, len(ends), said)


def two_stages(
    rng: np.random.Generator, kind: Kind, shape: tuple[int, int], n: int, studies: int
) -> Iterator[Cell]:
    """A pair chosen on seeds of its own, then compared on ``n`` fresh ones; 1 x 1: named."""
    hands, automatics = shape
    first = 0 if shape == (1, 1) else 2 if sum(shape) < 8 else 3
    hand, automatic = kind.scores(rng, studies, hands, automatics, first + n)
    d = _chosen(hand, first) - _chosen(automatic, first)
    ends = [bounds(Differences(tuple(row))) for row in d.tolist()]
    truths: dict[str, Floats | float] = {"typical seed": kind.median, "mean": 0.0}
    yield from _cells(ends, truths, kind.name, f"{hands} x {automatics}", n)


def _chosen(scores: Floats, first: int) -> Floats:
    """The runs from ``first`` on of the arm that is best before, (studies, seeds)."""
    best = scores[..., :first].mean(2).argmin(1) if first else np.zeros(len(scores), int)
    return np.asarray(scores[np.arange(len(scores)), best, first:])


def same_seeds(
    rng: np.random.Generator,
    kind: Kind,
    shape: tuple[int, int],
    n: int,
    studies: int,
    spread: float = 0.0,
) -> Iterator[Cell]:
    """Best against best: all arms on the same seeds, their means ``spread`` apart."""
    hands, automatics = shape
    hand, automatic = kind.scores(rng, studies, hands, automatics, n)
    truths = []
    for scores in (hand, automatic):
        means = spread * rng.standard_normal((studies, scores.shape[1], 1))
        np.add(scores, means, out=scores)
        truths.append(means.min((1, 2)))
    theta = truths[0] - truths[1]
    ends = []
    for i in range(studies):
        pairs = (hand[i][:, None] - automatic[i][None]).tolist()
        found = best_against_best(
            {
                (f"h{h}", f"a{a}"): Differences(tuple(pairs[h][a]))
                for h in range(hands)
                for a in range(automatics)
            }
        )
        ends.append(None if found is None else (found.lower, found.upper))
    claims = {"typical seed": theta + kind.median, "mean": theta}
    label = f"{hands} x {automatics}" + (f", means {spread:g} apart" if spread else "")
    yield from _cells(ends, claims, kind.name, label, n)


def until_decided(rng: np.random.Generator, kind: Kind, studies: int) -> Iterator[Cell]:
    """A look after every seed up to the cap: is the interval ever wrong?"""
    hand, automatic = kind.scores(rng, studies, 1, 1, CAP)
    ends = []
    for row in (hand - automatic)[:, 0].tolist():
        seen = [bounds(Differences(tuple(row[:n])), looks=True) for n in range(1, CAP + 1)]
        low, high = zip(*(one for one in seen if one is not None), strict=True)
        ends.append((max(low), min(high)))
    truths: dict[str, Floats | float] = {"typical seed": kind.median, "mean": 0.0}
    yield from _cells(ends, truths, kind.name, "1 x 1", CAP)


def two_way(
    rng: np.random.Generator, law: str, ratio: float, n: int, images: int, studies: int
) -> Iterator[Cell]:
    """Seeds and test images: ``ratio`` of the images' standard error to the seeds'.

    The truth is that of fresh seeds and images; "on this test set" that of fresh seeds alone.
    """
    ends: dict[str, list[tuple[float, float] | None]] = {"headline": [], "mean": [], "seeds": []}
    luck = []
    for _ in range(studies):
        of_seeds = LAWS[law](rng, (n, 1))
        of_images = ratio * sqrt(images / n) * rng.standard_t(3, (1, images)) / sqrt(3)
        scale = np.exp(0.5 * rng.standard_normal(images))
        own = 0.3 * sqrt(images) * scale * rng.standard_normal((n, images))
        table = of_seeds + of_images + own
        hand = dict(enumerate(table))
        zero = {seed: np.zeros(images) for seed in hand}
        means = {seed: float(row.mean()) for seed, row in hand.items()}
        found = paired(means, dict.fromkeys(means, 0.0), hand, zero)
        luck.append(float(of_images.mean()))
        ends["headline"].append(bounds(found))
        ends["mean"].append(mean_bounds(found))
        ends["seeds"].append(over_seeds(found))
    shape = f"{images} images, ratio {ratio:g}"
    if n >= fewest():
        yield from _cells(ends["headline"], {"headline": 0.0}, law, shape, n)
    yield from _cells(ends["mean"], {"mean, seeds and images": 0.0}, law, shape, n)
    yield from _cells(ends["seeds"], {"over seeds alone": np.array(luck)}, law, shape, n)


def arm_means(rng: np.random.Generator, law: str, n: int, studies: int) -> Cell:
    """Student's t interval of one arm's mean; errors in favour of the arm are called ``auto``."""
    ends = [mean_interval(row) for row in LAWS[law](rng, (studies, n)).tolist()]
    low = np.mean([one.lower is not None and one.lower > 0 for one in ends])
    high = np.mean([one.upper is not None and one.upper < 0 for one in ends])
    return Cell("mean of an arm", law, "", n, float(high), float(low), studies)


def shares(
    rng: np.random.Generator, law: str, share: float, n: int, studies: int, *, looks: bool = False
) -> Iterator[Cell]:
    """Shares of seeds: collapses, losses below a margin, and what the mean withstands.

    Without a collapse the automatic arm loses 0 on average, and the margin is 2. With ``looks``
    there is one after every seed: is a claim ever wrong?
    """
    margin = 2.0
    wrong = dict.fromkeys(("collapse interval", "collapse at most", "typical share", "R*"), 0)
    worst = margin / share  # the cost of a collapse at which the mean loss is the margin
    sample = LAWS[law](np.random.default_rng(0), (200_000,))
    within = (1 - share) * float((sample < margin).mean())
    said = 0
    for _ in range(studies):
        collapsed = rng.random(n) < share
        losses = np.where(collapsed, inf, LAWS[law](rng, (n,)))
        missed = dict.fromkeys(wrong, False)
        stood = False
        for seen in range(1 if looks else n, n + 1):
            count = int(collapsed[:seen].sum())
            found = collapses(count, seen, looks=looks)
            d = Differences(tuple((-losses[:seen]).tolist()))
            finite = Differences(tuple(v for v in d.values if v > -inf))
            stands = withstands(finite, count, margin, looks=looks)
            missed["collapse interval"] |= not found.lower <= share <= found.upper
            missed["collapse at most"] |= share > found.at_most
            missed["typical share"] |= typical(d, margin, looks=looks).at_least > within
            missed["R*"] |= stands is not None and stands > worst
            stood |= stands is not None
        said += stood
        for claim, one in missed.items():
            wrong[claim] += one
    shape = f"{100 * share:g} % collapse" + (", ever" if looks else "")
    for claim, count in wrong.items():
        rate = said / studies if claim == "R*" else 1.0
        yield Cell(claim, law, shape, n, count / studies, 0.0, studies, rate)


def break_evens(
    rng: np.random.Generator, world: World, share: float, seeds: int, studies: int
) -> Iterator[Cell]:
    """Break-even of random search, at 12, 24 and 72 trials.

    ``auto`` is a lower end above the truth. An upper end within the trials says that half of all
    searches deploy a trial at the level; one beyond them, that half of them hold one.

    Args:
        rng: Random numbers.
        world: How trials score.
        share: Of trials that reach the level.
        seeds: Of the level, whose mean has an interval; 0: it is known.
        studies: How many.
    """
    level = float(np.quantile(world.one, share))
    deployed, held = world.trials_to(level), trials_to_success(share)
    luck = abs(level - float(np.quantile(world.one, share / 2))) / 2
    counts = (12, 24, 72)
    wrong = {N: np.zeros(2) for N in counts}
    for _ in range(studies):
        search = world.search(rng, 72)
        known = mean_interval(level + luck * rng.standard_normal(seeds)) if seeds else None
        ends = (level, level) if known is None else (known.lower, known.upper)
        for N in counts:
            order = np.argsort(search.validation[:N], kind="stable")
            low, high = trials_to_level_bounds(search.test[:N][order], ends)
            wrong[N] += (low > held, high < (deployed if high <= N else held))
    for N in counts:
        auto, hand = wrong[N] / studies
        shape = (
            f"n* {deployed:g}, validation {world.spread:.2g} off, level of {seeds or 'all'} seeds"
        )
        yield Cell("break-even", world.name, shape, N, auto, hand, studies)


# --- Tables -----------------------------------------------------------------------------------


def flagged(cell: Cell) -> bool:
    """Whether a claim is wrong more often than one study in twenty, beyond the luck of the run."""
    return cell.both > 0.05 + 2 * sqrt(0.05 * 0.95 / cell.studies)


def tabulate(title: str, cells: Sequence[Cell]) -> None:
    """A row a claim and law, a column a number of seeds: the worst of all shapes, flagged by !."""
    columns = sorted({cell.n for cell in cells})
    print(f"\n{title}\n\n| claim | law | {' | '.join(map(str, columns))} |")
    print("|---|---|" + "---|" * len(columns))
    for claim, kind in dict.fromkeys((cell.claim, cell.kind) for cell in cells):
        row = []
        for n in columns:
            here = [c for c in cells if (c.claim, c.kind, c.n) == (claim, kind, n)]
            auto, hand = (max((getattr(c, a) for c in here), default=0.0) for a in ("auto", "hand"))
            mark = "!" if any(map(flagged, here)) else ""
            row.append(f"{100 * auto:.1f}/{100 * hand:.1f}{mark}" if here else "")
        print(f"| {claim} | {kind} | {' | '.join(row)} |", flush=True)
    for cell in sorted(filter(flagged, cells), key=lambda c: -c.both)[:12]:
        print(f"    above: {cell.claim}, {cell.kind}, {cell.shape}, n = {cell.n}: "
              f"{100 * cell.auto:.1f}/{100 * cell.hand:.1f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(11)
    seeds = (6, 9, 12, 20, 40)
    tabulate("One pair, named or chosen in two stages: the worst of 1 x 1 to 12 x 12", [
        c for kind in KINDS for shape in SHAPES for n in seeds
        for c in two_stages(rng, kind, shape, n, studies)
    ])  # fmt: skip
    tabulate("One pair, the hand-tuned side without noise", [
        c for kind in PURE for n in seeds for c in two_stages(rng, kind, (1, 1), n, studies)
    ])  # fmt: skip
    tabulate("Until decided, a look after each seed: ever wrong by 40 seeds", [
        c for kind in KINDS for c in until_decided(rng, kind, studies)
    ])  # fmt: skip
    tabulate("Until decided, the hand-tuned side without noise", [
        c for kind in PURE for c in until_decided(rng, kind, studies)
    ])  # fmt: skip
    tabulate("Best against best, all arms on the same seeds: the worst of 1 x 4 to 12 x 12", [
        c for kind in KINDS for shape in SHAPES[1:] for n in (10, 40)
        for spread in (0.0, 0.7)
        for c in same_seeds(rng, kind, shape, n, studies // (5 if shape == (12, 12) else 1), spread)
    ])  # fmt: skip
    tabulate("Seeds and test images", [
        c for law in ("normal", "exponential") for images in (297, 2000) for n in (3, 5, 6, 12, 20)
        for ratio in (0.0, 0.5, 1.0, 2.5)
        for c in two_way(rng, law, ratio, n, images, studies // (1 if images == 297 else 4))
    ])  # fmt: skip
    tabulate("Student's t for the mean of one arm", [
        arm_means(rng, law, n, studies) for law in LAWS if law != "none" for n in (3, 5, 10, 40)
    ])  # fmt: skip
    tabulate("Shares of seeds, and what the mean withstands (R*: 2.5 % promised)", [
        c for law in ("normal", "t3", "lognormal 1", "exponential") for share in (0.05, 0.1, 0.2)
        for n in (5, 12, 40) for c in shares(rng, law, share, n, studies)
    ])  # fmt: skip
    tabulate("The same, ever wrong at a look after each seed", [
        c for law in ("normal", "exponential") for share in (0.1, 0.2)
        for c in shares(rng, law, share, CAP, studies // 4, looks=True)
    ])  # fmt: skip
    tabulate("Break-even of random search; the number is that of trials", [
        c for world in (World(name, noise, 100) for name in TRIALS for noise in NOISE)
        for share in (0.5, 0.2, 0.05) for of in (0, 12)
        for c in break_evens(rng, world, share, of, studies // 4)
    ])  # fmt: skip


if __name__ == "__main__":
    main()
