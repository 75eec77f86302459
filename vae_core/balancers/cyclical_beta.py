"""Cyclical annealing of beta (Fu et al. 2019, arXiv 1903.10145)."""

from __future__ import annotations

from torch import Tensor

from vae_core.balancers.contract import BETA, Scalars, positive
from vae_core.balancers.schedules import ScheduledBeta, cycle

CYCLES = 4


class CyclicalBeta(ScheduledBeta):
    """beta rises linearly from 0 over the first half of each cycle, and stays. Ends at beta.

    share(t) = min(1, (t mod P) / (ratio P)), P = cycle_epochs epoch. As published, 4 cycles fill
    the training and ratio is 0.5. A length that does not divide the training ends it in the
    middle of a cycle. To tune: beta, cycle_epochs, ratio.
    """

    name = "cyclical_beta"
    hyperparameters = {
        "beta": BETA,
        "cycle_epochs": positive(None, "epochs of a cycle; by default a quarter of the training"),
        "ratio": positive(0.5, "share of a cycle that its ramp takes", high=1.0),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"cycle_epochs": steps / (CYCLES * self.epoch)}

    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        return cycle(step, hyper["cycle_epochs"] * self.epoch, hyper["ratio"])
