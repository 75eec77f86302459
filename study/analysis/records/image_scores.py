"""What confirm runs score on single test images, in the unit of an objective."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa

from study.analysis.records.artifacts import standing_files
from study.analysis.records.tables import dims
from study.image_scores import ARTIFACT, OBJECTIVES, ImageScores

BySeed = Mapping[int, ImageScores]
"""An arm's: seed -> scores, the mean over replicates of the arm's search."""


def image_scores(trials: pa.Table, home: Path, objective: str) -> Mapping[str, BySeed]:
    """The scores of every arm's current confirm runs, as far as they are in ``home``.

    Args:
        trials: The table of `trials.parquet`.
        home: The study's folder.
        objective: Its name. Likelihoods have a score for each image; a distance has none.

    Returns:
        By arm and seed, in the objective's unit; empty for a distance.

    Raises:
        DataError: a file is damaged.
    """
    if objective not in OBJECTIVES:
        return {}
    found: dict[str, dict[int, list[ImageScores]]] = defaultdict(lambda: defaultdict(list))
    for row, path in standing_files(trials, home, ARTIFACT):
        found[row["arm"]][row["seed"]].append(ImageScores.read(path))
    size = dims(trials) or 1.0  # without a trial that was measured there is nothing to scale
    return {
        arm: {seed: _mean(runs).by(objective, size) for seed, runs in by_seed.items()}
        for arm, by_seed in found.items()
    }


def draw_error(hand: BySeed, automatic: BySeed) -> float | None:
    """Standard error that the draws of latents leave in the mean paired difference of two arms.

    The variance over draws of a seed's difference of means, pooled over the n seeds that both
    have, over n K: the arms of a pair share their draws, seeds have their own.

    Returns:
        None where a single draw was made, which says nothing of it.
    """
    pairs = [(hand[seed].draws, automatic[seed].draws) for seed in hand.keys() & automatic.keys()]
    if not pairs or any(len(one) != len(other) or len(one) < 2 for one, other in pairs):
        return None
    variances = [np.var(one - other, ddof=1) / len(one) for one, other in pairs]
    return sqrt(float(np.mean(variances)) / len(pairs))


def _mean(runs: Sequence[ImageScores]) -> ImageScores:
    if len({(len(run.values), len(run.draws)) for run in runs}) > 1:
        raise ValueError("runs of one seed were scored on different images or draws")
    return ImageScores(
        np.mean([run.values for run in runs], axis=0), np.mean([run.draws for run in runs], axis=0)
    )
