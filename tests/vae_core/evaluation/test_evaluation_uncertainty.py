"""Calibration, on data whose distribution is the model's own or differs from it by a known bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_models import Known, headed
from scipy import stats

from vae_core.evaluation import Batch, calibration, grid, sample_maps, samples, variance_maps
from vae_core.evaluation.uncertainty import FINE, ROWS
from vae_core.generation import sample_prior
from vae_core.generation.latents import normal
from vae_core.geometry import ImageShape
from vae_core.models import build, initialise

SHAPE = ImageShape(1, 8, 8)
N = 4000
NAMES = ("coverage_50", "coverage_90", "coverage_95")
NOMINAL = (0.50, 0.90, 0.95)


def blind(head=None, spread=1.5):
    """A model whose posterior is the prior, so that z is the noise and x can be drawn given z."""
    generator = torch.Generator().manual_seed(1)
    decoder, weights = torch.randn(2, 3, 64, generator=generator) / 4
    zeros = torch.zeros(3, 64)
    shapes = {
        "pixel": lambda z: (z @ weights.to(z) * spread - 3.0).view(-1, *SHAPE.chw),
        "image": lambda z: (z[:, 0] - 3.0).view(-1, 1, 1, 1),
    }
    return Known(SHAPE, zeros, torch.zeros(3), decoder, head, shapes.get(head))


def drawn(model, sigma2=None, likelihood="gaussian", factor=1.0, n=N, seed=0):
    """n images from the model's own predictive distribution, but for ``factor`` on sigma."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, 3, generator=generator)
    unit = torch.randn(n, *SHAPE.chw, generator=generator)
    if likelihood == "laplace":
        unit = torch.rand(n, *SHAPE.chw, generator=generator, dtype=torch.float64) - 0.5
        unit = (-unit.sign() * torch.log1p(-2 * unit.abs()) / math.sqrt(2)).float()
    with torch.no_grad():
        if sigma2 is None:
            mean, log_sigma2 = model.decode_spread(noise)
            sigma = (log_sigma2 / 2).exp()
        else:
            mean, sigma = model.decode(noise), math.sqrt(sigma2)
    x = mean + factor * sigma * unit
    return [Batch(*chunk) for chunk in zip(x.split(256), noise.split(256), strict=True)]


def allowed(p, pixels=N * 64):
    """Four standard deviations of a binomial share: one wrong alarm in 16,000."""
    return 4 * math.sqrt(p * (1 - p) / pixels)


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
@pytest.mark.parametrize(("head", "sigma2"), [(None, 0.04), ("image", None), ("pixel", None)])
def test_data_drawn_from_the_model_are_covered_as_they_should_be(head, sigma2, likelihood):
    model = blind(head)
    got = calibration(model, drawn(model, sigma2, likelihood), sigma2, likelihood)
    for name, p in zip(NAMES, NOMINAL, strict=True):
        assert abs(got.scalars[name] - p) < allowed(p)
    assert len(got.quantiles) == 39
    for row in got.quantiles:
        assert abs(row["observed"] - row["expected"]) < allowed(row["expected"])
    assert got.scalars["calibration_error"] < allowed(0.5)
    # Squared errors have the relative variance kurtosis - 1: 2 under a Gaussian, 5 under Laplace.
    relative = {"gaussian": 2, "laplace": 5}[likelihood]
    for row in got.variances:
        within = 5 * math.sqrt(relative / row["pixels"])
        assert row["observed"] == pytest.approx(row["predicted"], rel=within)


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_a_wrong_sigma_is_found_out_by_as_much_as_theory_says(factor, likelihood):
    """Errors ``factor`` times as large as predicted."""
    model, noise = blind(), {"gaussian": stats.norm, "laplace": stats.laplace}[likelihood]
    got = calibration(model, drawn(model, 0.04, likelihood, factor), 0.04, likelihood)
    for name, p in zip(NAMES, NOMINAL, strict=True):
        end = noise.ppf(0.5 + p / 2) / factor
        expected = noise.cdf(end) - noise.cdf(-end)
        assert abs(got.scalars[name] - expected) < allowed(expected)
    levels = np.array([row["expected"] for row in got.quantiles])
    theory = np.abs(noise.cdf(noise.ppf(levels) / factor) - levels).mean()
    assert abs(got.scalars["calibration_error"] - theory) < allowed(0.5)
    (row,) = got.variances
    assert row["predicted"] == pytest.approx(0.04, rel=1e-6)
    assert row["observed"] == pytest.approx(0.04 * factor**2, rel=5 * math.sqrt(5 / N / 64))


