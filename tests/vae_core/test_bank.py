"""The bank's promises, bit for bit: isolation, stateless randomness, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tensors import assert_equal
from torch import Tensor, nn

from vae_core.balancers import BALANCERS
from vae_core.bank import Bank, Member
from vae_core.batches import BatchOrder, StepNoise, TrainingImages, to_unit
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import VAE, Start, build
from vae_core.precision import Precision

DIGITS = ImageShape(1, 8, 8)
MLP = {"name": "mlp", "latent": 4, "width": 24, "depth": 1}
CONV_SHAPE = ImageShape(1, 28, 28)
CONV = {"name": "conv", "latent": 4, "width": 4}
BATCH = 32
STEPS = 30_000
"""Of the whole training, as members know it: sigma_lr is 1e-3."""


@dataclass
class Rows:
    pixels: np.ndarray
    index: np.ndarray


def digits() -> TrainingImages:
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return TrainingImages(Rows(pixels, np.arange(0, 1500, 2)), torch.device("cpu"))


def pictures() -> TrainingImages:
    pixels = np.random.default_rng(0).integers(0, 256, (200, CONV_SHAPE.dims), dtype=np.uint8)
    return TrainingImages(Rows(pixels, np.arange(200)), torch.device("cpu"))


KINDS: dict[str, tuple[dict[str, object], Callable[[], TrainingImages], ImageShape]] = {
    "mlp": (MLP, digits, DIGITS),
    "conv": (CONV, pictures, CONV_SHAPE),
    "norm": ({"name": f"{__name__}:Normalised", "latent": 3}, digits, DIGITS),
    "tied": ({"name": f"{__name__}:Tied", "latent": 3}, digits, DIGITS),
    "wae": ({"name": "wae", "latent": 3, "width": 2}, pictures, CONV_SHAPE),
    "residual": ({"name": "residual", "latent": 3, "width": 4, "dense": 8}, digits, DIGITS),
}


def bank(width: int, kind: str = "mlp", **settings: object) -> Bank:
    model, images, shape = KINDS[kind]
    return Bank(model, images(), shape, width=width, batch_size=BATCH, **settings)  # type: ignore[arg-type]


class Normalised(VAE):
    """A model with running statistics."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(shape.dims, 16), nn.BatchNorm1d(16), nn.ReLU(),
            nn.Linear(16, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(nn.Linear(latent, shape.dims), nn.Unflatten(1, shape.chw))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        found: Tensor = self.decoder(z)
        return found


class Tied(Normalised):
    """One parameter under two names, one module under two, and a start of its own."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(shape.dims, 2 * latent))
        self.narrow, self.wide = nn.Linear(latent, latent), nn.Linear(latent, latent)
        self.wide.weight = self.narrow.weight
        self.again = self.wide
        nn.init.orthogonal_(self.narrow.weight)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(self.again(torch.tanh(self.wide(torch.tanh(self.narrow(z))))))


ONE = Member(seed=11, lr=3e-3, balancer="learned_sigma", hyper={}, steps=STEPS)
NEIGHBOURS = [
    Member(seed=5, lr=1e-3, balancer="fixed_beta", hyper={"beta": 0.1}, steps=STEPS),
    Member(seed=6, lr=3e-3, balancer="running_average", hyper={"decay": 0.9}, steps=STEPS),
    Member(seed=7, lr=2e-3, balancer="learned_sigma", hyper={"sigma_lr": 1e-2}, steps=STEPS),
    Member(seed=8, lr=2e-3, balancer="optimal_sigma", hyper={}, steps=STEPS),
]


FAMILY = [replace(ONE, seed=seed) for seed in (2, 3, 4)]
PRECISIONS = ["float32", "bfloat16"]


def state(found: Bank, row: int) -> dict[str, Tensor]:
    return found.checkpoint(row)


MATES = ([], NEIGHBOURS[:2], NEIGHBOURS[1:4], FAMILY)


def assert_alike_beside(
    mates: Sequence[Sequence[Member]], make: Callable[[], Bank], steps: int
) -> None:
    """``ONE`` trains to the same numbers beside and behind each of ``mates``."""
    results = []
    for others in mates:
        found = make()
        for member in others:
            found.admit(member)
        row = found.admit(ONE)
        found.train(steps)
        results.append((state(found, row), found.segment(row)))
    for other, segment in results[1:]:
        assert_equal(other, results[0][0])
        assert segment == results[0][1]


def assert_alike_beside_nan(make: Callable[[], Bank]) -> None:
    """``ONE`` trains to the same numbers beside a member that diverges."""
    calm, wild = make(), make()
    divergent = replace(ONE, seed=2, lr=1e30)  # the same balancer: the same loss computes both
    for found, neighbour in ((calm, replace(divergent, lr=1e-3)), (wild, divergent)):
        found.admit(neighbour)
        found.admit(ONE)
        found.train(12)
    assert wild.segment(0).diverged_at is not None
    assert_equal(state(calm, 1), state(wild, 1))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "conv", "norm", "wae", "residual"])
def test_a_members_numbers_do_not_depend_on_its_slot_or_neighbours(
    kind: str, precision: Precision
) -> None:
    """Nor on whether all of the bank has one balancer."""
    assert_alike_beside(MATES, lambda: bank(4, kind, precision=precision), steps=6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_neighbour_going_to_nan_changes_nothing(kind: str, precision: Precision) -> None:
    assert_alike_beside_nan(lambda: bank(3, kind, precision=precision))


def test_members_may_come_and_go_while_another_trains() -> None:
    alone, shared = bank(3), bank(3)
    row = alone.admit(ONE)
    alone.train(9)
    first = shared.admit(NEIGHBOURS[0])
    kept = shared.admit(ONE)
    shared.train(4)
    shared.release(first)
    shared.train(2)
    shared.admit(NEIGHBOURS[3])
    shared.train(3)
    assert_equal(state(alone, row), state(shared, kept))
    assert alone.segment(row) == shared.segment(kept)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("member", [ONE, *NEIGHBOURS], ids=lambda m: m.balancer)
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(
    width: int, member: Member, precision: Precision
) -> None:
    whole = bank(width, precision=precision)
    row = whole.admit(member)
    whole.train(4)
    saved = whole.checkpoint(row)
    whole.train(5)
    again = bank(width, precision=precision)
    if width > 1:
        again.admit(NEIGHBOURS[0])
    resumed = again.admit(member, saved)
    assert again.step(resumed) == 4
    again.train(5)
    assert_equal(state(whole, row), state(again, resumed))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("member", [ONE, *NEIGHBOURS], ids=lambda m: m.balancer)
def test_a_segment_cut_at_any_step_ends_as_if_it_never_was(width: int, member: Member) -> None:
    """Twice, into another row beside others, and with the chunks the rest is trained in."""
    steps, whole = 6, bank(width)
    row = whole.admit(member)
    whole.train(3)
    whole.segment(row)
    start = whole.checkpoint(row)
    assert len(start["history"]) == 0
    whole.train(steps)
    expected, after = whole.segment(row), whole.checkpoint(row)
    for cut in range(1, steps):
        first = bank(width)
        row = first.admit(member, start)
        first.train(cut)
        middle = first.checkpoint(row)
        assert len(middle["history"]) == cut
        second = bank(width)
        if width > 1:
            second.admit(NEIGHBOURS[cut % 4])
            second.train(2)
        row = second.admit(member, middle)
        for _ in range(steps - cut):
            again = second.checkpoint(row)
            second.release(row)
            row = second.admit(member, again)
            second.train(1)
        assert second.segment(row) == expected
        assert_equal(second.checkpoint(row), after)


def test_a_divergence_before_the_cut_is_reported_after_it_with_its_step() -> None:
    member = replace(ONE, lr=1e30)
    first, second = bank(2), bank(2)
    row = first.admit(member)
    first.train(4)
    row = second.admit(member, first.checkpoint(row))
    second.train(2)
    assert second.segment(row).diverged_at == 2


def test_an_unfit_checkpoint_is_refused_and_leaves_no_trace() -> None:
    found, other = bank(2), Bank({**MLP, "latent": 9}, digits(), DIGITS, width=2, batch_size=BATCH)
    own, foreign = bank(1), other.admit(ONE)
    fitting = own.checkpoint(own.admit(ONE))
    moments = {n: v for n, v in fitting.items() if not n.startswith("balancer/exp_avg/")}
    spread = {**fitting, "parameter/encoder.1.weight": torch.zeros(1, 1)}  # copying would spread it
    for unfit in (other.checkpoint(foreign), moments, spread, {**fitting, "more": torch.zeros(1)}):
        with pytest.raises(ContractError, match="another model or balancer"):
            found.admit(ONE, unfit)
    assert found.free == 2
    clean = bank(2)
    for both in (found, clean):
        both.admit(NEIGHBOURS[0])
        both.train(3)
    assert_equal(found.checkpoint(0), clean.checkpoint(0))


def test_a_checkpoint_is_a_copy() -> None:
    found = bank(2)
    row = found.admit(ONE)
    saved = found.checkpoint(row)
    before = {name: tensor.clone() for name, tensor in saved.items()}
    found.train(2)
    assert_equal(saved, before)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("kind", ["mlp", "conv", "norm", "tied"])
def test_a_row_trains_like_a_plain_loop_with_torchs_adam(width: int, kind: str) -> None:
    """The whole step, written out by hand: model, order, noise, loss, optimiser."""
    member = replace(NEIGHBOURS[0], hyper={"beta": 0.02})
    found = bank(width, kind)
    rows = [found.admit(replace(member, seed=seed)) for seed in range(width)]
    found.train(8)
    settings, make_images, shape = KINDS[kind]
    for seed, row in enumerate(rows):
        images, model = make_images(), Start(partial(build, settings, shape), None).model(seed)
        order, noise = BatchOrder(images, seed, BATCH), StepNoise()
        adam = torch.optim.Adam(model.parameters(), lr=member.lr)
        for step in range(8):
            x = to_unit(images.pixels[order.rows(step)]).view(BATCH, *shape.chw)
            eps = torch.empty(BATCH, model.latent)
            noise.normal_(eps, seed, step)
            out = model(x, eps)
            S = (x - out.xhat).square().sum(dim=(1, 2, 3)).mean()
            R = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar).sum(1).mean()
            adam.zero_grad()
            (S / 2 + 0.02 * R).backward()
            adam.step()
        trained = found.model(row)
        x = to_unit(make_images().pixels[:50]).view(50, *shape.chw)
        zero = torch.zeros(50, model.latent)
        # Before a normalisation some gradients are pure rounding, which Adam's scaling blows up.
        close = 1e-2 if kind == "norm" else 2e-4
        expected = model.eval()(x, zero).xhat
        torch.testing.assert_close(trained(x, zero).xhat, expected, rtol=0, atol=close)
        if kind != "norm":
            for name, value in model.state_dict().items():
                torch.testing.assert_close(trained.state_dict()[name], value, rtol=1e-4, atol=2e-6)
        segment = found.segment(row)
        assert segment.sigma2 == 1.0
        assert segment.k == pytest.approx(0.02)


def test_seeds_pair_across_arms_models_and_rows() -> None:
    """Equal seeds: equal starts by name and shape, equal batches, equal noise."""
    small, large = bank(2), Bank({**MLP, "latent": 9}, digits(), DIGITS, width=2, batch_size=BATCH)
    a, b = small.admit(NEIGHBOURS[0]), large.admit(replace(ONE, seed=5))
    one, two = state(small, a), state(large, b)
    shared = [n for n in one if n.startswith("parameter/") and one[n].shape == two[n].shape]
    assert "parameter/encoder.1.weight" in shared
    assert all(torch.equal(one[name], two[name]) for name in shared)
    for step in (0, 30, 100):
        orders = [BatchOrder(digits(), 5, BATCH).rows(step) for _ in range(2)]
        assert torch.equal(*orders)


def test_an_epoch_visits_each_image_once_and_another_order_follows() -> None:
    images = digits()
    order = BatchOrder(images, 3, BATCH)
    per_epoch = images.count // BATCH
    first = torch.cat([order.rows(step) for step in range(per_epoch)])
    assert len(set(first.tolist())) == per_epoch * BATCH
    assert set(first.tolist()) <= set(images.index.tolist())
    second = torch.cat([order.rows(per_epoch + step) for step in range(per_epoch)])
    assert not torch.equal(first, second)
    assert torch.equal(order.rows(2), first[2 * BATCH : 3 * BATCH])


@pytest.mark.parametrize("width", [1, 2])
def test_divergence_is_reported_with_its_step(width: int) -> None:
    found = bank(width)
    row = found.admit(replace(ONE, lr=1e30))
    found.train(3)
    assert found.segment(row).diverged_at == 2  # the first step is taken from sane parameters
    healthy = bank(width)
    row = healthy.admit(ONE)
    healthy.train(3)
    assert healthy.segment(row).diverged_at is None


def test_segments_are_means_over_their_own_steps() -> None:
    whole, halves = bank(2), bank(2)
    a, b = whole.admit(ONE), halves.admit(ONE)
    whole.train(6)
    halves.train(2)
    first = halves.segment(b)
    halves.train(1)
    halves.train(3)
    second = halves.segment(b)
    assert whole.segment(a).loss == pytest.approx((2 * first.loss + 4 * second.loss) / 6)


def test_dequantised_training_keeps_the_promises_too() -> None:
    results = []
    for others in ([], NEIGHBOURS[:1]):
        found = bank(2, dequantize=True)
        for member in others:
            found.admit(member)
        row = found.admit(ONE)
        found.train(4)
        results.append(state(found, row))
    assert_equal(*results)
    plain = bank(2)
    row = plain.admit(ONE)
    plain.train(4)
    assert not torch.equal(
        plain.checkpoint(row)["parameter/encoder.1.weight"],
        results[0]["parameter/encoder.1.weight"],
    )


def test_midpoints_are_the_mean_of_dequantised_values() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_unit(values), (values.double() + 0.5).div(256).float())
    assert to_unit(values).min() > 0
    assert to_unit(values).max() < 1


def test_a_full_bank_refuses_and_an_unfit_member_leaves_no_trace() -> None:
    found = bank(1)
    with pytest.raises(Exception, match="needs beta"):
        found.admit(Member(0, 1e-3, "fixed_beta", {}, STEPS))
    assert found.free == 1
    found.admit(ONE)
    with pytest.raises(RuntimeError, match="full"):
        found.admit(ONE)


def test_a_learned_scalar_moves_at_its_own_rate_as_torchs_adam_moves_it() -> None:
    found = bank(2)
    row = found.admit(replace(ONE, hyper={"sigma_lr": 0.05}))
    found.train(1)
    # Adam's first step is lr in the direction of the gradient; sigma = 1 is far above the error.
    assert float(found.checkpoint(row)["balancer/learned/log_sigma"]) == pytest.approx(
        -0.05, rel=1e-4
    )


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("kind", ["mlp", "conv", "norm", "wae", "residual"])
def test_bfloat16_rounds_products_and_nothing_else(kind: str, width: int) -> None:
    """S and R of a first step are float32's to the rounding of 8 bits, but not to float32's."""
    found, reference = (bank(width, kind, precision=p) for p in ("bfloat16", "float32"))
    for each in (found, reference):
        each.admit(NEIGHBOURS[0])
        each.train(1)
    a, b = (each.checkpoint(0)["history"] for each in (found, reference))
    torch.testing.assert_close(a, b, rtol=0.02, atol=0)
    assert not torch.isclose(a, b, rtol=1e-6).all()
    assert {v.dtype for n, v in found.checkpoint(0).items() if n.startswith(("param", "exp"))} == {
        torch.float32
    }
    model, x = found.model(0), torch.rand(3, *found.shape.chw)
    evaluated = model(x, torch.zeros(3, found.latent)).xhat
    assert not torch.equal(evaluated, evaluated.bfloat16().float())


def test_training_in_bfloat16_comes_to_about_the_same_loss() -> None:
    found, reference = (bank(1, precision=p) for p in ("bfloat16", "float32"))
    ends = []
    for each in (found, reference):
        row = each.admit(replace(NEIGHBOURS[0], lr=3e-3))
        each.train(280)
        each.segment(row)
        each.train(20)
        ends.append(each.segment(row).loss)
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


FAST = {
    **{
        "beta": 0.02,
        "k": 1.0,
        "decay": 0.9,
        "sigma_lr": 0.03,
        "scale_lr": 0.01,
        "log_scale_lr": 0.03,
    },
    **{"kappa": 0.15, "target": 6.0, "beta_init": 1.0, "start_epochs": 1.0, "mmd": 10.0},
}
"""Hyperparameters with which a family gets somewhere in 200 steps."""


def fast(name: str) -> bool:
    """Whether ``FAST`` has all that the family requires."""
    declared = BALANCERS.get(name).hyperparameters
    return FAST.keys() >= {key for key, spec in declared.items() if spec.required}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", filter(fast, BALANCERS.names()))
def test_every_family_learns_digits(name: str, precision: Precision) -> None:
    family = BALANCERS.get(name)
    hyper = {n: value for n, value in FAST.items() if n in family.hyperparameters}
    found = bank(1, head=family.head, gated=family.gated, precision=precision)
    row = found.admit(Member(0, 3e-3, name, hyper, STEPS))
    found.train(20)
    early = found.segment(row)
    found.train(180)
    found.segment(row)
    found.train(20)
    late = found.segment(row)
    assert late.squared_error < 0.8 * early.squared_error
    mse = late.squared_error / DIGITS.dims
    if family.likelihood in ("laplace", "student_t"):  # heavier tails
        assert 0.25 * mse < late.sigma2 < 2 * mse
    elif family.likelihood == "discretised_logistic":  # the open bin of black does not bound it
        assert 0.25 * mse < late.sigma2 < 8 * mse
    elif family.head == "pixel":  # the border of a digit never changes
        assert late.sigma2 < 0.5 * mse
    elif not family.hand_tuned and late.k == 1:  # it maximises the evidence bound itself
        assert late.sigma2 == pytest.approx(mse, rel=0.35)
    assert math.isfinite(late.loss)
