"""The measurement: ground truths, and independence of everything but parameters and images."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from known_models import Known, Rows, headed
from sklearn.datasets import load_digits

from vae_core.data import Dataset, prepare
from vae_core.evaluation import (
    Batch,
    EvaluationSet,
    Measurement,
    calibrated,
    measure,
    measure_images,
)
from vae_core.evaluation.likelihood import BLOCK, fitted_variance
from vae_core.geometry import ImageShape
from vae_core.likelihoods import (
    absolute_error,
    gaussian_kl,
    negative_log_likelihood,
    squared_error,
)
from vae_core.models import build, initialise

SHAPE = ImageShape(1, 8, 8)
TRAIN = Measurement(
    S=6.4, S1=12.8, mse=0.1, R=3.0, nll=None, active_units=2.0, variance_law=0.9, n=10
)
HELD_OUT = Measurement(
    S=12.8, S1=19.2, mse=0.2, R=4.0, nll=None, active_units=1.0, variance_law=0.8, n=5
)


def assert_close(one, two, rel):
    """Two measurements of a model without a head agree to ``rel``."""
    assert one.nll is two.nll is None
    one, two = ({k: v for k, v in asdict(m).items() if v is not None} for m in (one, two))
    assert one == pytest.approx(two, rel=rel)


@pytest.fixture(scope="module")
def digits():
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return Rows(pixels, np.arange(len(pixels))[::2].copy())


@pytest.fixture
def model():
    model = build({"name": "mlp", "latent": 4, "width": 32}, SHAPE)
    initialise(model, 0)
    return model


def test_an_evaluation_set_is_spread_over_its_split_and_dequantised(digits):
    data = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    x = torch.cat([batch.x for batch in data.batches(2)])
    rows = digits.index[np.arange(300) * len(digits.index) // 300]
    assert x.shape == (300, 1, 8, 8)
    assert len(data) == 300
    assert 0 <= x.min() < x.max() < 1
    np.testing.assert_array_equal((x * 256).floor().flatten(1).numpy(), digits.pixels[rows])
    fractions = (x.double() * 256) % 1
    assert fractions.mean().item() == pytest.approx(0.5, abs=0.01)
    assert fractions.var().item() == pytest.approx(1 / 12, abs=0.003)


def test_the_parts_of_a_prepared_dataset_can_be_evaluated(tmp_path, model):
    dataset = Dataset.open(prepare({"name": "digits"}, tmp_path, None), validation=200)
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for split, images in parts.items():
        data = EvaluationSet(images, split, count=10_000, shape=dataset.shape)
        assert measure(model, data.batches(4)).n == len(images)


def test_a_small_split_is_used_whole_and_once(digits):
    few = Rows(digits.pixels, digits.index[:5])
    assert len(EvaluationSet(few, "train", count=100, shape=SHAPE)) == 5


def test_noise_is_fixed_by_split_row_and_latent_size(digits):
    def batches(split="train", count=300, latent=3):
        data = EvaluationSet(digits, split, count=count, shape=SHAPE)
        return list(data.batches(latent))

    torch.manual_seed(1)
    first = batches()
    torch.manual_seed(2)
    assert [len(batch.x) for batch in first] == [BLOCK, 300 - BLOCK]
    for one, two in zip(first, batches(), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.noise, two.noise)
    assert not torch.equal(first[0].noise[:44], first[1].noise)
    assert not torch.equal(first[0].x % (1 / 256), batches("test")[0].x % (1 / 256))
    assert not torch.equal(first[0].noise, batches("test")[0].noise)
    assert torch.equal(first[0].noise[:20], batches(count=20)[0].noise)
    assert not torch.equal(first[0].noise, batches(latent=4)[0].noise[:, :3])


def test_drawing_the_dequantisation_again_gives_the_same_images(digits, monkeypatch):
    kept = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    monkeypatch.setattr("vae_core.evaluation.likelihood.KEPT_BYTES", 0)
    drawn = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    for _ in range(2):
        pairs = zip(kept.batches(2), drawn.batches(2), strict=True)
        assert all(torch.equal(a.x, b.x) for a, b in pairs)


def test_the_measurement_is_the_mean_over_images(digits, model):
    data = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    got = measure(model, data.batches(4))
    x, noise = (torch.cat(parts) for parts in zip(*data.batches(4), strict=True))
    with torch.no_grad():
        xhat, mu, logvar, _ = model(x, noise)
    assert got.n == 300
    error = squared_error(x, xhat).double().mean().item()
    kl = gaussian_kl(mu, logvar).sum(1).double().mean().item()
    assert (got.S, got.mse, got.R) == pytest.approx((error, error / 64, kl), rel=1e-6)
    assert pytest.approx((x - xhat).abs().double().sum().item() / 300, rel=1e-6) == got.S1
    assert got.nll is None


def test_evaluation_is_deterministic_and_independent_of_batch_size(digits, model):
    data = EvaluationSet(digits, "train", count=600, shape=SHAPE)
    first = measure(model, data.batches(4))
    torch.manual_seed(3)
    assert measure(model, data.batches(4)) == first
    x, noise = (torch.cat(parts) for parts in zip(*data.batches(4), strict=True))
    for size in (1, 37, 600):
        chunks = zip(x.split(size), noise.split(size), strict=True)
        other = measure(model, [Batch(*chunk) for chunk in chunks])
        assert_close(other, first, 1e-6)


def test_draws_are_keyed_by_seed_row_and_draw_and_one_is_the_fixed_one(digits):
    data = EvaluationSet(digits, "test", count=300, shape=SHAPE)

    def noise(seed, count):
        return torch.cat([batch.noise for batch in data.drawn(3, seed, count)], dim=1)

    fixed = torch.cat([batch.noise for batch in data.batches(3)])
    assert torch.equal(noise(7, 1), fixed[None])
    assert torch.equal(noise(8, 1), fixed[None])
    three = noise(7, 3)
    assert three.shape == (3, 300, 3)
    assert torch.equal(noise(7, 2), three[:2])
    draws = [*three, *noise(8, 3), fixed]
    for i, one in enumerate(draws):
        assert not any(torch.equal(one[:44], other[:44]) for other in draws[:i])
        assert not torch.equal(one[:44], one[256:])
        assert one.mean().item() == pytest.approx(0, abs=0.12)  # 4 standard errors
    images = [
        torch.cat([b.x for b in batches]) for batches in (data.batches(3), data.drawn(3, 7, 2))
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize("head", [None, "pixel"])
def test_measuring_draws_is_the_mean_of_measuring_each(digits, model, head):
    data = EvaluationSet(digits, "test", count=300, shape=SHAPE)
    model = model if head is None else headed(SHAPE, head, latent=4)
    whole, terms = measure_images(model, data.drawn(4, 5, 3))
    each = [
        measure(model, [Batch(x, noise[k]) for x, noise in data.drawn(4, 5, 3)]) for k in range(3)
    ]
    for name in ("S", "S1", "mse", "nll"):
        values = [getattr(one, name) for one in each]
        if values[0] is not None:
            assert len(set(values)) == 3
            assert getattr(whole, name) == pytest.approx(np.mean(values), rel=1e-12)
    for name in ("R", "active_units", "variance_law", "n"):
        assert {getattr(one, name) for one in each} == {getattr(whole, name)}
    assert (terms.S.shape, terms.R.shape) == ((3, 300), (300,))
    assert terms.S.mean(dim=1).tolist() == [one.S for one in each]
    assert measure(model, data.drawn(4, 5, 1)) == measure(model, data.batches(4))


def test_draws_estimate_the_expectation_that_a_linear_model_has():
    """E S of one image is |(I - P) x|^2 + the sum of posterior variances: no draw is biased."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 64), dtype=np.uint8)
    data = EvaluationSet(Rows(pixels, np.arange(50)), "test", count=50, shape=SHAPE)
    directions = torch.linalg.qr(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))[0]
    logvar = torch.tensor([-2.0, 0.0, 1.0])
    known = Known(SHAPE, directions.T.contiguous(), logvar)
    _, terms = measure_images(known, data.drawn(3, 1, 400))
    x = next(data.batches(3)).x.flatten(1)
    expected = x.square().sum(1) - (x @ directions).square().sum(1) + logvar.exp().sum()
    error = terms.S.std(dim=0) / 20
    assert ((terms.S.mean(dim=0) - expected).abs() < 5 * error).all()


