"""Running statistics in a bank: each row has its own, and they go where their member goes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tensors import assert_equal
from torch import Tensor

from vae_core.bank import Bank, Member
from vae_core.batches import BatchOrder, StepNoise, TrainingImages, to_unit
from vae_core.geometry import ImageShape
from vae_core.models import Head, build, initialise

DIGITS = ImageShape(1, 8, 8)
SETTINGS = {"name": "residual", "latent": 3, "width": 4, "dense": 8, "bn_decay": 0.9}
BATCH = 32
STEPS = 30_000
"""Of the whole training, as members know it."""
MEMBERS = [
    Member(seed=1, lr=3e-3, balancer="fixed_beta", hyper={"beta": 0.02}, steps=STEPS),
    Member(seed=2, lr=1e-3, balancer="optimal_sigma", hyper={}, steps=STEPS),
    Member(seed=3, lr=3e-3, balancer="learned_sigma", hyper={}, steps=STEPS),
]


@dataclass
class Rows:
    pixels: np.ndarray
    index: np.ndarray


def digits() -> TrainingImages:
    pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    return TrainingImages(Rows(pixels, np.arange(1500)), torch.device("cpu"))


def bank(width: int) -> Bank:
    return Bank(SETTINGS, digits(), DIGITS, width=width, batch_size=BATCH)


def buffers(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in saved.items() if name.startswith("buffer/")}


@pytest.mark.parametrize("width", [1, 3])
def test_a_row_trains_and_keeps_the_statistics_of_a_loop_written_by_hand(width: int) -> None:
    steps, lr = 60, 3e-3
    found = bank(width)
    rows = [found.admit(replace(MEMBERS[0], seed=seed)) for seed in range(width)]
    found.train(2)
    early = [found.segment(row) for row in rows]
    found.train(steps - 2)
    for seed, row in enumerate(rows):
        model, images = build(SETTINGS, DIGITS).train(), digits()
        initialise(model, seed)
        order, noise = BatchOrder(images, seed, BATCH), StepNoise()
        adam = torch.optim.Adam(model.parameters(), lr=lr)
        for step in range(steps):
            x = to_unit(images.pixels[order.rows(step)]).view(BATCH, *DIGITS.chw)
            eps = torch.empty(BATCH, model.latent)
            noise.normal_(eps, seed, step)
            out = model(x, eps)
            S = (x - out.xhat).square().sum(dim=(1, 2, 3)).mean()
            R = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar).sum(1).mean()
            adam.zero_grad()
            (S / 2 + 0.02 * R).backward()
            adam.step()
        saved = buffers(found.checkpoint(row))
        expected = dict(model.named_buffers())
        assert len(expected) == 3 * 2 * 3  # mean, variance and count, 2 a block, 3 blocks
        assert saved.keys() == {f"buffer/{name}" for name in expected}
        for name, value in expected.items():
            kept = saved[f"buffer/{name}"]
            if name.endswith("num_batches_tracked"):
                assert kept == value == steps
            elif name.endswith("3.running_mean"):
                # Its convolution's bias has a gradient of rounding only, which Adam makes into
                # steps of up to the learning rate; the normalisation takes them out again.
                torch.testing.assert_close(kept, value, rtol=0, atol=steps * lr)
            else:
                torch.testing.assert_close(kept, value, rtol=1e-4, atol=1e-5)
        assert found.segment(row).squared_error < 0.6 * early[seed].squared_error
        # Evaluation uses what was kept, and it describes the network by now.
        x = to_unit(digits().pixels[:200]).view(200, *DIGITS.chw)
        with torch.no_grad():
            trained = found.model(row)
            xhat = trained(x, torch.zeros(200, 3)).xhat
            torch.testing.assert_close(
                xhat, model.eval()(x, torch.zeros(200, 3)).xhat, rtol=0, atol=0.03
            )
        assert (x - xhat).square().sum(dim=(1, 2, 3)).mean() < 0.6 * early[seed].squared_error


@pytest.mark.parametrize("width", [1, 3])
def test_the_first_steps_agree_with_the_plain_module_to_rounding(width: int) -> None:
    found = bank(width)
    rows = [found.admit(replace(MEMBERS[0], seed=seed)) for seed in range(width)]
    found.train(1)
    for seed, row in enumerate(rows):
        model, images = build(SETTINGS, DIGITS).train(), digits()
        initialise(model, seed)
        order, noise = BatchOrder(images, seed, BATCH), StepNoise()
        eps = torch.empty(BATCH, model.latent)
        noise.normal_(eps, seed, 0)
        model(to_unit(images.pixels[order.rows(0)]).view(BATCH, *DIGITS.chw), eps)
        saved = found.checkpoint(row)
        for name, value in model.named_buffers():
            torch.testing.assert_close(saved[f"buffer/{name}"], value, rtol=1e-4, atol=1e-6)


def test_statistics_do_not_depend_on_neighbours_not_even_on_one_that_is_nan() -> None:
    alone, calm, wild = bank(3), bank(3), bank(3)
    row = alone.admit(MEMBERS[2])
    alone.train(8)
    for found, neighbour in ((calm, MEMBERS[1]), (wild, replace(MEMBERS[2], lr=1e30))):
        first = found.admit(neighbour)
        found.admit(MEMBERS[2])
        found.train(8)
        broken = any(value.isnan().any() for value in buffers(found.checkpoint(first)).values())
        assert broken == (found is wild)
        assert_equal(found.checkpoint(1), alone.checkpoint(row))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.balancer)
def test_a_checkpoint_goes_on_elsewhere_bit_for_bit(width: int, member: Member) -> None:
    whole, again = bank(width), bank(width)
    row = whole.admit(member)
    whole.train(4)
    saved = whole.checkpoint(row)
    whole.train(4)
    if width > 1:
        again.admit(MEMBERS[0])
        again.train(3)
    resumed = again.admit(member, saved)
    assert_equal(buffers(again.checkpoint(resumed)), buffers(saved))
    again.train(4)
    assert_equal(again.checkpoint(resumed), whole.checkpoint(row))
    counts = [v for n, v in saved.items() if n.endswith("num_batches_tracked")]
    assert [int(value) for value in counts] == [4] * 6


@pytest.mark.parametrize("width", [1, 3])
def test_a_row_left_by_a_diverged_member_starts_afresh(width: int) -> None:
    used, new = bank(width), bank(width)
    if width > 1:
        for found in (used, new):
            found.admit(MEMBERS[0])
    row = used.admit(replace(MEMBERS[2], lr=1e30))
    used.train(5)
    assert any(value.isnan().any() for value in used.checkpoint(row).values())
    used.release(row)
    if width > 1:
        used.train(3)  # the empty row runs on, on what it held
        new.train(8)
        assert_equal(used.checkpoint(0), new.checkpoint(0))
    assert used.admit(MEMBERS[1]) == new.admit(MEMBERS[1]) == row
    assert_equal(used.checkpoint(row), new.checkpoint(row))
    for found in (used, new):
        found.train(3)
    assert_equal(used.checkpoint(row), new.checkpoint(row))


def test_initialising_again_forgets_the_statistics() -> None:
    model = build(SETTINGS, DIGITS).train()
    initialise(model, 0)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        model(torch.rand(8, *DIGITS.chw), torch.randn(8, 3))
    assert not torch.equal(
        model.state_dict()["encoder.1.layers.0.running_mean"],
        fresh["encoder.1.layers.0.running_mean"],
    )
    initialise(model, 0)
    assert_equal(model.state_dict(), fresh)


@pytest.mark.parametrize(
    ("model", "side", "width"),
    [
        (SETTINGS, 8, 1),
        pytest.param(SETTINGS, 8, 3, marks=pytest.mark.studies),
        pytest.param({"name": "wae", "latent": 2, "width": 2}, 28, 1, marks=pytest.mark.studies),
    ],
)
@pytest.mark.parametrize("head", ["image", "pixel"])
def test_a_head_beside_normalisation_learns_the_variance(
    model: dict[str, object], side: int, width: int, head: Head
) -> None:
    """Flat images of one grey level each, with noise of a known variance."""
    shape, noise = ImageShape(1, side, side), 20.0
    random = np.random.default_rng(0)
    flat = random.uniform(90, 160, (256, 1)) + noise * random.standard_normal((256, shape.dims))
    images = TrainingImages(Rows(flat.astype(np.uint8), np.arange(256)), torch.device("cpu"))
    found = Bank(model, images, shape, width=width, batch_size=32, head=head)
    member = Member(seed=0, lr=1e-2, balancer=f"predicted_{head}_sigma", hyper={}, steps=STEPS)
    row = found.admit(member)
    found.train(380)
    found.segment(row)
    found.train(20)
    late = found.segment(row)
    # It begins at 1, 164 times the noise's. Over four seeds it is then at 0.94 to 1.36 of it.
    assert late.sigma2 == pytest.approx((noise / 256) ** 2, rel=0.5)
    with torch.no_grad():
        _, log_sigma2 = found.model(row).decode_spread(torch.zeros(2, found.latent))
    assert log_sigma2.shape == ((2, 1, 1, 1) if head == "image" else (2, 1, side, side))
    assert log_sigma2.exp().mean().item() == pytest.approx((noise / 256) ** 2, rel=0.5)
