"""What the scores of single test images add: the images' part of an interval, and the draws' error.

An interval over seeds alone speaks of one test set. With the score of each image under each confirm
run, one speaks of fresh test images too; and two single models can be compared over the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, log, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.answers.arms import ArmResult
from study.image_scores import ImageScores
from study.metrics import BITS_PER_DIM, CALIBRATED_ELBO, Metric
from study.statistics.intervals import Interval, mean_interval

Scores = Mapping[str, Mapping[int, ImageScores]]
"""By arm and seed; replicates of a seed averaged."""


@dataclass(frozen=True)
class TwoModels:
    """The two models that would be deployed, each the best confirm run of its arm on validation.

    Attributes:
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        seeds: Of their runs.
        difference: Hand-tuned minus automatic on test, over the images alone: Student's t.
    """

    hand: str
    automatic: str
    seeds: tuple[int, int]
    difference: Interval


def per_image(
    scores: Scores, arm: str, objective: Metric, facts: Mapping[str, Any]
) -> Mapping[int, NDArray[np.float64]] | None:
    """Seed -> the scores of the test images in ``objective``'s unit, up to a constant.

    None where an image has no score by it: distances of sets of images, for one.

    Args:
        scores: What is recorded.
        arm: The arm.
        objective: What models are compared by.
        facts: What the tables' metadata says of the study.
    """
    shape = facts.get("data", {}).get("shape")
    if objective == CALIBRATED_ELBO:
        unit = 1.0
    elif objective == BITS_PER_DIM and shape:
        unit = prod(shape) * log(2)
    else:
        return None
    return {seed: one.values / unit for seed, one in scores.get(arm, {}).items()}


def draw_error(scores: Scores, hand: str, automatic: str) -> tuple[float, int] | None:
    """The standard error that the draws of noise bring into a mean difference in nats, and K.

    Both arms see the same K draws of latents and dequantisation at a seed, so it is the variance
    over draws of their difference that counts, over K and the seeds.

    Returns:
        None without scores, or of one draw.
    """
    one, other = scores.get(hand, {}), scores.get(automatic, {})
    seeds = one.keys() & other.keys()
    variances = []
    for seed in seeds:
        a, b = one[seed].draws, other[seed].draws
        if len(a) != len(b) or len(a) < 2:
            return None
        variances.append(float(np.var(a - b, ddof=1)) / len(a))
    if not seeds:
        return None
    return sqrt(fsum(variances)) / len(seeds), len(one[min(seeds)].draws)


def two_models(
    scores: Scores, hand: ArmResult, automatic: ArmResult, objective: Metric
) -> TwoModels | None:
    """The paired comparison of the two deployed models over the test images; None without scores.

    Args:
        scores: What is recorded.
        hand: The hand-tuned arm.
        automatic: The automatic arm.
        objective: What models are compared by: the difference is in nats, so it is
            ``calibrated_elbo`` or there is none.
    """
    seeds = hand.deployed_seed, automatic.deployed_seed
    if objective != CALIBRATED_ELBO or seeds[0] is None or seeds[1] is None:
        return None
    one, other = scores.get(hand.arm, {}).get(seeds[0]), scores.get(automatic.arm, {}).get(seeds[1])
    if one is None or other is None or len(one.values) != len(other.values):
        return None
    difference = mean_interval((one.values - other.values).tolist())
    return TwoModels(hand.arm, automatic.arm, (seeds[0], seeds[1]), difference)