def test_active_units_are_the_latents_whose_mean_moves(digits):
    data = EvaluationSet(digits, "train", count=898, shape=SHAPE)
    x = torch.cat([batch.x for batch in data.batches(1)]).flatten(1).double()
    values, vectors = torch.linalg.eigh(x.T.cov(correction=0))
    # Along a unit eigenvector v, Var_x(c v.x) = c^2 eigenvalue: set it just above or below 0.01.
    wanted = torch.tensor([0.5, 0.0102, 0.0098, 0.0, 0.011], dtype=torch.float64)
    directions = (vectors[:, -5:] * (wanted / values[-5:]).sqrt()).T
    linear = Known(SHAPE, directions.float(), torch.full((5,), -1.0))
    assert measure(linear, data.batches(5)).active_units == 3.0


def test_a_linear_models_error_and_kl_are_the_closed_forms():
    """Images v/256 + u/256 with orthonormal directions: S and R in expectation."""
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 64), dtype=np.uint8)
    data = EvaluationSet(Rows(pixels, np.arange(4000)), "train", count=4000, shape=SHAPE)
    directions = torch.linalg.qr(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))[0]
    logvar = torch.tensor([-2.0, 0.0, 1.0])
    got = measure(Known(SHAPE, directions.T.contiguous(), logvar), data.batches(3))
    x = torch.cat([batch.x for batch in data.batches(3)]).flatten(1)
    inside = (x @ directions).square()
    # x - xhat = (I - P) x - A^T (sd * noise), two orthogonal parts.
    expected = (x.square().sum(1) - inside.sum(1)).mean().item() + logvar.exp().sum().item()
    kl = 0.5 * (inside.mean(0) + logvar.exp() - 1 - logvar).sum().item()
    assert abs(got.S / expected - 1) < 0.02
    assert abs(got.R / kl - 1) < 1e-4


