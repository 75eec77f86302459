"""The two models that would be deployed, compared over the test images alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from study.analysis.answers.arms import ArmResult
from study.analysis.records.image_scores import BySeed
from study.statistics.intervals import Interval, mean_interval


@dataclass(frozen=True)
class TwoModels:
    """Two single models, each the best confirm run of its arm on validation.

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


def two_models(
    scores: Mapping[str, BySeed], hand: ArmResult, automatic: ArmResult
) -> TwoModels | None:
    """The paired comparison of the two arms' exported models; None without scores of 2 images.

    Args:
        scores: By arm and seed, those of the test images.
        hand: The hand-tuned arm.
        automatic: The automatic arm.
    """
    seeds = hand.deployed_seed, automatic.deployed_seed
    if seeds[0] is None or seeds[1] is None:
        return None
    one, other = scores.get(hand.arm, {}).get(seeds[0]), scores.get(automatic.arm, {}).get(seeds[1])
    if one is None or other is None or len(one.values) != len(other.values):
        return None
    if len(one.values) < 2:
        return None
    difference = mean_interval((one.values - other.values).tolist())
    return TwoModels(hand.arm, automatic.arm, (seeds[0], seeds[1]), difference)
