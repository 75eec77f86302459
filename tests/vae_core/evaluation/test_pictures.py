"""Facts about the pixels of the pictures."""

import numpy as np
import pytest
import torch

from vae_core.evaluation import grid, interpolations, reconstructions, samples
from vae_core.evaluation.pictures import GAP
from vae_core.evaluation.smoothness import pairs
from vae_core.generation import sample_prior
from vae_core.geometry import ImageShape
from vae_core.models import build, initialise


def tile(picture, row, column, side):
    """The tile at (row, column) of a picture of tiles of ``side`` pixels."""
    pixels = np.asarray(picture)
    top, left = (GAP + i * (side + GAP) for i in (row, column))
    return pixels[top : top + side, left : left + side]


def test_digits_are_enlarged_without_smoothing_and_laid_out_row_by_row():
    values = torch.arange(5 * 64).view(5, 1, 8, 8) % 256
    picture = grid((values + 0.5) / 256, columns=3)
    assert picture.mode == "L"
    assert picture.size == (3 * 34 + 2, 2 * 34 + 2)  # width, height: 8 pixels become 32
    for i in range(5):
        shown = tile(picture, i // 3, i % 3, 32)
        np.testing.assert_array_equal(shown, values[i, 0].numpy().repeat(4, 0).repeat(4, 1))
    assert (tile(picture, 1, 2, 32) == 255).all()  # no sixth image: white, as the gaps
    pixels = np.asarray(picture)
    assert (pixels[:GAP] == 255).all()
    assert (pixels[:, -GAP:] == 255).all()


def test_colour_images_keep_their_channels_and_their_size():
    images = torch.zeros(2, 3, 40, 48)
    images[0, 0], images[1, 2] = 1.0, 0.5
    picture = grid(images)
    assert picture.mode == "RGB"
    assert picture.size == (2 * 50 + 2, 42 + 2)
    assert picture.getpixel((GAP, GAP)) == (255, 0, 0)
    assert picture.getpixel((GAP + 50, GAP)) == (0, 0, 128)


def test_values_out_of_range_are_clipped_and_nan_is_black():
    images = torch.tensor([-1.0, 2.0, torch.nan]).view(3, 1, 1, 1)
    shown = [tile(grid(images), 0, i, 32)[0, 0] for i in range(3)]
    assert shown == [0, 255, 0]


@pytest.fixture
def model():
    model = build({"name": "mlp", "latent": 3, "width": 16}, ImageShape(1, 8, 8))
    initialise(model, 1)
    return model


def test_reconstructions_are_below_their_originals(model):
    x = torch.rand(5, 1, 8, 8)
    picture = reconstructions(model, x, columns=3)
    xhat = model.decode(model.encode(x)[0]).detach()
    assert picture.size == (3 * 34 + 2, 4 * 34 + 2)
    for i in range(5):
        for offset, images in enumerate((x, xhat)):
            shown = tile(picture, 2 * (i // 3) + offset, i % 3, 32)[::4, ::4]
            np.testing.assert_array_equal(shown, (images[i, 0] * 256).floor().numpy())
    assert (tile(picture, 2, 2, 32) == 255).all()
    assert (tile(picture, 3, 2, 32) == 255).all()


def test_samples_are_decoded_draws_from_the_prior(model):
    picture = samples(model, 10, seed=4)
    expected = (sample_prior(model, 10, 4) * 256).floor()
    assert picture.size == (8 * 34 + 2, 2 * 34 + 2)
    np.testing.assert_array_equal(tile(picture, 1, 1, 32)[::4, ::4], expected[9, 0].numpy())


def test_a_row_of_interpolations_runs_between_the_latents_of_a_pair(model):
    latents = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    picture = interpolations(model, latents, rows=2, columns=5)
    assert picture.size == (5 * 34 + 2, 2 * 34 + 2)
    first, second = pairs(6, 2)
    for row in range(2):
        ends = latents[first[row]], latents[second[row]]
        for column, z in ((0, ends[0]), (2, (ends[0] + ends[1]) / 2), (4, ends[1])):
            expected = (model.decode(z[None])[0, 0] * 256).floor().detach().numpy()
            shown = tile(picture, row, column, 32)[::4, ::4]
            np.testing.assert_allclose(shown, expected, atol=1)  # a mean on the edge of two bytes
