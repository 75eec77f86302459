"""Gates: their formulas, where they are, and the ordinary model that one beta makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vae_core.bank import Bank, Member
from vae_core.batches import BatchOrder, StepNoise, TrainingImages, to_unit
from vae_core.errors import ContractError
from vae_core.evaluation import EvaluationSet, measure
from vae_core.export import Plan, TrainedModel, load, state, write
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, build, evaluating, initialise, named_tensors
from vae_core.models.gated import NAME, Gate, add_gates, conditioned, fold, gates_of

DIGITS, BATCH = ImageShape(1, 8, 8), 32
MLP = {"name": "mlp", "latent": 4, "width": 24, "depth": 1}
SHAPES = {
    "mlp": (MLP, DIGITS),
    "conv": ({"name": "conv", "latent": 3, "width": 4}, ImageShape(1, 28, 28)),
    "residual": ({"name": "residual", "latent": 3, "width": 4, "dense": 8}, DIGITS),
    "wae": ({"name": "wae", "latent": 3, "width": 2}, ImageShape(1, 28, 28)),
}


@dataclass
class Rows:
    pixels: np.ndarray
    index: np.ndarray


def rows(first: int = 0) -> Rows:
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return Rows(pixels, np.arange(first, 1500, 2))


def bank(width: int = 1, *, gated: bool = True) -> Bank:
    images = TrainingImages(rows(), torch.device("cpu"))
    return Bank(MLP, images, DIGITS, width=width, batch_size=BATCH, gated=gated)


def validation() -> EvaluationSet:
    return EvaluationSet(rows(1), "validation", count=500, shape=DIGITS)


def test_a_gate_scales_channels_by_the_papers_formulas() -> None:
    y, u = torch.randn(4, 3, 2, 2), torch.tensor([-1.5, 0.0, 0.2, 1.7])
    for decoder in (False, True):
        gate = Gate(3, decoder=decoder, last=False)
        with conditioned([gate], u), torch.no_grad():
            found = gate(y)
        for image in range(4):
            for channel in range(3):
                w, b = float(gate.weight[channel].detach()), float(gate.bias[channel].detach())
                raw = w * float(u[image]) + b
                shut = math.sqrt(max(0.0, 1 - math.exp(raw)))
                scale = shut if decoder else 1 / (1 + math.exp(-raw))
                expected = y[image, channel] * scale
                torch.testing.assert_close(found[image, channel], expected, rtol=1e-5, atol=1e-6)


def test_a_gate_that_is_shut_has_gradients_of_zero_and_none_is_endless() -> None:
    gate = Gate(4, decoder=True, last=True)
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.copy_(torch.tensor([1.0, 0.0, -1e-7, -1.0]))
    with conditioned([gate], torch.zeros(2)):
        gate(torch.ones(2, 4)).sum().backward()
    assert gate.bias.grad is not None
    assert gate.bias.grad[:2].tolist() == [0.0, 0.0]
    assert gate.bias.grad.isfinite().all()
    assert gate.bias.grad[3] < 0


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_layer_but_the_decoders_last_has_a_gate(name: str) -> None:
    """And the plain model's parameters are there, under their names and with their start."""
    assert name in MODELS.names()
    settings, shape = SHAPES[name]
    plain, gated = build(settings, shape), build(settings, shape, gated=True)
    layers = {
        path
        for path, module in plain.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    }
    assert len(layers - gates_of(gated).keys()) == 1
    initialise(plain, 5)
    initialise(gated, 5)
    values = dict(gated.named_parameters())
    assert all(torch.equal(value, values[n]) for n, value in plain.named_parameters())
    assert {n for n in values if n not in dict(plain.named_parameters())} == {
        f"{path}.{NAME}.{leaf}" for path in gates_of(gated) for leaf in ("weight", "bias")
    }


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("u", [-1.7, 0.3])
def test_gates_at_one_u_fold_into_an_ordinary_model(name: str, u: float) -> None:
    settings, shape = SHAPES[name]
    assert_folds(build(settings, shape, gated=True), build(settings, shape), u)


def assert_folds(gated: VAE, plain: VAE, u: float) -> None:
    values, gates = named_tensors(gated), gates_of(gated)
    with torch.no_grad():
        for name, tensor in named_tensors(plain).items():
            tensor.copy_(values[name])
    x, noise = torch.rand(3, *plain.shape.chw), torch.randn(3, plain.latent)
    with evaluating(plain):
        before = plain(x, noise)
    fold(plain, gates, values, torch.tensor(u))
    with evaluating(gated), evaluating(plain), conditioned(gates.values(), torch.tensor(u)):
        for one, other in zip(gated(x, noise)[:3], plain(x, noise)[:3], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        assert not torch.allclose(before.mu, plain(x, noise).mu, atol=1e-3)


class Grouped(VAE):
    """Layers with groups, one of them transposed, and one without a bias."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.down = nn.Sequential(
            nn.Conv2d(1, 6, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 4, 2, 1, groups=3),
            nn.Flatten(), nn.Linear(24, 2 * latent),
        )  # fmt: skip
        self.start = nn.Linear(latent, 24)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(6, 4, 4, 2, 1, groups=2),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 4, 2, 1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.down(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        found: Tensor = self.up(self.start(z).view(-1, 6, 2, 2))
        return found


class Twice(Grouped):
    """One layer in both halves."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.both = nn.Linear(latent, latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = super().encode(x)
        return self.both(mu), logvar

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(self.both(z))


class Tied(Grouped):
    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.a, self.b = nn.Linear(latent, latent), nn.Linear(latent, latent)
        self.b.weight = self.a.weight

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(self.b(torch.tanh(self.a(z))))


class Normed(Grouped):
    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.start = weight_norm(self.start)


class Tokens(Grouped):
    """A layer whose first dimension is no longer images."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.down[:-1](x).view(-1, 12)
        mu, logvar = self.down[-1](features.repeat(1, 2)).view(len(x), 2, -1).unbind(1)
        return mu[:, : self.latent], logvar[:, : self.latent]


class Functional(VAE):
    """No layer at all that is called."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.weight = nn.Parameter(torch.randn(latent, shape.dims))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = x.flatten(1) @ self.weight.T
        return mu, torch.zeros_like(mu)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weight).view(-1, *self.shape.chw)