@pytest.mark.parametrize("head", ["image", "pixel"])
def test_errors_follow_the_predicted_variance_and_differ_where_it_is_wrong(head):
    """A head that sees half the true sigma: every row is off by 4, in its own place."""
    model = blind(head)
    got = calibration(model, drawn(model, factor=2.0))
    rows = got.variances
    assert len(rows) == ROWS
    assert sum(row["pixels"] for row in rows) == N * 64
    assert [row["predicted"] for row in rows] == sorted(row["predicted"] for row in rows)
    assert [row["quantile"] for row in rows] == pytest.approx(np.arange(1, 21) / 20, abs=0.01)
    assert rows[-1]["predicted"] > 5 * rows[0]["predicted"]
    for row in rows:
        assert row["observed"] / row["predicted"] == pytest.approx(4, rel=0.1)


def test_the_rows_are_the_quantiles_of_the_predicted_variance():
    model = blind("pixel")
    batches = drawn(model)
    rows = calibration(model, batches).variances
    with torch.no_grad():
        log_sigma2 = torch.cat([model(*batch).log_sigma2 for batch in batches]).flatten()
    sigma2 = log_sigma2.double().exp().sort().values.numpy()
    ends = np.cumsum([int(row["pixels"]) for row in rows])
    for row, part in zip(rows, np.split(sigma2, ends[:-1]), strict=True):
        # Pixels within one counted bin of a row's end may be in the row beside it.
        assert row["predicted"] == pytest.approx(part.mean(), rel=FINE)
    np.testing.assert_allclose(np.diff([0, *ends]), N * 64 / ROWS, rtol=0.1)


def test_one_variance_makes_one_row_and_is_reported_exactly():
    model = blind()
    got = calibration(model, drawn(model, 0.04), 0.04)
    (row,) = got.variances
    assert (row["quantile"], row["pixels"]) == (1.0, N * 64)
    assert row["predicted"] == pytest.approx(0.04, rel=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "noise"), [("gaussian", stats.norm), ("laplace", stats.laplace)]
)
@pytest.mark.parametrize("head", [None, "image", "pixel"])
def test_the_nll_is_the_mean_negative_log_density(head, likelihood, noise):
    model, sigma2 = blind(head), None if head else 0.03
    batches = drawn(model, sigma2, n=300)
    x, z = (torch.cat(part) for part in zip(*batches, strict=True))
    with torch.no_grad():
        mean = model.decode(z).double().numpy()
        ln = model.decode_spread(z)[1].double() if head else torch.tensor(0.03).log()
    sigma = np.exp(ln.numpy() / 2)
    scale = sigma / math.sqrt(2) if likelihood == "laplace" else sigma
    expected = -noise.logpdf(x.double().numpy(), mean, scale).sum() / 300
    got = calibration(model, batches, sigma2, likelihood).scalars["nll"]
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-3)


@given(scale=st.floats(0.05, 20.0), cut=st.integers(1, 299))
@settings(max_examples=25)
def test_shares_are_shares_and_batches_do_not_matter(scale, cut):
    model = blind("pixel")
    whole = drawn(model, factor=scale, n=300)
    x, noise = (torch.cat(part) for part in zip(*whole, strict=True))
    cuts = [Batch(x[:cut], noise[:cut]), Batch(x[cut:], noise[cut:])]
    one, two = calibration(model, whole), calibration(model, cuts)
    assert one.scalars == pytest.approx(two.scalars, rel=1e-4, abs=1e-3)
    observed = [row["observed"] for row in one.quantiles]
    assert observed == sorted(observed)
    assert 0 <= observed[0] <= observed[-1] <= 1
    assert one.scalars["coverage_50"] <= one.scalars["coverage_90"] <= one.scalars["coverage_95"]
    assert 0 <= one.scalars["calibration_error"] <= 0.5


