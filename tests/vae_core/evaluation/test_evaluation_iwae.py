"""The importance-weighted bound, on models whose marginal likelihood is known."""

import math

import numpy as np
import pytest
import torch
from known_models import Known, Rows, headed
from scipy import integrate, stats
from sklearn.datasets import load_digits

from vae_core.errors import ContractError
from vae_core.evaluation import EvaluationSet, calibrated, fitted_variance, iwae, measure
from vae_core.geometry import ImageShape

SHAPE = ImageShape(1, 8, 8)
SIGMA2 = 0.1


def digits(count, split="test"):
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return EvaluationSet(Rows(pixels, np.arange(len(pixels))), split, count=count, shape=SHAPE)


def linear(latent, *, shift=1.0, widen=1.0):
    """A linear decoder with its exact posterior, or one whose mean and variance are off.

    Orthogonal directions w_d: the posterior is independent, of precision 1 + |w_d|^2/sigma^2.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(64, latent, generator=generator).double())[0].T
    decoder = directions * torch.linspace(0.2, 0.8, latent).double().unsqueeze(1)
    precision = 1 + decoder.square().sum(1) / SIGMA2
    encoder = decoder / SIGMA2 / precision.unsqueeze(1)
    logvar = -precision.log() + 2 * math.log(widen)
    return Known(SHAPE, (encoder * shift).float(), logvar.float(), decoder.float())


def marginal(model, images):
    """Mean -ln p(x) of the linear model: N(0, W^T W + sigma^2 I)."""
    W = model.decoder.detach().double().numpy()
    x = torch.cat([batch.x for batch in images.batches(model.latent)]).flatten(1).double().numpy()
    covariance = W.T @ W + SIGMA2 * np.eye(64)
    return -stats.multivariate_normal(np.zeros(64), covariance).logpdf(x).mean()


def test_under_the_exact_posterior_one_sample_is_the_marginal_likelihood():
    """Every weight is p(x) then; what is left is the rounding of float32 sums."""
    images, model = digits(300), linear(5)
    for samples in (1, 3):
        bound = iwae(model, images, samples, sigma2=SIGMA2)
        assert bound == pytest.approx(marginal(model, images), abs=1e-3)


def test_under_a_wrong_posterior_the_bound_falls_to_the_marginal_likelihood():
    """The gap at k is Var(w / p(x)) / (2 k) to first order (Nowozin 2018, proposition 1).

    Posterior N(0, s^2) against q N(0, (c s)^2) in each latent: E_q[(p/q)^2] =
    c^2 / sqrt(2 c^2 - 1), here with c = 1.2.
    """
    latent, widen, images = 4, 1.2, digits(600)
    model = linear(latent, widen=widen)
    exact = marginal(model, images)
    spread = (widen**2 / math.sqrt(2 * widen**2 - 1)) ** latent - 1
    gaps = {}
    for samples in (8, 64):
        gaps[samples] = iwae(model, images, samples, sigma2=SIGMA2) - exact
        # The mean over images of ln(mean weight) has the standard error sqrt(spread / k / n).
        error = 4 * math.sqrt(spread / samples / 600)
        first = spread / (2 * samples)
        assert gaps[samples] == pytest.approx(first, abs=error + 2 * spread**2 / samples**2 + 1e-3)
    assert gaps[64] < gaps[8]


def test_a_biased_posterior_is_made_good_by_many_samples():
    images, model = digits(100), linear(3, shift=0.9, widen=1.3)
    exact = marginal(model, images)
    one, many = (iwae(model, images, k, sigma2=SIGMA2) for k in (1, 300))
    assert one > exact + 0.1
    assert many == pytest.approx(exact, abs=0.02)


def test_one_sample_is_the_negative_elbo_in_expectation():
    """Within four standard errors of the mean over images of ln w, whose mean is the ELBO."""
    images, model = digits(1797), linear(4, shift=0.8, widen=1.3)
    S, R = (getattr(measure(model, images.batches(4)), name) for name in ("S", "R"))
    elbo = S / (2 * SIGMA2) + 32 * math.log(2 * math.pi * SIGMA2) + R
    # The ELBO's own S is a single draw as well, with an error of the same size.
    error = math.sqrt(2) * _spread_over_draws(model, images) / math.sqrt(1797)
    assert iwae(model, images, 1, sigma2=SIGMA2) == pytest.approx(elbo, abs=4 * error)


def _spread_over_draws(model, images):
    """Standard deviation over z ~ q of an image's ln w, from 64 draws each of 256 images."""
    generator = torch.Generator().manual_seed(5)
    x = next(images.batches(4)).x
    with torch.no_grad():
        mu, logvar = model.encode(x)
        values = []
        for _ in range(64):
            noise = torch.randn(mu.shape, generator=generator)
            z = mu + noise * (logvar / 2).exp()
            error = (x - model.decode(z)).square().sum((1, 2, 3)) / (2 * SIGMA2)
            values.append(error + 0.5 * (z**2 - noise**2).sum(1))
    return float(torch.stack(values).var(0).mean().sqrt())


