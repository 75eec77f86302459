"""What the intervals over several datasets cover, simulated.

    python tests/study/analysis/answers/simulate_several.py [--sets 1000] [--runs 3 5 10]
        [--datasets 1 2]

Each set is a whole synthetic study: runs on each dataset, normal or lognormal (skewness 1.75), on
datasets alike, on uneven ones (each next one 2 standard deviations of the first away, a quarter
its spread), and far ones (10 away, a tenth). Truth is the mean over 100,000 sets. Prints the rows
of `aggregates.SIMULATED` and a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from study.statistics import aggregates

SHAPES = {"alike": (0.0, 1.0), "uneven": (2.0, 0.25), "far": (10.0, 0.1)}
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": np.asarray,
    "skewed": aggregates.skew,
}


def studies(
    sizes: tuple[int, ...], kind: str, shape: str, generator: np.random.Generator, sets: int
) -> np.ndarray:
    """Runs of ``sets`` studies, laid end to end, shape (sets, runs)."""
    apart, ratio = SHAPES[shape]
    of = np.repeat(np.arange(len(sizes)), sizes)
    return KINDS[kind](generator.standard_normal((sets, len(of)))) * ratio**of + apart * of


def covered(sizes: tuple[int, ...], kind: str, shape: str, sets: int, seed: int = 0) -> float:
    """The share of the intervals of interquartile means that hold the truth."""
    generator = np.random.default_rng(seed)
    of_many = aggregates.interquartile_mean(studies(sizes, kind, shape, generator, 100_000))
    drawn = studies(sizes, kind, shape, generator, sets)
    off = np.abs(aggregates.interquartile_mean(drawn) - of_many.mean())
    reach = np.array([aggregates.half_width(values, sizes) for values in drawn])
    return float(np.mean(off <= reach))


def kinds(datasets: int) -> Iterator[tuple[str, str]]:
    """Kind and shape of what is simulated: one dataset has no other like or unlike it."""
    for shape in SHAPES if datasets > 1 else ["alike"]:
        for kind in KINDS:
            yield kind, shape


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--runs", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--datasets", type=int, nargs="+", default=[1, 2, 3, 4])
    given = parser.parse_args()
    rows = []
    for runs in given.runs:
        for datasets in given.datasets:
            found = [covered((runs,) * datasets, *k, given.sets) for k in kinds(datasets)]
            print(f"    ({runs}, {datasets}): ({min(found):.3f}, {found[0]:.3f}),", flush=True)
            pairs = aggregates._improvement_coverage(runs, datasets)
            share = aggregates._binomial_coverage(runs * datasets)
            cells = [*found, *[None] * (6 - len(found)), pairs.usual, pairs.least, *share[::-1]]
            rows.append([runs, datasets, *cells])
    columns = [f"{shape} {kind}" for shape in SHAPES for kind in KINDS]
    beside = ["improvement", "its least", "share of 1/2", "least share"]
    print("\n| runs | datasets |", " | ".join([*columns, *beside]), "|")
    print("|---|" * 1 + "---|" * (1 + len(columns) + len(beside)))
    for runs, datasets, *cells in rows:
        text = ["" if cell is None else f"{100 * cell:.1f}" for cell in cells]
        print(f"| {runs} | {datasets} |", " | ".join(text), "|")


if __name__ == "__main__":
    main()
