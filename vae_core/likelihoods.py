"""Nats and bits: the pure formulas every loss, metric and comparison is built from.

Conventions: x in [0, 1]; S, R and every likelihood are nats per image, summed over the D pixels
and over the latents. Formulas marked "float or tensor" take either and return the same kind; with
floats they follow the rules of IEEE arithmetic (ln 0 = -inf, 0/0 = nan) instead of raising.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)

LEVELS = 256
"""Values of a pixel before dequantisation: x = (v + u)/256 with a byte v and u ~ U[0, 1)."""


def squared_error(x: Tensor, xhat: Tensor) -> Tensor:
    """S = sum over pixels of (x - xhat)^2, of images [..., C, H, W]; shape [...]."""
    error = xhat - x
    # A product: the backward pass of a power takes twice as many operations.
    return (error * error).sum(dim=(-3, -2, -1))


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) = (mu^2 + exp(logvar) - 1 - logvar)/2, elementwise.

    Nats per latent, in the shape of ``mu`` [..., Z]; its sum over Z is an image's R.
    """
    return 0.5 * (mu * mu + logvar.expm1() - logvar)


def calibrated_variance(S_mean: Number, dims: int) -> Number:
    """The noise variance that fits best: sigma^2 = S/D = MSE (float or tensor).

    The stationary point of S/(2 sigma^2) + D/2 ln(2 pi sigma^2). It is fitted on training images,
    never on the images that are scored: that would leak.
    """
    return S_mean / dims


def calibrated_elbo(S_mean: Number, R_mean: Number, sigma2: Number, dims: int) -> Number:
    """The NEGATIVE ELBO, S/(2 sigma^2) + D/2 ln(2 pi sigma^2) + R, in nats per image.

    Lower is better (float or tensor). With ``sigma2`` from :func:`calibrated_variance` on the
    training images it does not depend on the beta or the balancer a model was trained with.
    """
    if isinstance(S_mean, Tensor):
        return S_mean / (2 * sigma2) + 0.5 * dims * (2 * math.pi * sigma2).log() + R_mean
    S, R, variance = (
        torch.tensor(value, dtype=torch.float64) for value in (S_mean, R_mean, sigma2)
    )
    return calibrated_elbo(S, R, variance, dims).item()


def bits_per_dim(neg_elbo: Number, dims: int) -> Number:
    """Bits per dimension, neg_elbo/(D ln 2) + 8, of bytes dequantised as x = (v + u)/256.

    A density of x in [0, 1) is 256^D times that of v + u, whence the log2 256 = 8; by Jensen the
    mean over u bounds the discrete code length of v from above (Theis et al. 2016), with equality
    for a density constant on each unit cell (float or tensor).
    """
    return neg_elbo / (dims * math.log(2.0)) + math.log2(LEVELS)