def test_more_samples_give_a_lower_bound():
    images, model = digits(300), linear(5, shift=0.7, widen=1.5)
    bounds = [iwae(model, images, k, sigma2=SIGMA2) for k in (1, 2, 4, 16, 64)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > marginal(model, images)


@pytest.mark.parametrize(
    ("head", "likelihood"), [("pixel", "gaussian"), ("image", "gaussian"), (None, "laplace")]
)
def test_other_noise_is_weighed_by_its_own_density(head, likelihood):
    """One latent: -ln p(x), and how far the bound may be from it, by quadrature over z."""
    images, samples = digits(6), 5000
    model, sigma2 = headed(SHAPE, head or "pixel", latent=1), None if head else 0.08
    with torch.no_grad():
        model.encoder.zero_()
        model.logvar.fill_(math.log(4))
        z = torch.linspace(-10, 10, 4001).view(-1, 1)
        mean, log_sigma2 = (part.double() for part in model.decode_spread(z))
    if likelihood == "laplace":
        noise = torch.distributions.Laplace(mean, math.sqrt(0.08 / 2))
    else:
        noise = torch.distributions.Normal(mean, (log_sigma2 / 2).exp())
    z = z.flatten().double().numpy()
    exact, spread = [], []
    for image in next(images.batches(1)).x.double():
        log_joint = noise.log_prob(image).sum((1, 2, 3)).numpy() + stats.norm.logpdf(z)
        top = log_joint.max()
        mass = integrate.simpson(np.exp(log_joint - top), x=z)
        exact.append(-top - math.log(mass))
        posterior = np.exp(log_joint - top) / mass
        spread.append(integrate.simpson(posterior**2 / stats.norm.pdf(z, 0, 2), x=z) - 1)
    error = math.sqrt(np.mean(spread) / samples / 6)  # of the mean over images of ln(mean weight)
    assert error < 0.03
    bound = iwae(model, images, samples, sigma2=sigma2, likelihood=likelihood)
    bias = np.mean(spread) / samples / 2
    assert bound == pytest.approx(np.mean(exact) + bias, abs=4 * error + bias)


def test_the_bound_is_comparable_with_the_calibrated_negative_elbo():
    train, held_out, model = digits(400, "train"), digits(400), linear(5, shift=0.7, widen=1.2)
    fitted, found = (measure(model, part.batches(5)) for part in (train, held_out))
    elbo = calibrated(fitted, found, 64)["calibrated_negative_elbo"]
    bound = iwae(model, held_out, 50, sigma2=fitted_variance(fitted, 64))
    assert bound < elbo
    assert bound == pytest.approx(elbo, abs=20)


def test_it_is_deterministic_and_images_do_not_depend_on_their_neighbours():
    model, few = linear(3, shift=0.5), digits(256)
    first = iwae(model, few, 5, sigma2=SIGMA2)
    torch.manual_seed(1)
    assert iwae(model, few, 5, sigma2=SIGMA2) == first
    assert iwae(model, digits(256, "validation"), 5, sigma2=SIGMA2) != first
    noise = list(few.draws(3, 0, 5))
    more = digits(300)
    assert all(torch.equal(a, b) for a, b in zip(noise, more.draws(3, 0, 9), strict=False))
    assert [len(draw) for draw in more.draws(3, 1, 2)] == [44, 44]
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0][:44], next(more.draws(3, 1, 1)))
    assert not torch.equal(noise[0], next(more.batches(3)).noise)


def test_it_can_be_interrupted():
    class Enough(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 4:
            raise Enough

    model = linear(3).train()
    with pytest.raises(Enough):
        iwae(model, digits(20), 100, sigma2=SIGMA2, check=check)
    assert len(calls) == 4
    assert model.training


def test_what_diverged_or_lacks_a_variance_is_said():
    model = linear(2)
    with pytest.raises(ContractError, match="no noise variance"):
        iwae(model, digits(5), 2)
    with torch.no_grad():
        model.decoder.fill_(torch.nan)
    assert math.isnan(iwae(model, digits(5), 2, sigma2=SIGMA2))


@pytest.mark.gpu
def test_the_device_changes_the_bound_by_rounding_only():
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    rows, model = Rows(pixels, np.arange(len(pixels))), linear(3, widen=1.2)
    here = iwae(model, digits(300), 5, sigma2=SIGMA2)
    there = EvaluationSet(rows, "test", count=300, shape=SHAPE, device="cuda")
    assert iwae(model.to("cuda"), there, 5, sigma2=SIGMA2) == pytest.approx(here, rel=1e-4)
