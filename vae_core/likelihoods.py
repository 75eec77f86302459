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

Noise = Literal["gaussian", "laplace"]
"""What held-out pixels are scored with. Its size is given as the variance sigma^2 throughout; a
Laplace distribution of scale b has the variance 2 b^2."""

Likelihood = Literal[
    Noise, "bernoulli", "continuous_bernoulli", "student_t", "discretised_logistic"
]
"""What a model is trained with: p(x|z), between a decoder's mean and a pixel."""

OF_PROBABILITIES: frozenset[Likelihood] = frozenset({"bernoulli", "continuous_bernoulli"})
"""Likelihoods to which a decoder's mean is a probability. One outside [0, 1] is kept within it, so
that no gradient reaches the decoder."""


def noise_of(likelihood: Likelihood) -> Noise:
    """What a model trained with ``likelihood`` is scored with.

    Its own if that has a variance to refit, else the Gaussian, the common ruler.
    """
    return "laplace" if likelihood == "laplace" else "gaussian"


SURE = 1e-6
"""Probabilities are kept this far from 0 and 1, where float32 still tells them from both."""

_SMALL = 0.1
"""Where the series of ln C takes over: there the closed form loses its digits."""

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
    x: Tensor, xhat: Tensor, log_sigma2: Tensor, likelihood: Noise = "gaussian"
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


def cross_entropy(x: Tensor, p: Tensor) -> Tensor:
    """Elementwise -[x ln p + (1 - x) ln(1 - p)]: a Bernoulli distribution's where x is 0 or 1.

    For grey x in between it is no probability: it does not integrate to 1 over x in [0, 1], and at
    its best, p = x, it is the entropy of x and not 0. p is kept within 1e-6 of its range.
    """
    p = p.clamp(SURE, 1 - SURE)
    return -(x * p.log() + (1 - x) * (1 - p).log())


def continuous_bernoulli_log_normaliser(p: Tensor) -> Tensor:
    """Elementwise ln C(p): C(p) exp(-cross_entropy(x, p)) is a density of x in [0, 1].

    C(p) = 2 artanh(u) / u with u = 1 - 2p, and 2 at p = 1/2 (Loaiza-Ganem & Cunningham 2019, arXiv
    1907.06845, eq. 7); below abs(u) = 0.1 by its series, to 1e-9.
    """
    p = p.clamp(SURE, 1 - SURE)
    u = 1 - 2 * p
    near = u.abs() < _SMALL
    square = u * u
    series = math.log(2) + square * (1 / 3 + square * (13 / 90 + square * (251 / 2835)))
    # The branch that is not taken must have a finite gradient, too.
    twice = ((1 - p).log() - p.log()).masked_fill(near, 1.0)
    closed = (twice / u.masked_fill(near, 1.0)).log()
    return torch.where(near, series, closed)


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


def logistic_bin_nll(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """-ln of a byte's mass under a logistic distribution: of its bin [v, v + 1)/256 (elementwise).

    v = floor(256 x), so that dequantised images have the masses of their bytes. The outer bins are
    open (PixelCNN++'s edge rule, as in :func:`log_bin_mass`). With F the logistic function, a and b
    the standardised edges: F(b) - F(a) = F(b) F(-a) (1 - exp(a - b)), of which no factor cancels
    however narrow the bin.

    Args:
        x: images in [0, 1].
        mean: the decoder's means.
        log_scale: ln s, of a variance of pi^2 s^2 / 3; broadcasts against ``x``.
    """
    v = (x.detach() * LEVELS).floor().clamp(0, LEVELS - 1)
    inverse = (-log_scale).exp()
    low, high = (v / LEVELS - mean) * inverse, ((v + 1) / LEVELS - mean) * inverse
    black, white = v == 0, v == LEVELS - 1
    narrow = torch.log(-torch.expm1(-inverse / LEVELS)).expand_as(low)
    beside = _softplus(-high).masked_fill(white, 0.0) + _softplus(low).masked_fill(black, 0.0)
    return beside - narrow.masked_fill(black | white, 0.0)


def _softplus(t: Tensor) -> Tensor:
    """ln(1 + exp(t)): torch's own rounds the last entries of a tensor differently from the rest."""
    return t.clamp(min=0.0) + torch.log1p((-t.abs()).exp())
