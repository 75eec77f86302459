"""Images to latents and back."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vae_core.batches import TrainingImages
from vae_core.evaluation import EvaluationSet
from vae_core.generation import decode_all, posteriors, reconstruct, training_images
from vae_core.geometry import ImageShape
from vae_core.models import build, initialise

SHAPE = ImageShape(1, 4, 4)


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 16), dtype=np.uint8)
    return SimpleNamespace(pixels=pixels, index=np.arange(699, 99, -1))


@pytest.fixture
def model():
    model = build({"name": "mlp", "latent": 3, "width": 16}, SHAPE)
    initialise(model, 0)
    return model


def test_training_images_are_bin_midpoints_in_the_splits_order(images):
    blocks = list(training_images(TrainingImages(images, torch.device("cpu")), SHAPE))
    assert [len(block) for block in blocks] == [256, 256, 88]
    expected = (torch.from_numpy(images.pixels[images.index]).view(-1, 1, 4, 4) + 0.5) / 256
    torch.testing.assert_close(torch.cat(blocks), expected)


def test_posteriors_come_from_evaluation_batches_and_bare_images_alike(images, model):
    batches = list(EvaluationSet(images, "test", count=600, shape=SHAPE).batches(3))
    found = posteriors(model, batches)
    mu, logvar = model.encode(torch.cat([batch.x for batch in batches]))
    torch.testing.assert_close(found.mu, mu)
    torch.testing.assert_close(found.logvar, logvar)
    assert not found.mu.requires_grad
    assert torch.equal(posteriors(model, [batch.x for batch in batches]).mu, found.mu)
    assert model.training


def test_a_reconstruction_decodes_one_posterior_sample(images, model):
    batches = list(EvaluationSet(images, "test", count=300, shape=SHAPE).batches(3))
    found = reconstruct(model, batches)
    mu, logvar = posteriors(model, batches)
    z = mu + (0.5 * logvar).exp() * torch.cat([batch.noise for batch in batches])
    assert found.shape == (300, 1, 4, 4)
    torch.testing.assert_close(found, decode_all(model, z))
    assert not torch.allclose(found, decode_all(model, mu))
