"""The aggregate posterior, against theory: Gaussian encoders of Gaussian images, and extremes.

Images x ~ N(0, I), means m + A x and variances v make z ~ N(m, C), C = A A^T + diag(v). An estimate
is a mean over images, and its standard error that of a quadratic form of Gaussians.
"""

import math

import numpy as np
import pytest
import torch
from known_models import Known, Rows

from vae_core.evaluation import EvaluationSet, aggregate, measure
from vae_core.evaluation.aggregate import NAMES, ROWS, effective, information, mmd
from vae_core.geometry import ImageShape

SHAPE = ImageShape(1, 2, 3)
N = 1500


def drawn(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def encoded(mean, cov, variance):
    """Posteriors and noise, each [N, Z], with z ~ N(mean, cov) and posterior variances [Z].

    The images have mean 0 and covariance I exactly, so that R is that of the population.
    """
    x = drawn(N, len(mean))
    x -= x.mean(dim=0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / N)).T
    mu = mean + x @ torch.linalg.cholesky(cov - torch.diag(variance)).T
    return mu, variance.log().expand_as(mu), drawn(N, len(mean), seed=1)


class Given(Known):
    """Posteriors that are given, whatever the images."""

    def __init__(self, mu, logvar):
        super().__init__(SHAPE, torch.zeros(mu.shape[1], SHAPE.dims), torch.zeros(mu.shape[1]))
        self.rows = zip(mu.split(200), logvar.split(200), strict=True)

    def encode(self, x):
        return next(self.rows)


def measured(mu, logvar, noise, check=None):
    """The aggregate posterior of given ones, in batches of 200."""
    x = torch.zeros(len(mu), *SHAPE.chw)
    batches = zip(x.split(200), noise.split(200), strict=True)
    return aggregate(Given(mu, logvar), batches, check)


def test_each_latent_tells_what_a_gaussian_channel_does():
    powers = torch.tensor([1.5, 1.0, 1.0]).double()
    variance = torch.tensor([0.5, 0.51, 0.999]).double()
    found = measured(*encoded(torch.zeros(3).double(), torch.diag(powers), variance))
    expected = 0.5 * (powers / variance).log()
    errors = ((1 - variance / powers) / N).sqrt()  # of z^2/(2 C) - noise^2/2
    for row in found.latents:
        d = row["latent"]
        error = 4 * float(errors[d]) + 1e-9
        assert row["mutual_information"] == pytest.approx(float(expected[d]), abs=error)
        marginal = 0.5 * float(powers[d] - 1 - powers[d].log())
        assert row["marginal_kl"] == pytest.approx(marginal, abs=error)
        assert row["kl"] == pytest.approx(row["mutual_information"] + row["marginal_kl"])
    assert [row["latent"] for row in found.latents] == [0, 1, 2], "the most informative first"
    joint = found.scalars["mutual_information"]
    assert joint == pytest.approx(float(expected.sum()), abs=4 * float(errors.norm()))
    assert found.scalars["total_correlation"] == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.8])
def test_a_gaussian_aggregate_has_the_divergences_of_a_gaussian(correlation):
    mean = torch.tensor([0.3, -0.4]).double()
    cov = torch.tensor([[1.2, correlation], [correlation, 1.0]]).double()
    variance = torch.tensor([0.15, 0.15]).double()
    found = measured(*encoded(mean, cov, variance)).scalars
    apart = 0.5 * float(cov.trace() + mean @ mean - 2)
    total = apart - 0.5 * float(cov.logdet())
    alone = apart - 0.5 * float(cov.diagonal().log().sum())
    # Of z' C^-1 z / 2 - noise^2 / 2, of z' (diag(C)^-1 - C^-1) z / 2, and of both together.
    error = math.sqrt(float(2 - (torch.linalg.inv(cov).diagonal() * variance).sum()) / N)
    between = abs(correlation) / math.sqrt(1.2 * N) + 0.004
    assert found["mutual_information"] == pytest.approx(
        0.5 * float(cov.logdet() - variance.log().sum()), abs=4 * error
    )
    assert found["marginal_kl"] == pytest.approx(total, abs=4 * error)
    assert found["total_correlation"] == pytest.approx(total - alone, abs=4 * between)
    assert found["dimension_kl"] == pytest.approx(alone, abs=4 * (error + between))


def mixture(z, mu, logvar):
    """ln q(z) [n] and ln q(z_d) [n, Z] of latents z [n, Z], by torch's distributions."""
    normal = torch.distributions.Normal(mu, (logvar / 2).exp())
    density = normal.log_prob(z[:, None])  # [n, N, Z]
    return tuple(d.logsumexp(1) - math.log(len(mu)) for d in (density.sum(2), density))


