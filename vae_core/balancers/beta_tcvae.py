"""A weight on the total correlation, beta-TCVAE (Chen et al. 2018, arXiv 1802.04942)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import LN_2PI, Scalars, State, Terms, positive
from vae_core.balancers.fixed_beta import FixedBeta


class BetaTcvae(FixedBeta):
    """L = S/2 + beta [R + (tc - 1) TC], TC = KL(q(z) || prod_j q(z_j)): index code, TC, dimensions.

    R = MI + TC + sum_j KL(q(z_j) || p(z_j)), of which TC alone gets the further weight ``tc``, the
    paper's beta with alpha = gamma = 1; ``beta`` is the weight of all three against S/2. q(z) is
    estimated from the batch by minibatch weighted sampling (section 4.2):
    ln q(z_i) = ln sum_j q(z_i | x_j) - ln(N B), N training images. N and B shift TC by the
    constant (Z - 1) ln(N B) and have no part in any gradient. The estimate depends on the batch
    size, and takes B^2 Z terms. tc = 6 is the paper's choice on dSprites. To tune: beta, tc.
    """

    name = "beta_tcvae"
    hyperparameters = {
        **FixedBeta.hyperparameters,
        "tc": positive(6.0, "weight of the total correlation within R", trade_off=True),
    }
    terms = frozenset({"squared_error", "kl", "mu", "logvar", "noise"})

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        total = self._total_correlation(terms)
        weight = (hyper["tc"] - 1) * terms.kl.shape[1]
        return super().penalty(terms, state, hyper) + weight * total

    def _total_correlation(self, terms: Terms) -> Tensor:
        """TC of each member, [K], nats."""
        assert terms.mu is not None  # declared
        assert terms.logvar is not None
        assert terms.noise is not None
        mu, logvar = terms.mu, terms.logvar
        z = torch.addcmul(mu, terms.noise, (0.5 * logvar).exp())
        # ln q(z_i | x_j) by latent: [K, i, Z, j], j last, so that sums run along memory.
        away = z.unsqueeze(3) - mu.transpose(1, 2).unsqueeze(1)
        logvar = logvar.transpose(1, 2).unsqueeze(1)
        densities = -0.5 * (away * away * (-logvar).exp() + logvar + LN_2PI)
        joint = torch.logsumexp(densities.sum(dim=2), dim=2)
        product = torch.logsumexp(densities, dim=3).sum(dim=2)
        shift = (self.latent - 1) * math.log(self.images * terms.kl.shape[1])
        return (joint - product).mean(dim=1) + shift
