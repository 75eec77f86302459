"""Warm-up of beta (Bowman et al. 2016, arXiv 1511.06349; Sonderby et al. 2016, arXiv 1602.02282).

The weight of R begins at or near 0, so that the latents carry something before the prior pulls at
them. It changes the path to the optimum, not the optimum: that is the constant beta's it ends at.
"""

from __future__ import annotations

from torch import Tensor

from vae_core.balancers.contract import BETA, Scalars, positive
from vae_core.balancers.schedules import ScheduledBeta, ramp

WARM_UP = 0.1
"""Share of the training that a warm-up takes, if no length is given."""
SCVI_EPOCHS = 400


class LinearWarmUp(ScheduledBeta):
    """beta rises linearly from 0: share(t) = min(1, t / (warmup_epochs epoch)). Ends at beta.

    By default a tenth of the training. To tune: beta, warmup_epochs.
    """

    name = "linear_warm_up"
    hyperparameters = {
        "beta": BETA,
        "warmup_epochs": positive(None, "epochs of the ramp; by default a tenth of the training"),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"warmup_epochs": WARM_UP * steps / self.epoch}

    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        return ramp(step, hyper["warmup_epochs"] * self.epoch)


class FlooredWarmUp(LinearWarmUp):
    """The linear warm-up, never below a floor: share(t) = max(floor, linear share). Ends at beta.

    Where R weighs nothing at all it may grow without bound, and what is then to be unlearnt takes
    the rest of the training. The floor, a share of beta, has no published value: 0.01 lets the ramp
    take over after a hundredth of its length. To tune: beta, warmup_epochs, floor.
    """

    name = "floored_warm_up"
    hyperparameters = {
        **LinearWarmUp.hyperparameters,
        "floor": positive(0.01, "lowest share of beta", high=1.0),
    }

    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        return super().share(step, hyper).maximum(hyper["floor"])


class ScviWarmUp(LinearWarmUp):
    """scvi-tools' default: linear over 400 epochs, changed between epochs. Ends at beta, 1.

    share = min(1, epochs completed / 400), as ``_compute_kl_weight`` of its training plans has it
    (n_epochs_kl_warmup 400, max_kl_weight 1, min_kl_weight 0). Its training lasts at most 400
    epochs and min(1, 20,000 / cells) of them, so on more than 20,000 cells the ramp never arrives.
    There the reconstruction is a count likelihood; here it is S/2, to which a beta of 1 is far
    too large for most images. To tune: nothing in name; beta here.
    """

    name = "scvi_warm_up"
    hyperparameters = {
        "beta": positive(1.0, "weight of R in S/2 + beta R at the end", trade_off=True),
        "warmup_epochs": positive(float(SCVI_EPOCHS), "epochs of the ramp, as released"),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {}

    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        return ramp(step // self.epoch, hyper["warmup_epochs"])