def test_groups_and_layers_without_bias_fold_too() -> None:
    torch.manual_seed(0)
    assert_folds(add_gates(Grouped(DIGITS, 3)), Grouped(DIGITS, 3), 0.7)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Twice, "layer 'both' cannot be gated: it is part of the encoder and of the decoder"),
        (Tied, "layer 'a' cannot be gated: it shares a parameter"),
        (Normed, "layer 'start' cannot be gated: it computes its weight"),
        (Tokens, r"layer 'down\.4' cannot be gated: it gives no output whose first dimension"),
        (Functional, "the encoder calls no linear layer or convolution"),
    ],
)
def test_a_model_that_cannot_be_gated_is_refused_by_its_layer(kind: type[VAE], what: str) -> None:
    with pytest.raises(ContractError, match=what):
        build({"name": f"{__name__}:{kind.__name__}", "latent": 3}, DIGITS, gated=True)
    build({"name": f"{__name__}:{kind.__name__}", "latent": 3}, DIGITS)


def member(name: str, seed: int = 0, **hyper: float) -> Member:
    return Member(seed, 3e-3, name, hyper, 2000)


def test_each_beta_of_one_training_has_a_rate_of_its_own() -> None:
    """R falls and S rises from beta to beta, as with a training for each."""
    found = bank()
    row = found.admit(member("multi_rate"))
    found.train(600)
    betas = found.betas(row)
    assert len(betas) == 9
    curve = [measure(found.model(row, beta), validation().batches(4)) for beta in betas]
    rates, errors = [m.R for m in curve], [m.S for m in curve]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 20 * rates[-1]
    assert errors[-1] > 1.3 * errors[0]
    assert betas[4] == pytest.approx(math.sqrt(betas[0] * betas[-1]))
    middle = measure(found.model(row), validation().batches(4))
    assert middle == curve[4]


@pytest.mark.parametrize("width", [1, 2])
def test_the_control_is_a_gated_model_trained_at_a_constant_u(width: int) -> None:
    """By hand: torch's Adam on S/2 + beta R of the model with all its gates at u; and it is
    evaluated as the model without gates that this one is."""
    found, one = bank(width), member("gates_frozen", 3, beta=0.05)
    row = found.admit(one)
    found.train(30)
    model = build(MLP, DIGITS, gated=True)
    initialise(model, one.seed)
    gates = gates_of(model).values()
    half, middle = math.log(5 / 0.005) / 2, math.log(5 * 0.005) / 2
    u = torch.tensor(math.sqrt(3) * (math.log(0.05) - middle) / half)
    adam = torch.optim.Adam(model.parameters(), lr=one.lr)
    data, eps = TrainingImages(rows(), torch.device("cpu")), torch.empty(BATCH, 4)
    order, noise = BatchOrder(data, one.seed, BATCH), StepNoise()
    with conditioned(gates, u):
        for step in range(30):
            x = to_unit(data.pixels[order.rows(step)]).view(BATCH, *DIGITS.chw)
            noise.normal_(eps, one.seed, step)
            out = model(x, eps)
            S = (x - out.xhat).square().flatten(1).sum(1)
            R = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar).sum(1)
            adam.zero_grad()
            (S / 2 + 0.05 * R).mean().backward()
            adam.step()
        expected = measure(model, validation().batches(4))
    trained = measure(found.model(row), validation().batches(4))
    assert pytest.approx((expected.S, expected.R), rel=1e-3) == (trained.S, trained.R)
    assert found.betas(row) == [0.05]
    assert found.segment(row).k == pytest.approx(0.05)


def test_a_pair_of_seeds_sees_the_same_noise_with_gates_and_without() -> None:
    """Betas have a stream of their own: order, latent noise and the start are those of all arms."""
    plain, gated = bank(2, gated=False), bank(2)
    a = plain.checkpoint(plain.admit(member("fixed_beta", 4, beta=0.1)))
    b = gated.checkpoint(gated.admit(member("multi_rate", 4)))
    names = [name for name in a if name.startswith("parameter/")]
    assert all(torch.equal(a[name], b[name]) for name in names)
    plain.train(2)
    gated.train(2)
    assert torch.equal(plain._tape.latent[:2, 0], gated._tape.latent[:2, 0])
    assert gated._tape.draws is not None
    draws = gated._tape.draws[:2, 0]
    assert not torch.equal(draws[0], draws[1])


@pytest.mark.parametrize("width", [1, 3])
def test_what_is_exported_is_what_was_evaluated(width: int, tmp_path: Any) -> None:
    """A folder of an ordinary model, at the beta it was written at, to the last bit."""
    found = bank(width)
    row = found.admit(member("multi_rate"))
    found.train(20)
    pixels = torch.from_numpy(rows().pixels[:40]).view(-1, *DIGITS.chw)
    images = []
    for i, beta in enumerate((0.005, 5.0)):
        model = found.model(row, beta)
        images.append(TrainedModel(model).reconstruct(pixels))
        write(tmp_path / str(i), Plan(MLP, DIGITS), state(model), None, {})
        loaded = load(tmp_path / str(i))
        assert torch.equal(loaded.reconstruct(pixels), images[-1])
        assert not gates_of(loaded.vae)
    assert not torch.equal(*images)
