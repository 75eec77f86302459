"""Code lengths of bytes: against sums by hand, and against the density's bound."""

import math

import numpy as np
import pytest
import torch
from known_models import Known, Rows, headed
from scipy import stats
from sklearn.datasets import load_digits

from vae_core.errors import ContractError
from vae_core.evaluation import (
    EvaluationSet,
    calibrated,
    discretised_bits_per_dim,
    fitted_variance,
    measure,
)
from vae_core.geometry import ImageShape
from vae_core.likelihoods import gaussian_kl

SHAPE = ImageShape(1, 8, 8)


@pytest.fixture(scope="module")
def digits():
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return EvaluationSet(Rows(pixels, np.arange(len(pixels))), "test", count=300, shape=SHAPE)


@pytest.mark.parametrize("head", ["image", "pixel", None])
def test_the_code_length_is_that_of_the_bins_plus_the_rate(digits, head):
    model, sigma2 = headed(SHAPE, head or "pixel"), None if head else 0.05
    predicted = model.log_sigma2
    model.log_sigma2 = lambda z: predicted(z).clamp(min=-4.0)  # scipy's masses become 0
    x, noise = (torch.cat(part) for part in zip(*digits.batches(3), strict=True))
    values = torch.cat(list(digits.values())).numpy().astype(float)
    with torch.no_grad():
        xhat, mu, logvar, log_sigma2 = model(x, noise)
    sigma = np.sqrt(0.05) if head is None else np.exp(log_sigma2.double().numpy() / 2)
    normal = stats.norm(xhat.double().numpy(), sigma)
    low = np.where(values == 0, -np.inf, values / 256)
    high = np.where(values == 255, np.inf, (values + 1) / 256)
    right = low > normal.mean()  # the far side of a tail is where differences keep their digits
    masses = np.where(right, normal.sf(low) - normal.sf(high), normal.cdf(high) - normal.cdf(low))
    rate = gaussian_kl(mu, logvar).double().sum().item() / 300
    expected = (-np.log(masses).sum() / 300 + rate) / 64 / math.log(2)
    assert np.isfinite(expected)
    got = discretised_bits_per_dim(model, digits, sigma2)
    assert got == pytest.approx(expected, rel=1e-6)


def test_uniform_bytes_under_a_model_of_nothing_cost_what_the_cross_entropy_says():
    """Mean 0, variance 1/4: the exact sum over the 256 values, each as likely as the others."""
    shape = ImageShape(1, 16, 16)
    pixels = np.arange(256, dtype=np.uint8)[None].repeat(3, 0)
    images = EvaluationSet(Rows(pixels, np.arange(3)), "test", count=3, shape=shape)
    nothing = Known(shape, torch.zeros(2, 256), torch.zeros(2))
    cdf = stats.norm(0, 0.5).cdf(np.arange(1, 256) / 256)
    masses = np.diff(np.concatenate([[0.0], cdf, [1.0]]))
    got = discretised_bits_per_dim(nothing, images, 0.25)
    assert got == pytest.approx(-np.log2(masses).mean(), rel=1e-9)


def test_mass_and_density_agree_where_bins_are_narrow_and_tails_are_thin():
    """Mid-grey bytes, sigma 30 bins wide: the dequantised bound is the code length, but for
    Jensen's gap and the noise's share of the error, both of order (1/30)^2."""
    generator = np.random.default_rng(0)
    pixels = generator.normal(128, 30, (300, 64)).clip(40, 215).astype(np.uint8)
    data = EvaluationSet(Rows(pixels, np.arange(300)), "test", count=300, shape=SHAPE)
    half = Known(SHAPE, torch.zeros(1, 64), torch.zeros(1))
    half.decode = lambda z: torch.full((len(z), 1, 8, 8), 0.5)  # the mean of the bytes
    found = measure(half, data.batches(1))
    density = calibrated(found, found, 64)["bits_per_dim"]
    mass = discretised_bits_per_dim(half, data, fitted_variance(found, 64))
    assert mass == pytest.approx(density, abs=2e-3)


@pytest.mark.parametrize("sigma2", [1e-12, 1e12])
def test_no_noise_variance_makes_a_code_length_infinite(digits, sigma2):
    assert math.isfinite(discretised_bits_per_dim(headed(SHAPE, "pixel"), digits, sigma2))


def test_a_model_without_a_head_needs_a_variance(digits):
    model = Known(SHAPE, torch.zeros(2, 64), torch.zeros(2))
    with pytest.raises(ContractError, match="give sigma2"):
        discretised_bits_per_dim(model, digits)


@pytest.mark.gpu
@pytest.mark.parametrize(("head", "sigma2"), [("image", None), ("pixel", None), ("pixel", 1e-4)])
def test_the_device_changes_the_code_length_by_rounding_only(head, sigma2):
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    rows, model = Rows(pixels, np.arange(len(pixels))), headed(SHAPE, head)
    lengths = []
    for device in ("cpu", "cuda"):
        images = EvaluationSet(rows, "test", count=300, shape=SHAPE, device=device)
        lengths.append(discretised_bits_per_dim(model.to(device), images, sigma2))
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-4)
