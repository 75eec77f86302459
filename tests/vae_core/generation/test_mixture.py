"""The Gaussian mixture on latents."""

import sys

import pytest
import torch

from vae_core.errors import UserError
from vae_core.generation import Mixture, Posteriors, fit_mixture

WEIGHTS = torch.tensor([0.2, 0.3, 0.5])
MEANS = torch.tensor([[-3.0, 0.0, 1.0], [0.0, 2.0, 0.0], [3.0, -1.0, -1.0]])
FACTORS = torch.tensor(
    [
        [[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [0.0, 0.2, 0.3]],
        [[0.6, 0.0, 0.0], [-0.4, 0.3, 0.0], [0.1, 0.1, 0.5]],
        [[0.4, 0.0, 0.0], [0.0, 0.7, 0.0], [0.3, -0.2, 0.2]],
    ]
)
KNOWN = Mixture(WEIGHTS, MEANS, FACTORS, torch.device("cpu"))


def means_only(mu):
    return Posteriors(mu, torch.zeros_like(mu))


def test_samples_have_the_mixtures_moments():
    z = KNOWN.sample(20_000, seed=0)
    mean = WEIGHTS @ MEANS
    within = torch.einsum("k,kij,klj->il", WEIGHTS, FACTORS, FACTORS)
    between = torch.einsum("k,ki,kj->ij", WEIGHTS, MEANS - mean, MEANS - mean)
    # Standard deviations are at most 2.5: four standard errors of a mean of 20,000 are 0.07.
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.07)
    torch.testing.assert_close(z.T.cov(), within + between, rtol=0.03, atol=0.1)
    nearest = torch.cdist(z, MEANS).argmin(1).bincount() / len(z)
    torch.testing.assert_close(nearest, WEIGHTS, rtol=0, atol=0.015)


def test_a_known_mixture_is_recovered():
    found = fit_mixture(means_only(KNOWN.sample(6000, seed=1)), components=3, seed=0)
    order = found.means[:, 0].argsort()
    covariances = found.factors @ found.factors.mT
    # At least 1,200 latents a component, which lie 4 standard deviations or more apart: three to
    # four standard errors each.
    torch.testing.assert_close(found.weights[order], WEIGHTS, rtol=0, atol=0.025)
    torch.testing.assert_close(found.means[order], MEANS, rtol=0, atol=0.08)
    torch.testing.assert_close(covariances[order], FACTORS @ FACTORS.mT, rtol=0, atol=0.07)


def test_a_sample_depends_on_the_seed_and_its_index_only():
    latents = means_only(KNOWN.sample(500, seed=1))
    torch.manual_seed(0)
    one = fit_mixture(latents, components=4, seed=5)
    torch.manual_seed(1)
    two = fit_mixture(latents, components=4, seed=5)
    many = one.sample(600, seed=3)
    assert torch.equal(two.sample(600, seed=3), many)
    assert torch.equal(one.sample(300, seed=3), many[:300])
    assert not torch.equal(one.sample(300, seed=4), many[:300])
    assert not torch.equal(many[:256], many[256:512])


def test_collapsed_latents_are_fitted_as_a_point():
    collapsed = torch.full((50, 4), 0.5)
    collapsed[:, 0] = torch.linspace(-1, 1, 50)
    z = fit_mixture(means_only(collapsed), components=10, seed=0).sample(200, seed=0)
    assert z.isfinite().all()
    torch.testing.assert_close(z[:, 1:], torch.full((200, 3), 0.5), rtol=0, atol=0.01)
    z = fit_mixture(means_only(torch.zeros(50, 4)), components=10, seed=0).sample(200, seed=0)
    torch.testing.assert_close(z, torch.zeros(200, 4), rtol=0, atol=0.01)


def test_what_cannot_be_fitted_is_said(monkeypatch):
    with pytest.raises(UserError, match="10 Gaussians cannot be fitted to 9 latents"):
        fit_mixture(means_only(torch.randn(9, 2)), components=10, seed=0)
    with pytest.raises(UserError, match="not all finite"):
        fit_mixture(means_only(torch.full((20, 2), torch.nan)), components=2, seed=0)
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(UserError, match="scikit-learn"):
        fit_mixture(means_only(torch.randn(9, 2)), components=1, seed=0)
