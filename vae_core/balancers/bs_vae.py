"""Per-image optimal noise variance with a tuned weight (Kim & Lee 2024, "BS-VAE", 2409.09361)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import LN_2PI, Balance, Balancer, Scalars, State, Terms, positive

GUARD = 1e-5
"""Added to 2 pi MSE inside the logarithm, as published."""


class BsVae(Balancer):
    """L = mean_i D/2 [ln(2 pi MSE_i + 1e-5) + 1] + k R: sigma^2 is each image's own error.

    :class:`PerImageSigma` with the published guard in place of its clip, and with k to be chosen:
    the paper has the best likelihood at k = 1 and the best Frechet distance at k = 10. The
    variance looks at the image it scores, so this L is no bound on any likelihood. Reported
    sigma^2: the geometric mean over the batch of MSE_i + 1e-5 / (2 pi). To tune: k.
    """

    name = "bs_vae"
    hand_tuned = True
    hyperparameters = {
        "k": positive(
            None, "KL weight on top of the balance: the paper's beta", trade_off=True, required=True
        )
    }

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        mse = terms.squared_error / self.shape.dims
        return Balance(torch.log(mse + GUARD / (2 * math.pi)), hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        return 0.5 * self.shape.dims * (at.log_sigma2 + LN_2PI + 1).mean(dim=1)
