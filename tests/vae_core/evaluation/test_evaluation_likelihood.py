"""The measurement: ground truths, and independence of everything but parameters and images."""

import math
from dataclasses import astuple, dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from vae_core.data import Dataset, prepare
from vae_core.evaluation import Batch, EvaluationSet, Measurement, calibrated, measure
from vae_core.evaluation.likelihood import BLOCK
from vae_core.geometry import ImageShape
from vae_core.likelihoods import gaussian_kl, squared_error
from vae_core.models import VAE, build, initialise

SHAPE = ImageShape(1, 8, 8)


@dataclass
class Rows:
    pixels: np.ndarray
    index: np.ndarray


@pytest.fixture(scope="module")
def digits():
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return Rows(pixels, np.arange(len(pixels))[::2].copy())


@pytest.fixture
def model():
    model = build({"name": "mlp", "latent": 4, "width": 32}, SHAPE)
    initialise(model, 0)
    return model


class Linear(VAE):
    """mu = x A^T, logvar and decoder given: its numbers are known in closed form."""

    def __init__(self, shape, directions, logvar):
        super().__init__(shape, len(directions))
        self.directions = torch.nn.Parameter(directions)
        self.logvar = torch.nn.Parameter(logvar)

    def encode(self, x):
        mu = x.flatten(1) @ self.directions.T
        return mu, self.logvar.expand_as(mu)

    def decode(self, z):
        return (z @ self.directions).view(-1, *self.shape.chw)


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
        xhat, mu, logvar = model(x, noise)
    assert got.n == 300
    error = squared_error(x, xhat).double().mean().item()
    kl = gaussian_kl(mu, logvar).sum(1).double().mean().item()
    assert (got.S, got.mse, got.R) == pytest.approx((error, error / 64, kl), rel=1e-6)


def test_evaluation_is_deterministic_and_independent_of_batch_size(digits, model):
    data = EvaluationSet(digits, "train", count=600, shape=SHAPE)
    first = measure(model, data.batches(4))
    torch.manual_seed(3)
    assert measure(model, data.batches(4)) == first
    x, noise = (torch.cat(parts) for parts in zip(*data.batches(4), strict=True))
    for size in (1, 37, 600):
        chunks = zip(x.split(size), noise.split(size), strict=True)
        other = measure(model, [Batch(*chunk) for chunk in chunks])
        assert astuple(other) == pytest.approx(astuple(first), rel=1e-6)


def test_active_units_are_the_latents_whose_mean_moves(digits):
    data = EvaluationSet(digits, "train", count=898, shape=SHAPE)
    x = torch.cat([batch.x for batch in data.batches(1)]).flatten(1).double()
    values, vectors = torch.linalg.eigh(x.T.cov(correction=0))
    # Along a unit eigenvector v, Var_x(c v.x) = c^2 eigenvalue: set it just above or below 0.01.
    wanted = torch.tensor([0.5, 0.0102, 0.0098, 0.0, 0.011], dtype=torch.float64)
    directions = (vectors[:, -5:] * (wanted / values[-5:]).sqrt()).T
    linear = Linear(SHAPE, directions.float(), torch.full((5,), -1.0))
    assert measure(linear, data.batches(5)).active_units == 3.0


def test_a_linear_models_error_and_kl_are_the_closed_forms():
    """Images v/256 + u/256 with orthonormal directions: S and R in expectation."""
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 64), dtype=np.uint8)
    data = EvaluationSet(Rows(pixels, np.arange(4000)), "train", count=4000, shape=SHAPE)
    directions = torch.linalg.qr(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))[0]
    logvar = torch.tensor([-2.0, 0.0, 1.0])
    got = measure(Linear(SHAPE, directions.T.contiguous(), logvar), data.batches(3))
    x = torch.cat([batch.x for batch in data.batches(3)]).flatten(1)
    inside = (x @ directions).square()
    # x - xhat = (I - P) x - A^T (sd * noise), two orthogonal parts.
    expected = (x.square().sum(1) - inside.sum(1)).mean().item() + logvar.exp().sum().item()
    kl = 0.5 * (inside.mean(0) + logvar.exp() - 1 - logvar).sum().item()
    assert abs(got.S / expected - 1) < 0.02
    assert abs(got.R / kl - 1) < 1e-4


def test_calibrated_metrics_refit_sigma_on_train_and_score_the_held_out():
    train = Measurement(S=6.4, mse=0.1, R=3.0, active_units=2.0, n=10)
    held_out = Measurement(S=12.8, mse=0.2, R=4.0, active_units=1.0, n=5)
    got = calibrated(train, held_out, 64)
    elbo = 12.8 / 0.2 + 32 * math.log(2 * math.pi * 0.1) + 4.0
    assert got == pytest.approx(
        {
            "S": 12.8,
            "MSE": 0.2,
            "R": 4.0,
            "calibrated_elbo": elbo,
            "bits_per_dim": elbo / 64 / math.log(2) + 8,
            "active_units": 1.0,
        }
    )


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
    assert astuple(there) == pytest.approx(astuple(here), rel=1e-4)
