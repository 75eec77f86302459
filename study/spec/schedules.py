"""Balancers' schedules that a trial ends before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.spec.images import check_splits, trials_at_ends
from study.spec.models import StudySpec

if TYPE_CHECKING:
    from vae_core.data import PreparedData

CLOSE = 0.03
"""A share this near 1 has arrived: the last step may be one short of the end, or one epoch."""


def unfinished(spec: StudySpec, data: PreparedData) -> list[str]:
    """A warning for each arm with trials in which its balancer's schedule does not arrive.

    Of a range the ends are looked at. Imports the core, and what the spec names by import path.
    """
    images, warnings = check_splits(spec, data), []
    for name in spec.arms:
        trials = trials_at_ends(spec, name, data.shape, images)
        found = [(t.balancer.reached(t.values, t.steps), t.epochs, t.balancer) for t in trials]
        share, epochs, balancer = max(found, key=lambda trial: abs(trial[0] - 1))
        if abs(share - 1) > CLOSE:
            warnings.append(
                f"warning: arm '{name}': the schedule of {balancer.name} does not arrive in "
                f"{epochs:g} epochs: in the last step it is at {share:.3g} times what it ends at. "
                "Give it fewer epochs, or the training more"
            )
    return warnings
