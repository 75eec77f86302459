"""The contract suite accepts every built-in model, and catches each broken clause."""

import numpy as np
import pytest
import torch
from plain_model import SMALL, Plain
from torch import nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, check_model, evaluating
from vae_core.models.heads import soft_clip
from vae_core.models.layers import Linear


class WithBatchNorm(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.norm = nn.BatchNorm1d(shape.dims)

    def encode(self, x):
        return super().encode(self.norm(x.flatten(1)))


class Tied(Plain):
    """One parameter under two names, and one module under two."""

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.narrow = Linear(latent, latent)
        self.wide = Linear(latent, latent)
        self.wide.weight = self.narrow.weight
        self.again = self.wide

    def decode(self, z):
        return super().decode(self.again(torch.tanh(self.wide(torch.tanh(self.narrow(z))))))


class RaisesInInit(Plain):
    def __init__(self, shape, latent):
        raise KeyError("surprise")


class OtherShape(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.latent = latent + 1


class NoParameters(VAE):
    def encode(self, x):
        return x.flatten(1)[:, :2], x.flatten(1)[:, 2:4]

    def decode(self, z):
        return z.mean(1).view(-1, 1, 1, 1).expand(-1, *self.shape.chw)


class Frozen(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.up.bias.requires_grad_(False)


class DoublePrecision(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.double()


class BareParameter(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.shift = nn.Parameter(torch.zeros(latent))

    def decode(self, z):
        return super().decode(z + self.shift)


class HalfReset(BareParameter):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.reset_parameters()

    def reset_parameters(self):
        with torch.no_grad():
            self.shift.mul_(0.5)


class NumpyStart(BareParameter):
    numbers = np.random.default_rng(0)

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.reset_parameters()

    def reset_parameters(self):
        with torch.no_grad():
            self.shift.copy_(torch.from_numpy(self.numbers.normal(size=self.latent)))


class NumpyBuffer(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.register_buffer("projection", torch.from_numpy(NumpyStart.numbers.normal(size=3)))


class UncalledReset(BareParameter):
    def reset_parameters(self):
        nn.init.ones_(self.shift)


class OneMemory(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.other = nn.Parameter(self.up.bias.detach())

    def decode(self, z):
        return super().decode(z) + self.other.view(self.shape.chw)


class BufferOfAParameter(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.register_buffer("bias", self.up.bias.detach())


class CommonParameter(Plain):
    common = nn.Parameter(torch.zeros(2))

    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.shift = self.common

    def decode(self, z):
        return super().decode(z + self.shift)


class RaisesInEncode(Plain):
    def encode(self, x):
        return self.down(x)


class OnlyTheMean(Plain):
    def encode(self, x):
        return super().encode(x)[0]


class LatentTooWide(Plain):
    def encode(self, x):
        both = self.down(x.flatten(1))
        return both, both


class FlatImages(Plain):
    def decode(self, z):
        return self.up(z)


class NotFinite(Plain):
    def decode(self, z):
        return super().decode(z) / 0.0


class FixedBatch(Plain):
    def decode(self, z):
        return self.up(z).view(4, *self.shape.chw)


class LooksAtNeighbours(Plain):
    def encode(self, x):
        return super().encode(x - x.mean(0))


class WritesIntoImages(Plain):
    def encode(self, x):
        return super().encode(x.sub_(0.5))


class OwnForward(Plain):
    def forward(self, x, noise):
        return super().forward(x, 2 * noise)


class Dropout(Plain):
    def decode(self, z):
        return super().decode(nn.functional.dropout(z, 0.5, self.training))


class NumpyNoise(Plain):
    def decode(self, z):
        return super().decode(z) + (float(np.random.normal()) if self.training else 0.0)


class Detached(Plain):
    def decode(self, z):
        return nn.functional.linear(z, self.up.weight, self.up.bias.detach()).view(
            -1, *self.shape.chw
        )


class RemembersWeights(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.remembered = [self.up.weight]

    def decode(self, z):
        return (z @ self.remembered[0].T + self.up.bias).view(-1, *self.shape.chw)


class ReplacesBuffer(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.register_buffer("steps", torch.zeros(()))

    def encode(self, x):
        if self.training:
            self.steps = self.steps + 1
        return super().encode(x)


class WithHeads(Plain):
    """A linear model with both heads; the broken ones below differ in one thing each."""

    heads = frozenset({"image", "pixel"})

    def __init__(self, shape, latent, head=None):
        VAE.__init__(self, shape, latent, head)
        self.down = Linear(shape.dims, 2 * latent)
        self.up = Linear(latent, shape.dims)
        if head:
            self.spread = Linear(latent, shape.dims if head == "pixel" else 1)

    def decode_spread(self, z):
        size = self.shape.chw if self.head == "pixel" else (1, 1, 1)
        return self.decode(z), soft_clip(self.spread(z)).view(-1, *size)


class ForgetsItsHead(WithHeads):
    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.head = None


class NoSpread(Plain):
    heads = frozenset({"pixel"})

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent)
        self.head = head


class FlatVariance(WithHeads):
    def decode_spread(self, z):
        means, log_sigma2 = super().decode_spread(z)
        return means, log_sigma2.flatten(1)


class EndlessVariance(WithHeads):
    def decode_spread(self, z):
        means, log_sigma2 = super().decode_spread(z)
        return means, log_sigma2 / 0.0


class OtherMeans(WithHeads):
    def decode_spread(self, z):
        means, log_sigma2 = super().decode_spread(z)
        return means + 0.1, log_sigma2


class VarianceOfTheBatch(WithHeads):
    def decode_spread(self, z):
        means, log_sigma2 = super().decode_spread(z)
        return means, log_sigma2 - log_sigma2.mean()


class UnusedHead(WithHeads):
    def decode_spread(self, z):
        means, log_sigma2 = super().decode_spread(z)
        return means, log_sigma2.detach()


class OtherParameters(WithHeads):
    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        if head:
            self.upwards = self.up
            del self.up

    def decode(self, z):
        return (self.upwards if self.head else self.up)(z).view(-1, *self.shape.chw)


@pytest.mark.parametrize("latent", [1, 6])
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        (ImageShape(1, 8, 8), {}),
        (ImageShape(3, 5, 7), {"width": 16, "depth": 1}),
        (ImageShape(1, 28, 28), {"width": 32, "depth": 3}),
    ],
)
def test_mlp_keeps_the_contract(shape, settings, latent):
    check_model(MODELS.get("mlp"), shape, latent, **settings)


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_conv_keeps_the_contract(side, channels):
    check_model(MODELS.get("conv"), ImageShape(channels, side, side), 3, width=4)


@pytest.mark.parametrize("kind", [Plain, WithBatchNorm, WithHeads, BareParameter, Tied])
def test_a_users_model_that_keeps_the_contract_passes(kind):
    check_model(kind, SMALL, 2)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (RaisesInInit, "cannot be built: KeyError: 'surprise'"),
        (OtherShape, "latent 3"),
        (NoParameters, "no parameters"),
        (Frozen, "'up.bias' that is torch.float32 with requires_grad=False"),
        (DoublePrecision, "torch.float64"),
        (HalfReset, "leaves parameter 'shift' unset"),
        (NumpyStart, "starts parameter 'shift' at different values for one seed"),
        (NumpyBuffer, "starts buffer 'projection' at different values for one seed"),
        (UncalledReset, "the start of parameter 'shift' is ambiguous"),
        (OneMemory, "has 'other' and 'up.bias' in one memory"),
        (BufferOfAParameter, "has 'up.bias' and 'bias' in one memory"),
        (CommonParameter, "parameter 'shift' in common with other models"),
        (RaisesInEncode, "cannot encode 4 images: RuntimeError"),
        (OnlyTheMean, "does not return a pair from encode"),
        (LatentTooWide, "[4, 4] as encode's mu"),
        (FlatImages, "[4, 16] as decode's result"),
        (NotFinite, "not finite as decode's result"),
        (FixedBatch, "cannot decode 3 latents"),
        (LooksAtNeighbours, "other results beside other images"),
        (WritesIntoImages, "changes the images it is given"),
        (OwnForward, "forward that does not decode"),
        (Dropout, "draws random numbers of its own"),
        (NumpyNoise, "draws random numbers of its own"),
        (Detached, "passes no gradient to parameter 'up.bias'"),
        (RemembersWeights, "differs as a row of stacked parameters"),
        (ReplacesBuffer, "differs as a row of stacked parameters in buffer 'steps'"),
        (ForgetsItsHead, "with a head has head None, but was given 'image'"),
        (NoSpread, "cannot decode_spread: NotImplementedError"),
        (FlatVariance, "[4, 1] as decode_spread's log_sigma2, not torch.float32 [4, 1, 1, 1]"),
        (EndlessVariance, "not finite as decode_spread's log_sigma2"),
        (OtherMeans, "other means from decode_spread"),
        (VarianceOfTheBatch, "another variance beside other images"),
        (UnusedHead, "with a head passes no gradient to parameter 'spread.weight'"),
        (OtherParameters, "another parameter 'up.weight' with a head"),
    ],
)
def test_each_broken_clause_is_named(kind, complaint):
    with pytest.raises(ContractError) as caught:
        check_model(kind, SMALL, 2)
    assert complaint in caught.value.what
    assert caught.value.remedy


def test_checking_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    check_model(Plain, SMALL, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_forward_decodes_a_posterior_sample():
    model = Plain(SMALL, 2)
    x, noise = torch.rand(3, 1, 4, 4), torch.randn(3, 2)
    got = model(x, noise)
    mu, logvar = model.encode(x)
    torch.testing.assert_close(got.xhat, model.decode(mu + torch.exp(logvar / 2) * noise))
    torch.testing.assert_close((got.mu, got.logvar), (mu, logvar))


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_restores_the_mode_and_drops_gradients(training):
    model = Plain(SMALL, 2).train(training)
    with evaluating(model):
        assert not model.training
        assert not model.decode(torch.zeros(1, 2)).requires_grad
    assert model.training is training
