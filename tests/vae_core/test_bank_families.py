"""Every balancer in a bank, beside others: rows equal loops written by hand, and nothing leaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tensors import assert_equal
from torch import Tensor

from vae_core.balancers import BALANCERS, Terms
from vae_core.balancers.suite import example_hyperparameters
from vae_core.bank import Bank, Member
from vae_core.batches import BatchOrder, StepNoise, TrainingImages, to_unit
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import Head, Reconstruction, build, initialise
from vae_core.models.gated import conditioned, gates_of

TINY = ImageShape(1, 5, 5)
D, BATCH, STEPS = TINY.dims, 10, 12
MLP = {"name": "mlp", "latent": 3, "width": 12, "depth": 1}


@dataclass
class Rows:
    pixels: np.ndarray
    index: np.ndarray


def images() -> TrainingImages:
    """Smooth blobs: something a tiny model can learn."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:5, :5]
    centre = generator.uniform(0.5, 3.5, (60, 2, 1, 1))
    blobs = np.exp(-((y - centre[:, 0]) ** 2) - (x - centre[:, 1]) ** 2)
    pixels = np.round(255 * blobs).astype(np.uint8).reshape(60, D)
    return TrainingImages(Rows(pixels, np.arange(60)), torch.device("cpu"))


def bank(width: int, head: Head | None = None, *, gated: bool = False) -> Bank:
    return Bank(MLP, images(), TINY, width=width, batch_size=BATCH, head=head, gated=gated)


def bank_of(name: str, width: int) -> Bank:
    """One that has the head or the gates that a family needs."""
    family = BALANCERS.get(name)
    return bank(width, family.head, gated=family.gated)


HYPER = {
    "fixed_beta": {"beta": 0.05},
    "learned_sigma": {"k": 2.0, "sigma_lr": 0.05, "sigma_min": 0.7},
    "optimal_sigma": {"k": 3.0},
    "per_image_sigma": {"k": 4.0},
    "running_average": {"k": 0.5, "decay": 0.8},
    "asperti_trentin": {"decay": 0.8},
    "running_minimum": {"k": 8.0, "decay": 0.8},
    "laplace_scale": {"k": 2.0, "scale_lr": 0.03},
    "predicted_image_sigma": {"k": 2.0},
    "predicted_pixel_sigma": {"k": 0.5},
}


FAMILIES = [*HYPER, *(name for name in BALANCERS.names() if name not in HYPER)]


def member(name: str, seed: int = 0) -> Member:
    hyper = HYPER.get(name) or example_hyperparameters(BALANCERS.get(name)(TINY, 3, 60, BATCH), 0)
    return Member(seed, 3e-3, name, hyper, STEPS)


def with_head(head: Head | None, *, gated: bool = False) -> list[str]:
    found = {name: BALANCERS.get(name) for name in FAMILIES}
    return [n for n, family in found.items() if (family.head, family.gated) == (head, gated)]