def test_calibrated_metrics_refit_sigma_on_train_and_score_the_held_out():
    got = calibrated(TRAIN, HELD_OUT, 64)
    elbo = 12.8 / 0.2 + 32 * math.log(2 * math.pi * 0.1) + 4.0
    assert got == pytest.approx(
        {
            "S": 12.8,
            "MSE": 0.2,
            "R": 4.0,
            "calibrated_negative_elbo": elbo,
            "bits_per_dim": elbo / 64 / math.log(2) + 8,
            "active_units": 1.0,
            "variance_law": 0.8,
        }
    )


def test_a_laplace_model_has_its_own_bound_beside_the_calibrated_one():
    got = calibrated(TRAIN, HELD_OUT, 64, "laplace")
    b = 12.8 / 64
    own = 19.2 / b + 64 * math.log(2 * b) + 4.0
    wanted = {"own_negative_elbo": own, "own_bits_per_dim": own / 64 / math.log(2) + 8}
    assert got == pytest.approx(calibrated(TRAIN, HELD_OUT, 64) | wanted)


def test_a_head_has_its_own_bound_beside_the_calibrated_one():
    got = calibrated(replace(TRAIN, nll=-90.0), replace(HELD_OUT, nll=-70.0), 64)
    wanted = {"own_negative_elbo": -66.0, "own_bits_per_dim": -66.0 / 64 / math.log(2) + 8}
    assert got == pytest.approx(calibrated(TRAIN, HELD_OUT, 64) | wanted)


