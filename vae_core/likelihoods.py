"""Nats and bits: the pure formulas every loss, metric and comparison is built from.

Conventions: x in [0, 1]; S, R and every likelihood are nats per image, summed over the D pixels
and over the latents. Formulas marked "float or tensor" take either and return the same kind; with
floats they follow the rules of IEEE arithmetic (ln 0 = -inf, 0/0 = nan) instead of raising.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)

Likelihood = Literal["gaussian", "laplace"]
"""The noise between a decoder's mean and a pixel. Its size is given as the variance sigma^2
throughout; a Laplace distribution of scale b has the variance 2 b^2."""

LEVELS = 256
"""Values of a pixel before dequantisation: x = (v + u)/256 with a byte v and u ~ U[0, 1)."""


def squared_error(x: Tensor, xhat: Tensor) -> Tensor:
    """S = sum over pixels of (x - xhat)^2, of images [..., C, H, W]; shape [...]."""
    error = xhat - x
    # A product: the backward pass of a power takes twice as many operations.
    return (error * error).sum(dim=(-3, -2, -1))


def absolute_error(x: Tensor, xhat: Tensor) -> Tensor:
    """S1 = sum over pixels of |x - xhat|, of images [..., C, H, W]; shape [...]."""
    return (xhat - x).abs().sum(dim=(-3, -2, -1))


def negative_log_likelihood(
    x: Tensor, xhat: Tensor, log_sigma2: Tensor, likelihood: Likelihood = "gaussian"
) -> Tensor:
    """-ln p(x | z) of images [..., C, H, W] under independent noise; nats per image, [...].

    Gaussian: sum over pixels of (x - xhat)^2 / (2 sigma^2) + ln(2 pi sigma^2)/2.
    Laplace, b = sigma / sqrt 2: sum over pixels of |x - xhat| / b + ln(2 b).

    Args:
        x: images.
        xhat: the decoder's means.
        log_sigma2: ln of the noise's variance; a scalar, or anything that broadcasts against
            ``x``, such as the outputs of a likelihood head ([B, 1, 1, 1] or [B, C, H, W]).
        likelihood: the kind of noise.
    """
    error = xhat - x
    if likelihood == "laplace":
        pixel = math.sqrt(2) * error.abs() * (-0.5 * log_sigma2).exp() + 0.5 * log_sigma2
        return (pixel + 0.5 * math.log(2)).sum(dim=(-3, -2, -1))
    pixel = error * error * (-log_sigma2).exp() + log_sigma2
    return 0.5 * (pixel + math.log(2 * math.pi)).sum(dim=(-3, -2, -1))


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


def calibrated_negative_elbo(S_mean: Number, R_mean: Number, sigma2: Number, dims: int) -> Number:
    """The NEGATIVE ELBO, S/(2 sigma^2) + D/2 ln(2 pi sigma^2) + R, in nats per image.

    Lower is better (float or tensor). With ``sigma2`` from :func:`calibrated_variance` on the
    training images it does not depend on the beta or the balancer a model was trained with.
    """
    if isinstance(S_mean, Tensor):
        return S_mean / (2 * sigma2) + 0.5 * dims * (2 * math.pi * sigma2).log() + R_mean
    S, R, variance = (
        torch.tensor(value, dtype=torch.float64) for value in (S_mean, R_mean, sigma2)
    )
    return calibrated_negative_elbo(S, R, variance, dims).item()


def laplace_scale(S1_mean: Number, dims: int) -> Number:
    """The Laplace scale that fits best: b = S1/D, the mean absolute error (float or tensor).

    The stationary point of S1/b + D ln(2 b); fitted on training images only.
    """
    return S1_mean / dims


def laplace_negative_elbo(S1_mean: Number, R_mean: Number, scale: Number, dims: int) -> Number:
    """The NEGATIVE ELBO under Laplace noise, S1/b + D ln(2 b) + R, in nats per image.

    Lower is better (float or tensor).
    """
    if isinstance(S1_mean, Tensor):
        return S1_mean / scale + dims * (2 * scale).log() + R_mean
    S1, R, b = (torch.tensor(value, dtype=torch.float64) for value in (S1_mean, R_mean, scale))
    return laplace_negative_elbo(S1, R, b, dims).item()


def bits_per_dim(negative_elbo: Number, dims: int) -> Number:
    """Bits per dimension, negative_elbo/(D ln 2) + 8, of bytes dequantised as x = (v + u)/256.

    A density of x in [0, 1) is 256^D times that of v + u, which gives the log2 256 = 8; by Jensen
    the mean over u bounds the discrete code length of v from above (Theis et al. 2016), with
    equality for a density constant on each unit cell (float or tensor).
    """
    return negative_elbo / (dims * math.log(2.0)) + math.log2(LEVELS)


def log_bin_mass(values: Tensor, mean: Tensor, log_sigma2: Tensor) -> Tensor:
    """The ln of a byte's mass under a Gaussian: of its bin [v, v + 1)/256 (elementwise, float64).

    The outer bins are open: v = 0 takes all mass below 1/256, v = 255 all above 255/256 (the edge
    rule of PixelCNN++, Salimans et al. 2017, section 2.1), so that the masses of a pixel sum to 1.

    Finite for every mean and sigma a decoder can give. The relative error of a mass is that of
    float64 times 256 |mean - x| or so: where both edges are within one sigma of the mean, error
    functions are subtracted, elsewhere logarithms of tails, neither of which loses narrow bins.

    Args:
        values: bytes v.
        mean: the decoder's means, on the scale of x in [0, 1].
        log_sigma2: ln of the noise's variance; broadcasts against ``mean``.
    """
    v, centre, scale = values.double(), mean.double(), (-0.5 * log_sigma2.double()).exp()
    low = ((v / LEVELS - centre) * scale).masked_fill(v == 0, -math.inf)
    high = (((v + 1) / LEVELS - centre) * scale).masked_fill(v == LEVELS - 1, math.inf)
    # The mirror image of a bin has the same mass, and left of the mean its tails do not round to 1.
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    upper = torch.special.log_ndtr(high)
    tail = upper + torch.log(-torch.expm1(torch.special.log_ndtr(low) - upper))
    near = torch.log(0.5 * (torch.erf(high / math.sqrt(2)) - torch.erf(low / math.sqrt(2))))
    return torch.where(low > -1, near, tail)