class Loop:
    """One member trained by hand: torch's Adam, a loss written from the formula.

    ``sigma2`` and ``k`` of the last step are kept as a report would give them.
    """

    def __init__(self, trained: Member) -> None:
        self.trained, self.k = trained, trained.hyper.get("k", 1.0)
        self.head = BALANCERS.get(trained.balancer).head
        self.model = build(MLP, TINY, self.head)
        initialise(self.model, trained.seed)
        self.scalar = torch.tensor(0.5 if trained.balancer == "laplace_scale" else 0.0)
        self.scalar.requires_grad_()
        self.average = self.lowest = 1.0
        self.sigma2 = math.nan

    def run(self, steps: int) -> None:
        hyper, seed, data = self.trained.hyper, self.trained.seed, images()
        order, noise = BatchOrder(data, seed, BATCH), StepNoise()
        network = torch.optim.Adam(self.model.parameters(), lr=self.trained.lr)
        rate = hyper.get("sigma_lr", hyper.get("scale_lr", 0.0))
        scalar = torch.optim.Adam([self.scalar], lr=rate)
        per_epoch = data.count // BATCH
        every = round((self.trained.halve_every or steps) * per_epoch)
        schedules = [torch.optim.lr_scheduler.StepLR(a, every, 0.5) for a in (network, scalar)]
        for step in range(steps):
            x = to_unit(data.pixels[order.rows(step)]).view(BATCH, *TINY.chw)
            eps = torch.empty(BATCH, self.model.latent)
            noise.normal_(eps, seed, step)
            out = self.model(x, eps)
            R = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar).sum(1).mean()
            nll = getattr(self, self.trained.balancer)(x, out)
            network.zero_grad()
            scalar.zero_grad()
            (nll + self.k * R).backward()
            network.step()
            schedules[0].step()
            if self.scalar.grad is not None:
                scalar.step()
                schedules[1].step()
            mse = float((x - out.xhat).detach().square().mean())
            self.after(mse)

    def after(self, mse: float) -> None:
        decay = self.trained.hyper.get("decay", 0.0)
        self.average = decay * self.average + (1 - decay) * mse
        if self.trained.balancer == "asperti_trentin":
            self.average = self.lowest = min(self.lowest, self.average)
        self.lowest = min(self.lowest, self.average)

    def normal(self, x: Tensor, mean: Tensor, sigma2: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma2).sqrt()
        return -torch.distributions.Normal(mean, sigma).log_prob(x).sum(dim=(1, 2, 3)).mean()

    def fixed_beta(self, x: Tensor, out: Reconstruction) -> Tensor:
        self.k = self.trained.hyper["beta"]
        return self.normal(x, out.xhat, 1.0)

    def learned_sigma(self, x: Tensor, out: Reconstruction) -> Tensor:
        sigma = self.scalar.exp().clamp(min=self.trained.hyper["sigma_min"])
        return self.normal(x, out.xhat, sigma**2)

    def optimal_sigma(self, x: Tensor, out: Reconstruction) -> Tensor:
        sigma = (x - out.xhat).square().mean().sqrt()
        return self.normal(x, out.xhat, (sigma + math.exp(-12)) ** 2)

    def per_image_sigma(self, x: Tensor, out: Reconstruction) -> Tensor:
        sigma = (x - out.xhat).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return self.normal(x, out.xhat, (sigma + math.exp(-12)) ** 2)

    def running_average(self, x: Tensor, out: Reconstruction) -> Tensor:
        return self.normal(x, out.xhat, self.average)

    def asperti_trentin(self, x: Tensor, out: Reconstruction) -> Tensor:
        self.k = (2 * 5 / 3) ** 2
        return self.normal(x, out.xhat, self.lowest)

    def running_minimum(self, x: Tensor, out: Reconstruction) -> Tensor:
        return self.normal(x, out.xhat, self.lowest)

    def laplace_scale(self, x: Tensor, out: Reconstruction) -> Tensor:
        b = torch.maximum(self.scalar.abs(), (x - out.xhat).abs().mean())
        return -torch.distributions.Laplace(out.xhat, b).log_prob(x).sum(dim=(1, 2, 3)).mean()

    def predicted_image_sigma(self, x: Tensor, out: Reconstruction) -> Tensor:
        assert out.log_sigma2 is not None
        assert out.log_sigma2.shape == (BATCH, 1, 1, 1)
        return self.normal(x, out.xhat, out.log_sigma2.exp())

    def predicted_pixel_sigma(self, x: Tensor, out: Reconstruction) -> Tensor:
        assert out.log_sigma2 is not None
        assert out.log_sigma2.shape == x.shape
        return self.normal(x, out.xhat, out.log_sigma2.exp())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_trains_like_a_plain_loop_over_its_rule(name: str) -> None:
    """Any family, the rule taken as it is: the bank's steps, states and learned scalars.

    What is reported is the balance of the last step, with what that step began with.
    """
    one = member(name)
    family = BALANCERS.get(name)
    found = bank_of(name, 1)
    row = found.admit(one)
    found.train(STEPS)
    model = build(MLP, TINY, family.head, gated=family.gated)
    gates = gates_of(model).values()
    initialise(model, one.seed)
    rule = family(TINY, model.latent, images().count, BATCH)
    hyper = {n: torch.tensor([value]) for n, value in rule.complete(one.hyper, one.steps).items()}
    state = rule.initial_state(hyper)
    learned = {n: hyper[s.init].clone().requires_grad_() for n, s in rule.learned.items()}
    adams = [torch.optim.Adam(model.parameters(), lr=one.lr)]
    adams += [
        torch.optim.Adam([learned[n]], lr=float(hyper[spec.lr])) for n, spec in rule.learned.items()
    ]
    data, eps, draws = images(), torch.empty(BATCH, model.latent), torch.empty(1, BATCH)
    order, noise = BatchOrder(data, one.seed, BATCH), StepNoise()
    for step in range(STEPS):
        x = to_unit(data.pixels[order.rows(step)]).view(BATCH, *TINY.chw)
        noise.normal_(eps, one.seed, step)
        noise.beta_(draws, one.seed, step)
        u = rule.drawn(draws, hyper) if family.gated else draws
        with conditioned(gates, u[0]):
            terms = measured(x, model(x, eps), eps, family.terms)
        terms = replace(terms, u=u) if family.gated else terms
        for adam in adams:
            adam.zero_grad()
        with torch.no_grad():
            at = rule.balance(terms, state, learned, hyper)
        rule.loss(terms, state, learned, hyper).sum().backward()
        for adam in adams:
            adam.step()
        state = rule.next_state(terms.map(Tensor.detach), state, learned, hyper)
    saved = found.checkpoint(row)
    for parameter, value in model.named_parameters():
        trained = saved[f"parameter/{parameter}"]
        torch.testing.assert_close(trained, value.detach(), rtol=1e-3, atol=1e-5)
    kept = {f"balancer/state/{n}": v for n, v in state.items()}
    kept |= {f"balancer/learned/{n}": v.detach() for n, v in learned.items()}
    for part, value in kept.items():
        torch.testing.assert_close(saved[part], value[0], rtol=1e-3, atol=1e-5)
    segment = found.segment(row)
    log_sigma2 = float(at.log_sigma2.detach().mean())
    assert math.log(segment.sigma2) == pytest.approx(log_sigma2, abs=1e-4)
    assert segment.k == pytest.approx(float(at.k), rel=1e-4)


