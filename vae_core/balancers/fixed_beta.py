"""A fixed beta (Higgins et al. 2017): the trade-off is a constant that has to be tuned."""

from __future__ import annotations

import torch

from vae_core.balancers.contract import BETA, Balance, Balancer, Scalars, State, Terms


class FixedBeta(Balancer):
    """Loss S/2 + beta R, up to a constant: sigma^2 = 1 and k = beta.

    With weights c S + beta' R the same trade-off is beta = beta' / (2c). To tune: beta.
    """

    name = "fixed_beta"
    hand_tuned = True
    hyperparameters = {"beta": BETA}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        beta = hyper["beta"]
        return Balance(log_sigma2=torch.zeros_like(beta), k=beta)
