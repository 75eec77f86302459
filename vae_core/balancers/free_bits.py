"""Free bits (Kingma et al. 2016, arXiv 1606.04934, appendix C.8)."""

from __future__ import annotations

from torch import Tensor

from vae_core.balancers.contract import Scalars, State, Terms, positive
from vae_core.balancers.fixed_beta import FixedBeta


class FreeBits(FixedBeta):
    """L = S/2 + beta sum_j max(free, R_j), R_j the batch's mean of latent j, in nats.

    A latent that costs less than ``free`` is not pushed further down. The paper's groups are
    feature maps, with 0.25 as its code's default; here each latent is one. The mean is taken
    inside the maximum, over the batch. At the clamp L is no bound any more: what is reported as R
    is the true one. To tune: beta, free.
    """

    name = "free_bits"
    hyperparameters = {
        **FixedBeta.hyperparameters,
        "free": positive(0.25, "R of a latent that costs nothing, nats", trade_off=True),
    }

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        latents = terms.kl.mean(dim=1).maximum(hyper["free"].unsqueeze(1))
        return terms.kl.shape[1] * latents.sum(dim=1)