def measured(x: Tensor, out: Reconstruction, noise: Tensor, wanted: frozenset[str]) -> Terms:
    """The terms of one member, [1, B, ...], from their definitions."""
    error = (x - out.xhat).flatten(1)
    kl = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar)
    optional = {
        "absolute_error": error.abs().sum(1),
        "x": x.flatten(1),
        "xhat": out.xhat.flatten(1),
    }
    optional |= {"mu": out.mu, "logvar": out.logvar, "noise": noise}
    if out.log_sigma2 is not None:
        normal = torch.distributions.Normal(out.xhat, (0.5 * out.log_sigma2).exp())
        optional["nll"] = -normal.log_prob(x).flatten(1).sum(1)
        optional["log_sigma2"] = out.log_sigma2.flatten(1).mean(1)
    given = {name: term[None] for name, term in optional.items() if name in wanted}
    return Terms(error.square().sum(1)[None], kl[None], **given)


@pytest.mark.parametrize("crowd", [False, True], ids=["alone", "beside others"])
@pytest.mark.parametrize("head", [None, "image", "pixel"])
def test_each_row_trains_like_a_loop_written_by_hand(head: Head | None, crowd: bool) -> None:
    """The whole step, with the loss from torch's own distributions: alone in a bank of one, and
    all balancers of the head, with two seeds, in one bank."""
    written = [name for name in with_head(head) if hasattr(Loop, name)]
    members = [member(name, seed) for name in written for seed in (0, 1)]
    banks = [(bank(len(members), head), members)] if crowd else []
    banks += [] if crowd else [(bank(1, head), [one]) for one in members]
    for found, trained_in_it in banks:
        rows = [found.admit(one) for one in trained_in_it]
        found.train(STEPS)
        for row, one in zip(rows, trained_in_it, strict=True):
            loop = Loop(one)
            loop.run(STEPS)
            trained = found.model(row).state_dict()
            for name, value in loop.model.state_dict().items():
                torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=1e-5)
            saved = found.checkpoint(row)
            for name in BALANCERS.get(one.balancer).learned:
                got = saved[f"balancer/learned/{name}"]
                torch.testing.assert_close(got, loop.scalar.detach(), rtol=1e-4, atol=1e-6)
            if "balancer/state/mse" in saved:
                assert float(saved["balancer/state/mse"]) == pytest.approx(loop.average, rel=1e-4)
            if "balancer/state/lowest" in saved:
                assert float(saved["balancer/state/lowest"]) == pytest.approx(loop.lowest, rel=1e-4)
            segment = found.segment(row)
            assert segment.diverged_at is None
            assert segment.k == pytest.approx(loop.k)