def test_variances_out_of_the_counted_range_are_kept_at_its_ends(monkeypatch):
    monkeypatch.setattr("vae_core.evaluation.uncertainty.LOG_VARIANCE", (-3.2, -2.8))
    model = blind("pixel")
    batches = drawn(model, n=300)
    rows = calibration(model, batches).variances
    assert sum(row["pixels"] for row in rows) == 300 * 64
    with torch.no_grad():
        sigma2 = torch.cat([model(*batch).log_sigma2.double().exp() for batch in batches])
    total = sum(row["pixels"] * row["predicted"] for row in rows)
    assert total == pytest.approx(sigma2.sum().item(), rel=1e-9)
    ends = (sigma2.log() < -3.2).sum().item(), (sigma2.log() > -2.8).sum().item()
    assert (rows[0]["pixels"], rows[-1]["pixels"]) == pytest.approx(ends, rel=0.05)


def test_a_diverged_model_gives_nan_and_raises_nothing():
    model = blind("pixel")
    batches = drawn(model, n=20)
    with torch.no_grad():
        model.decoder.fill_(torch.nan)
    got = calibration(model, batches)
    assert all(math.isnan(value) for value in got.scalars.values())
    assert got.variances == []
    assert variance_maps(model, batches[0]).picture.size[0] > 0


def inner(picture, like):
    """The part of a captioned picture that a grid as large as ``like`` covers."""
    return np.asarray(picture)[: like.height, : like.width]


def test_the_maps_are_the_images_their_spread_and_their_error_on_one_scale():
    model = blind("pixel", spread=1.0)
    batch = Batch(*(part[:6] for part in drawn(model, n=256)[0]))
    picture, limit = variance_maps(model, batch)
    with torch.no_grad():
        xhat, log_sigma2 = model.decode_spread(batch.noise)
    sigma, error = (log_sigma2 / 2).exp(), (batch.x - xhat).abs()
    values = torch.stack([sigma, error])
    assert (values < limit).float().mean().item() == pytest.approx(0.99, abs=0.002)
    tiles = torch.stack([batch.x, xhat, sigma / limit, error / limit], 1).flatten(0, 1)
    plain = grid(tiles)
    np.testing.assert_array_equal(inner(picture, plain), np.asarray(plain))
    assert picture.height > plain.height  # the caption
    assert (np.asarray(picture)[plain.height :] < 128).any()


def test_a_sample_is_beside_its_spread_on_the_scale_of_the_reconstructions():
    model = headed(ImageShape(3, 8, 8), "image")
    z = normal(5, 3, 7, "prior")
    picture = sample_maps(model, z, 0.25)
    with torch.no_grad():
        sigma = (model.decode_spread(z)[1] / 2).exp()
    images = sample_prior(model, 5, 7)
    tiles = torch.stack([images, (sigma / 0.25).expand_as(images)], 1).flatten(0, 1)
    plain = grid(tiles)
    np.testing.assert_array_equal(inner(picture, plain), np.asarray(plain))


def test_a_model_without_a_head_has_flat_maps():
    model = build({"name": "mlp", "latent": 4, "width": 16}, SHAPE)
    initialise(model, 0)
    batch = Batch(torch.rand(2, 1, 8, 8), torch.randn(2, 4))
    picture, limit = variance_maps(model, batch, sigma2=0.01)
    assert 0.1 <= limit <= 1
    assert picture.mode == "L"
    # Tiles of 32 pixels and 2 between: the third is the map of one value.
    tile = np.asarray(picture)[2:34, 2 + 2 * 34 : 34 + 2 * 34]
    assert np.unique(tile).tolist() == [int(0.1 / limit * 256)]
    assert sample_maps(model, torch.randn(1, 4), limit, 0.01).width >= samples(model, 1, 0).width


@pytest.mark.gpu
@pytest.mark.parametrize("head", ["image", "pixel"])
def test_the_device_changes_calibration_by_rounding_only(head):
    model = blind(head)
    batches = drawn(model)
    here = calibration(model, batches)
    there = calibration(model.to("cuda"), [Batch(x.cuda(), z.cuda()) for x, z in batches])
    assert there.scalars == pytest.approx(here.scalars, rel=1e-4, abs=1e-4)
    assert len(there.variances) == len(here.variances)
    limit = variance_maps(model, Batch(*(part.cuda() for part in batches[0]))).limit
    assert sample_maps(model, normal(3, 3, 0, "prior"), limit).height > 0
