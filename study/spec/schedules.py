"""Balancers' schedules that a trial ends before."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from study.spec.distributions import section_of
from study.spec.images import check_splits, training_steps
from study.spec.models import StudySpec
from study.spec.resolving import resolve

if TYPE_CHECKING:
    from vae_core.data import PreparedData

DECIDING = {"training.epochs", "training.batch_size", "model.latent"}
"""Searched settings that decide, beside the balancer's own, how far a schedule gets."""
CLOSE = 0.03
"""A share this near 1 has arrived: the last step may be one short of the end, or one epoch."""


def unfinished(spec: StudySpec, data: PreparedData) -> list[str]:
    """A warning for each arm with trials in which its balancer's schedule does not arrive.

    Of a range the ends are looked at. Imports the core, and what the spec names by import path.
    """
    from vae_core.balancers import BALANCERS
    from vae_core.geometry import ImageShape

    shape, images = ImageShape(*data.shape), check_splits(spec, data)
    warnings = []
    for name, arm in spec.arms.items():
        family = BALANCERS.get(arm.balancer.name)
        space = arm.search.space if arm.search else {}
        keys = [key for key in space if section_of(key)[0] == "balancer" or key in DECIDING]
        found = []
        for values in product(*(space[key].ends() for key in keys)):
            trial = resolve(spec, name, dict(zip(keys, values, strict=True)), shape.dims)
            epochs, batch = trial["training"]["epochs"], trial["training"]["batch_size"]
            steps = training_steps(epochs, batch, images)
            balancer = family(shape, trial["model"]["latent"], images, batch)
            given = {key: value for key, value in trial["balancer"].items() if key != "name"}
            found.append((balancer.reached(balancer.complete(given, steps), steps), epochs))
        share, epochs = max(found, key=lambda pair: abs(pair[0] - 1))
        if abs(share - 1) > CLOSE:
            warnings.append(
                f"warning: arm '{name}': the schedule of {family.name} does not arrive in "
                f"{epochs:g} epochs: in the last step it is at {share:.3g} times what it ends at. "
                "Give it fewer epochs, or the training more"
            )
    return warnings
