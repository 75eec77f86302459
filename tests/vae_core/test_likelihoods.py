"""Every formula against an independent computation of the same number."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Independent,
    Laplace,
    Normal,
    kl_divergence,
)

from vae_core.likelihoods import (
    absolute_error,
    bits_per_dim,
    calibrated_negative_elbo,
    calibrated_variance,
    continuous_bernoulli_log_normaliser,
    cross_entropy,
    gaussian_kl,
    laplace_negative_elbo,
    laplace_scale,
    log_bin_mass,
    logistic_bin_nll,
    negative_log_likelihood,
    squared_error,
)


def test_squared_error_sums_pixels_and_keeps_leading_axes():
    x, xhat = torch.rand(2, 5, 3, 4, 6), torch.rand(2, 5, 3, 4, 6)
    expected = ((x.double() - xhat.double()) ** 2).reshape(2, 5, -1).sum(-1)
    torch.testing.assert_close(squared_error(x, xhat).double(), expected, rtol=1e-5, atol=0)


def test_absolute_error_sums_pixels_and_keeps_leading_axes():
    x, xhat = torch.rand(2, 5, 3, 4, 6), torch.rand(2, 5, 3, 4, 6)
    expected = (x.double() - xhat.double()).abs().reshape(2, 5, -1).sum(-1)
    torch.testing.assert_close(absolute_error(x, xhat).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(), (7, 1, 1, 1), (7, 3, 4, 5)])
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_the_negative_log_likelihood_is_torchs(shape, likelihood):
    generator = torch.Generator().manual_seed(0)
    x, xhat = torch.rand(2, 7, 3, 4, 5, generator=generator, dtype=torch.float64)
    log_sigma2 = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    sigma = (log_sigma2 / 2).exp().expand_as(x)
    noise = Normal(xhat, sigma) if likelihood == "gaussian" else Laplace(xhat, sigma / 2**0.5)
    expected = -Independent(noise, 3).log_prob(x)
    got = negative_log_likelihood(x, xhat, log_sigma2, likelihood)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(noise.variance, sigma**2)  # of either kind


def test_gaussian_kl_is_torchs_kl_divergence():
    mu, logvar = torch.randn(3, 7, 4), torch.randn(3, 7, 4)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)
    assert gaussian_kl(torch.zeros(2), torch.zeros(2)).tolist() == [0.0, 0.0]


def test_calibrated_negative_elbo_is_minus_the_gaussian_log_likelihood_plus_the_kl():
    torch.manual_seed(0)
    x, xhat = torch.rand(9, 1, 4, 4).double(), torch.rand(9, 1, 4, 4).double()
    sigma2, R, dims = 0.03, 5.5, 16
    likelihood = Independent(Normal(xhat, math.sqrt(sigma2)), 3).log_prob(x)
    S = float(squared_error(x, xhat).mean())
    assert calibrated_negative_elbo(S, R, sigma2, dims) == pytest.approx(
        R - float(likelihood.mean())
    )


def test_the_calibrated_variance_is_the_best_one():
    S, R, dims = 12.0, 7.0, 64
    best = calibrated_variance(S, dims)
    assert best == pytest.approx(12 / 64)
    value = calibrated_negative_elbo(S, R, best, dims)
    assert value == pytest.approx(R + dims / 2 * (1 + math.log(2 * math.pi * best)))
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert calibrated_negative_elbo(S, R, factor * best, dims) > value


def test_laplace_negative_elbo_is_minus_the_laplace_log_likelihood_plus_the_kl():
    x, xhat = torch.rand(2, 9, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    S1, R, dims = float(absolute_error(x, xhat).mean()), 5.5, 16
    best = laplace_scale(S1, dims)
    assert best == pytest.approx(float((x - xhat).abs().mean()))
    values = []
    for scale in (best, 0.97 * best, 1.03 * best):
        likelihood = Independent(Laplace(xhat, scale), 3).log_prob(x)
        values.append(laplace_negative_elbo(S1, R, scale, dims))
        assert values[-1] == pytest.approx(R - float(likelihood.mean()))
    assert values[0] < min(values[1:])
    many = laplace_negative_elbo(
        *(torch.tensor(v, dtype=torch.float64) for v in (S1, R, best)), dims
    )
    assert many.item() == pytest.approx(values[0])


def test_floats_and_tensors_agree():
    S, R, sigma2 = torch.rand(3, 5, dtype=torch.float64)
    many = calibrated_negative_elbo(S, R, sigma2, 10)
    bits = bits_per_dim(many, 10)
    for i in range(5):
        one = calibrated_negative_elbo(S[i].item(), R[i].item(), sigma2[i].item(), 10)
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
    assert calibrated_negative_elbo(S, R, sigma2, 4) == pytest.approx(expected, nan_ok=True)
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


SIGMAS = [1e-6, 1e-4, 1e-3, 0.01, 0.1, 1.0, 1e3, 1e6, 1e13]
MEANS = [0.0, 0.2, 0.5, 51.0 / 256, 0.999, 1.0, -3.0, 40.0]
BYTES = [0, 1, 50, 51, 127, 254, 255]


def _exact_log_mass(value, mean, log_sigma2):
    """By erfc in 60 digits, on the side of the mean where it is small."""
    with mpmath.workdps(60):
        sigma = mpmath.exp(mpmath.mpf(log_sigma2) / 2)
        low = (mpmath.mpf(value) / 256 - mpmath.mpf(mean)) / sigma
        high = (mpmath.mpf(value + 1) / 256 - mpmath.mpf(mean)) / sigma
        low, high = -mpmath.inf if value == 0 else low, mpmath.inf if value == 255 else high
        if low + high > 0:
            low, high = -high, -low
        above, below = (mpmath.erfc(-end / mpmath.sqrt(2)) / 2 for end in (high, low))
        return float(mpmath.log(above - below))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_mass_of_a_byte_is_that_of_its_bin(sigma):
    """From tails 4e7 sigma away to bins 4e-16 sigma wide, within 1e-12 of the logarithm."""
    log_sigma2 = 2 * math.log(sigma)
    values, means = torch.tensor(BYTES).view(-1, 1), torch.tensor(MEANS, dtype=torch.float64)
    got = log_bin_mass(values, means, torch.tensor(log_sigma2, dtype=torch.float64))
    for i, value in enumerate(BYTES):
        for j, mean in enumerate(MEANS):
            expected = _exact_log_mass(value, mean, log_sigma2)
            assert got[i, j].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(
    mean=st.floats(-2.0, 3.0, width=32),
    log_sigma2=st.floats(-30.0, 60.0, width=32),
)
def test_the_masses_of_a_pixel_sum_to_one_and_none_is_lost(mean, log_sigma2):
    values = torch.arange(256, dtype=torch.uint8)
    mass = log_bin_mass(values, torch.tensor(mean), torch.tensor(log_sigma2))
    assert mass.dtype == torch.float64
    assert mass.isfinite().all()
    assert mass.exp().sum().item() == pytest.approx(1.0, abs=1e-10)


@given(value=st.integers(0, 255), mean=st.floats(-2.0, 3.0), log_sigma2=st.floats(-14.0, 10.0))
def test_a_mirrored_byte_has_the_mirrored_mass(value, mean, log_sigma2):
    one, other = (
        log_bin_mass(torch.tensor(v), *torch.tensor([m, log_sigma2], dtype=torch.float64)).item()
        for v, m in ((value, mean), (255 - value, 1 - mean))
    )
    assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


def test_masses_broadcast_over_heads_and_keep_the_density_where_bins_are_narrow():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(1, 255, (4, 3, 5, 5), generator=generator, dtype=torch.uint8)
    mean = torch.rand(4, 3, 5, 5, generator=generator)
    for shape in ((), (4, 1, 1, 1), (4, 3, 5, 5)):
        log_sigma2 = torch.rand(shape, generator=generator) - 1.0
        mass = log_bin_mass(values, mean, log_sigma2)
        middle = (values.double() + 0.5) / 256
        normal = Normal(mean.double(), (log_sigma2.double() / 2).exp())
        # Off by w^2/24 of the density's curvature, at most (1 + 1/sigma^2)/sigma^2 of it.
        torch.testing.assert_close(mass, normal.log_prob(middle) - math.log(256), rtol=0, atol=1e-4)


PROBABILITIES = [1e-5, 0.01, 0.3, 0.44, 0.4499, 0.4501, 0.499999, 0.5, 0.52, 0.5501, 0.8, 0.999]


@pytest.mark.parametrize("p", PROBABILITIES)
def test_a_continuous_bernoulli_is_a_density(p):
    mean = torch.tensor(p, dtype=torch.float64)
    log_normaliser = continuous_bernoulli_log_normaliser(mean)

    def density(x):
        return float((log_normaliser - cross_entropy(torch.tensor(x).double(), mean)).exp())

    assert integrate.quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-8)


def test_the_bernoullis_are_torchs_and_their_gradients_finite():
    p = torch.tensor([*PROBABILITIES, 1e-9, 0.0, 1.0, -0.1, 1.1], requires_grad=True)
    for x in (0.0, 0.002, 0.5, 1.0):
        inside = p.detach()[: len(PROBABILITIES)]
        nats = cross_entropy(torch.tensor(x), p)
        density = nats - continuous_bernoulli_log_normaliser(p)
        expected = -ContinuousBernoulli(inside.double()).log_prob(torch.tensor(x).double())
        torch.testing.assert_close(density[: len(inside)].double(), expected, rtol=1e-4, atol=1e-5)
        (slope,) = torch.autograd.grad(density.sum(), p)
        assert slope.isfinite().all()
        if x in (0.0, 1.0):
            binary = -Bernoulli(inside).log_prob(torch.tensor(x))
            torch.testing.assert_close(nats[: len(inside)], binary, rtol=1e-4, atol=1e-5)
    exact = torch.tensor(PROBABILITIES[1:-1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(continuous_bernoulli_log_normaliser, exact, eps=1e-7)


@pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 3.0])
@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.3, 0.999, 1.4])
def test_the_masses_of_a_discretised_logistic_sum_to_one_and_are_its_bins(mean, log_scale):
    u = torch.rand(256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, where = (torch.arange(256) + u) / 256, torch.tensor(mean, dtype=torch.float64)
    nats = logistic_bin_nll(x, where, torch.tensor(log_scale, dtype=torch.float64))
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-12)
    edges = stats.logistic(mean, math.exp(log_scale)).cdf(np.arange(1, 256) / 256)
    masses = np.diff(np.concatenate([[0.0], edges, [1.0]]))
    np.testing.assert_allclose((-nats).exp(), masses, rtol=1e-6, atol=1e-14)
    assert nats.isfinite().all()