def last_batch(one: Member, found: Bank, row: int, step: int) -> tuple[Tensor, Reconstruction]:
    """What ``row`` sees at ``step``, and its model's answer."""
    data, eps = images(), torch.empty(BATCH, 3)
    StepNoise().normal_(eps, one.seed, step)
    x = to_unit(data.pixels[BatchOrder(data, one.seed, BATCH).rows(step)]).view(BATCH, *TINY.chw)
    with torch.no_grad():
        return x, found.model(row)(x, eps)


REPORTED: dict[str, Callable[[Tensor, Reconstruction], float]] = {
    "per_image_sigma": lambda x, out: float(
        ((x - out.xhat).square().mean(dim=(1, 2, 3)).sqrt() + math.exp(-12)).log().mul(2).mean()
    ),
    "laplace_scale": lambda x, out: math.log(2 * float((x - out.xhat).abs().mean()) ** 2),
    "predicted_image_sigma": lambda x, out: float(_predicted(out).mean()),
    "predicted_pixel_sigma": lambda x, out: float(_predicted(out).mean()),
}


def _predicted(out: Reconstruction) -> Tensor:
    assert out.log_sigma2 is not None
    return out.log_sigma2


@pytest.mark.parametrize("name", sorted(REPORTED))
def test_many_variances_are_reported_as_their_geometric_mean_and_a_scale_as_2_b2(name: str) -> None:
    hyper = {"scale_init": 1e-4} if name == "laplace_scale" else {}
    one = Member(3, 1e-3, name, hyper, STEPS)
    found = bank(2, BALANCERS.get(name).head)
    row = found.admit(one)
    found.train(4)
    x, out = last_batch(one, found, row, 4)  # the step to come, before the weights move
    found.train(1)
    assert math.log(found.segment(row).sigma2) == pytest.approx(REPORTED[name](x, out), abs=1e-4)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_members_bits_depend_on_no_neighbour_sane_or_not(name: str) -> None:
    """Not on the row, on terms measured for others, nor on a neighbour of any family at NaN.

    First row or last: vector kernels round the end of a tensor differently.
    """
    family = BALANCERS.get(name)
    others, results = with_head(family.head, gated=family.gated), []
    one, width = member(name, 7), len(others) + 1
    width += width * BATCH * D % 32 == 0  # there is to be an end that fills no vector
    for crowd in ([], others, others[::-1]):
        found = bank_of(name, width)
        for seed, other in enumerate(crowd):
            wild = 1e30 if crowd is not others and seed % 2 == 0 else 3e-3
            found.admit(replace(member(other, seed), lr=wild))
        row = found.admit(one)
        found.train(5)
        results.append((found.checkpoint(row), found.segment(row)))
    for saved, segment in results[1:]:
        assert_equal(saved, results[0][0])
        assert segment == results[0][1]
    assert results[0][1].diverged_at is None


