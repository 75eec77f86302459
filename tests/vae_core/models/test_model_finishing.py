"""Lazy layers get their shapes when a model is built."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import VAE, build, check_model, initialise

SHAPE = ImageShape(1, 4, 4)


class Lazy(VAE):
    """A model of lazy layers only."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.down = nn.Sequential(
            nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2 * latent)
        )
        self.up = nn.LazyLinear(shape.dims)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.down(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.up(z)).view(-1, *self.shape.chw)


class Unused(Lazy):
    """One of its lazy layers has no part in anything."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.spare = nn.LazyLinear(3)


def built(kind: type[VAE]) -> VAE:
    return build({"name": f"{__name__}:{kind.__name__}", "latent": 2}, SHAPE)


def test_a_built_model_has_shapes_and_untouched_statistics() -> None:
    before = torch.get_rng_state()
    model, again = built(Lazy), built(Lazy)
    assert torch.equal(before, torch.get_rng_state())
    assert model.get_parameter("down.3.weight").shape == (4, 12)
    assert torch.equal(model.get_buffer("down.1.running_mean"), torch.zeros(3))
    assert int(model.get_buffer("down.1.num_batches_tracked")) == 0
    assert model.training
    for twin in (model, again):
        initialise(twin, 5)
    states = [twin.state_dict() for twin in (model, again)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_lazy_layers_keep_the_contract() -> None:
    assert check_model(Lazy, SHAPE, 2).one_row is None


def test_a_lazy_layer_that_is_never_used_is_named() -> None:
    for attempt in (lambda: built(Unused), lambda: check_model(Unused, SHAPE, 2)):
        with pytest.raises(ContractError, match=r"'spare' \(LazyLinear\) gets no shape") as caught:
            attempt()
        assert caught.value.remedy == "use it in encode or decode, or remove it"
