"""Every formula against an independent computation of the same number."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Independent, Normal, kl_divergence

from vae_core.likelihoods import (
    bits_per_dim,
    calibrated_elbo,
    calibrated_variance,
    gaussian_kl,
    squared_error,
)


def test_squared_error_sums_pixels_and_keeps_leading_axes():
    x, xhat = torch.rand(2, 5, 3, 4, 6), torch.rand(2, 5, 3, 4, 6)
    expected = ((x.double() - xhat.double()) ** 2).reshape(2, 5, -1).sum(-1)
    torch.testing.assert_close(squared_error(x, xhat).double(), expected, rtol=1e-5, atol=0)


def test_gaussian_kl_is_torchs_kl_divergence():
    mu, logvar = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)
    assert gaussian_kl(torch.zeros(2), torch.zeros(2)).tolist() == [0.0, 0.0]


def test_calibrated_elbo_is_minus_the_gaussian_log_likelihood_plus_the_kl():
    torch.manual_seed(0)
    x, xhat = torch.rand(9, 1, 4, 4).double(), torch.rand(9, 1, 4, 4).double()
    sigma2, R, dims = 0.03, 5.5, 16
    likelihood = Independent(Normal(xhat, math.sqrt(sigma2)), 3).log_prob(x)
    S = float(squared_error(x, xhat).mean())
    assert calibrated_elbo(S, R, sigma2, dims) == pytest.approx(R - float(likelihood.mean()))


def test_the_calibrated_variance_is_the_best_one():
    S, R, dims = 12.0, 7.0, 64
    best = calibrated_variance(S, dims)
    assert best == pytest.approx(12 / 64)
    value = calibrated_elbo(S, R, best, dims)
    assert value == pytest.approx(R + dims / 2 * (1 + math.log(2 * math.pi * best)))
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert calibrated_elbo(S, R, factor * best, dims) > value


def test_floats_and_tensors_agree():
    S, R, sigma2 = torch.rand(3, 5, dtype=torch.float64)
    many = calibrated_elbo(S, R, sigma2, 10)
    bits = bits_per_dim(many, 10)
    for i in range(5):
        one = calibrated_elbo(S[i].item(), R[i].item(), sigma2[i].item(), 10)
        assert isinstance(one, float)
        assert one == pytest.approx(many[i].item())
        assert bits_per_dim(one, 10) == pytest.approx(bits[i].item())


@pytest.mark.parametrize(
    ("S", "R", "sigma2", "expected"),
    [
        (math.nan, 1.0, 0.1, math.nan),
        (1.0, math.inf, 0.1, math.inf),
        (1.0, 1.0, 0.0, math.nan),  # inf - inf
        (0.0, 1.0, 0.0, math.nan),
        (1.0, 1.0, math.inf, math.inf),
    ],
)
def test_diverged_numbers_come_back_and_raise_nothing(S, R, sigma2, expected):
    assert calibrated_elbo(S, R, sigma2, 4) == pytest.approx(expected, nan_ok=True)
    assert bits_per_dim(math.nan, 4) != bits_per_dim(math.nan, 4)


def _code_length(density, values):
    """Mean -log2 P(v) of bytes, P(v) the integral of the density of x over v's cell."""
    masses = [integrate.quad(density, v / 256, (v + 1) / 256)[0] for v in values]
    return -float(np.mean(np.log2(masses)))


def _dequantised_bits(log_density, values):
    """bits/dim of one-pixel images: -E_u[ln p((v + u)/256)], through the tested function."""
    nats = [
        -256 * integrate.quad(log_density, v / 256, (v + 1) / 256)[0] for v in values
    ]  # the mean over a cell of width 1/256
    return bits_per_dim(float(np.mean(nats)), 1)


def test_bits_per_dim_of_a_density_constant_on_cells_is_the_discrete_code_length():
    heights = np.random.default_rng(0).dirichlet(np.ones(256)) * 256  # integrates to 1 over [0, 1)
    values = [0, 3, 100, 255, 100]
    got = bits_per_dim(float(np.mean([-math.log(heights[v]) for v in values])), 1)
    assert got == pytest.approx(float(np.mean([-math.log2(heights[v] / 256) for v in values])))
    assert bits_per_dim(0.0, 1) == 8.0  # the uniform density codes a byte in 8 bits


@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.3])
def test_bits_per_dim_bounds_the_discrete_code_length_from_above(sigma):
    normal = stats.norm(0.4, sigma)
    values = [100, 102, 103, 105]
    bound, exact = _dequantised_bits(normal.logpdf, values), _code_length(normal.pdf, values)
    assert bound > exact
    if sigma > 1 / 256:
        # Jensen's gap: half the variance of ln p within a cell, for a slope nearly constant there.
        slopes = (np.array(values) / 256 + 0.5 / 256 - 0.4) / sigma**2
        gap = float(np.mean(slopes**2)) / 256**2 / 24 / math.log(2)
        assert bound - exact == pytest.approx(gap, rel=0.35)
