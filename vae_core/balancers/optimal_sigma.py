"""Batch-optimal noise variance (Rybkin, Daniilidis & Levine 2021, "sigma-VAE", section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_core.balancers.contract import (
    KL_WEIGHT,
    Balance,
    Balancer,
    Hyperparameter,
    Scalars,
    State,
    Terms,
    real,
)

LOG_SIGMA_MIN: Hyperparameter = real(
    -12.0, "soft lower bound m of ln sigma (released: -6)", trade_off=True
)
"""The clip adds e^m to the sigma that is reported. At -12 that is 0.5 % of the smallest sigma that
means anything, 1/(256 sqrt 12), the rounding of bytes: 1 % in sigma^2. At the released -6 it is 12
and 6 % of a sigma of 0.02 and 0.04."""


def softly_clipped(variance: Tensor, low: Tensor) -> Tensor:
    """Ln of ``variance``, kept above 2 m as released: ln sigma <- m + softplus(ln sigma - m).

    That is sigma <- sigma + e^m, without softplus, which rounds the last entries of a tensor
    differently from the rest: a member's last bits would depend on its row.
    """
    return 2 * torch.log(torch.sqrt(variance) + torch.exp(low))


class OptimalSigma(Balancer):
    """sigma^2 is the mean squared error of the batch at hand, k = 1; gradients pass through it.

    ln sigma is kept above log_sigma_min softly, as released: l = m + softplus(ln sigma - m), with
    m = -12 in place of -6. What is reported is sqrt(MSE) + e^m. By the envelope theorem the
    gradient equals that of a constant sigma^2 = MSE, up to the square of e^m / sqrt(MSE): where
    that is small, m moves what is reported, and hardly what is trained; where e^m is near sqrt(MSE)
    or above, m sets the trade-off. To tune: nothing.
    """

    name = "optimal_sigma"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "log_sigma_min": LOG_SIGMA_MIN,
    }

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        mse = terms.squared_error.mean(dim=1) / self.shape.dims
        return Balance(log_sigma2=softly_clipped(mse, hyper["log_sigma_min"]), k=hyper["k"])