def test_the_parts_are_the_expectations_they_are_named_after_on_the_same_latents():
    """R may differ from its own estimate, E ln q(z|x) - ln p(z), by what the noise makes of it."""
    mu, logvar, noise = drawn(3, 150, 4)
    found = measured(mu, logvar, noise).scalars
    z = mu + (logvar / 2).exp() * noise
    own = torch.distributions.Normal(mu, (logvar / 2).exp()).log_prob(z).sum(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    joint, each = mixture(z, mu, logvar)
    rate = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    drawn_rate = (own - prior).mean()
    parts = {
        "mutual_information": (own - joint).mean(),
        "total_correlation": (joint - each.sum(1)).mean(),
        "dimension_kl": (each.sum(1) - prior).mean() + rate - drawn_rate,
    }
    for name, value in parts.items():
        assert found[name] == pytest.approx(float(value), abs=1e-12)
    assert sum(found[name] for name in parts) == pytest.approx(float(rate))
    assert found["mutual_information"] + found["marginal_kl"] == pytest.approx(float(rate))


def test_posteriors_that_are_all_equal_tell_nothing():
    mu, logvar = torch.tensor([0.5, 0.0]).double().expand(100, 2), drawn(2).expand(100, 2)
    found = measured(mu, logvar, drawn(100, 2)).scalars
    rate = 0.5 * float((mu**2 + logvar.exp() - 1 - logvar)[0].sum())
    assert found["mutual_information"] == pytest.approx(0.0, abs=1e-12)
    assert found["total_correlation"] == pytest.approx(0.0, abs=1e-12)
    assert found["marginal_kl"] == pytest.approx(rate)


@pytest.mark.parametrize("width", [1e-3, 1e-12, 1e-20])
def test_posteriors_far_apart_tell_which_image_it_is(width):
    mu = torch.arange(1.0, 101.0).double()[:, None].expand(100, 2)
    logvar = torch.full((100, 2), 2 * math.log(width), dtype=torch.float64)
    found = measured(mu, logvar, drawn(100, 2))
    assert found.scalars["mutual_information"] == pytest.approx(math.log(100), rel=1e-12)
    # Either latent says it all, so what they share is all of it.
    assert found.scalars["total_correlation"] == pytest.approx(math.log(100), rel=1e-12)


def test_no_image_adds_more_than_ln_n_and_blocks_do_not_matter():
    mu, logvar, noise = drawn(3, 2 * ROWS + 7, 5, seed=3)
    order = torch.randperm(len(mu), generator=torch.Generator().manual_seed(0))
    joint, each = information(3 * mu, logvar, noise)
    assert joint <= math.log(len(mu)) + 1e-12
    assert (each <= math.log(len(mu))).all()
    again = information(3 * mu[order], logvar[order], noise[order])
    assert torch.allclose(joint, again[0], rtol=1e-12)
    assert torch.allclose(each, again[1], rtol=1e-12)


def kernel(z, other):
    return (-(z[:, None] - other).square().sum(2) / (2 * z.shape[1])).exp()


def test_the_priors_side_of_mmd_is_exact():
    """Against the estimate with 20,000 draws of the prior."""
    z, prior = 0.5 + 1.5 * drawn(100, 3), drawn(20_000, 3, seed=1)
    pairs = kernel(z, z)
    within = (pairs.sum() - pairs.trace()) / (100 * 99)
    across = kernel(z, prior).mean(dim=0)
    between = kernel(prior[:10_000], prior[10_000:][:100])
    expected = within - 2 * across.mean() + between.mean()
    error = float(across.var() * 4 / 20_000 + between.mean(0).var() / 100) ** 0.5
    assert mmd(z) == pytest.approx(float(expected), abs=4 * error)


@pytest.mark.parametrize("latents", [1, 8])
def test_mmd_is_0_on_average_of_the_prior_and_of_a_shift_what_theory_says(latents):
    """|E k(z, .) - E k(z', .)|^2 = 2 (1 + 2/Z)^(-Z/2) (1 - exp(-|m|^2 / (2 (Z + 2))))."""
    shift = 0.5
    expected = 2 * (1 + 2 / latents) ** (-latents / 2)
    expected *= 1 - math.exp(-latents * shift**2 / (2 * (latents + 2)))
    for mean, theory in ((0.0, 0.0), (shift, expected)):
        values = [mmd(mean + drawn(100, latents, seed=seed)) for seed in range(200)]
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert np.mean(values) == pytest.approx(theory, abs=4 * error)
        assert (min(values) < 0) == (mean == 0.0), "unbiased, so below 0 too where it is 0"


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        ([2.0, 2.0, 2.0, 0.0], 3.0),
        ([5.0], 1.0),
        ([0.0, 0.0], 0.0),
        ([1.0, 1.0, -1e-18], 2.0),
        ([3.0, 1.0], 4 / 3**0.75),  # exp(ln 4 - 3/4 ln 3)
    ],
)
def test_effective_latents_are_those_that_share_evenly(kl, expected):
    assert effective(torch.tensor(kl).double()) == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["mu", "logvar"])
def test_a_model_that_has_diverged_has_no_number(part, value):
    parts = {"mu": drawn(10, 2), "logvar": drawn(10, 2), "noise": drawn(10, 2)}
    parts[part][3, 1] = value
    found = measured(**parts)
    assert set(found.scalars) == set(NAMES)
    assert all(map(math.isnan, found.scalars.values()))
    assert found.latents == []


def test_it_is_of_the_images_and_their_fixed_noise():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 6), dtype=np.uint8)
    images = EvaluationSet(Rows(pixels, np.arange(300)), "test", count=300, shape=SHAPE)
    model = Known(SHAPE, drawn(2, 6).float(), torch.tensor([-2.0, -1.0]))
    found = aggregate(model, images.batches(2))
    assert aggregate(model, images.batches(2)) == found
    rate = measure(model, images.batches(2)).R
    parts = ("mutual_information", "total_correlation", "dimension_kl")
    assert sum(found.scalars[name] for name in parts) == pytest.approx(rate, rel=1e-6)
    assert sum(row["kl"] for row in found.latents) == pytest.approx(rate, rel=1e-6)


def test_it_can_be_interrupted_between_any_two_blocks():
    calls = []
    measured(*drawn(3, 3 * ROWS, 2), check=lambda: calls.append(1))
    assert len(calls) == 6, "three blocks of information, three of MMD"
