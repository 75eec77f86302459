"""Layers people use, in banks: every row trains as it would alone, and as written by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from own_layers import ONE_ROW, SEVERAL_ROWS, SHAPE, Dropping, Layered, Transformer
from tensors import assert_equal
from torch import Tensor

from vae_core.bank import Bank, Member
from vae_core.batches import BatchOrder, StepNoise, TrainingImages, to_unit
from vae_core.models import Start, build

BATCH, STEPS, BETA, LR = 8, 6, 0.1, 1e-3
FIRST = Member(seed=11, lr=LR, balancer="fixed_beta", hyper={"beta": BETA}, steps=STEPS)
OTHERS = [
    Member(seed=seed, lr=lr, balancer="learned_sigma", hyper={}, steps=STEPS)
    for seed, lr in ((5, 1e-3), (6, 1e30), (7, 2e-3))
]


class Rows:
    pixels = np.random.default_rng(0).integers(0, 256, (40, SHAPE.dims), dtype=np.uint8)
    index = np.arange(40)


def images() -> TrainingImages:
    return TrainingImages(Rows(), torch.device("cpu"))


def named(kind: type[Layered]) -> dict[str, object]:
    return {"name": f"{kind.__module__}:{kind.__name__}", "latent": 3}


def bank(kind: type[Layered], width: int) -> Bank:
    return Bank(named(kind), images(), SHAPE, width=width, batch_size=BATCH)


def by_hand(kind: type[Layered], steps: int) -> dict[str, Tensor]:
    """Parameters and buffers after a plain loop with torch's Adam."""
    model = Start(partial(build, named(kind), SHAPE), None).model(FIRST.seed)
    order, noise = BatchOrder(images(), FIRST.seed, BATCH), StepNoise()
    adam = torch.optim.Adam(model.train().parameters(), lr=LR)
    for step in range(steps):
        x = to_unit(images().pixels[order.rows(step)]).view(BATCH, *SHAPE.chw)
        eps = torch.empty(BATCH, model.latent)
        noise.normal_(eps, FIRST.seed, step)
        out = model(x, eps)
        S = (x - out.xhat).square().sum(dim=(1, 2, 3)).mean()
        R = 0.5 * (out.mu**2 + out.logvar.exp() - 1 - out.logvar).sum(1).mean()
        adam.zero_grad()
        (S / 2 + BETA * R).backward()
        adam.step()
    return {
        **{f"parameter/{name}": value.detach() for name, value in model.named_parameters()},
        **{f"buffer/{name}": value for name, value in model.named_buffers()},
    }


@pytest.mark.parametrize(
    ("kind", "width"),
    [*((kind, 1) for kind in (*SEVERAL_ROWS, *ONE_ROW)), *((k, 3) for k in SEVERAL_ROWS)],
)
def test_a_row_trains_like_a_loop_written_by_hand(kind: type[Layered], width: int) -> None:
    found = bank(kind, width)
    for other in OTHERS[: width - 1]:
        found.admit(other)
    row = found.admit(FIRST)
    found.train(STEPS)
    trained = found.checkpoint(row)
    for name, value in by_hand(kind, STEPS).items():
        got, expected = trained[name], value
        if name.endswith("in_proj_bias"):
            # No output depends on the keys' bias: Adam's scaling blows up pure rounding.
            rest = [*range(8), *range(16, 24)]
            got, expected = got[rest], value[rest]
        assert torch.allclose(got, expected, rtol=1e-4, atol=5e-5), name


@pytest.mark.parametrize("kind", SEVERAL_ROWS)
def test_a_member_trains_to_the_same_bits_alone_and_beside_others(kind: type[Layered]) -> None:
    """One of them diverges."""
    alone, full = bank(kind, 4), bank(kind, 4)
    single = alone.admit(FIRST)
    for other in OTHERS:
        full.admit(other)
    row = full.admit(FIRST)
    for found in (alone, full):
        found.train(STEPS)
    assert_equal(alone.checkpoint(single), full.checkpoint(row))
    assert alone.segment(single) == full.segment(row)


@pytest.mark.parametrize(
    ("kind", "width"), [(Dropping, 1), (Dropping, 3), (Transformer, 3), *((k, 1) for k in ONE_ROW)]
)
def test_a_member_that_resumes_ends_as_if_it_had_never_left(
    kind: type[Layered], width: int
) -> None:
    whole = bank(kind, width)
    row = whole.admit(FIRST)
    whole.train(3)
    saved = whole.checkpoint(row)
    whole.train(3)
    again = bank(kind, width)
    if width > 1:
        again.admit(OTHERS[0])
        again.train(2)
    resumed = again.admit(FIRST, saved)
    again.train(3)
    assert_equal(whole.checkpoint(row), again.checkpoint(resumed))


def test_a_row_given_to_another_member_starts_that_members_masks() -> None:
    used, fresh = bank(Dropping, 1), bank(Dropping, 1)
    row = used.admit(OTHERS[0])
    used.train(3)
    used.release(row)
    for found in (used, fresh):
        found.admit(FIRST)
        found.train(3)
    assert_equal(used.checkpoint(0), fresh.checkpoint(0))


def test_masks_go_on_through_training_and_are_off_in_evaluation() -> None:
    found = bank(Dropping, 2)
    row = found.admit(FIRST)
    found.train(5)
    saved = found.checkpoint(row)
    assert int(saved["buffer/layer.calls"]) == 10, "twice a step"
    assert int(saved["buffer/last.calls"]) == 5
    assert int(saved["buffer/layer.key"]) != int(saved["buffer/last.key"])
    model, x = found.model(row), torch.rand(7, *SHAPE.chw)
    zero = torch.zeros(7, model.latent)
    assert torch.equal(model(x, zero).xhat, model(x, zero).xhat)
    assert not any("key" in name or "calls" in name for name in model.state_dict())
