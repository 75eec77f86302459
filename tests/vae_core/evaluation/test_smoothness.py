"""Smoothness of decoded lines, on decoders for which it is known."""

import math

import pytest
import torch

from vae_core.errors import UserError
from vae_core.evaluation import midpoints, smoothness
from vae_core.evaluation.smoothness import lines, pairs
from vae_core.geometry import ImageShape
from vae_core.models import VAE


class Decoder(VAE):
    """Decodes by a function of latents [n, Z] to 6 pixels."""

    def __init__(self, latent, function):
        super().__init__(ImageShape(1, 2, 3), latent)
        self.function = function
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        assert len(z) <= 256
        return self.function(z).view(-1, 1, 2, 3)


def drawn(n, size):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(0))


def test_a_linear_decoder_is_perfectly_smooth():
    weights = drawn(4, 6)
    model = Decoder(4, lambda z: z @ weights + 0.3)
    assert smoothness(model, drawn(100, 4)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("steps", [4, 16])
def test_a_jump_costs_as_much_as_there_are_steps(steps):
    # Pairs on one side of the step decode to the same image throughout: they do not count.
    model = Decoder(4, lambda z: (z[:, :1] > 0).float().expand(-1, 6))
    assert smoothness(model, drawn(100, 4), steps=steps) == pytest.approx(steps, rel=1e-6)


def test_a_detour_at_constant_speed_costs_its_length_squared():
    # Half a circle: chords of 2 sin(pi/2T) over a diameter of 2, pi^2/4 in the limit.
    def circle(z):
        return torch.cat([(math.pi * z).cos(), (math.pi * z).sin(), z.new_zeros(len(z), 4)], 1)

    found = smoothness(Decoder(1, circle), torch.tensor([[0.0], [1.0]]), steps=8)
    assert found == pytest.approx((8 * math.sin(math.pi / 16)) ** 2, rel=1e-5)


def test_a_power_law_has_the_energy_of_its_derivative():
    # x = z^3 on [0, 1]: the integral of (3 t^2)^2 is 9/5, up to the error of T finite steps.
    cube = Decoder(1, lambda z: (z**3).expand(-1, 6))
    found = smoothness(cube, torch.tensor([[0.0], [1.0]]), steps=1000)
    assert found == pytest.approx(1.8, rel=1e-3)


def test_the_number_knows_no_scale():
    def bent(z):
        return torch.cat([z, z * z], dim=1)

    once = smoothness(Decoder(3, bent), drawn(50, 3))
    assert smoothness(Decoder(3, lambda z: 7 * bent(z) - 2), drawn(50, 3)) == pytest.approx(once)
    assert smoothness(Decoder(3, lambda z: bent(z / 5)), 5 * drawn(50, 3)) == pytest.approx(once)
    assert 1 < once < 16


def test_nothing_to_measure_is_nan():
    assert math.isnan(smoothness(Decoder(2, lambda z: torch.ones(len(z), 6)), drawn(10, 2)))
    # One broken line among many: the model has diverged.
    model = Decoder(2, lambda z: torch.where(z[:, :1] > 1.5, torch.nan, z[:, :1]).expand(-1, 6))
    assert math.isnan(smoothness(model, drawn(100, 2)))


def test_pairs_are_fixed_and_use_no_image_more_than_twice():
    first, second = pairs(40, 100)
    assert len(first) == 40
    assert (first != second).all()
    assert torch.cat([first, second]).bincount().tolist() == [2] * 40
    assert torch.cat([first[:20], second[:20]]).unique().numel() == 40
    few = pairs(40, 7)
    assert torch.equal(few[0], first[:7])
    assert torch.equal(few[1], second[:7])
    with pytest.raises(UserError, match="between 1 image"):
        pairs(1, 1)


def test_midpoints_are_decoded_halfway():
    latents = drawn(30, 6)
    found = midpoints(Decoder(6, lambda z: z), latents, 20).flatten(1)
    first, second = pairs(30, 20)
    torch.testing.assert_close(found, (latents[first] + latents[second]) / 2)


def test_lines_run_evenly_from_one_latent_to_the_other():
    latents = drawn(5, 2)
    points = lines(latents, 3, steps=4)
    first, second = pairs(5, 3)
    assert points.shape == (3, 5, 2)
    torch.testing.assert_close(points[:, 0], latents[first])
    torch.testing.assert_close(points[:, -1], latents[second])
    torch.testing.assert_close(
        points.diff(dim=1), ((latents[second] - latents[first]) / 4)[:, None].expand(-1, 4, -1)
    )
