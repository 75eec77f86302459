"""The WAE/RAE network: its maps at every size, its parameters, its contract."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, build, check_model

# Channels and side after each strided layer, as the released code has them.
DOWN = {
    28: [(128, 14), (256, 7), (512, 4), (1024, 2)],
    32: [(128, 16), (256, 8), (512, 4), (1024, 2)],
    64: [(128, 32), (256, 16), (512, 8), (1024, 4)],
}
UP = {
    28: [(1024, 7), (512, 14), (256, 28)],
    32: [(1024, 8), (512, 16), (256, 32)],
    64: [(1024, 8), (512, 16), (256, 32), (128, 64)],
}
KERNEL = {28: 4, 32: 4, 64: 5}


def maps(module, given, kinds):
    """Channels and side after each layer of ``kinds``, in order."""
    seen = []
    for layer in module.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:3])))
    module(given)
    return seen


@pytest.mark.parametrize("side", [28, 32, 64])
def test_maps_shrink_and_grow_as_released(side):
    with torch.device("meta"):
        model = MODELS.get("wae")(ImageShape(3, side, side), 8)
        assert maps(model.encoder, torch.zeros(2, 3, side, side), nn.Conv2d) == DOWN[side]
        assert (
            maps(model.decoder, torch.zeros(2, 8), (nn.Unflatten, nn.ConvTranspose2d)) == (UP[side])
        )
        assert model.mean[0](torch.zeros(2, UP[side][-1][0], side, side)).shape[1:] == (
            3,
            side,
            side,
        )


@pytest.mark.parametrize(("side", "channels", "latent"), [(28, 1, 8), (32, 3, 128), (64, 3, 64)])
def test_every_layer_is_counted(side, channels, latent):
    with torch.device("meta"):
        model = MODELS.get("wae")(ImageShape(channels, side, side), latent)
    taps = KERNEL[side] ** 2
    down = [channels, *(c for c, _ in DOWN[side])]
    up = [c for c, _ in UP[side]]
    # A convolution, then the scale and shift of its normalisation.
    expected = sum(taps * a * b + 3 * b for a, b in pairwise(down))
    expected += 1024 * DOWN[side][-1][1] ** 2 * 2 * latent + 2 * latent
    expected += (latent + 1) * 1024 * UP[side][0][1] ** 2
    expected += sum(taps * a * b + 3 * b for a, b in pairwise(up))
    expected += taps * up[-1] * channels + channels
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_keeps_the_contract(side, channels):
    check_model(MODELS.get("wae"), ImageShape(channels, side, side), 3, width=4)


def test_it_normalises_with_the_decay_it_is_given():
    model = build({"name": "wae", "latent": 2, "width": 4, "bn_decay": 0.7}, ImageShape(1, 28, 28))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 6
    assert {(norm.eps, round(norm.momentum, 9)) for norm in norms} == {(1e-5, 0.3)}


@pytest.mark.parametrize(
    ("settings", "shape", "what", "advice"),
    [
        ({}, ImageShape(1, 16, 16), "images of 1x16x16", "28, 32 or 64"),
        ({}, ImageShape(1, 28, 32), "images of 1x28x32", "squared"),
        ({"width": 0}, ImageShape(1, 28, 28), "width is 0", "at least 1"),
        ({"bn_decay": -0.1}, ImageShape(1, 28, 28), "bn_decay is -0.1", "[0, 1)"),
    ],
)
def test_what_it_does_not_take_is_said(settings, shape, what, advice):
    with pytest.raises(ContractError) as caught:
        build({"name": "wae", "latent": 2, **settings}, shape)
    assert what in str(caught.value)
    assert advice in str(caught.value)
