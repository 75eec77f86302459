"""Batch-optimal noise variance (Rybkin, Daniilidis & Levine 2021, "sigma-VAE", section 3)."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from vae_core.balancers.contract import (
    KL_WEIGHT,
    Balance,
    Balancer,
    Scalars,
    State,
    Terms,
    real,
)


class OptimalSigma(Balancer):
    """sigma^2 is the mean squared error of the batch at hand, k = 1; gradients pass through it.

    ln sigma is kept above log_sigma_min softly, as released: l = m + softplus(ln sigma - m).
    By the envelope theorem the gradient equals that of a constant sigma^2 = MSE where the clip
    does not bite. To tune: nothing.
    """

    name = "optimal_sigma"
    hyperparameters = {
        "k": KL_WEIGHT,
        "log_sigma_min": real(-6.0, "soft lower bound m of ln sigma"),
    }

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        mse = terms.squared_error.mean(dim=1) / self.shape.dims
        low = hyper["log_sigma_min"]
        log_sigma = low + softplus(0.5 * torch.log(mse) - low)
        return Balance(log_sigma2=2 * log_sigma, k=hyper["k"])
