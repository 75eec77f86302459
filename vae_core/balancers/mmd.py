"""Aggregate posterior matched to the prior by MMD: InfoVAE and WAE-MMD.

Zhao et al. 2017, arXiv 1706.02262, and Tolstikhin et al. 2018, arXiv 1711.01558, whose kernel it
is: inverse multiquadrics sum_s C_s / (C_s + |a - b|^2), C_s = 2 Z s, s = 0.1, 0.2, 0.5, 1, 2, 5
and 10.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import (
    Balance,
    Balancer,
    Hyperparameter,
    Scalars,
    State,
    Terms,
    positive,
)
from vae_core.balancers.control_vae import half_variance
from vae_core.balancers.fixed_beta import FixedBeta

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DRAWS = frozenset({"squared_error", "kl", "mu", "logvar", "noise"})


def discrepancy(terms: Terms) -> Tensor:
    """MMD^2 of each member's latents z and the prior, [K]; unbiased, so it may fall below 0.

    The draws of the prior are the noise that z itself was drawn with. Of pairs of images i and j,
    i and j differ, so that z_i and noise_j are independent and no others need be drawn.
    """
    assert terms.mu is not None  # declared
    assert terms.logvar is not None
    assert terms.noise is not None
    z = torch.addcmul(terms.mu, terms.noise, (0.5 * terms.logvar).exp())
    prior, images, latent = terms.noise, z.shape[1], z.shape[2]

    def similar(a: Tensor, b: Tensor) -> Tensor:
        """Mean kernel of two sets of draws over pairs of different images, [K]."""
        away = a.unsqueeze(2) - b.unsqueeze(1)
        distance = (away * away).sum(dim=3)
        kernel = torch.zeros_like(distance)
        for scale in SCALES:
            width = 2 * latent * scale
            kernel = kernel + width / (width + distance)
        different = 1 - torch.eye(images, dtype=z.dtype, device=z.device)
        return (kernel * different).sum(dim=(1, 2)) / max(1, images * (images - 1))

    return similar(z, z) + similar(prior, prior) - 2 * similar(z, prior)


class InfoVae(FixedBeta):
    """L = S/2 + beta [(1 - alpha) R + mmd MMD^2]; mmd is the paper's alpha + lambda - 1.

    alpha is the weight of the mutual information that R would cost: at 0 all of R is paid, near 1
    MMD alone holds the aggregate posterior at the prior. ``mmd`` has no default: an MMD^2 of this
    kernel is at most 14, R tens of nats. On digits (8 latents, 1,000 steps, beta 0.02) 10 changes
    R by 1 % and 1,000 halves it. To tune: beta, alpha, mmd.
    """

    name = "info_vae"
    hyperparameters = {
        **FixedBeta.hyperparameters,
        "alpha": Hyperparameter(0.0, -math.inf, 1.0, "share of R that is not paid", trade_off=True),
        "mmd": positive(None, "weight of MMD^2 beside R", trade_off=True, required=True),
    }
    terms = DRAWS

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        paid = (1 - hyper["alpha"]) * super().penalty(terms, state, hyper)
        return paid + hyper["mmd"] * terms.kl.shape[1] * discrepancy(terms)


class WaeMmd(Balancer):
    """L = S + mmd MMD^2, without R: sigma^2 = 1/2, k = mmd.

    mmd = 10 is the paper's on MNIST, 100 on CelebA with images in [-1, 1]. Its encoder has no
    noise; here it keeps that of the model, whose variance nothing holds up: what is reported as
    R may grow without bound. Reported k: the weight of MMD^2 and not of R. To tune: mmd.
    """

    name = "wae_mmd"
    hand_tuned = True
    hyperparameters = {"mmd": positive(10.0, "weight of MMD^2 in S + mmd MMD^2", trade_off=True)}
    terms = DRAWS

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        return Balance(half_variance(hyper["mmd"]), hyper["mmd"])

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        return terms.kl.shape[1] * discrepancy(terms)
