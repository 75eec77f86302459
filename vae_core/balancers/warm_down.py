"""Warm-down of beta: from a large one to a small one, as the balance of an automatic rule falls."""

from __future__ import annotations

from torch import Tensor

from vae_core.balancers.contract import BETA, Scalars, positive
from vae_core.balancers.schedules import ScheduledBeta, ramp

WARM_DOWN = 0.1
"""Share of the training that it takes, if no length is given."""


class WarmDown(ScheduledBeta):
    """beta falls geometrically: share(t) = start^(1 - min(1, t / (warmdown_epochs epoch))).

    Of no paper: it is the path of a computed noise variance without its computation. That of
    ``running_average`` falls from 1 to the error, geometrically as long as the error is small
    beside it; with ``start`` = 1/beta this does too, and both end at a beta that never
    looks at the error again here. ``start`` is 100 by default, from 1 down to the 0.01 of an
    error of 0.1 a pixel. Ends at beta. To tune: beta, start, warmdown_epochs.
    """

    name = "warm_down"
    hyperparameters = {
        "beta": BETA,
        "start": positive(100.0, "what beta begins at, in multiples of itself"),
        "warmdown_epochs": positive(
            None, "epochs until it arrives; by default a tenth of the training"
        ),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"warmdown_epochs": WARM_DOWN * steps / self.epoch}

    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        left = 1 - ramp(step, hyper["warmdown_epochs"] * self.epoch)
        return (left * hyper["start"].log()).exp()