def test_a_continuous_bernoulli_is_measured_under_itself_and_others_are_not(digits, model):
    images = EvaluationSet(digits, "validation", count=20, shape=SHAPE)
    got = measure(model, images.batches(4), "continuous_bernoulli")
    (batch,) = images.batches(4)
    with torch.no_grad():
        xhat = model.eval()(*batch).xhat.double()
    density = torch.distributions.ContinuousBernoulli(xhat).log_prob(batch.x.double())
    assert got.nll == pytest.approx(-float(density.sum(dim=(1, 2, 3)).mean()), rel=1e-5)
    assert calibrated(got, got, 64)["own_negative_elbo"] == pytest.approx(got.nll + got.R)
    for likelihood in ("bernoulli", "student_t", "discretised_logistic"):
        plain = measure(model, images.batches(4), likelihood)
        assert plain == replace(got, nll=None)
        assert "own_negative_elbo" not in calibrated(plain, plain, 64, likelihood)


def test_the_fitted_variance_is_the_noises():
    assert fitted_variance(TRAIN, 64) == pytest.approx(0.1)
    assert fitted_variance(TRAIN, 64, "laplace") == pytest.approx(2 * 0.2**2)
    # On its own images the fitted variance is the best one for either kind of noise.
    x, xhat = torch.rand(2, 30, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    S, S1 = squared_error(x, xhat).mean().item(), absolute_error(x, xhat).mean().item()
    for likelihood in ("gaussian", "laplace"):
        best = fitted_variance(replace(TRAIN, S=S, S1=S1), 64, likelihood)
        nll = [
            negative_log_likelihood(x, xhat, torch.tensor(best * f).log(), likelihood).mean()
            for f in (1.0, 0.97, 1.03)
        ]
        assert nll[0] < min(nll[1:])


@pytest.mark.parametrize("head", ["image", "pixel"])
def test_a_head_is_measured_under_its_own_variance(digits, head):
    data = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    model = headed(SHAPE, head)
    got = measure(model, data.batches(3))
    x, noise = (torch.cat(parts) for parts in zip(*data.batches(3), strict=True))
    with torch.no_grad():
        xhat, _, _, log_sigma2 = model(x, noise)
    normal = torch.distributions.Normal(xhat.double(), (log_sigma2.double() / 2).exp())
    assert got.nll == pytest.approx(-normal.log_prob(x).sum().item() / 300, rel=1e-6)


def test_the_variance_law_is_the_variance_of_the_aggregate_posterior(digits):
    data = EvaluationSet(digits, "train", count=898, shape=SHAPE)
    directions = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)) / 3
    logvar = torch.tensor([-4.0, -1.0, 0.0, 0.5, 1.0])
    got = measure(Known(SHAPE, directions, logvar), data.batches(5))
    x = torch.cat([batch.x for batch in data.batches(5)]).flatten(1).double()
    covariance = directions.double() @ x.T.cov(correction=0) @ directions.double().T
    expected = (covariance.diagonal() + logvar.double().exp()).mean().item()
    assert got.variance_law == pytest.approx(expected, rel=1e-5)
    # A posterior equal to the prior keeps the law.
    nothing = Known(SHAPE, torch.zeros(5, 64), torch.zeros(5))
    assert measure(nothing, data.batches(5)).variance_law == 1.0


def test_the_bytes_are_those_the_batches_were_made_from(digits):
    data = EvaluationSet(digits, "train", count=300, shape=SHAPE)
    for batch, values in zip(data.batches(2), data.values(), strict=True):
        assert values.dtype == torch.uint8
        low = values.double() / 256
        assert ((batch.x >= low) & (batch.x <= low + 1 / 256)).all()


def test_a_diverged_model_gives_nan_and_raises_nothing(digits, model):
    data = EvaluationSet(digits, "train", count=10, shape=SHAPE)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    got = measure(model, data.batches(4))
    metrics = calibrated(got, got, 64)
    assert all(math.isnan(value) for value in metrics.values())


def test_measuring_leaves_the_models_mode_and_gradients_alone(digits, model):
    model.train()
    measure(model, EvaluationSet(digits, "train", count=10, shape=SHAPE).batches(4))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.gpu
def test_the_device_changes_the_measurement_by_rounding_only(digits, model):
    here = measure(model, EvaluationSet(digits, "train", count=300, shape=SHAPE).batches(4))
    data = EvaluationSet(digits, "train", count=300, shape=SHAPE, device="cuda")
    there = measure(model.to("cuda"), data.batches(4))
    assert_close(there, here, 1e-4)
