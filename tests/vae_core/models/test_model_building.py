"""Models by name: settings, their errors, and the architectures they give."""

import math

import pytest
import torch

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, build, heads, initialise

DIGITS = ImageShape(1, 8, 8)


class Fussy(VAE):
    """A user's model, found by import path, whose __init__ fails."""

    def __init__(self, shape, latent, mood="good"):
        super().__init__(shape, latent)
        raise RuntimeError(f"mood {mood}")

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        raise NotImplementedError


class Buffered(VAE):
    """A user's model with a random constant."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.register_buffer("projection", torch.randn(3, 3))

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        raise NotImplementedError


def sizes(model):
    return {name: tuple(p.shape) for name, p in model.named_parameters() if p.dim() > 1}


def test_mlp_has_the_width_and_depth_asked_for():
    model = build({"name": "mlp", "latent": 3, "width": 16, "depth": 2}, DIGITS)
    shapes = list(sizes(model).values())
    assert shapes == [(16, 64), (16, 16), (6, 16), (16, 3), (16, 16), (64, 16)]


@pytest.mark.parametrize(("side", "smallest"), [(28, (7, 64)), (32, (4, 128)), (64, (4, 256))])
def test_conv_halves_down_to_its_smallest_map(side, smallest):
    model = build({"name": "conv", "latent": 5}, ImageShape(3, side, side))
    pixels, channels = smallest
    assert sizes(model)["encoder.0.weight"] == (32, 3, 4, 4)
    assert (10, channels * pixels**2) in sizes(model).values()
    assert (channels * pixels**2, 5) in sizes(model).values()


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_built_in_means_are_between_zero_and_one(name):
    model = build({"name": name, "latent": 2, "width": 4}, ImageShape(1, 28, 28))
    xhat = model.decode(20 * torch.randn(16, 2))
    assert 0 <= xhat.min() < xhat.max() <= 1


def test_building_uses_no_global_randomness_and_gives_equal_buffers():
    before = torch.get_rng_state()
    first, second = (build({"name": f"{__name__}:Buffered", "latent": 1}, DIGITS) for _ in "ab")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.projection, second.projection)


@pytest.mark.parametrize(
    ("settings", "shape", "what", "advice"),
    [
        ({"name": "mpl", "latent": 2}, DIGITS, "unknown model 'mpl'", "did you mean 'mlp'?"),
        ({"name": "mlp", "latent": 2, "widht": 9}, DIGITS, "no setting 'widht'", "'width'"),
        ({"name": "mlp", "latent": 2, "head": "pixel"}, DIGITS, "no setting 'head'", "balancer"),
        ({"name": "mlp", "latent": 0}, DIGITS, "latent is 0", "at least 1"),
        ({"name": "mlp", "latent": 2.5}, DIGITS, "latent is 2.5", "integer"),
        ({"name": "mlp", "latent": True}, DIGITS, "latent is True", "integer"),
        ({"name": "mlp", "latent": 2, "depth": 0}, DIGITS, "depth is 0", "at least 1"),
        ({"name": "mlp", "latent": 2, "width": "a"}, DIGITS, "width is 'a'", "integer"),
        ({"name": "mlp"}, DIGITS, "'latent' is missing", "latent: 8"),
        ({"latent": 2}, DIGITS, "'name' is missing", "name: mlp"),
        ({"name": "conv", "latent": 2}, DIGITS, "images of 1x8x8", "28, 32 or 64"),
        ({"name": "conv", "latent": 2}, ImageShape(2, 28, 28), "2x28x28", "1 or 3 channels"),
        ({"name": "conv", "latent": 2}, ImageShape(1, 28, 32), "1x28x32", "use 'mlp'"),
        (
            {"name": f"{__name__}:Fussy", "latent": 2, "mood": "bad"},
            DIGITS,
            "RuntimeError: mood bad",
            "correct",
        ),
        ({"name": f"{__name__}:Fussy", "latent": 2, "moood": 1}, DIGITS, "'moood'", "'mood'"),
        ({"name": "vae_core.models:nothing", "latent": 2}, DIGITS, "cannot be imported", "path"),
        ({"name": "vae_core.geometry:ImageShape", "latent": 2}, DIGITS, "not a model", "VAE"),
    ],
)
def test_bad_settings_say_what_and_how_to_mend_it(settings, shape, what, advice):
    with pytest.raises(ContractError) as caught:
        build(settings, shape)
    assert what in caught.value.what
    assert advice in caught.value.remedy


@pytest.mark.parametrize(("name", "shape"), [("mlp", DIGITS), ("conv", ImageShape(3, 32, 32))])
@pytest.mark.parametrize("head", ["image", "pixel"])
def test_a_head_starts_at_sigma_1_beside_the_same_start(name, shape, head):
    settings = {"name": name, "latent": 3, "width": 4}
    plain, headed = build(settings, shape), build(settings, shape, head)
    for model in (plain, headed):
        initialise(model, 5)
    start = dict(headed.named_parameters())
    for parameter, value in plain.named_parameters():
        assert torch.equal(start.pop(parameter), value)
    assert start
    x, noise = torch.rand(2, *shape.chw), torch.randn(2, 3)
    found, without = headed(x, noise), plain(x, noise)
    torch.testing.assert_close(found.xhat, without.xhat)
    assert found.log_sigma2.shape == ((2, 1, 1, 1) if head == "image" else x.shape)
    expected = 2 * (-6 + math.log1p(math.exp(6)))  # the raw ln sigma is 0
    torch.testing.assert_close(found.log_sigma2, torch.full_like(found.log_sigma2, expected))
    normal = torch.distributions.Normal(found.xhat, torch.exp(found.log_sigma2 / 2))
    torch.testing.assert_close(found.nll(x), -normal.log_prob(x).sum(dim=(1, 2, 3)))


def test_a_head_gives_no_variance_below_half_a_grey_level():
    found = heads.soft_clip(torch.tensor([-1000.0, -6.0, 0.0, 50.0]))
    expected = torch.tensor([-12.0, 2 * (math.log(2) - 6), 2 * (math.log1p(math.exp(6)) - 6), 100])
    torch.testing.assert_close(found, expected)


def test_soft_clip_rounds_an_entry_alone_as_among_others():
    """Softplus does not: a vector instruction takes the first 32 of 47, a loop the rest."""
    raw = 3 * torch.randn(47)
    alone = torch.cat([heads.soft_clip(raw[i : i + 1].clone()) for i in range(47)])
    assert torch.equal(heads.soft_clip(raw), alone)


def test_a_model_without_the_head_is_refused():
    with pytest.raises(ContractError, match="cannot be built with a head") as caught:
        build({"name": f"{__name__}:Buffered", "latent": 1}, DIGITS, "image")
    assert "needs no head" in caught.value.remedy


def test_a_users_model_is_found_by_import_path():
    assert MODELS.get(f"{__name__}:Buffered").__name__ == "Buffered"
    assert {"conv", "mlp"} <= set(MODELS.names())
