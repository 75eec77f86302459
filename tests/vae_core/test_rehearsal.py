"""A trial in small accepts what trials can train, and names what they cannot."""

import pytest
import torch
from plain_model import SMALL, Plain
from torch import nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import check_model
from vae_core.models.layers import Linear
from vae_core.rehearsal import check_probabilities, rehearse


class Tied(Plain):
    """One parameter under two names, and one module under two."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.narrow, self.wide = Linear(latent, latent), Linear(latent, latent)
        self.wide.weight = self.narrow.weight
        self.again = self.wide

    def decode(self, z):
        return super().decode(self.again(torch.tanh(self.wide(torch.tanh(self.narrow(z))))))


class Centred(Plain):
    """Evaluation mode takes the images' running mean from them."""

    persistent = True

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.register_buffer("mean", torch.zeros(shape.chw), persistent=self.persistent)

    def encode(self, x):
        if self.training:
            self.mean.mul_(0.5).add_(0.5 * x.detach().mean(0))
        return super().encode(x if self.training else x - self.mean)


class CentredBesideTheStateDict(Centred):
    persistent = False


class CentredInAnAttribute(Centred):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        del self.mean
        self.mean = torch.zeros(shape.chw)


class CountsSteps(Plain):
    """Changes where `check_model` does not look: with every backward pass."""

    passes = 0

    def encode(self, x):
        mu, logvar = super().encode(x)
        if not torch._C._functorch.is_batchedtensor(mu) and mu.requires_grad:
            mu.register_hook(self.count)
        return mu / (1 + self.passes), logvar

    def count(self, gradient):
        self.passes += 1


class Viewing(Plain):
    channels_last = True

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.filters = nn.Conv2d(shape.channels, 3, 3, padding=1)
        self.down = Linear(3 * shape.dims, 2 * latent)

    def encode(self, x):
        mu, logvar = self.down(self.filters(x).view(len(x), -1)).chunk(2, dim=1)
        return mu, logvar


class StartsAtZero(Plain):
    """Every mean is 0 until it has trained."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        nn.init.zeros_(self.up.weight)


class Probable(Plain):
    def decode(self, z):
        return torch.sigmoid(super().decode(z))


class MoreThanTensors(Plain):
    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        pass


class Bounded(Plain):
    """Gates fold into weights and biases, which a bounded weight is no linear function of."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.down = self.Layer(shape.dims, 2 * latent)

    class Layer(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, torch.tanh(self.weight), self.bias)


def settings(kind):
    return {"name": f"{__name__}:{kind.__name__}", "latent": 2}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", [None, "image", "pixel"])
def test_a_built_in_model_passes(head, precision):
    rehearse({"name": "mlp", "latent": 2, "width": 8}, ImageShape(3, 5, 4), head, precision)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ({"name": "conv", "width": 2}, ImageShape(1, 28, 28)),
        ({"name": "residual", "width": 2, "dense": 4}, ImageShape(1, 8, 8)),
        ({"name": "wae", "width": 2}, ImageShape(1, 28, 28)),
    ],
)
def test_built_in_models_with_images_pass(model, shape):
    rehearse({**model, "latent": 2}, shape)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ({"name": "mlp", "width": 8}, ImageShape(3, 5, 4)),
        ({"name": "conv", "width": 2}, ImageShape(1, 28, 28)),
        ({"name": "residual", "width": 2, "dense": 4}, ImageShape(1, 8, 8)),
        ({"name": "wae", "width": 2}, ImageShape(1, 28, 28)),
        ({"name": f"{__name__}:Plain"}, SMALL),
        ({"name": f"{__name__}:Centred"}, SMALL),
    ],
)
def test_models_with_gates_pass(model, shape, precision):
    rehearse({**model, "latent": 2}, shape, None, precision, gated=True)


def test_layers_that_are_not_linear_in_their_weight_cannot_be_gated():
    rehearse(settings(Bounded), SMALL)
    with pytest.raises(ContractError) as caught:
        rehearse(settings(Bounded), SMALL, gated=True)
    assert caught.value.what.startswith("Bounded with gates cannot be gated: scaling the weight")


@pytest.mark.parametrize("kind", [Plain, Tied, Centred, CentredBesideTheStateDict])
def test_a_users_model_passes(kind):
    check_model(kind, SMALL, 2)
    rehearse(settings(kind), SMALL)


@pytest.mark.parametrize(
    ("kind", "complaint", "advice"),
    [
        (CentredInAnAttribute, "keeps state outside of its parameters and buffers", "as a buffer"),
        (CountsSteps, "goes on from a checkpoint otherwise than without one", "as a buffer"),
        (Viewing, "cannot train in a bank of one row", "reshape or nn.Flatten"),
        (MoreThanTensors, "cannot be exported and loaded", ""),
    ],
)
def test_what_only_a_trial_shows_is_named(kind, complaint, advice):
    with pytest.raises(ContractError) as caught:
        rehearse(settings(kind), SMALL)
    assert caught.value.what.startswith(f"{kind.__name__} {complaint}")
    assert advice in caught.value.remedy


@pytest.mark.parametrize("kind", [Plain, StartsAtZero])
def test_means_that_are_no_probabilities_are_named(kind):
    with pytest.raises(
        ContractError, match="and the likelihood bernoulli takes them for"
    ) as caught:
        check_probabilities(settings(kind), SMALL, None, "bernoulli")
    assert caught.value.what.startswith(f"{kind.__name__} decodes means from -")
    assert "end the decoder in a sigmoid" in caught.value.remedy


@pytest.mark.parametrize("name", [f"{__name__}:Probable", "mlp", "residual"])
def test_means_that_are_probabilities_pass(name):
    check_probabilities({"name": name, "latent": 2}, ImageShape(1, 8, 8), None, "bernoulli")


def test_it_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    rehearse(settings(Plain), SMALL)
    check_probabilities(settings(Probable), SMALL, None, "bernoulli")
    assert torch.equal(before, torch.get_rng_state())
