"""Samples from the prior."""

import pytest
import torch

from vae_core.generation import sample_prior
from vae_core.geometry import ImageShape
from vae_core.models import VAE, build, initialise


class Shows(VAE):
    """Decodes a latent to itself."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        assert len(z) <= 256
        assert not self.training
        return z.view(-1, *self.shape.chw)


def test_latents_are_standard_normal():
    z = sample_prior(Shows(ImageShape(1, 2, 2), 4), 5000, seed=0).flatten(1)
    assert z.shape == (5000, 4)
    assert z.mean(0).abs().max().item() < 0.06
    torch.testing.assert_close(z.T.cov(), torch.eye(4), rtol=0, atol=0.08)


def test_a_sample_depends_on_the_seed_and_its_index_only():
    model = Shows(ImageShape(1, 2, 2), 4)
    torch.manual_seed(0)
    many = sample_prior(model, 600, seed=3)
    torch.manual_seed(1)
    assert torch.equal(sample_prior(model, 300, seed=3), many[:300])
    assert not torch.equal(many[:256], many[256:512])
    assert not torch.equal(sample_prior(model, 300, seed=4), many[:300])


@pytest.mark.parametrize("count", [1, 7])
def test_images_have_the_models_shape_and_carry_no_gradient(count):
    model = build({"name": "conv", "latent": 3, "width": 4}, ImageShape(3, 32, 32))
    initialise(model, 0)
    images = sample_prior(model, count, seed=0)
    assert images.shape == (count, 3, 32, 32)
    assert not images.requires_grad
    assert model.training