@pytest.mark.parametrize("width", [1, 3])
def test_learning_rates_are_halved_after_so_many_epochs(width: int) -> None:
    """The network's and the learned scalar's; a neighbour's stay, and a restart goes on."""
    halved = replace(member("learned_sigma"), halve_every=0.5)  # 3 of an epoch's 6 steps
    found, loop, plain = bank(width), Loop(halved), Loop(member("learned_sigma"))
    row = found.admit(halved)
    others = [found.admit(member("learned_sigma")) for _ in range(width - 1)]
    found.train(10)
    loop.run(10)
    plain.run(10)
    for place, expected in [(row, loop), *((other, plain) for other in others)]:
        trained = found.model(place).state_dict()
        for name, value in expected.model.state_dict().items():
            torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=2e-6)
        learned = found.checkpoint(place)["balancer/learned/log_sigma"]
        assert float(learned) == pytest.approx(expected.scalar.item(), abs=1e-6)
    again = bank(width)
    first = again.admit(halved)
    again.train(4)
    saved = again.checkpoint(first)
    again.release(first)
    again.admit(halved, saved)
    again.train(6)
    assert_equal(again.checkpoint(first), found.checkpoint(row))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_checkpoint_holds_heads_scalars_and_states_to_the_bit(name: str, width: int) -> None:
    head, gated = BALANCERS.get(name).head, BALANCERS.get(name).gated
    whole = bank_of(name, width)
    row = whole.admit(member(name))
    whole.train(4)
    saved = whole.checkpoint(row)
    whole.train(5)
    again = bank_of(name, width)
    if width > 1:
        again.admit(member(with_head(head, gated=gated)[0], 9))
    resumed = again.admit(member(name), saved)
    assert_equal(again.checkpoint(resumed), saved)
    again.train(5)
    assert_equal(again.checkpoint(resumed), whole.checkpoint(row))
    assert again.segment(resumed) == whole.segment(row)
    if head:
        moved = saved["parameter/spread.0.weight" if head == "pixel" else "parameter/spread.weight"]
        assert moved.abs().max() > 0


@pytest.mark.parametrize(
    ("head", "name"),
    [(None, "predicted_image_sigma"), ("image", "fixed_beta"), ("image", "predicted_pixel_sigma")],
)
def test_a_member_that_needs_another_head_is_refused(head: Head | None, name: str) -> None:
    found = bank(2, head)
    with pytest.raises(ContractError, match=f"balancer '{name}' needs decoders with head"):
        found.admit(member(name))
    assert found.free == 2
    found.admit(member(with_head(head)[0]))
    found.train(1)


@pytest.mark.parametrize(
    ("gated", "name", "what"),
    [(True, "fixed_beta", "without gates"), (False, "multi_rate", "with gates")],
)
def test_a_member_that_needs_gates_or_none_is_refused(gated: bool, name: str, what: str) -> None:
    found = bank(2, gated=gated)
    with pytest.raises(ContractError, match=f"balancer '{name}' needs models {what}"):
        found.admit(member(name))
    assert found.free == 2
    found.admit(member(with_head(None, gated=gated)[0]))
    found.train(1)


def test_a_head_leaves_order_noise_and_the_other_parameters_start_as_they_are() -> None:
    plain, headed = bank(2), bank(2, "pixel")
    a = plain.checkpoint(plain.admit(member("fixed_beta", 4)))
    b = headed.checkpoint(headed.admit(member("predicted_pixel_sigma", 4)))
    shared = [name for name in a if name.startswith("parameter/")]
    assert all(torch.equal(a[name], b[name]) for name in shared)
