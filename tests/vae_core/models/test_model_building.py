"""Models by name: settings, their errors, and the architectures they give."""

import pytest
import torch

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, build

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
def test_built_in_means_lie_between_zero_and_one(name):
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


def test_a_users_model_is_found_by_import_path():
    assert MODELS.get(f"{__name__}:Buffered").__name__ == "Buffered"
    assert MODELS.names() == ["conv", "mlp"]
